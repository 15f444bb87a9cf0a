"""`--data` as one frozen dataclass: train, val and test, each with uint8 NHWC images and integer labels; class names.

A part that the data lack is drawn by a hash of each image's pixels: test, a fifth, whatever the seed, and val by the seed. So
an image keeps its part when others come, go or are renamed. A part has about its share of the images of each class.
"""

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common import hosts
from common.cli import shortened, tell
from common.data import CIFAR10, cifar, folders, images
from common.data.rows import Rows

DIGITS = tuple("0123456789")  # class names
WORDS = ("cifar10", "cifar100", "digits")  # of `--data`, beside paths
TEST_FRACTION = 0.2


@dataclass(frozen=True)
class Samples:
    """`images` uint8 `(n, h, w, 3)` RGB, or features `(n, width)`, with their `labels` int64 `(n,)`, which count from 0.

    Images that would fill the memory are `Rows`, which are read from disk as they are asked for. `digests` `(n,)` are hashes of
    the images' pixels before any resizing, as `images.digests` has them; None for features. `paths` are those of files.
    """

    images: np.ndarray | Rows
    labels: np.ndarray
    digests: np.ndarray | None = None
    paths: np.ndarray | None = None

    def __len__(self):
        return len(self.labels)

    def take(self, indices):
        """The samples at these indices, in this order."""
        images = self.images.take(indices) if isinstance(self.images, Rows) else self.images[indices]
        others = (None if part is None else part[indices] for part in (self.digests, self.paths))
        return Samples(images, self.labels[indices], *others)

    def joined(self, other):
        """These samples and the `other` ones."""
        parts = (self.digests, other.digests), (self.paths, other.paths)
        others = (None if part is None else np.concatenate([part, more]) for part, more in parts)
        return Samples(Rows([self.images, other.images]), np.concatenate([self.labels, other.labels]), *others)

    def order(self):
        """Indices that sort them by their digests, and by label where pixels are the same: whatever their files are called."""
        return np.lexsort((self.labels, self.digests))

    def one_hot(self, num_classes, smoothing=0.0):
        """With labels float32 `(n, num_classes)`; of each, the share `smoothing` is spread over all (Szegedy et al. 2016)."""
        rows = np.eye(num_classes, dtype=np.float32) * np.float32(1 - smoothing) + np.float32(smoothing / num_classes)
        return replace(self, labels=rows[self.labels])


@dataclass(frozen=True)
class Dataset:
    """A named data set; `all_images` is the `fingerprint` of all its images, and `holds_out_test` whether test was drawn.

    `skipped` are the damaged images that were left out, as `folders.read_part` has them.
    """

    name: str
    class_names: tuple
    train: Samples
    val: Samples
    test: Samples
    all_images: str = ""
    holds_out_test: bool = False
    skipped: tuple = ()

    @property
    def is_cifar10(self):
        """Whether this is all of CIFAR-10, from any source."""
        is_whole = len(self.test) == 10_000 and len(self.train) + len(self.val) == 50_000
        return is_whole and self.class_names == CIFAR10

    def without_val(self):
        """With the val images in train."""
        return replace(self, train=self.train.joined(self.val), val=self.val.take([])) if len(self.val) else self

    def fingerprint(self):
        """A hash of class names, images and labels, by part."""
        return " ".join(fingerprint(self.class_names, part) for part in (self.train, self.val, self.test))

    def duplicates(self):
        """A note, in a list, on how many test images are in train or val too, pixel for pixel; empty for none."""
        counts = {name: np.isin(self.test.digests, getattr(self, name).digests).sum() for name in ("train", "val")}
        places = ", in ".join(f"{name}: {count:,} of {len(self.test):,}" for name, count in counts.items() if count)
        note = f"Test images that are also in {places}, pixel for pixel. They may make test accuracy too high."
        return [note] if places else []

    def compared(self, results):
        """A line on whether these are the images that a finished run was trained on, by its `results`, as in results.json."""
        if results.get("all_images") == self.all_images:
            return "The weights come from a run on the same images, which held out the same test images."
        run = f"The weights come from a run on {shortened(results['data'])}"
        if results["data"] != self.name:
            return f"{run}, other images than these."
        if self.holds_out_test and results.get("holds_out_test"):
            return f"{run} before its images changed; none of the test images here was trained on."
        return f"{run} before its images changed; test accuracy is too high if some have moved into the test part since."


def class_names(source, at_least=2):
    """The class names of `--data SOURCE`, without reading an image. Raises ValueError for no such data, or too few classes."""
    if source == "digits":
        return DIGITS
    path = Path(source)
    if source not in WORDS and not os.path.exists(path):  # noqa: PTH110  Path.exists raises where the user may not look
        raise ValueError(f"no such folder or file that may be read; allowed are {', '.join(WORDS)} and a path that exists")
    if version := cifar.find(source):
        return version.class_names
    if not path.is_dir():
        raise ValueError("it is not a folder; give a folder of images, or the python-version archive of CIFAR-10 or CIFAR-100")
    return folders.class_names(path, at_least)


def load(source, image_size, cache_dir, upscaled_later=False, **reading):
    """Read the images of `--data SOURCE`, and print what was done to them.

    Returns a Dataset of images `(n, image_size, image_size, 3)` whose val is None where the source has none. With
    `upscaled_later` the model itself resizes to image_size, so smaller square images of one size keep it. `reading` are `how`
    and `skip_damaged` of `folders.read_part`. Raises ValueError for data that is missing, unreadable or too small to split.
    """
    names = class_names(source)
    with hosts.main_first("data"):
        *parts, notes, skipped = _read(source, names, image_size, cache_dir, upscaled_later, **reading)
    train, val, test = (part and part.take(part.order()) for part in parts)
    all_images = fingerprint(names, *(part for part in (train, val, test) if part is not None))
    if holds_out_test := test is None:
        train, test = hold_out(train, "test", TEST_FRACTION, names)
        notes.append(f"{source} has no test part: {len(test)} images, about a fifth, are held out as test.")
    tell(*notes)
    return Dataset(name(source), names, train, val, test, all_images, holds_out_test, tuple(skipped))


def name(source):
    """What `--data SOURCE` is called: its word, or the name of its folder or file."""
    return source if source in WORDS else Path(source).resolve().name


def held_out(digests, part="test", share=TEST_FRACTION):
    """Which images, by their digests `(n,)`, are in a `part` that is held out: bool `(n,)`, about a `share` of them."""
    hashes = [hashlib.blake2b(digest, digest_size=8, key=part.encode()).digest() for digest in digests]
    return np.frombuffer(b"".join(hashes), ">u8") < share * 2.0**64


def hold_out(samples, part, share, class_names):
    """Split samples into those that stay in train and the `part` that is `held_out`. Raises ValueError for too few of them."""
    if not share:
        return samples, samples.take([])
    is_out, part = held_out(samples.digests, part, share), part.split()[0]
    kept, out = samples.take(~is_out), samples.take(is_out)
    if not len(out):
        raise ValueError(f"of {len(samples)} images none is drawn as {part}; add images, or put some into {part}/")
    if missing := [name for label, name in enumerate(class_names) if label not in kept.labels]:
        count = np.sum(samples.labels == class_names.index(missing[0]))
        has = f"{shortened(missing[0])} has {count} of {len(samples)} images, all drawn as {part}"
        raise ValueError(f"{has}; add images of it, or put some of each class into {part}/")
    return kept, out


def fingerprint(class_names, *parts):
    """A hash of labelled images, `Samples`, whatever their order, their split and their files' names."""
    digests = [images.digests(part.images) if part.digests is None else part.digests for part in parts]
    digests, labels = np.concatenate(digests), np.concatenate([part.labels for part in parts])
    order = np.lexsort((labels, digests))
    content = digests[order].tobytes() + labels[order].tobytes() + "/".join(class_names).encode()
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def choose_samples(labels, num_samples, seed):
    """Indices of `num_samples` samples, a seeded and stratified choice with at least one of each class.

    With the same seed, a larger choice contains a smaller one. Raises ValueError for too few or too many samples.
    """
    classes = np.unique(labels)
    if not len(classes) <= num_samples <= len(labels):
        raise ValueError(f"{num_samples} images; allowed are {len(classes)} (one per class) to {len(labels)}")
    order = np.random.default_rng(seed).permutation(len(labels))
    # Spread each class evenly over 0..1 and take the first ones: this keeps each class's share, to within one sample.
    position = np.empty(len(labels))
    for label in classes:
        members = order[labels[order] == label]
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
        position[members[0]] = 0
    return np.argsort(position, kind="stable")[:num_samples]


def few(dataset, num_samples):
    """The data set with at most `num_samples` samples in each part, or two of each class."""

    def shortened(part):
        count = min(max(num_samples, 2 * len(dataset.class_names)), len(part))
        return part.take(choose_samples(part.labels, count, 0))

    return replace(dataset, train=shortened(dataset.train), val=shortened(dataset.val), test=shortened(dataset.test))


def read_arrays(source):
    """`(images, labels)` of train and, if there is one, of test, as `cifar.read` has them; None for a folder of images."""
    if source == "digits":
        return (cifar.read_digits(),)
    return cifar.read(source) if cifar.find(source) else None


def _read(source, names, image_size, cache_dir, upscaled_later, **reading):
    """Train, val or None, test or None, each `Samples`; a list of notes for the user; what was skipped."""
    parts = read_arrays(source)
    if parts is None:
        *parts, notes, skipped = folders.read(Path(source), names, image_size, cache_dir, upscaled_later, **reading)
        return *(part and Samples(*part) for part in parts), notes, skipped
    height, width = parts[0][0].shape[1:3]
    image_size = min(image_size, 32) if upscaled_later else image_size  # CIFAR-10's size, also for the 8x8 digits
    is_resized = (height, width) != (image_size, image_size)
    notes = [f"Images of {width}x{height} were resized to {image_size}x{image_size}."] * is_resized
    images.need_memory(sum(len(labels) for _, labels in parts), image_size)
    samples = [Samples(images.resize_all(pixels, image_size), labels, images.digests(pixels)) for pixels, labels in parts]
    train, test = [*samples, None][:2]
    return train, None, test, notes, []
