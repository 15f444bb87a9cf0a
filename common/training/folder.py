"""The run folder's place on disk: checked before anything is read, made once, never overwritten."""

import contextlib
import importlib.util
import itertools
import os
from datetime import datetime

from common.cli import InputError
from common.training import resume


def check(args):
    """Check the run flags before anything is read or imported.

    Raises InputError for flags that can't work, and Finished where `--resume` names a finished run.
    """
    if args.resume:
        resume.check(args)
        return
    parent = args.output_dir
    while not os.path.lexists(parent):
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"--output-dir {args.output_dir} can't be created or written to: check {parent}")
    if getattr(args, "augment", False) and getattr(args, "views", 0) == 1 and not args.no_cache:
        raise InputError("--views 1 with --augment keeps the original images only: give 2 or more, or --no-augment")
    if args.tensorboard and not all(importlib.util.find_spec(name) for name in ("tensorflow", "tensorboard")):
        raise InputError("--tensorboard needs both packages: pip install tensorflow tensorboard, or leave the flag out")


def make(parent, name, dry_run):
    """Make `parent/<YYYYmmdd-HHMMSS>[-name][-dry-run][-N]` and return its path. Raises InputError where that is impossible."""
    parts = [f"{datetime.now():%Y%m%d-%H%M%S}", *([name] if name else []), *(["dry-run"] if dry_run else [])]
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            folder = parent / "-".join(parts + ([str(number)] if number > 1 else []))
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
    except OSError as error:
        raise InputError(f"--output-dir {parent} can't be written to: {error.strerror}") from error
