"""CIFAR-10's python version: the archive or the unpacked folder, and its download through Keras.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009, https://www.cs.toronto.edu/~kriz/cifar.html
"""

import bz2
import gzip
import io
import lzma
import pickle
import tarfile
import zlib
from pathlib import PurePosixPath

import numpy as np

from common import files
from common.cli import InputError, reason
from common.data import classes, downloads

CLASS_NAMES = classes.CIFAR10
ORIGIN = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
KERAS_NAME = "cifar-10-batches-py-target_archive"  # the name that keras.datasets.cifar10 gives the archive
MAX_BYTES = 2**26  # of a batch, which has 31 MB
MAX_ARCHIVE_BYTES = 2**29  # unpacked, of 186 MB
UNPACK = {b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file), b"BZ": bz2.BZ2File, b"\xfd7": lzma.LZMAFile}  # by first bytes
TRAIN_FILES, TEST_FILES = [f"data_batch_{i}" for i in range(1, 6)], ["test_batch"]


def is_python_version(path):
    """Whether a path looks like CIFAR-10's python version: a folder with its batches, or a tar archive."""
    if files.kind(path, "--data") == "folder":
        return files.kind(path / TRAIN_FILES[0], "--data") == "file"
    return path.name.endswith((".tar.gz", ".tgz", ".tar", "_archive"))


def read(path):
    """Read the python version from its folder or archive.

    Returns `(images, labels)` for train and for test: uint8 `(n, 32, 32, 3)` RGB and int64 `(n,)`. Nothing in the files is
    executed: a pickle that holds anything but arrays, lists, dicts, bytes, strings and numbers raises InputError.
    """
    try:
        batches = _read_folder(path) if files.kind(path, "--data") == "folder" else _read_archive(path)
        return tuple(_join([_decode(batches[name]) for name in names]) for names in (TRAIN_FILES, TEST_FILES))
    except KeyError as error:
        raise InputError(f"--data {path}: {error.args[0]} is missing from CIFAR-10's python version") from error
    except OSError as error:
        raise InputError(
            f"--data {error.filename or path} can't be read: {reason(error)}; give another folder or archive"
        ) from error
    except (
        EOFError,
        RecursionError,
        tarfile.TarError,
        zlib.error,
        lzma.LZMAError,
        pickle.UnpicklingError,
        ValueError,
    ) as error:
        raise InputError(f"--data {path} is not CIFAR-10's python version, or is damaged: {reason(error)}") from error


def archive():
    """Path of the archive in Keras's cache, downloaded through Keras if it is not there.

    Raises InputError, naming the ways out, when the download fails.
    """
    try:
        return downloads.fetch("datasets", KERAS_NAME, ORIGIN, SHA256)
    except Exception as error:  # Keras raises the bare class when a URL can't be fetched
        raise InputError(
            f"CIFAR-10 could not be downloaded ({reason(error)}). Ways out: --data digits (no network); "
            "--data PATH (images in train/<class>/*, or CIFAR-10's python-version folder or .tar.gz); "
            f"or put {ORIGIN} at {downloads.place('datasets', KERAS_NAME)}"
        ) from error


class _ArraysOnly(pickle._Unpickler):
    """An unpickler that builds NumPy arrays and plain values and refuses everything else.

    It is the one in Python: the one in C takes as much memory as a damaged pickle asks for. A key is text: the hash of a tuple
    nested a million deep would end the process.
    """

    dispatch = dict(pickle._Unpickler.dispatch)

    def load_keys(self, opcode, keys):
        """The opcode that puts these keys into a dict."""
        if not all(isinstance(key, (str, bytes)) for key in keys):
            raise pickle.UnpicklingError("a key in its pickle is not text")
        pickle._Unpickler.dispatch[opcode](self)

    dispatch[pickle.SETITEM[0]] = lambda self: self.load_keys(pickle.SETITEM[0], self.stack[-2:-1])
    dispatch[pickle.SETITEMS[0]] = lambda self: self.load_keys(pickle.SETITEMS[0], self.stack[::2])
    dispatch[pickle.DICT[0]] = lambda self: self.load_keys(pickle.DICT[0], self.stack[::2])
    for opcode in (pickle.ADDITEMS, pickle.FROZENSET):
        dispatch[opcode[0]] = lambda self: _refuse("builtins", "set")

    def find_class(self, module, name):
        """The few names that NumPy's arrays need. Raises UnpicklingError for any other."""
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return np._core.multiarray._reconstruct
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes in an old pickle protocol
            return lambda text, encoding: text.encode("latin1") if encoding == "latin1" else _refuse(module, name)
        return _refuse(module, name)


def _refuse(module, name):
    raise pickle.UnpicklingError(f"its pickle asks for {module}.{name}, which is not data")


def _read_folder(path):
    present = [name for name in TRAIN_FILES + TEST_FILES if files.kind(path / name, "--data")]
    return {name: files.read(path / name, MAX_BYTES) for name in present}


def _read_archive(path):
    if files.kind(path, "--data") != "file":
        raise ValueError("it is not a regular file")
    with path.open("rb") as file:
        unpack = UNPACK.get(file.read(2), lambda file: file)
        file.seek(0)
        content = unpack(file).read(MAX_ARCHIVE_BYTES + 1)
    if len(content) > MAX_ARCHIVE_BYTES:
        raise ValueError(f"it holds more than {MAX_ARCHIVE_BYTES / 1e6:,.0f} MB")
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
        members = {PurePosixPath(member.name).name: member for member in tar if member.isfile() and member.size <= MAX_BYTES}
        return {name: tar.extractfile(members[name]).read() for name in TRAIN_FILES + TEST_FILES}


def _decode(content):
    try:
        batch = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
        batch = {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}
        images, labels = batch["data"], batch["labels"]
        if not isinstance(images, np.ndarray) or not all(isinstance(label, int) for label in labels):
            raise ValueError("data is no array, or labels are no whole numbers")
        labels = np.array(labels)
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise ValueError(f"a batch can't be read, {type(error).__name__}: {reason(error)}") from error
    if images.dtype != np.uint8 or images.shape[1:] != (3 * 32 * 32,) or labels.shape != images.shape[:1]:
        raise ValueError(f"data {images.dtype} {images.shape} and labels {labels.shape} are not CIFAR-10's")
    if labels.size and not (labels.dtype.kind in "iu" and labels.min() >= 0 and labels.max() < len(CLASS_NAMES)):
        raise ValueError("labels are not whole numbers from 0 to 9")
    return images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels.astype(np.int64)


def _join(batches):
    images, labels = zip(*batches, strict=True)
    return np.ascontiguousarray(np.concatenate(images)), np.concatenate(labels)
