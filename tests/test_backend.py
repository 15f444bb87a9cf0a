"""What the user has set for Keras changes no number, and compiled programs are kept for the next process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from common import backend

ROOT = Path(__file__).parents[1]
COMPILE = {
    "jax": "import jax; jax.jit(lambda x: x * 2)(1.0)",
    "tensorflow": "import tensorflow as tf; tf.function(lambda x: tf.tanh(x) * 2, jit_compile=True)(tf.ones(9))",
}


@pytest.mark.parametrize("name", COMPILE)
def test_compiled_programs_of_a_dry_run_lie_under_the_cache_folder(tmp_path, name):
    program = "import train_ab_split as script; args = script.parse_args(['--data', 'digits', '--dry-run']);"
    program += f"script.folder.check(args); script.load_data(args); {COMPILE[name]}"  # whose size depends on the device
    kept = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "TF_XLA_FLAGS")
    environment = {key: value for key, value in os.environ.items() if key not in kept}
    environment |= {"KERAS_BACKEND": name, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert [path for path in (tmp_path / "cache" / "compiled").rglob("*") if path.is_file()]


FIT = """
from common import backend
keras = backend.import_keras()
from keras import layers
random = keras.initializers.RandomNormal(seed=0)  # set_random_seed would import TensorFlow on JAX, too
model = keras.Sequential([keras.Input((9, 9, 3)), layers.Conv2D(4, 3, kernel_initializer=random), layers.Flatten()])
model.add(layers.Dense(2, "softmax", kernel_initializer=random))
model.add(layers.Dropout(0.5, seed=0))
model.compile("adam", "categorical_crossentropy")
model.fit(keras.ops.ones((32, 9, 9, 3)), keras.ops.ones((32, 2)), 4, epochs=2, verbose=0)
print(model.get_weights())
"""


def test_a_keras_json_and_variables_of_the_user_change_no_number(tmp_path, capsys):
    other = {"image_data_format": "channels_first", "floatx": "float16", "epsilon": 0.01}
    (tmp_path / "keras.json").write_text(json.dumps(other))
    mine = {"KERAS_HOME": str(tmp_path), "KERAS_MAX_EPOCHS": "1", "KERAS_MAX_STEPS_PER_EPOCH": "1", "JAX_ENABLE_X64": "1"}
    environment = os.environ | mine | {"KERAS_BACKEND": backend.name(), "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", FIT], env=environment, capture_output=True, text=True, check=True)
    capsys.readouterr()
    exec(FIT)
    assert capsys.readouterr().out == ended.stdout


def test_what_the_user_set_stays_and_no_right_to_write_costs_only_time(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
    (tmp_path / "file").touch()
    backend.keep_compiled_programs(tmp_path / "file")
    assert "TF_XLA_FLAGS" not in os.environ
    backend.keep_compiled_programs(tmp_path)
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "elsewhere"
    assert str(tmp_path / "compiled") in os.environ.pop("TF_XLA_FLAGS")


def test_a_device_takes_more_small_images_and_fewer_large_ones(monkeypatch):
    monkeypatch.setattr(backend, "kind", lambda: "gpu")
    assert [backend.batch_size(size) for size in (32, 112, 224, 448, 10_000)] == [1024, 1024, 256, 64, 1]
