"""Models and weights from anyone: nothing in them runs, no other file is read, none fills the memory; others load."""

import argparse
import contextlib
import io
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import cv2
import h5py
import keras
import numpy as np
import pytest
from keras import layers
from keras.src.legacy.saving import legacy_h5_format
from support import small_backbone

import evaluate
import export
import predict
import train_ab_split
import train_efficientnetb7
import train_resnet152v2
import train_vgg19
import train_vgg19_finetune
from common import cli, files
from common.data import folders
from common.models import backbones, features, saved, upscale, weights
from common.training import checkpoints

PUBLISHED = Path(__file__).parents[2] / "plots" / "results" / "resnet152v2" / "control"
SECRET = b"the password is Tr0ub4dor&3" * 8
KINDS = ("own.weights.h5", "legacy.h5", "whole.h5", "whole.keras")
KERNELS = ("layers/dense/vars/0", "dense/dense/kernel", "model_weights/dense/dense/kernel", "layers/dense/vars/0")
IMAGE_SIZE = 32


class Attack:
    """A pickle that makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """A folder with a harmless small model in every kind of file."""
    folder = tmp_path_factory.mktemp("originals")
    inputs = keras.Input((9,))
    model = keras.Model(inputs, layers.Dense(6, name="dense")(inputs))
    model.save_weights(folder / "own.weights.h5")
    with h5py.File(folder / "legacy.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    model.save(folder / "whole.h5")
    model.save(folder / "whole.keras")
    return folder


@pytest.fixture
def marker(tmp_path):
    """A file that is only there if an attack ran."""
    yield tmp_path / "marker"
    assert not (tmp_path / "marker").exists()


@pytest.fixture
def secret(tmp_path):
    """A user's files, `secret.txt` and `secret.h5`, that no model may read."""
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["dense/kernel"] = file["kernel"] = np.frombuffer(SECRET, np.float32)[:54].reshape(9, 6)
        file["model_weights/dense/dense/kernel"] = file["kernel"]
    (tmp_path / "secret.txt").write_bytes(SECRET)
    return tmp_path / "secret"


def edit_members(path, edit):
    """Rewrite a .keras file: `edit` changes a dict from name to bytes; names may also be ZipInfo."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    edit(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_config(path, config):
    """Put a configuration, a dict or text, into a .keras file or a whole .h5 file."""
    text = config if isinstance(config, str) else json.dumps(config)
    if path.suffix == ".keras":
        return edit_members(path, lambda members: members.update({"config.json": text}))
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = text
    return path


def edit_hdf5(path, edit):
    """Call `edit(file, name)` with the HDF5 file, of itself or inside a .keras file, and the name of the kernel in it."""
    name = dict(zip(KINDS, KERNELS, strict=True))[path.name]
    if path.suffix == ".keras":

        def edit_weights(members):
            buffer = io.BytesIO(members["model.weights.h5"])
            with h5py.File(buffer, "a") as file:
                edit(file, name)
            members["model.weights.h5"] = buffer.getvalue()

        return edit_members(path, edit_weights)
    with h5py.File(path, "a") as file:
        edit(file, name)
    return path


def copy(originals, tmp_path, kind):
    return Path(shutil.copyfile(originals / kind, tmp_path / kind))


def named(module, name, config, **more):
    return {"module": module, "class_name": name, "config": config, "registered_name": None, **more}


def function(module, name):
    return named(module, "function", name, registered_name=name)


def call_of(function, **arguments):
    return named("keras.layers", "Lambda", {"name": "call", "function": function, "arguments": arguments})


# Configurations


def python_lambda(marker, secret):
    """CVE-2024-3660, in .h5 CVE-2025-9905, out of scope CVE-2026-12481."""
    make_file = eval(f"lambda x: (open({str(marker)!r}, 'w').close(), x)[1]")
    return keras.saving.serialize_keras_object(layers.Lambda(make_file))


def keras_2_lambda(marker, secret):
    """As Keras 2 wrote it: code, defaults, closure."""
    config = python_lambda(marker, secret)["config"]
    code = config["function"]["config"]
    return {"class_name": "Lambda", "config": config | {"function": list(code.values()), "function_type": "lambda"}}


def any_function(marker, secret):
    """CVE-2025-1550."""
    return call_of(function("os", "system"), command=f"touch {marker}")


def get_file(marker, secret):
    """CVE-2025-8747, to fetch what CVE-2025-12060 and CVE-2025-12638 unpack anywhere."""
    origin = Path(f"{secret}.txt").as_uri()
    return call_of(function("keras.utils", "get_file"), fname=str(marker), origin=origin, extract=True)


def get_file_by_a_longer_name(marker, secret):
    return call_of(named("keras", "utils.get_file", {}), fname=str(marker), origin=Path(f"{secret}.txt").as_uri())


def unsafe_deserialization(marker, secret):
    """CVE-2025-9906: switch safe mode off, then run a lambda."""
    return call_of(function("keras.config", "enable_unsafe_deserialization"))


def torch_module(marker, secret):
    """CVE-2025-49655."""
    return named("keras.layers", "TorchModuleWrapper", {"module": pickle.dumps(Attack(marker)).hex()})


def string_lookup(marker, secret):
    """CVE-2025-12058."""
    return named("keras.layers", "StringLookup", {"name": "words", "vocabulary": f"{secret}.txt"})


def text_vectorization(marker, secret):
    return named("keras.layers", "TextVectorization", {"name": "words", "vocabulary": f"{secret}.txt"})


def saved_model(marker, secret):
    """CVE-2026-1462."""
    return named("keras.layers", "TFSMLayer", {"name": "saved", "filepath": str(secret)})


def saved_model_by_a_longer_name(marker, secret):
    return named("keras", "layers.TFSMLayer", {"name": "saved", "filepath": str(secret)})


def saved_model_under_our_name(marker, secret):
    return saved_model(marker, secret) | {"registered_name": "cifar10_transfer>Upscale"}


def inside_a_wrapper(marker, secret):
    return named("keras.layers", "TimeDistributed", {"layer": string_lookup(marker, secret)})


def in_an_initializer(marker, secret):
    return named("keras.layers", "Dense", {"units": 6, "kernel_initializer": function("keras.utils", "get_file")})


def type_spec(marker, secret):
    """Decoded from .h5 even before the layers are."""
    return {"class_name": "TypeSpec", "type_spec": "tf.TensorSpec", "serialized": [[1], "float32"]}


def another_package(marker, secret):
    return named("keras_hub.models", "Backbone", {"preset": str(secret)})


CONFIGURATIONS = (
    python_lambda, keras_2_lambda, any_function, get_file, get_file_by_a_longer_name, unsafe_deserialization, torch_module,
    string_lookup, text_vectorization, saved_model, saved_model_by_a_longer_name, saved_model_under_our_name, inside_a_wrapper,
    in_an_initializer, type_spec, another_package,
)  # fmt: skip


def with_layer(layer):
    """A model with one layer."""
    inputs = named("keras.layers", "InputLayer", {"batch_shape": [None, 9], "dtype": "float32", "name": "inputs"})
    return named("keras", "Sequential", {"name": "model", "layers": [inputs, layer]})


@pytest.mark.parametrize("attack", CONFIGURATIONS, ids=lambda attack: attack.__name__)
@pytest.mark.parametrize("kind", ["whole.keras", "whole.h5"])
def test_a_model_asks_for_nothing_but_layers(originals, tmp_path, marker, secret, kind, attack):
    path = write_config(copy(originals, tmp_path, kind), with_layer(attack(marker, secret)))
    with pytest.raises(ValueError, match="it asks for .* not allowed") as refused:
        saved.load(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["whole.keras", "whole.h5"])
def test_the_lambda_would_have_run(originals, tmp_path, kind):
    path = write_config(copy(originals, tmp_path, kind), with_layer(python_lambda(tmp_path / "ran", None)))
    with contextlib.suppress(ValueError):  # of an .h5 file, whose weights don't fit: by then it has run
        keras.models.load_model(path, safe_mode=False)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("[" * 100_000 + "]" * 100_000, "RecursionError"),
        (json.dumps({"name": "long" * saved.MAX_CONFIG}), "configuration is far too long"),
        ("5", "can't be read"),
        ("<html>", "Expecting value"),
    ],
    ids=["nested", "long", "number", "no JSON"],
)
def test_a_configuration_is_bounded(originals, tmp_path, config, reason):
    with pytest.raises(ValueError, match=reason):
        saved.load(write_config(copy(originals, tmp_path, "whole.keras"), config))


# HDF5 files


def replace(file, name, value):
    del file[name]
    file[name] = value


def external_link(file, name, secret):
    """CVE-2026-1669, as are the next four."""
    replace(file, name, h5py.ExternalLink(f"{secret}.h5", "kernel"))


def external_link_on_the_way(file, name, secret):
    replace(file, name.rpartition("/")[0], h5py.ExternalLink(f"{secret}.h5", "dense"))


def soft_link(file, name, secret):
    file["elsewhere"] = h5py.ExternalLink(f"{secret}.h5", "kernel")
    replace(file, name, h5py.SoftLink("/elsewhere"))


def external_storage(file, name, secret):
    del file[name]
    file.create_dataset(name, (9, 6), np.float32, external=[(f"{secret}.txt", 0, 216)])


def virtual(file, name, secret):
    layout = h5py.VirtualLayout((9, 6), np.float32)
    layout[:] = h5py.VirtualSource(f"{secret}.h5", "kernel", (9, 6))
    del file[name]
    file.create_virtual_dataset(name, layout)


def large_shape(file, name, secret):
    """CVE-2026-0897, CVE-2026-12570."""
    del file[name]
    file.create_dataset(name, (1 << 20, 1 << 20), np.float32)


def large_shape_in_chunks(file, name, secret):
    del file[name]
    file.create_dataset(name, (9, 1 << 20), np.float32, chunks=(9, 6))


def compressed(file, name, secret):
    del file[name]
    file.create_dataset(name, (1 << 20, 1 << 20), np.float32, chunks=(1 << 10, 1 << 10), compression="gzip")


def compressed_to_grow_beyond_its_shape(file, name, secret):
    del file[name]
    kernel = file.create_dataset(name, (9, 6), np.float32, chunks=(9, 6), compression="gzip")
    kernel.id.write_direct_chunk((0, 0), zlib.compress(bytes(64 << 20)))


def strings(file, name, secret):
    replace(file, name, np.array([["text"] * 6] * 9, h5py.string_dtype()))


def references(file, name, secret):
    replace(file, name, np.array([[file.ref] * 6] * 9, h5py.ref_dtype))


HDF5 = {
    external_link: "is a link",
    external_link_on_the_way: "is a link",
    soft_link: "is a link",
    external_storage: "lies in another file",
    virtual: "lies in another file",
    large_shape: "would take 4,398,0",
    large_shape_in_chunks: "would take 37,7",
    compressed: "is compressed",
    compressed_to_grow_beyond_its_shape: "is compressed",
    strings: "does not hold numbers",
    references: "does not hold numbers",
}


@pytest.mark.parametrize(("attack", "reason"), HDF5.items(), ids=lambda item: getattr(item, "__name__", ""))
@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_numbers_in_their_own_file(originals, tmp_path, secret, kind, attack, reason):
    path = edit_hdf5(copy(originals, tmp_path, kind), lambda file, name: attack(file, name, secret))
    with pytest.raises(ValueError, match=reason):
        saved.check(path)


@pytest.mark.parametrize("attack", [external_link, soft_link, external_storage, virtual])
def test_the_secret_would_have_been_read(originals, tmp_path, secret, attack):
    path = edit_hdf5(copy(originals, tmp_path, "legacy.h5"), lambda file, name: attack(file, name, secret))
    with h5py.File(path) as file:
        assert file["dense/dense/kernel"][()].tobytes() in SECRET


# Files


def cut(path):
    path.write_bytes(path.read_bytes()[:-2000])


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


FILES = {
    "cut": cut,
    "pipe": pipe,
    "device": device,
    "empty": lambda path: path.write_bytes(b""),
    "a web page": lambda path: path.write_text("<!DOCTYPE html><html><body>404</body></html>"),
    "a pickle": lambda path: path.write_bytes(pickle.dumps(Attack(path.with_name("marker")))),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "absent": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", FILES.values(), ids=FILES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_model_is_refused_in_one_line(originals, tmp_path, marker, kind, damage):
    path = copy(originals, tmp_path, kind)
    damage(path)
    with pytest.raises(ValueError, match="can't be read|not a regular file") as refused:
        saved.load(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["../marker", "/tmp/marker", "assets/marker", "model.weights.npz", "config.json/"])
def test_an_archive_holds_nothing_else(originals, tmp_path, marker, name):
    path = edit_members(copy(originals, tmp_path, "whole.keras"), lambda members: members.update({name: b"x"}))
    with pytest.raises(ValueError, match=r"this one holds .*marker|this one holds"):
        saved.load(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_holds_each_member_once(originals, tmp_path):
    path = copy(originals, tmp_path, "whole.keras")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(ValueError, match="this one holds"):
        saved.load(path)


@pytest.mark.parametrize("name", saved.MEMBERS)
def test_an_archive_is_no_bomb(originals, tmp_path, name):
    path = edit_members(copy(originals, tmp_path, "whole.keras"), lambda members: members.pop(name))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(name, bytes(64 << 20))
    assert path.stat().st_size < 1_000_000
    with pytest.raises(ValueError, match="it is compressed"):
        saved.load(path)


# From the command line


def small_application(name, inputs, include_top, classes=1000):
    """Stands in for a backbone of 58 million weights."""
    x = layers.Conv2D(4, 8, strides=8)(layers.Rescaling(1 / 255)(inputs))
    if include_top:
        x = layers.Dense(classes)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x, name=name)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run's folder: the model of a head on a small backbone, as model.keras, and what predict.py reads."""
    folder = tmp_path_factory.mktemp("run")
    inputs = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 3))
    base = small_application("resnet152v2", inputs, include_top=False)
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(layers.Flatten()(base(upscale.upscale(inputs, 32)))))
    model.save(folder / "model.keras")
    base.save(folder / "whole.h5")
    base.save_weights(folder / "own.weights.h5")
    published = files.read_json(PUBLISHED / "results.json")
    results = published | {"class_names": ["no", "yes"], "image_size": IMAGE_SIZE}
    files.write_json(folder / "results.json", results)
    cv2.imwrite(str(folder / "image.png"), np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8))
    return folder


@pytest.fixture
def run_dir(trained, tmp_path, monkeypatch):
    """A copy of that folder, and the small backbone in place of ResNet152V2."""
    monkeypatch.setattr(backbones, "_application", small_application)
    return Path(shutil.copytree(trained, tmp_path / "run"))


def train_from(call, source, tmp_path):
    flags = ("--data", "digits", "--image-size", IMAGE_SIZE, "--no-cache", "--dry-run", "--output-dir", tmp_path / "runs")
    return call(train_resnet152v2.main, "--weights", source, *flags)


@pytest.mark.parametrize("source", ["", "model.keras", "whole.h5", "own.weights.h5"])
def test_weights_are_checked_wherever_they_come_from(run_dir, tmp_path, call, marker, secret, source):
    path = run_dir / (source or "model.keras")
    weights_of = weights.Weights(path, False, "")
    assert backbones.build("resnet152v2", IMAGE_SIZE, weights_of, seed=0).name == "resnet152v2"  # unharmed it is taken
    if path.suffix == ".keras" or path.name == "whole.h5":
        write_config(path, with_layer(python_lambda(marker, secret)))
    else:
        with h5py.File(path, "a") as file:
            external_storage(file, "layers/conv2d/vars/1", secret)
    code, out, err = train_from(call, run_dir / source, tmp_path)
    assert code == 2 and err.count("\n") == 1 and "Tr0ub4dor" not in out + err
    assert f"--weights {path} is damaged, or does not hold weights of resnet152v2: it" in err, err
    assert not list((tmp_path / "runs").glob("*/*"))


@pytest.mark.parametrize("attack", [python_lambda, get_file, string_lookup, None])
def test_predict_checks_the_model(run_dir, call, marker, secret, attack):
    code, out, err = call(predict.main, run_dir, run_dir / "image.png")
    assert code == 0 and "yes" in out, err
    if attack:
        write_config(run_dir / "model.keras", with_layer(attack(marker, secret)))
    else:
        (run_dir / "whole.keras").write_bytes((run_dir / "model.keras").read_bytes())
        edit_hdf5(run_dir / "whole.keras", lambda file, _: external_link(file, "layers/dense/vars/0", secret))
        (run_dir / "whole.keras").rename(run_dir / "model.keras")
    code, out, err = call(predict.main, run_dir, run_dir / "image.png")
    assert code == 2 and err.count("\n") == 1 and "Tr0ub4dor" not in out + err
    assert "model.keras can't be loaded (it" in err and "damaged, or not of this collection" in err, err


def test_a_classifier_in_a_file_is_bounded(run_dir, tmp_path):
    small_application("resnet152v2", keras.Input((224, 224, 3)), True, 5).save_weights(tmp_path / "top.weights.h5")
    with h5py.File(tmp_path / "top.weights.h5", "a") as file:
        replace(file, "layers/dense/vars/0", np.zeros((1, 99_999), np.uint8))
    with pytest.raises(cli.InputError, match=r"more weights than the file has bytes: dense.* has \(4, 99999\)"):
        backbones.build("resnet152v2", IMAGE_SIZE, weights.Weights(tmp_path / "top.weights.h5", False, ""), seed=0)


SIZE = {"size": 12, "interpolation": "area"}


def resized(layer):
    """A model with a resize layer in front of a convolution."""
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, layers.Conv2D(2, 3)(layer(inputs)))


def nested(levels):
    """A model that calls a model twice, which calls a model twice ..."""
    model = layers.Rescaling(1)
    for _ in range(levels):
        inputs = keras.Input((8, 8, 3))
        model = keras.Model(inputs, model(model(inputs)))
    return model


RELU = named("keras.layers", "ReLU", {"name": "relu"})
BEYOND_THE_FILE = {  # a layer, what is replaced in the configuration or all of it, and what is said
    "a million units": (layers.Dense(7), ('"units": 7', '"units": 1000000'), "more weights than the file has bytes"),
    "a large image": (layers.Resizing(9, 9), ('th": 9', 'th": 10000000'), "10000000, 3) numbers, and 268,435,456 are allowed"),
    "an upscale": (upscale.Upscale(**SIZE), ('"size": 12', '"size": 30000'), "(None, 30000, 30000, 3) numbers"),
    "a Lambda": (
        layers.Lambda(upscale.upscale, arguments=SIZE),
        ('"size": 12', '"size": 30000'),
        "infer the shape of the Lambda",
    ),
    "many layers": (
        layers.ReLU(),
        named("keras", "Sequential", {"layers": [RELU] * 3001}),
        "it calls 3,001 layers, and 3,000 are",
    ),
    "models in models": (nested(11), ("", ""), "it calls 6,144 layers"),
}


@pytest.mark.parametrize(("layer", "change", "words"), BEYOND_THE_FILE.values(), ids=BEYOND_THE_FILE)
def test_a_model_asks_for_no_more_than_its_file_brings(tmp_path, layer, change, words):
    model = resized(layer)
    model.save(tmp_path / "model.keras")
    write_config(tmp_path / "model.keras", model.to_json().replace(*change) if isinstance(change, tuple) else change)
    with pytest.raises((ValueError, NotImplementedError), match=re.escape(words)):
        saved.load(tmp_path / "model.keras")


def for_one_image(images):
    return keras.ops.reshape(images, (1, 3072))


NOT_COMPUTABLE = {  # a layer, what is replaced in its configuration, and what is said
    "a name that TensorFlow refuses": (layers.Rescaling(1, name="old"), ("old", r"a b\u0007"), r"'a b\x07' is not a valid"),
    "an embedding of pixels": (layers.Embedding(4, 1), (), "is not in [0, 4)"),
    "a shape for one image": (for_one_image, (), "Cannot reshape"),
    "text as boundaries": (layers.Discretization([1.0, 2.0]), ("1.0", r'"\u0007"'), r"not convert string to float: '\x07'"),
    "a dict of outputs": (layers.Rescaling(1), (), "too many indices"),
    "a name in a warning": (layers.Rescaling(1), ("old", r"\u0007"), None),
}


@pytest.mark.filterwarnings("error:The structure of")  # else pytest keeps warnings from stderr
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="others refuse other models")
@pytest.mark.parametrize(("layer", "change", "words"), NOT_COMPUTABLE.values(), ids=NOT_COMPUTABLE)
def test_a_model_that_loads_and_cannot_be_run_is_refused_in_one_line(tmp_path, image_folder, call, layer, change, words):
    inputs = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 3), name="old" if words is None else "images")
    outputs = layers.Dense(2, "softmax")(layers.Flatten()(layer(inputs)))
    model = keras.Model(
        inputs if words else {"old": inputs}, {"probabilities": outputs} if words == "too many indices" else outputs
    )
    model.save(tmp_path / "model.keras")
    write_config(tmp_path / "model.keras", model.to_json().replace(*change or ("", "")))
    data = image_folder({"0": 2, "1": 2})
    classes = ("--classes", "0", "1")
    for program, arguments in (
        (predict.main, (data, *classes)),
        (evaluate.main, ("--data", data, "--cache-dir", tmp_path / "cache", *classes)),
        (export.main, ("--format", "saved_model")),
    ):
        code, out, err = call(program, tmp_path / "model.keras", *arguments)
        assert "\a" not in out + err and (code, err.count("\n")) == ((2, 1) if words else (0, 0)), err
        assert not words or (words in err and "model.keras can't be run (" in err), err


def test_a_run_that_claims_to_have_a_head_is_refused_in_one_line(run_dir, tmp_path, image_folder, call):
    results = files.read_json(run_dir / "results.json") | {"scored": {"on": "features", "batch_size": 2}}
    files.write_json(run_dir / "results.json", results)
    data = ("--data", image_folder({"no": 2, "yes": 2}), "--cache-dir", tmp_path / "cache")
    code, _, err = call(evaluate.main, run_dir, *data)
    assert (code, err.count("\n")) == (2, 1) and "its last layer is not a head" in err, err


# Pickles in NumPy's files


def test_the_pickle_would_have_run(tmp_path):
    pickle.loads(pickle.dumps(Attack(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


def test_no_pickle_is_read_from_a_cache_or_a_checkpoint(image_folder, tmp_path, marker, capsys):
    attack = np.array([Attack(marker)], object)
    train = image_folder({"one": 3, "two": 3}) / "train"
    for _ in range(2):
        images = folders.read_part(train, ("one", "two"), 8, tmp_path / "cache")[0]
        (cached,) = (tmp_path / "cache" / "pictures").iterdir()
        np.savez(cached, images=attack, num_resized=attack)
    assert images.shape == (6, 8, 8, 3) and "is damaged: reading the images again" in capsys.readouterr().out

    np.savez(tmp_path / "head.npz", state=attack)
    assert checkpoints._read(tmp_path / "head.npz") == (None, None)

    inputs = keras.Input((8, 8, 3))
    cache = features.FeatureCache(keras.Model(inputs, layers.GlobalAveragePooling2D()(inputs)), tmp_path / "cache")
    (expected,), _ = cache.extract(features.Images([images]), "features")
    expected = expected[:]
    (cached,) = (tmp_path / "cache" / "features").glob("*.npy")
    np.save(cached, attack)
    (again,), _ = cache.extract(features.Images([images]), "features")
    np.testing.assert_array_equal(again[:], expected)


# No false alarms


def with_much_of_keras():
    """What users' own models may hold: augmentation, regularizers, policies, a schedule, a loss of their own."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.RandomFlip(),
            layers.Normalization(mean=[0, 0, 0], variance=[1, 1, 1]),
            layers.Conv2D(2, 3, activation=keras.activations.gelu, kernel_regularizer="l2", kernel_constraint="max_norm"),
            layers.LeakyReLU(),
            layers.TimeDistributed(layers.Dense(2, dtype="mixed_bfloat16")),
            keras.Sequential([layers.Dropout(0.5, seed=1), layers.SeparableConv2D(2, 3)]),
        ]
    )
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    model.compile(keras.optimizers.SGD(schedule), loss=lambda true, predicted: keras.ops.mean(predicted))
    return model


HARMLESS = {  # and in what kinds of file Keras itself can read them
    "upscale": (lambda: resized(lambda images: upscale.upscale(images, **SIZE)), [".keras"]),
    "Upscale": (lambda: resized(upscale.Upscale(**SIZE)), [".keras", ".h5"]),
    "Lambda": (lambda: resized(layers.Lambda(upscale.upscale, arguments=SIZE)), [".keras", ".h5"]),
    "bfloat16": (lambda: resized(layers.Conv2D(2, 3, dtype="bfloat16")), [".keras"]),
    "much": (with_much_of_keras, [".keras", ".h5"]),
}


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
@pytest.mark.parametrize(("name", "end"), [(name, end) for name, (_, ends) in HARMLESS.items() for end in ends])
def test_a_harmless_model_loads_as_it_was(tmp_path, name, end):
    model = HARMLESS[name][0]()
    model.save(tmp_path / f"model{end}")
    model.save_weights(tmp_path / "model.weights.h5")
    again = saved.load(tmp_path / f"model{end}")
    assert all(map(np.array_equal, model.get_weights(), again.get_weights())) and not again.compiled
    assert saved.load(tmp_path / "model.weights.h5") is None


# Trained further

USING = (Path(__file__).parents[2] / "docs" / "using.md").read_text(encoding="utf-8")
(FURTHER,) = (code for code in re.findall(r"```python\n(.*?)```", USING, re.DOTALL) if "model.fit" in code)
MODEL_FILE = re.search(r'load_model\("(.*)"\)', FURTHER)[1]
CHECKED = """
import os, sys
import numpy as np
code, path, *kinds = sys.argv[1:]
images = np.random.default_rng(0).uniform(0, 8, (8, 32, 32, 3))  # dark: of bright ones untrained models are too sure to learn
labels = np.arange(8) % 3
for kind in kinds:
    os.chdir(kind)
    exec(code)
    before = keras.models.load_model(path).get_layer(base.name)
    moved = [new.path for old, new in zip(before.weights, base.weights) if not np.array_equal(old, new)]
    assert [path for path in moved if "kernel" in path] == [new.path for new in base.weights if "kernel" in new.path], kind
"""


def model_of(script):
    """The compiled model of a script before it is trained: VGG19 at 32x32 as it is, the others with a small backbone."""
    args = argparse.Namespace(
        image_size=32, interpolation="bicubic", seed=0, unfreeze_last=0, no_resize=False, base="efficientnetb7"
    )
    is_small, shape = script is not train_vgg19_finetune, (32, 32, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "build", small_backbone if is_small else backbones.build)
        images = shape if is_small else np.random.default_rng(0).integers(0, 256, (8, *shape), np.uint8)
        extractor = script.build_extractor(args, weights.Weights(None, False, ""), images)
    model = keras.Model(extractor.input, script.build_head(extractor.output_shape[-1], 3, 0.25)(extractor.output))
    script.compile_model(model, 0.1)
    return model


def last_layer_of_b():
    """The compiled model of the A/B split of which only the last layer was trained."""
    convolutions, head = train_ab_split.build_convolutions(32), train_ab_split.build_head(4096, 3, 0.4)
    convolutions.trainable = head.get_layer("fc1").trainable = False
    model = train_ab_split.join(convolutions, head)
    train_ab_split.compile_model(model, 0.1)
    return model


@pytest.fixture(scope="module")
def of_each_script(tmp_path_factory):
    """Folders with a saved model of each script, in order of size."""
    folder = tmp_path_factory.mktemp("further")
    with_backbone = (train_vgg19, train_resnet152v2, train_efficientnetb7, train_vgg19_finetune)
    for number, model in enumerate((last_layer_of_b(), *map(model_of, with_backbone))):
        path = folder / str(number) / MODEL_FILE
        path.parent.mkdir(parents=True)
        model.save(path)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_the_code_of_the_page_trains_a_saved_model_further(of_each_script, backend):
    environment = os.environ | {"KERAS_BACKEND": pytest.importorskip(backend).__name__}
    folders = of_each_script if backend == "tensorflow" else of_each_script[:-1]  # compiling VGG19 takes JAX half a minute
    command = [sys.executable, "-I", "-c", CHECKED, FURTHER, MODEL_FILE, *folders]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
