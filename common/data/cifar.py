"""The python versions of CIFAR-10 and CIFAR-100, their folders or archives, and the download through Keras; and the digits.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009, https://www.cs.toronto.edu/~kriz/cifar.html
"""

import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common import backend, files
from common.cli import reason
from common.data import CIFAR10, CIFAR100, downloads

MAX_BYTES = 2**28  # of a file; CIFAR-100's train has 155 MB


@dataclass(frozen=True)
class PythonVersion:
    """CIFAR-10 or CIFAR-100 as pickles: where the archive comes from, and what it and its folder hold.

    `files` are those of train, then that of test; by `marks` the folder is known: one of photos may hold a file called train.
    `keras_name` is what `keras.datasets` calls the archive.
    """

    title: str
    origin: str
    sha256: str
    keras_name: str
    folder: str
    files: tuple
    marks: tuple
    labels: bytes
    class_names: tuple


VERSIONS = {
    "cifar10": PythonVersion(
        "CIFAR-10",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        "cifar-10-batches-py-target_archive",
        "cifar-10-batches-py",
        (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"),
        ("data_batch_1",),
        b"labels",
        CIFAR10,
    ),
    "cifar100": PythonVersion(
        "CIFAR-100",
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        "cifar-100-python-target_archive",
        "cifar-100-python",
        ("train", "test"),
        ("train", "meta"),
        b"fine_labels",
        CIFAR100,
    ),
}


def find(source):
    """The PythonVersion that `--data SOURCE` means: by its word, the files of a folder, or the hash of an archive; else None.

    An archive with another hash is taken for CIFAR-10's, which `read` refuses.
    """
    path = Path(source)
    if source in VERSIONS:
        return VERSIONS[source]
    if os.path.isdir(path):  # noqa: PTH112  Path.is_dir raises where the user may not look
        marked = (each for each in VERSIONS.values() if all(os.path.isfile(path / name) for name in each.marks))  # noqa: PTH113
        return next(marked, None)
    if not path.name.endswith((".tar.gz", ".tgz", ".tar", "_archive")):
        return None
    found = (version for version in VERSIONS.values() if downloads.has_hash(path, version.sha256))
    return next(found, VERSIONS["cifar10"])


def read(source):
    """Read what `find` has found: a word, which is downloaded, a folder, or an archive, which must have the published SHA-256.

    Returns `(images, labels)` for train and for test: uint8 `(n, 32, 32, 3)` RGB and int64 `(n,)`. Nothing in the files is
    executed: the unpickler is the one of `keras.datasets`, which makes arrays and plain values only. Raises ValueError.
    """
    version, path = find(source), Path(source)
    path = _archive(version) if source in VERSIONS else path
    if path.is_dir():
        contents = [files.read(path / name, MAX_BYTES) for name in version.files]
    elif downloads.has_hash(path, version.sha256):
        with tarfile.open(path) as tar:
            contents = [tar.extractfile(f"{version.folder}/{name}").read() for name in version.files]
    else:
        origins = " or ".join(version.origin for version in VERSIONS.values())
        raise ValueError(f"it has not the SHA-256 of {origins}; download it again, or give its unpacked folder")
    backend.import_keras()
    from keras.src.datasets.npz_utils import RestrictedUnpickler  # Keras's readers use another one before 3.15.1

    try:
        parts = [_decode(RestrictedUnpickler(io.BytesIO(content), encoding="bytes").load(), version) for content in contents]
    except Exception as error:  # a damaged pickle can raise anything
        fault = f"{type(error).__name__}: {reason(error)}"
        raise ValueError(f"it is not {version.title}'s python version, or is damaged ({fault}); give another one") from error
    return tuple(tuple(map(np.concatenate, zip(*part, strict=True))) for part in (parts[:-1], parts[-1:]))


def _archive(version):
    """Path of the archive in Keras's cache, downloaded if it is not there. Raises ValueError, with the ways out."""
    try:
        return downloads.fetch("datasets", version.keras_name, version.origin, version.sha256)
    except Exception as error:  # Keras raises the bare class when a URL can't be fetched
        raise ValueError(
            f"the download failed ({reason(error)}). Ways out: digits, which needs no network; a path (images in "
            f"train/<class>/*, or {version.title}'s python-version folder or .tar.gz); or put {version.origin} at "
            f"{downloads.place('datasets', version.keras_name)}"
        ) from error


def _decode(batch, version):
    images, labels = batch[b"data"], np.array(batch[version.labels])
    if (images.dtype, images.shape, labels.dtype) != (np.uint8, (len(labels), 3 * 32 * 32), np.int64):
        raise ValueError(
            f"data {images.dtype} {images.shape} and labels {labels.dtype} {labels.shape} are not {version.title}'s"
        )
    if not set(labels.tolist()) <= set(range(len(version.class_names))):
        raise ValueError(f"labels are not whole numbers from 0 to {len(version.class_names) - 1}")
    return np.ascontiguousarray(images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels


def read_digits():
    """scikit-learn's digits: images `(1797, 8, 8, 3)` uint8, grey, and labels int64 (`sklearn.datasets.load_digits`)."""
    from sklearn.datasets import load_digits  # slow to import

    scans = load_digits()
    grey = np.rint(scans.images * (255 / 16)).astype(np.uint8)  # 0..16 in the scans
    return np.repeat(grey[..., None], 3, axis=-1), scans.target.astype(np.int64)
