#!/usr/bin/env python3
"""What predict.py takes, in memory and time, when it predicts images as they come, and when it reads all of them first.

    python benchmarks/predict_many.py runs/ab_split/20261123-120000            # 1,000 and 10,000 PNGs of 32x32
    python benchmarks/predict_many.py latest --edge 500 --images 2000          # photographs, JPEG
    python benchmarks/predict_many.py latest --data PATH                       # a folder of your own images

Each way runs in a process of its own and writes CSV to nowhere, a tenth of the images first. Seconds are from the first image
to the last, without the start of Keras and the loading of the model; memory is the most that the process had at once.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import contextlib
import itertools
import multiprocessing
import os
import resource
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import cv2
import numpy as np

import predict
from common import cli, flags
from common.data import images, paths
from common.results import predictions, printing, trained_model


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder of a finished run")
    parser.add_argument("--images", type=flags.positive_int, default=10_000, metavar="N", help="images that are made")
    parser.add_argument("--edge", type=flags.positive_int, default=32, metavar="N", help="their edge in pixels; JPEG above 100")
    parser.add_argument("--data", type=Path, metavar="PATH", help="a folder of images, instead of made ones")
    return parser.parse_args(argv)


def make_images(folder, count, edge):
    random = np.random.default_rng(0)
    for number in range(count):
        image = cv2.resize(random.integers(0, 256, (8, 8, 3), np.uint8), (edge, edge), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number:06}{'.jpg' if edge > 100 else '.png'}"), image)


def all_first(run, model, found):
    """The former way: all images are read one by one, then predicted."""
    image_size = run.results["image_size"]
    pixels = {path: images.resize(images.read_image(path), image_size) for path in found}
    probabilities = predictions.predict(model, np.stack(list(pixels.values())), predict.BATCH_SIZE)
    return zip(pixels, probabilities.tolist(), strict=True)


def as_they_come(run, model, found):
    """The way of predict.py."""
    return predict.predict(run, model, found, len(found), printing.Remarks(at_once=True))


def measure(way, run_dir, folder, count):
    """Seconds and MiB for the first `count` images of a folder."""
    run = trained_model.find_model(run_dir)
    model = run.load()
    found = list(itertools.islice(paths.find_images(str(folder), print, Counter()), count))
    list(all_first(run, model, found[:1]))  # what is imported and traced once
    started = time.perf_counter()
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        printing.as_csv(run.class_names) as write,
    ):
        for path, probabilities in way(run, model, found):
            write(path, probabilities)
    seconds = time.perf_counter() - started
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main(argv=None):
    args = parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.data or Path(scratch)
        if not args.data:
            make_images(folder, args.images, args.edge)
        count = len(paths.find_images(str(folder), print, Counter()))
        print(f"{'images':>9}  {'all read first':>22}  {'as they come':>22}")
        for number in (count // 10, count):
            cells = []
            for way in (all_first, as_they_come):
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                    seconds, memory = pool.submit(measure, way, args.run_dir, folder, number).result()
                cells.append(f"{seconds:8.2f} s, {memory:6,.0f} MiB")
            print(f"{number:9,}  {cells[0]:>22}  {cells[1]:>22}", flush=True)


if __name__ == "__main__":
    cli.run(main)
