"""Downloads into Keras's cache, through Keras with its hash check, without losing a file that was there."""

import contextlib
import functools
import hashlib
import os
import socket
from pathlib import Path

from common import backend

TIMEOUT_SECONDS = 20  # Keras sets none: a server that accepts and never answers would block a run for ever


def place(folder, name):
    """Where Keras looks for a file: under `$KERAS_HOME` or `~/.keras`, in `datasets` or `models`."""
    return Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")) / folder / name  # noqa: PTH111  HOME may be unset


def fetch(folder, name, origin, file_hash):
    """Path of a file in Keras's cache, downloaded if it is not there with this hash (SHA-256 or MD5, hexadecimal, or None).

    A file with another hash stays until a complete download has replaced it; Keras itself would delete it first. Raises what
    Keras raises when the download fails, which can be any class.
    """
    cached = place(folder, name)
    if has_hash(cached, file_hash):
        return cached
    beside, timeout = f"{name}-{os.getpid()}.part", socket.getdefaulttimeout()
    get_file = backend.import_keras().utils.get_file
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    try:
        whole = Path(get_file(beside, origin, file_hash=file_hash, cache_subdir=folder, cache_dir=cached.parents[1]))
        return whole.replace(whole.with_name(name))  # Keras uses a temporary folder where its own can't be written to
    finally:
        socket.setdefaulttimeout(timeout)
        with contextlib.suppress(OSError):  # it is there if its hash was another one
            cached.with_name(beside).unlink()


def has_hash(path, file_hash):
    """Whether `path` is a file with this SHA-256 or MD5, told apart by length; with None any file is. It is
    computed once while the file stays."""
    if not os.path.isfile(path):  # noqa: PTH113  Path.is_file raises where the user may not look
        return False
    if file_hash is None:
        return True
    status = path.stat()
    state = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev
    return _hash(path, "sha256" if len(file_hash) == 64 else "md5", state) == file_hash


@functools.lru_cache
def _hash(path, algorithm, state):
    """The hash of a file in this `state`, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
