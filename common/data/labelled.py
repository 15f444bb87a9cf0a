"""Labelled images to score a model on: the test part of any `--data`, or all of it, with the model's own class numbers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common import files
from common.cli import InputError, shortened
from common.data import cifar10, dataset, folders
from common.data.dataset import Samples

MAX_NAMED = 12  # classes in a message


@dataclass(frozen=True)
class Labelled:
    """Image samples, the class names that their labels count, and a `description` of what they are."""

    samples: Samples
    class_names: tuple
    description: str


def load(source, image_size, cache_dir, part=None, is_own=False):
    """The images of `--data SOURCE`, resized to squares, as Labelled: those of its `part` `test`, or `all`.

    Without a `part` they are the test part or, of data that has none, all; with `is_own`, which says that the model was trained
    on this data, the stratified fifth that training held out. Raises InputError as `dataset.load` does.
    """
    names = dataset.class_names(source)
    test_folder = _test_folder(source)
    if test_folder and part != "all":  # train is not read
        images, labels, _ = folders.read_part(test_folder, names, image_size, cache_dir, may_lack_classes=True)
        return _labelled(Samples(images, labels), names, f"the {len(labels):,} images of {test_folder}")
    train, val, test, _ = dataset.read(source, names, image_size, cache_dir)
    if part == "test" or (part is None and (test or is_own)):
        how = "its test part" if test else "a stratified fifth, held out as in training"
        test = test or dataset.hold_out_test(train, source)[1]
        return _labelled(test, names, f"{len(test):,} images of {source}, {how}")
    every = [some for some in (train, val, test) if some]
    samples = Samples(*(np.concatenate([getattr(some, array) for some in every]) for array in ("images", "labels")))
    known = ", on most of which the model was trained" if is_own else ""
    return _labelled(samples, names, f"all {len(samples):,} images of {source}{known}")


def for_model(labelled, class_names):
    """The samples of the classes that a model knows, by name, labelled by its numbers; and notes, a list, on what differs.

    Images of other classes are left out. Raises InputError where no image is left.
    """
    unknown = [name for name in labelled.class_names if name not in class_names]
    if len(unknown) == len(labelled.class_names):
        raise InputError(
            f"--data has the classes {_list(labelled.class_names)}, the model knows {_list(class_names)}: they share none; "
            "classes are matched by name, so name the folders as the model names its classes"
        )
    numbers = np.array([-1 if name in unknown else class_names.index(name) for name in labelled.class_names])
    labels = numbers[labelled.samples.labels]
    samples = Samples(labelled.samples.images[labels >= 0], labels[labels >= 0])
    notes = []
    if unknown:
        left_out = len(labelled.samples) - len(samples)
        notes.append(f"Left out: {left_out:,} images of classes that the model does not know: {_list(unknown)}.")
    if missing := [name for number, name in enumerate(class_names) if number not in samples.labels]:
        notes.append(f"No images of {_list(missing)}.")
    if not len(samples):
        raise InputError(f"--data: no image is of a class that the model knows: {_list(class_names)}")
    return samples, notes


def _test_folder(source):
    """The folder of test images, where there is one."""
    path = Path(source)
    is_known = source in ("cifar10", "digits") or files.kind(path, "--data") != "folder" or cifar10.is_python_version(path)
    return None if is_known else folders.parts(path)[2]


def _labelled(samples, names, description):
    if not len(samples):
        raise InputError(f"--data: there are no images to score ({description})")
    return Labelled(samples, names, description)


def _list(names):
    named = ", ".join(shortened(name) for name in names[:MAX_NAMED])
    return f"{named} and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else named
