"""What several test files share: a small backbone in place of the real ones, a tiny data set, the scripts' smallest flags."""

import argparse

import keras
import numpy as np
from keras import layers

import evaluate
import train_ab_split
import train_efficientnetb7
import train_linear_probe
import train_resnet152v2
import train_vgg19
import train_vgg19_finetune
from common import files
from common.data.dataset import Dataset, Samples
from common.models import backbones
from common.training.run import Experiment, Run, load_data

SAMPLES = Samples(np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 1]))
DATASET = Dataset("two", ("no", "yes"), SAMPLES, SAMPLES, SAMPLES)
EXPERIMENT = Experiment("experiment", "a title", "none", 0.5, "a remark")

# The scripts with their smallest flags.
SMALL = ("--data", "digits", "--max-train-samples", "120", "--batch-size", "32", "--name", "control")
BASE = (*SMALL, "--weights", "none", "--image-size", "32")
REGULARIZED = ("--weight-decay", ".1", "--smoothing", ".1", "--crop-padding", "4")
SCHEDULED = ("--schedule", "cosine", "--warmup-epochs", "1", "--optimizer", "sgd", "--momentum", ".9")
BALANCED = ("--class-weight", "balanced", "--monitor", "val_balanced_accuracy")
PROBE = ("--data", "digits", "--max-train-samples", "120", "--base", "efficientnetb7", "mobilenet", *BASE[-4:])
SWEEP = ("--epochs", "2", "--lr", "1e-3", "2e-3", "--unfreeze-last", "1", *SCHEDULED)
SGD = ("--optimizer", "sgd", "--lr", ".01", "--momentum", ".9", "--weight-decay", ".01")
SCRIPTS = {
    "vgg19": (
        train_vgg19,
        (*BASE, "--epochs", "3", "--augment", "--views", "2", "--resize", "crop", "--class-weight", "balanced"),
    ),
    "vgg19_finetune": (train_vgg19_finetune, (*BASE, "--head-epochs", "2", "--finetune-epochs", "2", *REGULARIZED)),
    "resnet152v2": (train_resnet152v2, (*BASE, "--epochs", "3", "--no-augment", "--lr-patience", "1", *BALANCED)),
    "efficientnetb7": (train_efficientnetb7, (*BASE, *SWEEP)),
    "ab_split": (train_ab_split, (*SMALL, "--image-size", "8", "--epochs", "2", "--b-samples", "20", *SGD)),
    "linear_probe": (train_linear_probe, PROBE),
}


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


def small_backbone(name, image_size, weights, *, seed, unfreeze_last=0, pooling="avg"):
    """Stands in for a backbone of 20 to 66 million weights; takes those of a run."""
    inputs = keras.Input((image_size, image_size, 3))
    outputs = layers.Conv2D(4, 8, strides=8, kernel_initializer=keras.initializers.GlorotUniform(seed=seed))(inputs)
    outputs = (
        layers.Flatten()(outputs) if name == "vgg19-fc2" else layers.GlobalAveragePooling2D()(outputs) if pooling else outputs
    )
    backbone = keras.Model(inputs, outputs, name=name)
    if weights and weights.path:
        backbone.set_weights(keras.models.load_model(weights.path).get_layer(name).get_weights())
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


def load(source, tmp_path, upscaled_later=False, **changes):
    """The data set that `--data source` names, at 32x32."""
    flags = {"image_size": 32, "validation_split": 0.1, "max_train_samples": None, "seed": 0, "cache_dir": tmp_path / "cache"}
    flags |= {"resize": "squeeze", "skip_damaged": False}
    return load_data(argparse.Namespace(data=str(source), **flags | {"dry_run": False} | changes), upscaled_later)


def in_order(part):
    """The images of a part as a sorted list of bytes: equal for equal sets of images."""
    return sorted((int(label), image.tobytes()) for image, label in zip(part.images, part.labels, strict=True))
