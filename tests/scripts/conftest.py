"""One finished run of each script for all tests that look at one."""

import contextlib
import os
from pathlib import Path
from types import SimpleNamespace

import cv2
import keras
import numpy as np
import pytest
from matplotlib.figure import Figure
from support import SCRIPTS, small_backbone

import train_ab_split
from common.models import backbones
from common.training import checkpoints

PNG = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()


@pytest.fixture
def quick(monkeypatch, empty_figures):
    """A small backbone, eager TensorFlow, since tracing takes longer than these steps, few of them; a checkpoint each epoch."""
    with eagerly():
        make_quick(monkeypatch)
        yield


def make_quick(monkeypatch):
    monkeypatch.setattr(backbones, "build", small_backbone)
    monkeypatch.setattr(train_ab_split, "MIN_STEPS", 8)
    monkeypatch.setattr(checkpoints, "SHARE", float("inf"))


@contextlib.contextmanager
def eagerly():
    """Inside, TensorFlow traces nothing; on other backends nothing is different."""
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(before)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """`finished(name)`: a script's finished run, `quick`, which no test changes: its script, flags, folder, cache."""
    made = {}

    def make(name):
        script, flags = SCRIPTS[name]
        workplace, before = tmp_path_factory.mktemp(name), Path.cwd()
        with pytest.MonkeyPatch.context() as patch, eagerly():
            make_quick(patch)
            patch.setattr(Figure, "savefig", lambda figure, path, **options: Path(path).write_bytes(PNG))
            os.chdir(workplace)
            keras.utils.clear_session()  # layers are numbered anew, as in a process of its own
            script.main(list(flags))
            os.chdir(before)
        (folder,) = (workplace / "runs" / name).iterdir()
        return SimpleNamespace(script=script, flags=flags, folder=folder, cache=workplace / "cache")

    def get(name):
        if name not in made:
            made[name] = make(name)
        return made[name]

    return get
