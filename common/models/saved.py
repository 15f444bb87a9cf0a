"""Saved models and weights, which may come from anyone: checked here, before Keras reads them.

Keras's own guard, `safe_mode`, had a hole in release after release. These checks do not depend on it: a file that passes runs
nothing but layers of Keras and of this collection, reads no other file, and has every byte that it declares. It must not be
compressed: compressed data can grow to more than they declare, and Keras compresses nothing. Importing this imports Keras.
"""

import contextlib
import io
import json
import math
import re
import stat
import zipfile
from pathlib import Path
from unittest import mock

import h5py
import keras

from common.cli import reason
from common.models.upscale import Upscale, upscale

OURS = tuple(map(keras.saving.get_registered_name, (upscale, Upscale)))
MEMBERS = ["config.json", "metadata.json", "model.weights.h5"]  # of a .keras file
CLASS_NAME = re.compile(r"[A-Z]\w*")  # no function, and no path as in `layers.TFSMLayer`
MODULES = re.compile(
    r"keras(\.(activations|constraints|dtype_policies|initializers|layers|losses|metrics|models|optimizers(\.schedules)?"
    r"|quantizers|random|regularizers|src\.(models|ops)\.\w+))?"
)
DATA = ("__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__", "__tuple__")
REFUSED = (  # they run foreign code or read files
    "CompositeTensor", "FeatureSpace", "FlaxLayer", "IndexLookup", "IntegerLookup", "JaxLayer", "StringLookup", "TFSMLayer",
    "TextVectorization", "TorchModuleWrapper", "TypeSpec",
)  # fmt: skip
MAX_CONFIG = 16 << 20  # bytes; EfficientNetB7's has 0.8 MB
MAX_CALLS = 3000  # of layers and of models in models; EfficientNetB7 has 814
MAX_OUTPUT = 2**28  # numbers that a layer makes of an image, 1 GiB; in EfficientNetB7 at 600x600 17 million


def load(path):
    """The uncompiled model in a .keras or .h5 file, or None if that holds weights alone.

    Raises ValueError as `check` does; what Keras raises of a damaged file can be anything.
    """
    if not check(path):
        return None
    with limited_by(path):
        return keras.models.load_model(path, compile=False, safe_mode=True)


@contextlib.contextmanager
def limited_by(path):
    """Inside, no layer can be built with more weights than the file has bytes, or with outputs that no model needs.

    Keras makes all weights before it reads any, and outputs of any size that the configuration names.
    """
    left = Path(path).stat().st_size
    add_weight, make_tensor = keras.layers.Layer.add_weight, keras.KerasTensor.__init__

    def add_limited(layer, shape=None, *args, **kwargs):
        nonlocal left
        left -= math.prod(shape or ())
        if left < 0:
            raise ValueError(f"its layers have more weights than the file has bytes: {layer.name} has {shape}")
        return add_weight(layer, shape, *args, **kwargs)

    def make_limited(tensor, shape, *args, **kwargs):
        if math.prod(size or 1 for size in shape) > MAX_OUTPUT:
            raise ValueError(f"a layer turns an image into {shape} numbers, and {MAX_OUTPUT:,} are allowed")
        make_tensor(tensor, shape, *args, **kwargs)

    with (
        mock.patch.object(keras.layers.Layer, "add_weight", add_limited),
        mock.patch.object(keras.KerasTensor, "__init__", make_limited),
    ):
        yield


def check(path):
    """Whether a .keras, .h5 or .weights.h5 file holds a whole model, and not weights alone.

    Raises ValueError, with one line of reason, for a file that is damaged or compressed, or that asks for code, for another
    file or for more than it brings.
    """
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
            raise ValueError("it is not a regular file")
        if path.suffix == ".keras":
            _check_archive(path)
            return True
        with h5py.File(path) as file:
            _check_hdf5(file, path.stat().st_size)
            config = file.attrs.get("model_config")
        if config is not None:
            _check_config(config)
        return config is not None
    except ValueError:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise ValueError(f"it can't be read: {type(error).__name__}: {reason(error)}") from error


def _check_archive(path):
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if sorted(member.filename for member in members) != MEMBERS:
            raise ValueError(f"a .keras file holds {', '.join(MEMBERS)}; this one holds {str(archive.namelist()[:8])[:100]}")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("it is compressed, as Keras's are not: unpack it, and zip it without compression")
        if archive.getinfo("config.json").file_size > MAX_CONFIG:
            raise ValueError("its configuration is far too long")
        _check_config(archive.read("config.json"))
        weights = archive.read("model.weights.h5")
        with h5py.File(io.BytesIO(weights)) as file:
            _check_hdf5(file, len(weights))


def _check_hdf5(file, size):
    """Check an open HDF5 file of `size` bytes: every link before anything follows one, then every data set."""
    link = file.visititems_links(lambda name, link: None if isinstance(link, h5py.HardLink) else name)
    if link is not None:
        raise ValueError(f"its {link!r} is a link, as to another file")
    datasets, declared = [], 0
    file.visititems(lambda name, item: datasets.append(item) if isinstance(item, h5py.Dataset) else None)
    for dataset in datasets:
        if dataset.is_virtual or dataset.external:  # before its shape, for which HDF5 may open the other file
            raise ValueError(f"its {dataset.name!r} lies in another file")
        if dataset.id.get_create_plist().get_nfilters():
            raise ValueError(f"its {dataset.name!r} is compressed, as Keras's are not: load it with Keras, and save it again")
        if dataset.dtype.hasobject:
            raise ValueError(f"its {dataset.name!r} does not hold numbers")
        declared += math.prod(dataset.shape or ()) * dataset.dtype.itemsize
    if declared > size:
        raise ValueError(f"its arrays would take {declared:,} bytes of memory, more than the {size:,} that there are")


def _check_config(text):
    """Check the configuration of a model, JSON as `str` or `bytes`, without building anything of it."""
    if len(text) > MAX_CONFIG:
        raise ValueError("its configuration is far too long")
    config = json.loads(text) | {"compile_config": None}  # not used: models are loaded without
    if (num_calls := _num_calls(config)) > MAX_CALLS:
        raise ValueError(f"it calls {num_calls:,} layers, and {MAX_CALLS:,} are allowed")
    waiting = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if not _is_harmless(item):
                module, name, config = (repr(item.get(key))[:60] for key in ("module", "class_name", "config"))
                raise ValueError(f"it asks for {name} of {module}, which is not allowed in a model: {config}")
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def _num_calls(item, is_layer=False):
    """How often a model calls layers and models, by its configuration: those in a model each time that it is called."""
    if isinstance(item, list):
        return sum(_num_calls(part, is_layer=True) for part in item)
    if not isinstance(item, dict):
        return 0
    inner = sum(_num_calls(value) for key, value in item.items() if key != "inbound_nodes")
    return len(item.get("inbound_nodes") or "1") * (inner + is_layer)


def _is_harmless(item):
    """Whether a dict in a configuration names no object, or one of Keras's or ours that only computes with its arguments."""
    module, name, config = (item.get(key) for key in ("module", "class_name", "config"))
    if module is None and (name is None or name in (*DATA, *OURS)):
        return True
    if name == "function":
        return config in OURS or (module in ("builtins", "keras.activations") and str(config).isidentifier())
    if name == "Lambda":
        function = config["function"]
        return (function["config"] if isinstance(function, dict) else function) in OURS
    is_known = module is None or MODULES.fullmatch(module) or item.get("registered_name") in OURS
    return bool(is_known and CLASS_NAME.fullmatch(name) and name not in REFUSED)
