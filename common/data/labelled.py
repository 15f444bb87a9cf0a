"""Labelled images to score a model on: the test part of any `--data`, or all of it, with the model's own class numbers."""

from pathlib import Path

import numpy as np

from common import files
from common.cli import InputError, shortened
from common.data import cifar10, dataset, folders
from common.data.dataset import Samples

MAX_NAMED = 12  # classes in a message


def load(source, image_size, cache_dir, part=None, is_own=False):
    """The images of `--data SOURCE`, `Samples` resized to squares, and in words what they are: its `part` `test`, or `all`.

    Without a `part` they are the test part or, of data that has none, all; with `is_own`, which says that the model was trained
    on this data, the stratified fifth that training held out. Raises InputError as `dataset.load` does.
    """
    names = dataset.class_names(source)
    test_folder = _test_folder(source)
    if test_folder and part != "all":  # train is not read
        test = Samples(*folders.read_part(test_folder, names, image_size, cache_dir, may_lack_classes=True)[:2])
        return test, f"the {len(test):,} images of {test_folder}"
    train, val, test, _ = dataset.read(source, names, image_size, cache_dir)
    if part == "test" or (part is None and (test or is_own)):
        how = "its test part" if test else "a stratified fifth, held out as in training"
        test = test or dataset.hold_out_test(train, source)[1]
        return test, f"{len(test):,} images of {source}, {how}"
    every = [some for some in (train, val, test) if some]
    samples = Samples(*(np.concatenate([getattr(some, array) for some in every]) for array in ("images", "labels")))
    return samples, f"all {len(samples):,} images of {source}{', also those of training' if is_own else ''}"


def check_classes(class_names, known):
    """The names of a data set's classes that a model does not know. Raises InputError where that knows none of them."""
    unknown = [name for name in class_names if name not in known]
    if len(unknown) == len(class_names):
        raise InputError(
            f"--data has the classes {_list(class_names)}, the model knows {_list(known)}: they share none; "
            "classes are matched by name, so name the folders as the model names its classes"
        )
    return unknown


def for_model(samples, class_names, known):
    """The samples of the classes that a model knows, labelled by its numbers; and notes, a list, on what differs.

    `class_names` are those of the samples' labels, `known` the model's. Images of other classes are left out. Raises InputError
    where no image is left.
    """
    unknown = check_classes(class_names, known)
    numbers = np.array([-1 if name in unknown else known.index(name) for name in class_names])
    labels = numbers[samples.labels]
    kept = Samples(samples.images[labels >= 0], labels[labels >= 0])
    if not len(kept):
        raise InputError(f"--data: no image is of a class that the model knows: {_list(known)}")
    notes = []
    if unknown:
        left_out = len(samples) - len(kept)
        notes.append(f"Left out: {left_out:,} images of classes that the model does not know: {_list(unknown)}.")
    if missing := [name for number, name in enumerate(known) if number not in kept.labels]:
        notes.append(f"No images of {_list(missing)}.")
    return kept, notes


def _test_folder(source):
    """The folder of test images, where there is one."""
    path = Path(source)
    is_other = source in ("cifar10", "digits") or files.kind(path, "--data") != "folder" or cifar10.is_python_version(path)
    return None if is_other else folders.parts(path)[2]


def _list(names):
    named = ", ".join(shortened(name) for name in names[:MAX_NAMED])
    return f"{named} and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else named
