"""Models and weights from anyone: nothing in them runs, no other file is read, what can't be used is one line; others load."""

import io
import json
import shutil
import zipfile
from pathlib import Path

import cv2
import h5py
import keras
import numpy as np
import pytest
from keras import layers

import evaluate
import export
import predict
import train_resnet152v2
from common import files
from common.models import backbones, inference, weights
from common.models.upscale import upscale

PUBLISHED = Path(__file__).parents[2] / "plots" / "results" / "resnet152v2" / "control"
SECRET = b"the password is Tr0ub4dor&3" * 8
IMAGE_SIZE = 32


@pytest.fixture
def marker(tmp_path):
    """A file that is only there if an attack ran."""
    yield tmp_path / "marker"
    assert not (tmp_path / "marker").exists()


@pytest.fixture
def secret(tmp_path):
    """A user's file, `secret.h5`, that no model may read."""
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["kernel"] = np.frombuffer(SECRET, np.float32)
    return tmp_path / "secret"


def edit_members(path, edit):
    """Rewrite a .keras file: `edit` changes a dict from name to bytes."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    edit(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def write_config(path, config):
    """Put a configuration, a dict or text, into a .keras file or a whole .h5 file."""
    text = config if isinstance(config, str) else json.dumps(config)
    if path.suffix == ".keras":
        edit_members(path, lambda members: members.update({"config.json": text}))
    else:
        with h5py.File(path, "a") as file:
            file.attrs["model_config"] = text


def write_weights(path, edit):
    """Call `edit(file)` with an HDF5 file, of itself or inside a .keras file."""

    def edit_weights(members):
        buffer = io.BytesIO(members["model.weights.h5"])
        with h5py.File(buffer, "a") as file:
            edit(file)
        members["model.weights.h5"] = buffer.getvalue()

    if path.suffix == ".keras":
        edit_members(path, edit_weights)
    else:
        with h5py.File(path, "a") as file:
            edit(file)


def run_python(path, marker, secret):
    """CVE-2024-3660, in .h5 CVE-2025-9905: a layer that makes a file."""
    make_file = eval(f"lambda x: (open({str(marker)!r}, 'w').close(), x)[1]")
    layer = keras.saving.serialize_keras_object(layers.Lambda(make_file))
    of_inputs = {"batch_shape": [None, 9], "dtype": "float32", "name": "inputs"}
    inputs = {"module": "keras.layers", "class_name": "InputLayer", "config": of_inputs, "registered_name": None}
    config = {"name": "model", "layers": [inputs, layer]}
    write_config(path, {"module": "keras", "class_name": "Sequential", "config": config, "registered_name": None})


def link_to_a_file(path, marker, secret):
    """CVE-2026-1669: weights that are in another file."""

    def edit(file):
        names = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) and item.ndim > 1 else None)
        del file[names[0]]
        file[names[0]] = h5py.ExternalLink(f"{secret}.h5", "kernel")

    write_weights(path, edit)


def small_application(name, image_size, include_top, classes=1000, pooling="avg"):
    """Stands in for a backbone of 58 million weights."""
    inputs = keras.Input((image_size, image_size, 3))
    x = layers.Conv2D(4, 8, strides=8)(layers.Rescaling(1 / 255)(inputs))
    x = layers.GlobalAveragePooling2D()(x)
    if include_top:
        x = layers.Dense(classes)(x)
    return keras.Model(inputs, x, name=name)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run's folder: the model of a head on a small backbone, as model.keras, and what predict.py reads."""
    folder = tmp_path_factory.mktemp("run")
    inputs = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 3))
    base = small_application("resnet152v2", 32, include_top=False)
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(base(upscale(inputs, 32))))
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
    monkeypatch.setattr(backbones, "_build", small_application)
    return Path(shutil.copytree(trained, tmp_path / "run"))


def train_from(call, source, tmp_path):
    flags = ("--data", "digits", "--image-size", IMAGE_SIZE, "--no-cache", "--dry-run", "--output-dir", tmp_path / "runs")
    return call(train_resnet152v2.main, "--weights", source, *flags)


SOURCES = [(run_python, ""), (run_python, "model.keras"), (run_python, "whole.h5")]
SOURCES += [(link_to_a_file, name) for name in ("model.keras", "whole.h5", "own.weights.h5")]


@pytest.mark.parametrize("attack, source", SOURCES)
def test_weights_are_checked_wherever_they_come_from(run_dir, tmp_path, call, marker, secret, source, attack):
    path = run_dir / (source or "model.keras")
    weights_of = weights.Weights(path, False, "")
    assert backbones.build("resnet152v2", IMAGE_SIZE, weights_of, seed=0).name == "resnet152v2"  # unharmed it is taken
    attack(path, marker, secret)
    code, out, err = train_from(call, run_dir / source, tmp_path)
    assert code == 2 and err.count("\n") == 1 and "Tr0ub4dor" not in out + err
    assert f"error: {path} is damaged, or does not hold weights of resnet152v2: " in err, err
    assert not list((tmp_path / "runs").glob("*/*"))


@pytest.mark.parametrize("attack", [run_python, link_to_a_file])
def test_predict_checks_the_model(run_dir, call, marker, secret, attack):
    code, out, err = call(predict.main, run_dir, run_dir / "image.png")
    assert code == 0 and "yes" in out, err
    attack(run_dir / "model.keras", marker, secret)
    code, out, err = call(predict.main, run_dir, run_dir / "image.png")
    assert code == 2 and err.count("\n") == 1 and "Tr0ub4dor" not in out + err
    assert "model.keras can't be loaded (" in err and "damaged, or not of this collection" in err, err


def for_one_image(images):
    return keras.ops.reshape(images, (1, 3072))


NOT_COMPUTABLE = {  # a layer, what is replaced in its configuration, and what is said
    "a name that TensorFlow refuses": (layers.Rescaling(1, name="old"), ("old", r"a b\u0007"), r"'a b\x07' is not a valid"),
    "a shape for one image": (for_one_image, (), "Cannot reshape"),
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


def resized(layer):
    """A model with a resize layer in front of a convolution, and a loss of its own."""
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.Conv2D(2, 3)(layer(inputs)))
    model.compile("adam", loss=lambda true, predicted: keras.ops.mean(predicted))
    return model


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
@pytest.mark.parametrize(("layer", "end"), [("graph", ".keras"), ("Lambda", ".keras"), ("Lambda", ".h5")])
def test_a_model_of_this_collection_loads_as_it_was(tmp_path, layer, end):
    size = {"size": 12, "interpolation": "area"}
    in_lambda = layers.Lambda(upscale, arguments=size)
    model = resized(in_lambda if layer == "Lambda" else lambda images: upscale(images, **size))
    model.save(tmp_path / f"model{end}")
    model.save_weights(tmp_path / "model.weights.h5")
    again = inference.load_model(tmp_path / f"model{end}")
    assert all(map(np.array_equal, model.get_weights(), again.get_weights())) and not again.compiled
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_array_equal(again.predict(images, verbose=0), model.predict(images, verbose=0))
    assert inference.load_model(tmp_path / "model.weights.h5") is None
