"""Test images that were trained on: the same pixels in train or val, where test accuracy measures memory."""

import hashlib

import numpy as np


def of_test(train, val, test):
    """A note, in a list, on how many images of `test` are in `train` or `val` too, by their `digests`; empty for none.

    Images are the same if all their pixels are: two files may differ.
    """
    counts = {name: int(np.isin(test, part).sum()) for name, part in (("train", train), ("val", val))}
    places = ", in ".join(f"{name}: {count:,} of {len(test):,}" for name, count in counts.items() if count)
    return [f"Test images that are also in {places}, pixel for pixel. They may make test accuracy too high."] if places else []


def digests(images):
    """A hash of each image, an array of bytes `(n,)`."""
    return np.array([digest(image) for image in np.ascontiguousarray(images)], "S16")


def digest(image):
    """A hash of an image's pixels, 16 bytes."""
    return hashlib.blake2b(image, digest_size=16).digest()
