"""CIFAR-10's python version: its folder or its archive, and the download through Keras.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009, https://www.cs.toronto.edu/~kriz/cifar.html
"""

import io
import tarfile

import numpy as np

from common import backend, files
from common.cli import InputError, reason
from common.data import classes, downloads

CLASS_NAMES = classes.CIFAR10
ORIGIN = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
KERAS_NAME = "cifar-10-batches-py-target_archive"  # the name that keras.datasets.cifar10 gives the archive
MAX_BYTES = 2**26  # of a batch, which has 31 MB
BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]  # train, then test


def is_python_version(path):
    """Whether a path looks like CIFAR-10's python version: a folder with its batches, or a tar archive."""
    if files.kind(path, "--data") == "folder":
        return files.kind(path / BATCHES[0], "--data") == "file"
    return path.name.endswith((".tar.gz", ".tgz", ".tar", "_archive"))


def read(path):
    """Read the python version from its folder, or from its archive, which must have the published SHA-256.

    Returns `(images, labels)` for train and for test: uint8 `(n, 32, 32, 3)` RGB and int64 `(n,)`. Nothing in the files is
    executed: the unpickler is the one of `keras.datasets`, which makes arrays and plain values only. Raises InputError.
    """
    try:
        if files.kind(path, "--data") == "folder":
            contents = [files.read(path / name, MAX_BYTES) for name in BATCHES]
        elif downloads.has_hash(path, SHA256):
            with tarfile.open(path) as tar:
                contents = [tar.extractfile(f"cifar-10-batches-py/{name}").read() for name in BATCHES]
        else:
            raise InputError(f"--data {path} has not the SHA-256 of {ORIGIN}; download it again, or give its unpacked folder")
    except OSError as error:
        raise InputError(
            f"--data {error.filename or path} can't be read: {reason(error)}; give another folder or archive"
        ) from error
    backend.import_keras()
    from keras.src.datasets.npz_utils import RestrictedUnpickler  # Keras's readers use another one before 3.15.1

    try:
        parts = [_decode(RestrictedUnpickler(io.BytesIO(content), encoding="bytes").load()) for content in contents]
    except Exception as error:  # a damaged pickle can raise anything
        fault = f"{type(error).__name__}: {reason(error)}"
        raise InputError(
            f"--data {path} is not CIFAR-10's python version, or is damaged ({fault}); give another one"
        ) from error
    return tuple(tuple(map(np.concatenate, zip(*part, strict=True))) for part in (parts[:-1], parts[-1:]))


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


def _decode(batch):
    images, labels = batch[b"data"], np.array(batch[b"labels"])
    if (images.dtype, images.shape, labels.dtype) != (np.uint8, (len(labels), 3 * 32 * 32), np.int64):
        raise ValueError(f"data {images.dtype} {images.shape} and labels {labels.dtype} {labels.shape} are not CIFAR-10's")
    if not set(labels.tolist()) <= set(range(len(CLASS_NAMES))):
        raise ValueError("labels are not whole numbers from 0 to 9")
    return np.ascontiguousarray(images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels
