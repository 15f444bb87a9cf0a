"""Downloads into Keras's own cache, through Keras with its hash check, that never cost a file that was there."""

import contextlib
import hashlib
import os
import socket
from pathlib import Path

TIMEOUT_SECONDS = 20  # Keras sets none: a server that accepts and then says nothing would hold a run for ever


def place(folder, name):
    """Where Keras looks for a file: `$KERAS_HOME` or `~/.keras`, then `datasets` or `models`, then the file's name."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / folder / name


def fetch(folder, name, origin, file_hash):
    """Path of a file in Keras's cache, downloaded if it is not there with this hash (SHA-256 or MD5, hexadecimal).

    A file that is there but has another hash stays until a whole download has replaced it; Keras by itself deletes it first.
    Raises what Keras raises when the download fails, of any class.
    """
    cached = place(folder, name)
    if has_hash(cached, file_hash):
        return cached
    from common import backend

    keras = backend.import_keras()
    beside = f"{name}-{os.getpid()}.part"
    try:
        with _socket_timeout(TIMEOUT_SECONDS):
            partial = keras.utils.get_file(
                beside, origin, file_hash=file_hash, cache_subdir=folder, cache_dir=cached.parents[1]
            )
        # Keras falls back to a temporary folder where its own can't be written to.
        whole = Path(partial).with_name(name)
        os.replace(partial, whole)
        return whole
    except Exception:
        cached.with_name(beside).unlink(missing_ok=True)
        raise


def has_hash(path, file_hash):
    """Whether there is a file with this SHA-256 or MD5, told apart by their length."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256" if len(file_hash) == 64 else "md5").hexdigest() == file_hash


@contextlib.contextmanager
def _socket_timeout(seconds):
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
