"""Where run folders lie, and `latest`, which stands for the newest of them. Standard library only."""

import contextlib
import math
import os
import sys
from datetime import datetime
from pathlib import Path

from common import files
from common.cli import InputError, tell

LATEST = "latest"


def resolve(path, under, flag, holding="args.json"):
    """The Path of a run folder that the user named; for `latest`, the newest run at or under `under` that holds a file.

    Dry runs are passed over.
    `latest/MODEL` is a model's subfolder of it. `holding` is the file's name. Says on stderr which run that is. A folder
    that is called latest comes first. Raises InputError, naming `flag`, where there is no such run.
    """
    path = Path(path)
    if not is_latest(path):
        return path
    files.kind(under, f"{flag} {LATEST}, under")  # a name that is too long
    folders = [found.parent for depth in ("", "*/", "*/*/") for found in Path(under).glob(f"{depth}args.json")]
    inner = path.parts[1:]
    folders = [folder for folder in folders if any(_is_file(at / holding) for at in (folder, folder.joinpath(*inner)))]
    folders = [folder for folder in folders if _read(folder / "args.json", "dry_run") is not True]
    if not folders:
        raise InputError(f"{flag} {LATEST}: no run under {under} has {holding} yet; name a run folder")
    newest = max(folders, key=lambda folder: (started(folder), folder.name))
    tell(f"{LATEST}: {newest}", file=sys.stderr)  # stdout may be for another program
    return newest.joinpath(*inner)


def is_latest(path):
    """Whether a path is `latest` or `latest/MODEL`, and no folder of that name is there."""
    return path.parts[:1] == (LATEST,) and not os.path.lexists(LATEST)


def _is_file(path):
    return os.path.isfile(path)  # noqa: PTH113  Path.is_file raises where the user may not look


def started(folder):
    """When a run was started, in seconds since 1970: its environment.json says so, wherever the folder was moved to.

    Where that is damaged, it is what the folder's name begins with, as local time; -inf where neither says it.
    """
    for text in (_read(folder / "environment.json", "started"), folder.resolve().name[:15]):
        with contextlib.suppress(TypeError, ValueError, OverflowError, OSError):
            return datetime.fromisoformat(text).timestamp()
    return -math.inf


def _read(path, key):
    """A value in a JSON file, None where there is none."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return files.read_json(path).get(key)
    return None
