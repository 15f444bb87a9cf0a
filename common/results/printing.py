"""What a model says of images, written as it comes: text for people, CSV and JSON for other programs.

Each form is a context manager that gives a function `write(path, probabilities)`, which are floats in the order of the classes.
"""

import contextlib
import csv
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common import files
from common.cli import InputError, listed, one_line, tell
from common.results import tables

BAR_WIDTH = 30
MAX_COMPLAINTS = 5  # that are kept for the last line


@contextlib.contextmanager
def as_text(class_names, top, title):
    """The title, then the `top` most probable classes of each image, a line each: name, probability, bar."""
    block = "█" if (sys.stdout.encoding or "").lower().startswith("utf") else "#"
    width = max(map(len, class_names))

    def write(path, probabilities):
        tell("", path)
        for name, share in sorted(zip(class_names, probabilities, strict=True), key=lambda pair: -pair[1])[:top]:
            tell(f"  {name:{width}}  {share:.4f}  {block * round(share * BAR_WIDTH)}".rstrip())

    tell(title)
    yield write


@contextlib.contextmanager
def as_csv(class_names):
    """Columns `path`, `class`, the most probable one, and `p(NAME)` for each class, which can't be called as another is.

    Cells are safe for spreadsheets: control characters of a name are escaped, what looks like a formula is quoted, and a path
    that does begins with `./`.
    """
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", "class", *(tables.for_spreadsheets(f"p({name})") for name in class_names)])

    def write(path, probabilities):
        name = tables.for_spreadsheets(_most_probable(class_names, probabilities))
        writer.writerow([tables.path_for_spreadsheets(path), name, *probabilities])
        sys.stdout.flush()

    yield write


@contextlib.contextmanager
def as_json(class_names):
    """One array, an object a line: `path`, `class`, the most probable one, and `probabilities` by class.

    Names are exact; bytes of a path that are not UTF-8 are escaped as Python's `os.fsencode` takes them. The array is closed
    whatever happens.
    """
    written = 0

    def write(path, probabilities):
        nonlocal written
        shares = dict(zip(class_names, probabilities, strict=True))
        line = json.dumps({"path": path, "class": _most_probable(class_names, probabilities), "probabilities": shares})
        sys.stdout.write(f"{',' if written else ''}\n{line}")
        sys.stdout.flush()
        written += 1

    sys.stdout.write("[")
    try:
        yield write
    finally:
        sys.stdout.write("\n]\n")


@contextlib.contextmanager
def as_features(path):
    """An .npz file with `features` float32 `(n, width)`, `paths` and `labels`, the names of the images' folders, `(n,)`."""
    paths, rows = [], []

    def write(name, features):
        paths.append(name)
        rows.append(np.array(features, np.float32))

    yield write
    if rows:
        labels = [Path(name).absolute().parent.name for name in paths]
        with files.atomic_write(path) as part, part.open("wb") as file:
            np.savez(file, features=np.array(rows), paths=np.array(paths), labels=np.array(labels))
        tell(f"{path}: features of {len(rows):,} images, {len(rows[0]):,} each")


class Remarks:
    """What is said beside the predictions: unreadable images, at once or at the end, and how many were left out.

    Also how many are not square, and how they were `brought` to squares, for people.
    """

    def __init__(self, at_once, brought="squeezed"):
        self.at_once, self.brought, self.first_complaints = at_once, brought, []
        self.num_images = self.num_not_square = self.num_complaints = 0
        self.left_out = Counter()  # files of folders by their ending

    def complain(self, message):
        """Name what can't be read."""
        self.num_complaints += 1
        if self.at_once:
            with tqdm.external_write_mode(file=sys.stderr):
                tell(one_line(f"skipped: {message}"), file=sys.stderr)
        elif self.num_complaints <= MAX_COMPLAINTS:
            self.first_complaints.append(message)

    def end(self):
        """Raises InputError if there was a complaint."""
        if self.num_not_square:
            counts = f"{self.num_not_square:,} of {self.num_images:,}"
            tell(f"{counts} images are not square: {self.brought}", file=sys.stderr)
        if num_left_out := self.left_out.total():
            endings = listed([f"{count:,} {ending}" for ending, count in self.left_out.most_common() if count], separator=", ")
            tell(f"{num_left_out:,} left out of folders, since they are not images: {endings}", file=sys.stderr)
        if not self.num_complaints and not self.num_images:
            raise InputError("IMAGE -: stdin names no image; give a path a line")
        if self.num_complaints and self.at_once:
            raise InputError(f"images that can't be read: {self.num_complaints:,}; they are named above")
        if self.num_complaints:
            raise InputError(listed(self.first_complaints, self.num_complaints))


def _most_probable(class_names, probabilities):
    return class_names[probabilities.index(max(probabilities))]
