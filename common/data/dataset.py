"""`--data` as one frozen dataclass: train, val and test, each with uint8 NHWC images and integer labels; class names.

Val is the data set's own, or a seeded part of the training images, which may be empty. Test is the data set's own, or a fifth,
which does not depend on `--seed`, so that runs with different seeds are scored on the same images. `splits.py` draws both.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common import backend, files, hosts
from common.cli import InputError, shortened, tell
from common.data import cifar10, folders, images, splits

DIGITS = tuple("0123456789")  # class names


@dataclass(frozen=True)
class Samples:
    """`images` uint8 `(n, h, w, 3)` RGB, or features `(n, width)`, with their `labels` int64 `(n,)`, which count from 0.

    `digests` `(n,)` are hashes of the images' pixels before any resizing, as `images.digests` has them; None for features.
    """

    images: np.ndarray
    labels: np.ndarray
    digests: np.ndarray | None = None

    def __len__(self):
        return len(self.labels)

    def take(self, indices):
        """The samples at these indices, in this order."""
        return Samples(*(values if values is None else values[indices] for values in (self.images, self.labels, self.digests)))

    def order(self):
        """Indices that sort them by their digests, and by label where pixels are the same: whatever their files are called."""
        return np.lexsort((self.labels, self.digests))

    def one_hot(self, num_classes, smoothing=0.0):
        """With labels float32 `(n, num_classes)`; of each, the share `smoothing` is spread over all (Szegedy et al. 2016)."""
        rows = np.eye(num_classes, dtype=np.float32) * np.float32(1 - smoothing) + np.float32(smoothing / num_classes)
        return replace(self, labels=rows[self.labels])


@dataclass(frozen=True)
class Dataset:
    """A named data set: train, val and test.

    `all_images` is the `fingerprint` of all labelled images of its source; `holds_out_test` says whether test was drawn from
    them, for lack of a test part.
    """

    name: str
    class_names: tuple
    train: Samples
    val: Samples
    test: Samples
    all_images: str = ""
    holds_out_test: bool = False

    @property
    def is_cifar10(self):
        """Whether this is all of CIFAR-10, from any source."""
        is_whole = len(self.test) == 10_000 and len(self.train) + len(self.val) == 50_000
        return is_whole and self.class_names == cifar10.CLASS_NAMES

    def fingerprint(self):
        """A hash of class names, images and labels, by part."""
        return " ".join(splits.fingerprint(self.class_names, part) for part in (self.train, self.val, self.test))


def class_names(source, at_least=2):
    """The class names of `--data SOURCE`, without reading an image. Raises InputError for no such data, or too few classes."""
    if source == "digits":
        return DIGITS
    if source == "cifar10":
        return cifar10.CLASS_NAMES
    path = Path(source)
    kind = files.kind(path, "--data")
    if not kind:
        raise InputError(f"--data {source}: no such folder or file; allowed are cifar10, digits and a path that exists")
    if cifar10.is_python_version(path):
        return cifar10.CLASS_NAMES
    if kind != "folder":
        raise InputError(f"--data {source} is not a folder; give a folder of images, or CIFAR-10's python-version archive")
    return folders.class_names(path, at_least)


def load(args, upscaled_later=False):
    """Read and split the data that the data flags and `--seed` ask for, and print what was done to it.

    Returns a Dataset of images `(n, image_size, image_size, 3)`. With `upscaled_later` the model itself resizes to image_size,
    so smaller square images of one size keep it. `--dry-run` leaves two batches of each part. Raises InputError for data that
    is missing, unreadable or too small to split.
    """
    names = class_names(args.data)
    with hosts.main_first("data"):
        train, val, test, notes = _read(args.data, names, args.image_size, args.cache_dir, upscaled_later)
    train, val, test = (part and part.take(part.order()) for part in (train, val, test))
    all_images = splits.fingerprint(names, *(part for part in (train, val, test) if part is not None))
    if holds_out_test := test is None:
        train, test = splits.hold_out(train, "test", splits.TEST_FRACTION, names, f"--data {args.data}")
        notes.append(f"{args.data} has no test part: {len(test)} images, about a fifth, are held out as test.")
    if args.max_train_samples and args.max_train_samples < len(train):
        train = train.take(choose_samples(train.labels, args.max_train_samples, args.seed, "--max-train-samples"))
    if val is None:
        train, val = splits.hold_out(train, f"val {args.seed}", args.validation_split, names, "--validation-split")
    tell(*notes, *images.duplicates(test.digests, train=train.digests, val=val.digests))
    dataset = Dataset(name(args.data), names, train, val, test, all_images, holds_out_test)
    if args.dry_run:
        dataset = few(dataset, 2 * min(vars(args).get("batch_size", 32), backend.batch_size(args.image_size)))
    return dataset


def name(source):
    """What `--data SOURCE` is called: its word, or the name of its folder or file."""
    return source if source in ("cifar10", "digits") else Path(source).resolve().name


def choose_samples(labels, num_samples, seed, flag):
    """Indices of `num_samples` samples, a seeded and stratified choice with at least one of each class.

    With the same seed, a larger choice contains a smaller one. Raises InputError, naming `flag`, for fewer samples than classes
    or more than there are.
    """
    classes = np.unique(labels)
    if not len(classes) <= num_samples <= len(labels):
        raise InputError(f"{flag} {num_samples}: allowed are {len(classes)} (one per class) to {len(labels)} images")
    order = np.random.default_rng(seed).permutation(len(labels))
    # Spread each class evenly over 0..1 and take the first ones: this keeps each class's share, to within one sample.
    position = np.empty(len(labels))
    for label in classes:
        members = order[labels[order] == label]
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
        position[members[0]] = 0
    return np.argsort(position, kind="stable")[:num_samples]


def few(dataset, num_samples):
    """The data set with at most `num_samples` samples in each part, and at least one of each class."""

    def shortened(part):
        count = min(max(num_samples, len(dataset.class_names)), len(part))
        return part.take(choose_samples(part.labels, count, 0, "--dry-run"))

    return replace(dataset, train=shortened(dataset.train), val=shortened(dataset.val), test=shortened(dataset.test))


def find_classes(wanted, class_names, flag):
    """Numbers of classes given by number or name. Raises InputError, naming `flag`, for an unknown or repeated one."""
    exact = {name: number for number, name in enumerate(class_names)}
    folded = {name.lower(): number for name, number in exact.items()}
    numbers = []
    for word in map(str, wanted):
        by_number = int(word) if word.isdecimal() and len(word) < 10 else None
        number = exact.get(word, folded.get(word.lower(), by_number))
        if number is None or number >= len(class_names):
            known = ", ".join(f"{number} {name}" for number, name in enumerate(class_names))
            raise InputError(f"{flag} {shortened(word)}: no such class; allowed are, by number or name: {known}")
        if number in numbers:
            raise InputError(f"{flag}: class {number} ({class_names[number]}) is given twice")
        numbers.append(number)
    return tuple(numbers)


def only_classes(dataset, classes, flag):
    """The samples of these class numbers only, relabelled from 0 in the given order.

    Raises InputError, naming `flag`, if train, test or a val that is not empty has none of them.
    """

    def keep(part):
        kept = part.take(np.flatnonzero(np.isin(part.labels, classes)))
        return replace(kept, labels=np.array([classes.index(label) for label in kept.labels.tolist()], np.int64))

    names = tuple(dataset.class_names[number] for number in classes)
    parts = {name: keep(getattr(dataset, name)) for name in ("train", "val", "test")}
    for name, part in parts.items():
        if not len(part) and len(getattr(dataset, name)):
            raise InputError(f"{flag}: {name} has no image of {', '.join(names)}; more images or other classes are needed")
    return replace(dataset, class_names=names, **parts)


def read_arrays(source):
    """`(images, labels)` of train and, if there is one, of test, as `cifar10.read` has them; None for a folder of images."""
    if source == "digits":
        return (read_digits(),)
    if source == "cifar10" or cifar10.is_python_version(Path(source)):
        return cifar10.read(cifar10.archive() if source == "cifar10" else Path(source))
    return None


def read_digits():
    """scikit-learn's digits: images `(1797, 8, 8, 3)` uint8, grey, and labels int64 (`sklearn.datasets.load_digits`)."""
    from sklearn.datasets import load_digits  # slow to import

    scans = load_digits()
    grey = np.rint(scans.images * (255 / 16)).astype(np.uint8)  # 0..16 in the scans
    return np.repeat(grey[..., None], 3, axis=-1), scans.target.astype(np.int64)


def _read(source, names, image_size, cache_dir, upscaled_later):
    """Train, val or None, test or None, each `Samples`, and a list of notes for the user."""
    parts = read_arrays(source)
    if parts is None:
        *parts, notes = folders.read(Path(source), names, image_size, cache_dir, upscaled_later)
        return *(part and Samples(*part) for part in parts), notes
    digests = [images.digests(pixels) for pixels, _ in parts]
    height, width = parts[0][0].shape[1:3]
    notes = []
    if upscaled_later:
        image_size = min(image_size, 32)  # CIFAR-10's size, also for the 8x8 digits
    if (height, width) != (image_size, image_size):
        notes.append(f"Images of {width}x{height} were resized to {image_size}x{image_size}.")
        images.need_memory(sum(len(labels) for _, labels in parts), image_size)
        parts = [(images.resize_all(pixels, image_size), labels) for pixels, labels in parts]
    train, test = [*(Samples(*part, digest) for part, digest in zip(parts, digests, strict=True)), None][:2]
    return train, None, test, notes
