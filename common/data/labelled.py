"""Labelled images to score a model on: the test part of any `--data`, or all of it, with the model's own class numbers."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common.cli import InputError, shortened
from common.data import dataset, folders, images
from common.data.dataset import Samples

MAX_NAMED = 12  # classes in a message


@dataclass(frozen=True)
class Labelled:
    """Image `samples`, the `paths` of their files, None for images that are not files, and a `description` of what they are."""

    samples: Samples
    paths: np.ndarray
    description: str

    def take(self, indices):
        """Those at these indices, in this order."""
        return replace(self, samples=self.samples.take(indices), paths=self.paths[indices])


def load(source, image_size, cache_dir, part=None, is_own=False):
    """The images of `--data SOURCE`, resized to squares, as Labelled: those of its `part` `test`, or `all`.

    Without a `part` they are the test part or, of data that has none, all; with `is_own`, which says that the model was trained
    on this data, the stratified fifth that training held out. Raises InputError as `dataset.load` does.
    """
    parts = _parts(source, image_size, cache_dir)
    is_held_out = "test" not in parts and (part == "test" or (part is None and is_own))
    names = list(parts) if part == "all" else ["train"] if is_held_out else ["test"] if "test" in parts else list(parts)
    pixels, labels, paths = (np.concatenate(arrays) for arrays in zip(*(parts[name]() for name in names), strict=True))
    labelled = Labelled(Samples(pixels, labels), paths, f"all {len(labels):,} images of {source}")
    if is_held_out:
        _, held_out = dataset.hold_out_test(Samples(np.arange(len(labels)), labels), source)
        how = f"{len(held_out):,} images of {source}, a stratified fifth, held out as in training"
        return replace(labelled.take(held_out.images), description=how)
    if names == ["test"]:
        return replace(labelled, description=f"{len(labels):,} images of {source}, its test part")
    return replace(labelled, description=f"{labelled.description}, also those of training") if is_own else labelled


def _parts(source, image_size, cache_dir):
    """A function for each part that there is, `train`, `val`, `test`, which reads its images, labels and paths."""

    def of_arrays(pixels, labels):
        def read():
            images.need_memory(len(labels), image_size, "--data")
            return images.resize_all(pixels, image_size), labels, np.full(len(labels), None, object)

        return read

    def of_folder(name, folder):
        def read():
            paths, *_ = folders.list_files(folder, class_names, name != "train")
            if not paths:
                raise InputError(f"--data {source}: {folder} holds no images in class folders")
            images.need_memory(len(paths), image_size, "--data")
            pixels, labels, _ = folders.read_part(folder, class_names, image_size, cache_dir, name != "train")
            return pixels, labels, np.array(paths, object)

        return read

    if arrays := dataset.read_arrays(source):
        return {name: of_arrays(*part) for name, part in zip(("train", "test"), arrays, strict=False)}
    class_names, found = folders.class_names(Path(source), 1), folders.parts(Path(source))
    return {name: of_folder(name, folder) for name, folder in zip(("train", "val", "test"), found, strict=True) if folder}


def check_classes(class_names, known):
    """The names of a data set's classes that a model does not know. Raises InputError where that knows none of them."""
    unknown = [name for name in class_names if name not in known]
    if len(unknown) == len(class_names):
        raise InputError(
            f"--data has the classes {_list(class_names)}, the model knows {_list(known)}: they share none; "
            "classes are matched by name, so name the folders as the model names its classes"
        )
    return unknown


def for_model(labelled, class_names, known):
    """The samples of the classes that a model knows, labelled by its numbers, as Labelled; and notes on what differs, a list.

    `class_names` are those of the samples' labels, `known` the model's. Images of other classes are left out. Raises InputError
    where no image is left.
    """
    unknown = check_classes(class_names, known)
    numbers = np.array([-1 if name in unknown else known.index(name) for name in class_names])
    labels = numbers[labelled.samples.labels]
    kept = labelled.take(np.flatnonzero(labels >= 0))
    kept = replace(kept, samples=replace(kept.samples, labels=labels[labels >= 0]))
    if not len(kept.samples):
        raise InputError(f"--data: no image is of a class that the model knows: {_list(known)}")
    notes = []
    if unknown:
        left_out = len(labels) - len(kept.samples)
        notes.append(f"Left out: {left_out:,} images of classes that the model does not know: {_list(unknown)}.")
    if missing := [name for number, name in enumerate(known) if number not in kept.samples.labels]:
        notes.append(f"No images of {_list(missing)}.")
    return kept, notes


def _list(names):
    named = ", ".join(shortened(name) for name in names[:MAX_NAMED])
    return f"{named} and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else named
