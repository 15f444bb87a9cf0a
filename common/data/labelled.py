"""Labelled images to score a model on: the test part of any `--data`, or all of it, with the model's own class numbers."""

from dataclasses import dataclass

import numpy as np

from common.cli import InputError, shortened
from common.data import dataset, folders
from common.data.dataset import Samples

MAX_NAMED = 12  # classes in a message


@dataclass(frozen=True)
class Labelled:
    """Labelled image samples, the class names that their labels count, and a `description` of what they are."""

    samples: Samples
    class_names: tuple
    description: str


def load(source, image_size, cache_dir, part):
    """The images of `--data`, resized to squares: those of its `part` `test`, or `all`. Returns Labelled.

    Where there is no test part, `test` is the stratified fifth that training holds out. Of a folder with a test part only
    that is read. Raises InputError as `dataset.load` does.
    """
    names = dataset.class_names(source)
    test_folder = dataset.test_folder(source)
    if part == "test" and test_folder:
        images, labels, _ = folders.read_part(test_folder, names, image_size, cache_dir, may_lack_classes=True)
        return Labelled(_filled(Samples(images, labels), source), names, f"the {len(labels):,} images of {test_folder}")
    train, val, test, _ = dataset.read(source, names, image_size, cache_dir)
    if part == "all":
        arrays = zip(*((some.images, some.labels) for some in (train, val, test) if some), strict=True)
        samples = Samples(*map(np.concatenate, arrays))
        return Labelled(_filled(samples, source), names, f"all {len(samples):,} images of {source}")
    how = "its test part" if test else "a stratified fifth, held out as in training"
    test = test or dataset.hold_out_test(train, source)[1]
    return Labelled(_filled(test, source), names, f"{len(test):,} images of {source}, {how}")


def for_model(labelled, class_names):
    """The samples of the classes that a model knows, by name, labelled by its numbers; and notes on what differs.

    Images of other classes are left out. Raises InputError where no class is left.
    """
    known = [name for name in labelled.class_names if name in class_names]
    unknown = [name for name in labelled.class_names if name not in class_names]
    if not known:
        raise InputError(
            f"--data has the classes {_list(labelled.class_names)}, the model knows {_list(class_names)}: they share none; "
            "classes are matched by name, so name the folders as the model names its classes"
        )
    numbers = np.array([class_names.index(name) if name in class_names else -1 for name in labelled.class_names])
    labels = numbers[labelled.samples.labels]
    kept = labelled.samples.take(np.flatnonzero(labels >= 0))
    samples = Samples(kept.images, labels[labels >= 0].astype(np.int64))
    present = set(np.unique(samples.labels).tolist())
    missing = [name for number, name in enumerate(class_names) if number not in present]
    notes = []
    if unknown:
        left_out = len(labelled.samples) - len(samples)
        notes.append(f"Left out: {left_out:,} images of classes that the model does not know: {_list(unknown)}.")
    if missing:
        notes.append(f"No images of: {_list(missing)}.")
    return _filled(samples, "--data"), notes


def _filled(samples, source):
    if not len(samples):
        raise InputError(f"{source} has no images to score")
    return samples


def _list(names):
    named = ", ".join(shortened(name) for name in names[:MAX_NAMED])
    return f"{named} and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else named
