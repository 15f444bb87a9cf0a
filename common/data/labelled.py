"""Labelled images to score a model on: the test part of any `--data`, or all of it, with the model's own class numbers."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common.cli import InputError, shortened
from common.data import dataset, folders, images, splits
from common.data.dataset import Samples

MAX_NAMED = 12  # classes in a message


@dataclass(frozen=True)
class Labelled:
    """Image `samples`, the `paths` of their files, None for images that are not files, and a `description` of what they are.

    `is_held_out` says that they are the part that training holds out of data without a test part.
    """

    samples: Samples
    paths: np.ndarray
    description: str
    is_held_out: bool = False

    def take(self, indices):
        """Those at these indices, in this order."""
        return replace(self, samples=self.samples.take(indices), paths=self.paths[indices])


def load(source, image_size, cache_dir, part=None, results=None, is_own=False):
    """The images of `--data SOURCE`, resized to squares, as Labelled: those of its `part` `test`, or `all`.

    Without a `part` they are the test part or, of data that has none, all; of what a model was trained on they are the fifth
    that training held out. That is told by the model's `results`, as in results.json, or by `is_own`, where the data are the
    run's by their place but may have changed since. Raises InputError as `dataset.load` does.
    """
    names = dataset.class_names(source, at_least=1)
    parts = _parts(source, names, image_size, cache_dir)
    is_drawn = part != "all" and "test" not in parts
    chosen = ["test"] if part != "all" and "test" in parts else list(parts)
    *arrays, paths = (np.concatenate(values) for values in zip(*(parts[name]() for name in chosen), strict=True))
    samples = Samples(*arrays)
    labelled = Labelled(samples, paths, f"all {len(samples):,} images of {source}").take(samples.order())
    results = results or {}
    is_same = results.get("all_images") == splits.fingerprint(names, samples)
    if is_drawn and (part == "test" or (results.get("holds_out_test") and (is_same or is_own))):
        drawn = labelled.take(splits.held_out(labelled.samples.digests))
        how = f"{len(drawn.samples):,} images of {source}, about a fifth, held out as in training"
        return replace(drawn, description=how, is_held_out=bool(results.get("holds_out_test")))
    if chosen == ["test"]:
        return replace(labelled, description=f"{len(samples):,} images of {source}, its test part")
    return replace(labelled, description=f"{labelled.description}, also those of training") if is_same or is_own else labelled


def _parts(source, class_names, image_size, cache_dir):
    """A function for each part that there is, `train`, `val`, `test`, which reads its images, labels, digests and paths."""

    def of_arrays(pixels, labels):
        def read():
            images.need_memory(len(labels), image_size, "--data")
            resized = images.resize_all(pixels, image_size)
            return resized, labels, images.digests(pixels), np.full(len(labels), None, object)

        return read

    def of_folder(name, folder):
        def read():
            paths, *_ = folders.list_files(folder, class_names, name != "train")
            if not paths:
                raise InputError(f"--data {source}: {folder} holds no images in class folders")
            images.need_memory(len(paths), image_size, "--data")
            pixels, labels, digests, _ = folders.read_part(folder, class_names, image_size, cache_dir, name != "train")
            return pixels, labels, digests, np.array(paths, object)

        return read

    if arrays := dataset.read_arrays(source):
        return {name: of_arrays(*part) for name, part in zip(("train", "test"), arrays, strict=False)}
    found = folders.parts(Path(source))
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
