"""Which images are held out, and whether two sets of images are the same: both by a hash of each image's pixels.

So an image keeps its part when others come, go or are renamed, and when the folder moves: no model is scored on images that it
was trained on. A part has about its share of the images of each class, not exactly.
"""

import hashlib

import numpy as np

from common.cli import InputError, shortened
from common.data import images

TEST_FRACTION = 0.2


def held_out(digests, part="test", share=TEST_FRACTION):
    """Which images, by their digests `(n,)`, are in a `part` that is held out: bool `(n,)`, about a `share` of them."""
    hashes = [hashlib.blake2b(digest, digest_size=8, key=part.encode()).digest() for digest in digests]
    return np.frombuffer(b"".join(hashes), ">u8") < share * 2.0**64


def hold_out(samples, part, share, class_names, flag):
    """Split samples into those that stay in train and the `part` that is `held_out`. Raises InputError, naming `flag`."""
    if not share:
        return samples, samples.take([])
    is_out, part = held_out(samples.digests, part, share), part.split()[0]
    kept, out = samples.take(~is_out), samples.take(is_out)
    if not len(out):
        raise InputError(f"{flag}: of {len(samples)} images none is drawn as {part}; add images, or put some into {part}/")
    if missing := [name for label, name in enumerate(class_names) if label not in kept.labels]:
        count = np.sum(samples.labels == class_names.index(missing[0]))
        has = f"{shortened(missing[0])} has {count} of {len(samples)} images, all drawn as {part}"
        raise InputError(f"{flag}: {has}; add images of it, or put some of each class into {part}/")
    return kept, out


def fingerprint(class_names, *parts):
    """A hash of labelled images, `Samples`, whatever their order, their split and their files' names."""
    digests = [images.digests(part.images) if part.digests is None else part.digests for part in parts]
    digests, labels = np.concatenate(digests), np.concatenate([part.labels for part in parts])
    order = np.lexsort((labels, digests))
    content = digests[order].tobytes() + labels[order].tobytes() + "/".join(class_names).encode()
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def compared(dataset, results):
    """A line on whether a Dataset holds the images that a finished run was trained on, by its `results`, as in results.json."""
    if results.get("all_images") == dataset.all_images:
        return "The weights come from a run on the same images, which held out the same test images."
    run = f"The weights come from a run on {shortened(results['data'])}"
    if results["data"] != dataset.name:
        return f"{run}, other images than these."
    if dataset.holds_out_test and results.get("holds_out_test"):
        return f"{run} before its images changed; none of the test images here was trained on."
    return f"{run} before its images changed; test accuracy is too high if some have moved into the test part since."
