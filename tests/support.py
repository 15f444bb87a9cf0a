"""What several test files share: a small backbone in place of the real ones, a tiny data set, the arguments of a run."""

import argparse

import keras
import numpy as np
from keras import layers

import evaluate
from common import files
from common.data.dataset import Dataset, Samples
from common.models import backbones
from common.training.run import Experiment, Run

SAMPLES = Samples(np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 1]))
DATASET = Dataset("two", ("no", "yes"), SAMPLES, SAMPLES, SAMPLES)
EXPERIMENT = Experiment("experiment", "a title", "none", 0.5, "a remark")


def make_args(tmp_path, **changes):
    flags = {
        "batch_size": 16,
        "class_weight": "none",
        "output_dir": tmp_path / "runs",
        "name": None,
        "dry_run": False,
        "amp": False,
        "tensorboard": False,
        "seed": 0,
        "resume": None,
        "devices": 1,
        "cache_dir": tmp_path / "cache",
        "resize": "squeeze",
        "skip_damaged": False,
    }
    return argparse.Namespace(**flags | changes)


def make_run(tmp_path, **changes):
    """A started run of the tiny data set."""
    return Run(EXPERIMENT, make_args(tmp_path, **changes), DATASET)


def small_backbone(name, image_size, weights, *, seed, unfreeze_last=0):
    """Stands in for a backbone of 20 to 66 million weights."""
    inputs = keras.Input((image_size, image_size, 3))
    outputs = layers.Conv2D(4, 8, strides=8, kernel_initializer=keras.initializers.GlorotUniform(seed=seed))(inputs)
    outputs = layers.Flatten()(outputs) if name == "vgg19-fc2" else outputs
    backbone = keras.Model(inputs, outputs, name=name)
    backbones._freeze(backbone, unfreeze_last, is_random=False)
    return backbone


def check_evaluation(run, cache):
    """`evaluate.py RUN_DIR` gives the numbers that the run has stored, to the last digit."""
    results = evaluate.main([str(run), "--cache-dir", str(cache)])
    stored = files.read_json(run / "results.json")
    for name in (
        "test_accuracy",
        "test_loss",
        "test_accuracy_interval",
        "per_class_accuracy",
        "most_confused",
        "calibration_error",
    ):
        assert results[name] == stored[name], name
    assert results["images"] == stored["test_size"] and list(results["class_names"]) == stored["class_names"]
