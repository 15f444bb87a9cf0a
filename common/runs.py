"""Where run folders lie, and `latest`, which stands for the newest of them. Standard library only."""

import contextlib
import os
import re
import sys
from pathlib import Path

from common import files
from common.cli import InputError, tell

LATEST = "latest"


def resolve(path, under, flag, holding="args.json"):
    """The Path of a run folder that the user named; for `latest`, the newest run at or under `under` that holds a file.

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
    """When a run was started, `YYYYmmdd-HHMMSS`: its environment.json says so, wherever the folder was moved to.

    That of earlier versions doesn't: then it is what the folder's name begins with. Empty where neither says it.
    """
    time = None
    with contextlib.suppress(OSError, ValueError, AttributeError):
        time = files.read_json(folder / "environment.json").get("started")
    for text in (time, folder.resolve().name):
        if isinstance(text, str) and (found := re.match(r"\d{8}-\d{6}", text)):
            return found[0]
    return ""
