"""Files that appear whole or not at all, and the CSV and JSON of a run folder."""

import contextlib
import csv
import hashlib
import json
import os
from pathlib import Path


@contextlib.contextmanager
def whole(path):
    """A path beside `path` to write to; it takes the place of `path` when the block ends, and is removed if it fails."""
    path = Path(path)
    part = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield part
        os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):  # it is gone, or the folder was never writable
            part.unlink()


def write_json(path, content):
    """Write JSON that every reader takes: indented, no NaN."""
    with whole(path) as part:
        part.write_text(json.dumps(content, indent=2, default=str, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path):
    """The content of a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_csv(path, rows, columns):
    """Write rows, each a dict, under these columns; what a row lacks stays empty."""
    with whole(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path, convert=True):
    """Rows of a CSV file, each a dict by column name; numbers as float, empty cells as None.

    Without `convert` every cell is the text that it is: a class may be called 1 or 01.
    """
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{column: _value(text) for column, text in row.items()} for row in rows] if convert else rows


def stem(phase):
    """The name of a phase as the name of a file."""
    return phase.replace(" ", "_")


def digest(path):
    """SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _value(text):
    try:
        return float(text) if text else None
    except ValueError:
        return text
