"""Models and weights from anyone: nothing in them runs, no other file is read, what can't be used is one line; others load."""

import contextlib
import io
import json
import pickle
import shutil
import zipfile
from pathlib import Path

import cv2
import h5py
import keras
import numpy as np
import pytest
from keras import layers
from keras.src.legacy.saving import legacy_h5_format

import evaluate
import export
import predict
import train_resnet152v2
from common import files
from common.models import backbones, inference, weights
from common.models.upscale import upscale

PUBLISHED = Path(__file__).parents[2] / "plots" / "results" / "resnet152v2" / "control"
SECRET = b"the password is Tr0ub4dor&3" * 8
KERNELS = {"legacy.h5": "dense/dense/kernel", "whole.keras": "layers/dense/vars/0"}
IMAGE_SIZE = 32


class Attack:
    """A pickle that makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def make_model():
    inputs = keras.Input((9,))
    return keras.Model(inputs, layers.Dense(6, name="dense")(inputs))


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """A folder with a harmless small model in every kind of file."""
    folder, model = tmp_path_factory.mktemp("originals"), make_model()
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
    if path.suffix == ".keras":

        def edit_weights(members):
            buffer = io.BytesIO(members["model.weights.h5"])
            with h5py.File(buffer, "a") as file:
                edit(file, KERNELS.get(path.name))
            members["model.weights.h5"] = buffer.getvalue()

        return edit_members(path, edit_weights)
    with h5py.File(path, "a") as file:
        edit(file, KERNELS.get(path.name))
    return path


def load(path):
    """The model in a file, or a small one with the weights in it."""
    if (model := inference.load_model(path)) is None:
        model = make_model()
        model.load_weights(path)
    return model


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


def any_function(marker, secret):
    """CVE-2025-1550."""
    return call_of(function("os", "system"), command=f"touch {marker}")


def get_file(marker, secret):
    """CVE-2025-8747, to fetch what CVE-2025-12060 and CVE-2025-12638 unpack anywhere."""
    origin = Path(f"{secret}.txt").as_uri()
    return call_of(function("keras.utils", "get_file"), fname=str(marker), origin=origin, extract=True)


def unsafe_deserialization(marker, secret):
    """CVE-2025-9906: switch safe mode off, then run a lambda."""
    return call_of(function("keras.config", "enable_unsafe_deserialization"))


def string_lookup(marker, secret):
    """CVE-2025-12058."""
    return named("keras.layers", "StringLookup", {"name": "words", "vocabulary": f"{secret}.txt"})


def saved_model(marker, secret):
    """CVE-2026-1462."""
    return named("keras.layers", "TFSMLayer", {"name": "saved", "filepath": str(secret)})


CONFIGURATIONS = (
    python_lambda, any_function, get_file, unsafe_deserialization, string_lookup, saved_model,
)  # fmt: skip


def with_layer(layer):
    """A model with one layer."""
    inputs = named("keras.layers", "InputLayer", {"batch_shape": [None, 9], "dtype": "float32", "name": "inputs"})
    return named("keras", "Sequential", {"name": "model", "layers": [inputs, layer]})


@pytest.mark.parametrize("attack", CONFIGURATIONS, ids=lambda attack: attack.__name__)
@pytest.mark.parametrize("kind", ["whole.keras", "whole.h5"])
def test_a_model_asks_for_nothing_but_layers(originals, tmp_path, marker, secret, kind, attack):
    path = write_config(copy(originals, tmp_path, kind), with_layer(attack(marker, secret)))
    with pytest.raises((ValueError, TypeError)):
        load(path)


@pytest.mark.parametrize("kind", ["whole.keras", "whole.h5"])
def test_the_lambda_would_have_run(originals, tmp_path, kind):
    path = write_config(copy(originals, tmp_path, kind), with_layer(python_lambda(tmp_path / "ran", None)))
    with contextlib.suppress(ValueError):  # of an .h5 file, whose weights don't fit: by then it has run
        keras.models.load_model(path, safe_mode=False)
    assert (tmp_path / "ran").exists()


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


def compressed(file, name, secret):
    del file[name]
    file.create_dataset(name, (1 << 20, 1 << 20), np.float32, chunks=(1 << 10, 1 << 10), compression="gzip")


HDF5 = (external_link, external_link_on_the_way, soft_link, external_storage, virtual, large_shape, compressed)


@pytest.mark.filterwarnings("ignore:Skipping nested container")
@pytest.mark.parametrize("attack", HDF5, ids=lambda attack: attack.__name__)
@pytest.mark.parametrize("kind", KERNELS)
def test_weights_are_numbers_in_their_own_file(originals, tmp_path, secret, kind, attack):
    path = edit_hdf5(copy(originals, tmp_path, kind), lambda file, name: attack(file, name, secret))
    with pytest.raises(ValueError, match="[Nn]ot allowed"):
        load(path)


@pytest.mark.parametrize("attack", [external_link, soft_link, external_storage, virtual])
def test_the_secret_would_have_been_read(originals, tmp_path, secret, attack):
    path = edit_hdf5(copy(originals, tmp_path, "legacy.h5"), lambda file, name: attack(file, name, secret))
    with h5py.File(path) as file:
        assert file["dense/dense/kernel"][()].tobytes() in SECRET


# Files

DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-2000]),
    "empty": lambda path: path.write_bytes(b""),
    "a web page": lambda path: path.write_text("<!DOCTYPE html><html><body>404</body></html>"),
    "a pickle": lambda path: path.write_bytes(pickle.dumps(Attack(path.with_name("marker")))),
    "a nested configuration": lambda path: write_config(path, "[" * 100_000 + "]" * 100_000),
    "no JSON": lambda path: write_config(path, "<html>"),
    "another configuration": lambda path: write_config(path, "5"),
    "a file beside it": lambda path: edit_members(path, lambda members: members.update({"../marker": b"x"})),
}
CASES = [("whole.keras", damage) for damage in DAMAGE]  # of other files only those that need no configuration
CASES += [(kind, damage) for kind in ("own.weights.h5", "legacy.h5", "whole.h5") for damage in list(DAMAGE)[:4]]


@pytest.mark.parametrize(("kind", "damage"), CASES)
def test_what_is_no_model_raises_or_does_no_harm(originals, tmp_path, marker, kind, damage):
    path = copy(originals, tmp_path, kind)
    DAMAGE[damage](path)
    with contextlib.nullcontext() if damage == "a file beside it" else pytest.raises(Exception):  # noqa: B017, PT011
        load(path)


# From the command line


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
    assert f"error: {path} is damaged, or does not hold weights of resnet152v2: " in err, err
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
    assert "model.keras can't be loaded (" in err and "damaged, or not of this collection" in err, err


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


# No false alarms


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
