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

    Dry runs are passed over. `latest/MODEL` is a model's subfolder of it. `holding` is the file's name; a finished run's models
    may be in subfolders. Says on stderr which run that is. A folder that is called latest comes first. Raises InputError,
    naming `flag`, where there is no such run.
    """
    path = Path(path)
    if not is_latest(path):
        return path
    files.path_kind(under, f"{flag} {LATEST}, under")  # a name that is too long
    inner = path.parts[1:]
    folders = [folder for folder in find_runs(under) if _holds(folder, holding) or has_file(folder.joinpath(*inner), holding)]
    folders = [folder for folder in folders if _read(folder / "args.json", "dry_run") is not True]
    if not folders:
        raise InputError(f"{flag} {LATEST}: no run under {under} has {holding} yet; name a run folder")
    newest = max(folders, key=lambda folder: (started(folder), folder.name))
    tell(f"{LATEST}: {newest}", file=sys.stderr)  # stdout may be for another program
    return newest.joinpath(*inner)


def is_latest(path):
    """Whether a path is `latest` or `latest/MODEL`, and no folder of that name is there."""
    return path.parts[:1] == (LATEST,) and not os.path.lexists(LATEST)


def find_runs(under):
    """The run folders at or under a folder, as deep as runs/<experiment>/<run>: those that hold args.json, no hidden ones."""
    found = []
    with contextlib.suppress(OSError, ValueError):  # not a folder, or not readable
        found = [path.parent for depth in ("", "*/", "*/*/") for path in Path(under).glob(f"{depth}args.json")]
    return sorted(folder for folder in found if not any(part[0] == "." for part in folder.relative_to(under).parts))


def has_file(folder, name):
    """Whether a folder holds a regular file of this name."""
    return os.path.isfile(folder / name)  # noqa: PTH113  Path.is_file raises where the user may not look


def _holds(folder, name):
    is_of_several = name == "model.keras" and has_file(folder, "results.json") and any(folder.glob(f"*/{name}"))
    return has_file(folder, name) or is_of_several


def started(folder):
    """When a run was started, in seconds since 1970, as its environment.json says; -inf where that says nothing."""
    with contextlib.suppress(TypeError, ValueError, OverflowError, OSError):
        return datetime.fromisoformat(_read(folder / "environment.json", "started")).timestamp()
    return -math.inf


def _read(path, key):
    """A value in a JSON file, None where there is none."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return files.read_json(path).get(key)
    return None
