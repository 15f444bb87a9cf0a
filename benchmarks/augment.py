#!/usr/bin/env python3
"""Augmenting a batch: one cv2.warpAffine an image against Keras's layers, side by side; and a random crop with cutout.

    python benchmarks/augment.py

Batches of 64 images of 32x32, flipped, rotated and shifted, in turn by either; medians of 100.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import functools
import statistics
import time

import numpy as np

from common import backend, cli, flags
from common.data import augment


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    parser.add_argument("-b", "--batch-size", type=flags.positive_int, default=64, metavar="N")
    parser.add_argument("--batches", type=flags.positive_int, default=100, metavar="N", help="of each")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    keras = backend.start(False)
    layers = keras.layers
    sequential = keras.Sequential([
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(15 / 360, fill_mode="nearest"),
        layers.RandomTranslation(0.1, 0.1, fill_mode="nearest"),
    ])  # fmt: skip
    images = np.random.default_rng(0).integers(0, 256, (args.batch_size, 32, 32, 3)).astype(np.uint8)
    crop, cut_out = functools.partial(augment.flip_and_crop, padding=4), functools.partial(augment.cut_out, size=8)
    crop_and_cut_out = augment.in_turn(crop, cut_out)
    ways = {
        "common/augment.py": lambda number: augment.augment(images, augment.flip_shift_and_rotate, number),
        "Keras's layers": lambda number: keras.ops.convert_to_numpy(sequential(images, training=True)),
        "crop and cutout": lambda number: augment.augment(images, crop_and_cut_out, number),
    }
    seconds = {way: [] for way in ways}
    for number in range(args.batches + 2):
        for way, make_batch in ways.items():
            started = time.perf_counter()
            make_batch(number)
            seconds[way].append(time.perf_counter() - started)
    medians = {way: 1000 * statistics.median(measured[2:]) for way, measured in seconds.items()}  # the first ones warm up
    for way, milliseconds in medians.items():
        print(f"{way:18} {milliseconds:7.2f} ms for a batch of {args.batch_size}")
    ours, layers_, _ = medians.values()
    print(f"{backend.devices()[0]}, Keras on {backend.name()}: {layers_ / ours:.1f} times faster")


if __name__ == "__main__":
    cli.run(main)
