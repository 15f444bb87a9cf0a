"""Labelled images to score a model on: the test part of any `--data`, or all of it, with the model's own class numbers."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common.cli import listed, shortened
from common.data import dataset, folders, images
from common.data.dataset import Samples
from common.data.rows import Rows


@dataclass(frozen=True)
class Labelled:
    """Image `samples`, the `paths` of their files, None for images that are not files, and a `description` of what they are.

    `is_held_out` says that they are the part that training holds out of data without a test part; `skipped` are the damaged
    images that were left out, as `folders.read_part` has them.
    """

    samples: Samples
    paths: np.ndarray
    description: str
    is_held_out: bool = False
    skipped: tuple = ()

    def take(self, indices):
        """Those at these indices, in this order."""
        return replace(self, samples=self.samples.take(indices), paths=self.paths[indices])


def load(source, image_size, cache_dir, part=None, results=None, is_own=False, **reading):
    """The images of `--data SOURCE`, resized to squares, as Labelled: those of its `part` `test`, or `all`.

    Without a `part` they are the test part or, of data that has none, all; of what a model was trained on they are the fifth
    that training held out. That is told by the model's `results`, as in results.json, or by `is_own`, where the data are the
    run's by their place but may have changed since. `reading` is that of `dataset.load`, as which it raises ValueError.
    """
    names = dataset.class_names(source, at_least=1)
    samples, paths, has_test, skipped = _read(source, names, image_size, cache_dir, part == "all", **reading)
    labelled = Labelled(samples, paths, f"all {len(samples):,} images of {source}", skipped=skipped).take(samples.order())
    results = results or {}
    is_same = results.get("all_images") == dataset.fingerprint(names, samples)
    if not has_test and part != "all" and (part == "test" or (results.get("holds_out_test") and (is_same or is_own))):
        drawn = labelled.take(dataset.held_out(labelled.samples.digests))
        how = f"{len(drawn.samples):,} images of {source}, about a fifth, held out as in training"
        return replace(drawn, description=how, is_held_out=bool(results.get("holds_out_test")))
    if has_test and part != "all":
        return replace(labelled, description=f"{len(samples):,} images of {source}, its test part")
    return replace(labelled, description=f"{labelled.description}, also those of training") if is_same or is_own else labelled


def _read(source, class_names, image_size, cache_dir, wants_all, **reading):
    """The Samples of the test part or, where there is none or one `wants_all`, of all parts; their paths; if there is one.

    And the images that were skipped.
    """
    if arrays := dataset.read_arrays(source):
        pixels, labels = map(np.concatenate, zip(*(arrays if wants_all else arrays[-1:]), strict=True))
        images.need_memory(len(labels), image_size)
        samples = Samples(images.resize_all(pixels, image_size), labels, images.digests(pixels))
        return samples, np.full(len(labels), None, object), len(arrays) == 2, ()
    train, val, test = folders.parts(Path(source))
    chosen = [folder for folder in ((train, val, test) if wants_all or not test else (test,)) if folder]
    parts = [folders.read_part(folder, class_names, image_size, cache_dir, folder != train, **reading) for folder in chosen]
    *arrays, paths, skipped, _ = zip(*parts, strict=True)
    pixels, labels, digests = arrays
    samples = Samples(Rows(pixels), *map(np.concatenate, (labels, digests)))
    return samples, np.concatenate([np.array(part, object) for part in paths]), bool(test), sum(skipped, [])


def check_classes(class_names, known):
    """The names of a data set's classes that a model does not know. Raises ValueError where that knows none of them."""
    unknown = [name for name in class_names if name not in known]
    if len(unknown) == len(class_names):
        raise ValueError(
            f"its classes are {_list(class_names)}, the model knows {_list(known)}: they share none; "
            "classes are matched by name, so name the folders as the model names its classes"
        )
    return unknown


def for_model(labelled, class_names, known):
    """The samples of the classes that a model knows, labelled by its numbers, as Labelled; and notes on what differs, a list.

    `class_names` are those of the samples' labels, `known` the model's. Images of other classes are left out. Raises ValueError
    where no image is left.
    """
    unknown = check_classes(class_names, known)
    numbers = np.array([-1 if name in unknown else known.index(name) for name in class_names])
    labels = numbers[labelled.samples.labels]
    kept = labelled.take(np.flatnonzero(labels >= 0))
    kept = replace(kept, samples=replace(kept.samples, labels=labels[labels >= 0]))
    if not len(kept.samples):
        raise ValueError(f"no image is of a class that the model knows: {_list(known)}")
    notes = folders.skipped_note(labelled.skipped)
    if unknown:
        left_out = len(labels) - len(kept.samples)
        notes.append(f"Left out: {left_out:,} images of classes that the model does not know: {_list(unknown)}.")
    if missing := [name for number, name in enumerate(known) if number not in kept.samples.labels]:
        notes.append(f"No images of {_list(missing)}.")
    return kept, notes


def _list(names):
    return listed([shortened(name) for name in names], separator=", ")
