"""export.py on a run, models of all kinds, planted faults; docs/export.md's code, where neither Keras nor this is."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from keras import layers

import export
import train_vgg19
from common import backend, files
from common.models import exports
from common.models.upscale import upscale
from common.training.run import load_data

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
HEADINGS = {"Keras": None, "ONNX Runtime": "onnx", "TensorFlow": "saved_model", "LiteRT": "litert"}  # of the page
SIZE = 32
pytestmark = [
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow writes all formats"),
    pytest.mark.filterwarnings("ignore:In the future `np.object`", "ignore:The structure of `inputs`"),
]


def formats():
    """A parameter for each format, skipped where its packages are missing."""
    parameters = []
    for name, (_, packages) in export.FORMATS.items():
        missing = [package for package in packages if not importlib.util.find_spec(package)]
        parameters.append(pytest.param(name, marks=pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")))
    return parameters


@pytest.fixture
def test_images(finished):
    args = train_vgg19.parse_args([*finished("vgg19").flags])
    return load_data(args, upscaled_later=True).test.images


@pytest.fixture
def run_dir(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")  # export.py sets it
    monkeypatch.chdir(tmp_path)
    left_out = shutil.ignore_patterns("checkpoint", "plots")
    return Path(shutil.copytree(finished("vgg19").folder, tmp_path / "run", ignore=left_out))


def names(folder):
    return {path.name for path in folder.iterdir()}


def random_images(count=5, size=SIZE):
    return np.random.default_rng(1).integers(0, 256, (count, size, size, 3), np.uint8)


@pytest.mark.parametrize("input_dtype", ["float32", "uint8"])
@pytest.mark.parametrize("file_format", formats())
def test_an_exported_run_gives_the_probabilities_of_predictions_csv(
    run_dir, test_images, call, tmp_path, file_format, input_dtype
):
    before, name = names(run_dir), export.FORMATS[file_format][0]
    code, out, err = call(export.main, run_dir, "--format", file_format, "--input-dtype", input_dtype)
    assert (code, err) == (0, "") and str(run_dir / name) in out and f"(n, 32, 32, 3) {input_dtype}" in out
    assert names(run_dir) == before | {name}
    assert resize_of(run_dir / name, file_format) == "crop"
    run = exports.open_exported(run_dir / name, file_format)
    for size in (1, 32):
        outputs = run(test_images[:size].astype(input_dtype))
        assert outputs.dtype == np.float32
        for row, probabilities in zip(files.read_csv(run_dir / "predictions.csv"), outputs, strict=False):
            assert probabilities.argmax() == row["predicted"]
            assert probabilities.max() == pytest.approx(row["probability"], abs=1e-5)
        assert len(outputs) == size


def resize_of(path, file_format):
    """What an exported model says of its training images."""
    if file_format == "onnx":
        import onnx

        return {note.key: note.value for note in onnx.load(path).metadata_props}["resize"]
    return ((path / "assets.extra" if path.is_dir() else zipfile.Path(path)) / "resize.txt").read_text().strip()


def with_captured_means(dtype):
    """What VGG19 and ResNet152V2 have in them: resizing, means as a tensor, batch norm, a Sequential head."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(dtype)
    inputs = keras.Input((SIZE, SIZE, 3))
    inner = keras.Input((48, 48, 3))
    x = layers.Conv2D(8, 3, strides=2)(keras.applications.vgg19.preprocess_input(inner))
    x = layers.DepthwiseConv2D(3)(layers.BatchNormalization()(x))
    backbone = keras.Model(inner, layers.GlobalAveragePooling2D()(layers.ReLU()(layers.MaxPooling2D()(x))))
    head = keras.Sequential([keras.Input((8,)), layers.Dropout(0.5), layers.Dense(4, "softmax", dtype="float32")])
    return keras.Model(inputs, head(backbone(upscale(inputs, 48))))


def sequential(dtype):
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(dtype)
    images = [keras.Input((SIZE, SIZE, 3)), layers.Normalization()]
    x = [layers.Conv2D(4, 5, strides=3, activation="swish"), layers.Flatten()]
    model = keras.Sequential([*images, *x, layers.Dense(3, "softmax", dtype="float32")])
    model.layers[0].set_weights([np.float32([100.3, 110.3, 120.3]), np.float32([5000, 6000, 7000]), np.int32(0)])
    model.layers[0].finalize_state()
    return model


@pytest.fixture
def float32_afterwards():
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.usefixtures("float32_afterwards")
@pytest.mark.parametrize("build", [with_captured_means, sequential])
@pytest.mark.parametrize("file_format", formats())
def test_mixed_precision_is_exported_in_float32(tmp_path, monkeypatch, call, file_format, build):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    expected = build("float32").predict(random_images(), verbose=0)
    mixed = build("mixed_bfloat16")  # the same seed, so the same weights
    assert np.abs(mixed.predict(random_images(), verbose=0) - expected).max() > 1e-4
    mixed.save(tmp_path / "model.keras")
    code, out, err = call(export.main, tmp_path / "model.keras", "--format", file_format)
    assert (code, err) == (0, "") and "Trained with --amp" in out
    outputs = exports.open_exported(tmp_path / export.FORMATS[file_format][0], file_format)(random_images().astype(np.float32))
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


def test_an_h5_file_is_exported_beside_itself(tmp_path, monkeypatch, call):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    model = sequential("float32")
    model.save(tmp_path / "cifar10.h5")
    options = ("--format", "saved_model", "--output", tmp_path / "here", "--classes", "=a", "b\n\x1b", "Größe 猫")
    assert call(export.main, tmp_path / "cifar10.h5", *options)[0] == 0
    labels = (tmp_path / "here" / "assets.extra" / "labels.txt").read_text(encoding="utf-8")
    assert labels == "=a\nb\\n\\x1b\nGröße 猫\n" and names(tmp_path / "here" / "assets.extra") == {"labels.txt"}
    assert export.find_target(export.parse_args(["x", "--format", "onnx"]), tmp_path / "cifar10.h5").name == "cifar10.onnx"
    outputs = exports.open_exported(tmp_path / "here", "saved_model")(random_images().astype(np.float32))
    np.testing.assert_allclose(outputs, model.predict(random_images(), verbose=0), atol=1e-6)


def other(change):
    """A runner in place of the real one, whose outputs are changed."""
    real = exports.open_exported
    return lambda path, file_format: lambda images: change(real(path, file_format)(images))


FAULTS = {
    "other numbers in small batches": (lambda outputs: outputs + np.float32(0.002 * (len(outputs) < 3)), "differ by 0.002"),
    "NaN": (lambda outputs: outputs * np.float32("nan"), "differ by nan"),
    "always one image": (lambda outputs: outputs[:1], "(1, 10) for 32 images"),
    "integers": (lambda outputs: outputs.astype(np.uint8), "uint8"),
    "no conversion": (None, "no such operation"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_model_that_gives_other_numbers_is_an_error_and_leaves_nothing(run_dir, call, monkeypatch, fault):
    change, words = FAULTS[fault]

    def fail(*_):
        raise NotImplementedError("no such operation\nin this format")

    if change:
        monkeypatch.setattr(exports, "open_exported", other(change))
    else:
        monkeypatch.setattr(exports, "write", fail)
    before = names(run_dir)
    code, _, err = call(export.main, run_dir, "--format", "saved_model")
    assert code == 1 and words in err and err.count("\n") == 1
    assert names(run_dir) == before


@pytest.mark.parametrize("missing", ["tensorflow", "tf2onnx", "ai_edge_litert"])
def test_a_missing_package_is_named_before_anything_is_done(run_dir, call, monkeypatch, missing):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else name)
    monkeypatch.setattr(backend, "import_keras", lambda: pytest.fail("went on to Keras"))
    file_format = {"ai_edge_litert": "litert"}.get(missing, "onnx")
    code, out, err = call(export.main, run_dir, "--format", file_format)
    assert (code, out) == (2, "") and err.count("\n") == 1
    of_missing = "requirements.txt" if missing == "tensorflow" else "requirements-export.txt"
    assert f"needs {missing.replace('_', '-')}: pip install -r {of_missing}" in err


def test_the_requirements_name_every_package():
    named = (ROOT / "requirements-export.txt").read_text()
    for _, packages in export.FORMATS.values():
        assert all(re.search(rf"(?m)^{package.replace('_', '-')}[<>=]", named) for package in packages)


ISOLATED = """
import sys
{blocked}
{code}
np.save("outputs.npy", probabilities)
assert not any(name == "common" or name.startswith("train_") for name in sys.modules)
"""


def elsewhere(code, folder, backend="tensorflow"):
    """What a program prints in a process that can't see this repository; only a program that imports Keras may have it."""
    blocked = "" if "import keras" in code else "sys.modules['keras'] = None"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"KERAS_BACKEND": backend}
    command = [sys.executable, "-I", "-c", ISOLATED.format(blocked=blocked, code=code)]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize("heading", HEADINGS)
def test_the_code_of_the_page_works_without_this_repository(run_dir, test_images, call, heading):
    """In the folder of a run, with a few test images as PNG files."""
    file_format = HEADINGS[heading]
    for package in export.FORMATS[file_format][1] if file_format else ():
        pytest.importorskip(package)
    if file_format == "saved_model":  # of a run made on JAX, exported on TensorFlow
        environment = os.environ | {"KERAS_BACKEND": "jax"}
        command = [sys.executable, ROOT / "export.py", run_dir, "--format", file_format]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert (ended.returncode, ended.stderr) == (0, "")
    elif file_format:
        assert call(export.main, run_dir, "--format", file_format)[0] == 0
    (run_dir / "my_images").mkdir()
    for number, image in enumerate(test_images[:3]):
        cv2.imwrite(str(run_dir / "my_images" / f"{number}.png"), image[..., ::-1])
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    rows = files.read_csv(run_dir / "predictions.csv", convert=False)[:3]
    for keras_backend in ("tensorflow", "jax") if heading == "Keras" and importlib.util.find_spec("jax") else ("tensorflow",):
        start = CODE[0] + "class_names = None\n" * bool(file_format)  # an exported model has its own
        printed = elsewhere(start + code, run_dir, keras_backend)
        assert printed.split() == [row["predicted"] for row in rows]
        probabilities = np.load(run_dir / "outputs.npy").max(axis=1)
        np.testing.assert_allclose(probabilities, [float(row["probability"]) for row in rows], atol=1e-4)
