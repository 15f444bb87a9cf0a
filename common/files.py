"""Files that appear whole or not at all, and the CSV and JSON of a run folder."""

import contextlib
import csv
import errno
import gzip
import hashlib
import io
import json
import math
import os
import re
import shutil
import stat
import zlib
from pathlib import Path

from common.cli import InputError, reason, shortened

MAX_TEXT = 2**27  # bytes of a CSV or JSON file, far more than a run writes
MAX_UNPACKED = 2**24  # bytes in a .gz file, whose own size says little: predictions for half a million images


@contextlib.contextmanager
def atomic_write(path):
    """Gives a path for a file or a folder, which replaces `path` when the block ends and is removed if the block fails.

    An OSError in the block, and what HDF5 raises for one, becomes an OSError that names `path`.
    """
    path = Path(path)
    part = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield part
        part.replace(path)
    except (OSError, RuntimeError) as error:
        number = getattr(error, "errno", None) or _errno_of_hdf5(error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error
    finally:
        with contextlib.suppress(OSError):  # already renamed, or the folder was never writable
            remove(part)


def remove(path):
    """Remove a file, or a folder with all that is in it. Raises OSError."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def path_kind(path, flag):
    """What a path that the user gave is: `file`, `folder`, None where there is nothing, `other` (a device, a pipe ...).

    Raises InputError, naming `flag`, with the system's reason where it won't say.
    """
    try:
        mode = Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{flag} {path}: {reason(error)}; give another path") from error
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"


def need_writable(folder, flag):
    """Raise InputError, naming `flag`, where a folder can't be made or written to."""
    path_kind(folder, flag)  # a name that is too long
    parent = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if path_kind(parent, flag) != "folder" or not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{flag} {folder} can't be created or written to: check {parent}")


def read(path, max_bytes=None):
    """The content of a regular file, bytes: no more than its size says, since some files of /proc have no size and never end.

    Raises OSError; for a pipe or a device too.
    """
    path = Path(path)
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", path)
    if max_bytes is not None and status.st_size > max_bytes:
        raise OSError(errno.EFBIG, f"{status.st_size / 1e6:,.0f} MB are too large", path)
    with path.open("rb") as file:
        return file.read(status.st_size)


def write_json(path, content):
    """Write indented JSON, without NaN."""
    with atomic_write(path) as part:
        part.write_text(json.dumps(content, indent=2, default=str, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path):
    """The content of a JSON file. Raises OSError, and ValueError for numbers that are not finite or have over 18 digits."""
    try:
        return json.loads(read(path, MAX_TEXT).decode(), parse_constant=_number, parse_float=_number, parse_int=_integer)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def write_csv(path, rows, columns):
    """Write rows, which are dicts, in this order of columns; a missing value stays empty."""
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path, convert=True):
    """Rows of a CSV file, or of one in a .gz file, as dicts by column name; numbers as float, empty cells as None.

    Without `convert` every cell stays text: a class may be called 1 or 01. Raises OSError or ValueError.
    """
    content = read(path, MAX_TEXT)
    if Path(path).suffix == ".gz":
        content = unpacked(content)
    lines = io.StringIO(content.decode(), newline="")
    try:
        rows = list(csv.DictReader(lines))
    except csv.Error as error:
        raise ValueError(str(error)) from error
    if any(None in row or None in row.values() for row in rows):
        raise ValueError("a row has more cells than the heading, or fewer")
    return [{column: _value(text) for column, text in row.items()} for row in rows] if convert else rows


def packed(content):
    """Bytes as those of a .gz file: the same ones for the same content, since it holds no name and no time."""
    return gzip.compress(content, mtime=0)


def unpacked(content):
    """The content of a .gz file, from its bytes. Raises ValueError where it is damaged or holds over `MAX_UNPACKED` bytes."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            content = file.read(MAX_UNPACKED + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(reason(error)) from error
    if len(content) > MAX_UNPACKED:
        raise ValueError(f"it holds over {MAX_UNPACKED / 1e6:.0f} MB")
    return content


def read_arrays(path):
    """The arrays of an .npz file by name. Raises OSError, and ValueError where it is damaged or holds objects (pickles)."""
    import numpy as np  # what only reads text goes without

    content = read(path)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            # All of them: zip checks its checksums only on reading. Of a member that is no .npy come its bytes.
            return {name: np.asarray(array) for name, array in stored.items()}
    except Exception as error:  # a damaged zip file can raise anything, MemoryError too
        raise ValueError(reason(error)) from error


def phase_filename(phase):
    """The name of a phase as a file name."""
    return phase.replace(" ", "_")


def digest(path):
    """SHA-256 of a file's content."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _value(text):
    """A cell as a number, if it is a finite one."""
    try:
        return _number(text) if text else None
    except ValueError:
        return text


def _number(text):
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{shortened(text)} is not a finite number")
    return number


def _integer(text):
    if len(text) > 18:
        raise ValueError(f"{shortened(text)} has over 18 digits")
    return int(text)


def _errno_of_hdf5(error):
    found = re.search(r"errno = (\d+)", str(error))
    return int(found[1]) if found else None
