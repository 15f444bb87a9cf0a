"""The five scripts with their smallest flags, and one finished run of each for all tests that look at one."""

import contextlib
import os
from pathlib import Path
from types import SimpleNamespace

import cv2
import keras
import numpy as np
import pytest
from matplotlib.figure import Figure
from support import small_backbone

import train_ab_split
import train_efficientnetb7
import train_linear_probe
import train_resnet152v2
import train_vgg19
import train_vgg19_finetune
from common.models import backbones
from common.training import checkpoints

SMALL = ("--data", "digits", "--max-train-samples", "120", "--batch-size", "32", "--name", "control")
BASE = (*SMALL, "--weights", "none", "--image-size", "32")
REGULARIZED = ("--weight-decay", ".1", "--smoothing", ".1", "--crop-padding", "4")
SCHEDULED = ("--schedule", "cosine", "--warmup-epochs", "1", "--optimizer", "sgd", "--momentum", ".9")
BALANCED = ("--class-weight", "balanced", "--monitor", "val_balanced_accuracy")
PROBE = ("--data", "digits", "--max-train-samples", "120", "--base", "efficientnetb7", *BASE[-4:])
SWEEP = ("--epochs", "2", "--lr", "1e-3", "2e-3", "--unfreeze-last", "1", *SCHEDULED)
SGD = ("--optimizer", "sgd", "--lr", ".01", "--momentum", ".9", "--weight-decay", ".01")
PNG = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
SCRIPTS = {
    "vgg19": (train_vgg19, (*BASE, "--epochs", "3", "--augment", "--views", "2", "--class-weight", "balanced")),
    "vgg19_finetune": (train_vgg19_finetune, (*BASE, "--head-epochs", "2", "--finetune-epochs", "2", *REGULARIZED)),
    "resnet152v2": (train_resnet152v2, (*BASE, "--epochs", "3", "--no-augment", "--lr-patience", "1", *BALANCED)),
    "efficientnetb7": (train_efficientnetb7, (*BASE, *SWEEP)),
    "ab_split": (train_ab_split, (*SMALL, "--image-size", "8", "--epochs", "3", "--b-samples", "20", *SGD)),
    "linear_probe": (train_linear_probe, PROBE),
}


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
