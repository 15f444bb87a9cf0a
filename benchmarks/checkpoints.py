#!/usr/bin/env python3
"""What a checkpoint after every epoch costs, against the epoch, at the documented sizes.

    python benchmarks/checkpoints.py

For VGG19 with all layers trained, the head on ResNet152V2's features and the CNN of the A/B split: four epochs on fewer random
images or features than there are, each followed by a checkpoint. Prints the seconds of an epoch, brought to the documented
number of images, of a checkpoint, and their ratio. A run writes fewer checkpoints where the ratio would be above 0.05.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import tempfile
import time

import numpy as np

from common import backend, cli, flags


def parse_args(argv=None):
    return flags.build_parser(__doc__).parse_args(argv)


def measure(model, shape, num_classes, batch_size, samples, documented):
    """Seconds of an epoch of `documented` samples, seconds and MB of a checkpoint."""
    import keras

    from common.training import checkpoints

    checkpoints.SHARE = np.inf  # after every epoch
    random = np.random.default_rng(0)
    x, y = random.random((samples, *shape), np.float32), random.integers(num_classes, size=samples)
    y = keras.utils.to_categorical(y, num_classes) if model.loss == "categorical_crossentropy" else y
    epochs, written = [], []

    class Timed(checkpoints.Checkpoint):
        def on_epoch_begin(self, epoch, logs=None):
            super().on_epoch_begin(epoch, logs)
            self.began = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            epochs.append(time.perf_counter() - self.began)
            super().on_epoch_end(epoch, logs)
            written.append(time.perf_counter() - self.began - epochs[-1])

    with tempfile.TemporaryDirectory() as folder:
        keep_best = keras.callbacks.EarlyStopping("loss", mode="max", patience=9, restore_best_weights=True)
        callback = Timed(Path(folder), "phase", 4, [keep_best], 0, note=lambda: {"rows": [], "elapsed": 0})
        model.fit(x, y, batch_size=batch_size, epochs=4, callbacks=[keep_best, callback], verbose=0)
        size = callback.path.stat().st_size
    # Without the first epoch: it holds the tracing, and its weights are the best ones, which then need no place of their own.
    return np.median(epochs[1:]) * documented / samples, np.median(written[1:]), size / 1e6


def vgg19():
    import keras
    from keras import layers

    import train_vgg19_finetune as script
    from common.models import backbones, weights

    inputs = keras.Input((32, 32, 3))
    base = backbones.build("vgg19", 32, weights.find("none", "vgg19", 32), seed=0)
    for layer in base.layers:
        layer.trainable = True
    model = keras.Model(inputs, script.build_head(512, 10, 0.25)(layers.Flatten()(base(inputs))))
    script.compile_model(model, 0.003)
    return model


def resnet_head():
    import train_resnet152v2 as script

    model = script.build_head(2048, 10, 0.3)
    script.compile_model(model, 1e-3)
    return model


def ab_split():
    import train_ab_split as script

    model = script.join(script.build_convolutions(32), script.build_head(4096, 8, 0.4))
    script.compile_model(model, 1e-3)
    return model


MODELS = (
    ("VGG19 at 32x32, all layers", vgg19, (32, 32, 3), 10, 64, 640, 45_000),
    ("head on ResNet152V2", resnet_head, (2048,), 10, 128, 12_800, 37_500),
    ("CNN of the A/B split", ab_split, (32, 32, 3), 8, 128, 2_560, 36_000),
)


def main(argv=None):
    parse_args(argv)
    backend.start(amp=False)
    for name, build, *sizes in MODELS:
        epoch, checkpoint, megabytes = measure(build(), *sizes)
        print(
            f"{name:28} epoch of {sizes[-1]:,} {epoch:7.1f} s, checkpoint of {megabytes:5.0f} MB {checkpoint:6.3f} s, "
            f"ratio {checkpoint / epoch:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    cli.run(main)
