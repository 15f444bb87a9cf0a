"""What several test files share: a small base in place of the real ones, a tiny data set, the arguments of a run."""

import argparse

import keras
import numpy as np
from keras import layers

from common.data import dataset as data
from common.models import backbones

PART = data.Part(np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 1]))
DATASET = data.Dataset("two", ("no", "yes"), PART, PART, PART)


def make_args(tmp_path, **changes):
    flags = {
        "output_dir": tmp_path / "runs",
        "name": None,
        "dry_run": False,
        "amp": False,
        "tensorboard": False,
        "seed": 0,
        "resume": None,
    }
    return argparse.Namespace(**flags | changes)


def small_base(name, image_size, found, *, seed, unfreeze_last=0):
    """What takes the place of a base of 20 to 66 million weights."""
    inputs = keras.Input((image_size, image_size, 3))
    outputs = layers.Conv2D(4, 8, strides=8, kernel_initializer=keras.initializers.GlorotUniform(seed=seed))(inputs)
    outputs = layers.Flatten()(outputs) if name == "vgg19-fc2" else outputs
    base = keras.Model(inputs, outputs, name=name)
    backbones._freeze(base, unfreeze_last, is_random=False)
    return base
