#!/usr/bin/env python3
"""What memory it saves to upscale images in batches, inside the model, and not all of them beforehand.

    python benchmarks/memory.py                        # 2,000 images from 32x32 to 224x224
    python benchmarks/memory.py --images 4000

Both ways end with the same features, here the mean of each channel: the base between upscaling and pooling, left out, takes
what it takes in both. Each way runs in a process of its own; prints what each took above what it had before, and the ratio.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import multiprocessing
import resource
import tempfile
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from common import backend, cli, flags

IMAGE_SIZE = 224


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    parser.add_argument("--images", type=flags.positive_int, default=2000, metavar="N", help="of 32x32")
    return parser.parse_args(argv)


def peak():
    """The most memory this process has had at once, in MiB: Linux counts it in KiB, macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def in_batches(images):
    """The features, and the MiB that it took, of images that are upscaled in the model, through our cache of features."""
    keras = backend.start(False)
    from common.data.rows import Rows
    from common.models import features
    from common.models.upscale import upscale

    inputs = keras.Input(images.shape[1:])
    pooled = keras.layers.GlobalAveragePooling2D()(upscale(inputs, IMAGE_SIZE))
    extractor = keras.Model(inputs, pooled)
    extractor.predict(images[:64], batch_size=32, verbose=0)
    before = peak()
    with tempfile.TemporaryDirectory() as cache_dir:
        rows, _ = features.FeatureCache(extractor, cache_dir).extract(Rows([images]), "features")
        return rows[:], peak() - before


def all_at_once(images):
    """The same of images that are upscaled beforehand, by OpenCV."""
    keras = backend.start(False)
    import cv2

    pooling = keras.Sequential([keras.Input((IMAGE_SIZE, IMAGE_SIZE, 3)), keras.layers.GlobalAveragePooling2D()])
    pooling.predict(np.zeros((64, IMAGE_SIZE, IMAGE_SIZE, 3), np.float32), batch_size=32, verbose=0)
    before = peak()
    upscaled = np.empty((len(images), IMAGE_SIZE, IMAGE_SIZE, 3), np.float32)
    for image, place in zip(images, upscaled, strict=True):
        cv2.resize(image.astype(np.float32), place.shape[:2], place, interpolation=cv2.INTER_CUBIC)
    return pooling.predict(upscaled, batch_size=32, verbose=0), peak() - before


def main(argv=None):
    args = parse_args(argv)
    images = np.random.default_rng(0).integers(0, 256, (args.images, 32, 32, 3), np.uint8)
    features, mebibytes = {}, {}
    for way in (in_batches, all_at_once):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            features[way], mebibytes[way] = process.submit(way, images).result()
        print(f"{way.__name__.replace('_', ' '):12} {mebibytes[way]:8.0f} MiB", flush=True)
    difference = np.abs(features[in_batches] - features[all_at_once]).max()
    print(f"largest difference between the features {difference:.1e}, of 255")
    print(f"ratio {mebibytes[all_at_once] / mebibytes[in_batches]:.1f}")


if __name__ == "__main__":
    cli.run(main)
