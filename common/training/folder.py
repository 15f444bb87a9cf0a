"""The run folder's place on disk: checked before anything is read, made once, never overwritten."""

import contextlib
import importlib.util
import itertools
import os
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from common import backend, devices, files, hosts
from common.cli import InputError, reason
from common.training import resume


def check(args):
    """Check the run flags before anything is read.

    Connects the processes where there are several. Raises InputError for flags that can't work, and Finished where `--resume`
    names a finished run.
    """
    backend.keep_compiled_programs(args.cache_dir)  # reading the data may import Keras
    if args.resume:
        resume.check(args)
        devices.start(args)
        return
    files.need_writable(args.output_dir, "--output-dir")
    if (warmup_epochs := getattr(args, "warmup_epochs", 0)) and warmup_epochs >= args.epochs:
        raise InputError(f"--warmup-epochs {warmup_epochs} needs more --epochs than that")
    uses_views = getattr(args, "views", 0) and args.augment
    if uses_views and args.views == 1 and not (args.no_cache or getattr(args, "unfreeze_last", 0)):
        raise InputError("--views 1 with --augment keeps the original images only: give 2 or more, or --no-augment")
    if args.tensorboard and not all(importlib.util.find_spec(name) for name in ("tensorflow", "tensorboard")):
        raise InputError("--tensorboard needs both packages: pip install tensorflow tensorboard, or leave the flag out")
    devices.start(args)


def make(parent, name, dry_run):
    """Make `parent/<YYYYmmdd-HHMMSS>[-name][-dry-run][-N]` and return its path. Raises InputError where that is impossible."""
    with contextlib.ExitStack() as spare:  # with fewer files open at once, the folder could not even be removed again
        for _ in range(16):
            spare.enter_context(open(os.devnull))  # noqa: PTH123
    parts = [f"{datetime.now():%Y%m%d-%H%M%S}", *([name] if name else []), *(["dry-run"] if dry_run else [])]
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            folder = parent / "-".join(parts + ([str(number)] if number > 1 else []))
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
    except OSError as error:
        raise InputError(f"--output-dir {parent} can't be written to: {reason(error)}") from error


def lock(folder):
    """Keep other runs out of a folder; the system frees the lock of a process that is killed. Raises InputError."""
    file = FileLock(folder / "checkpoint" / "lock")
    try:
        file.acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"--resume {folder}: another process is training in this folder") from error
    return file


def agree_on(folder):
    """Collective: the folder that the main process made or reopened; the others give None.

    Raises InputError in a process that can't see the folder.
    """
    folder = Path(hosts.broadcast_text(str(folder)))
    if not folder.is_dir():
        raise InputError(f"the first process writes to {folder}, which is not here: share --output-dir between all")
    return folder
