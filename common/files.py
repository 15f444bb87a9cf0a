"""Files that appear whole or not at all, and the CSV and JSON of a run folder."""

import contextlib
import csv
import hashlib
import json
import os
from pathlib import Path


@contextlib.contextmanager
def whole(path):
    """Gives a path to write to, which replaces `path` when the block ends and is removed if the block fails."""
    path = Path(path)
    part = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield part
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):  # already renamed, or the folder was never writable
            part.unlink()


def write_json(path, content):
    """Write indented JSON, without NaN."""
    with whole(path) as part:
        part.write_text(json.dumps(content, indent=2, default=str, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path):
    """The content of a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_csv(path, rows, columns):
    """Write rows, which are dicts, in this order of columns; a missing value stays empty."""
    with whole(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path, convert=True):
    """Rows of a CSV file as dicts by column name; numbers as float, empty cells as None.

    Without `convert` every cell stays text: a class may be called 1 or 01.
    """
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{column: _value(text) for column, text in row.items()} for row in rows] if convert else rows


def stem(phase):
    """The name of a phase as a file name."""
    return phase.replace(" ", "_")


def digest(path):
    """SHA-256 of a file's content."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _value(text):
    try:
        return float(text) if text else None
    except ValueError:
        return text
