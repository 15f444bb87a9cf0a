#!/usr/bin/env python3
"""What memory and time photos take that do not fit into memory, by their number: training, evaluation, prediction.

    python benchmarks/photos.py                                      # 2,000 and 20,000 photos of 500x375, made for the purpose
    python benchmarks/photos.py --photos 2000 5000 20000
    systemd-run --user --scope -p MemoryMax=2G python benchmarks/photos.py --photos 20000   # less memory than the images take

All cases use 224x224 pixels; 20,000 photos are 3.0 GB then. `read` is train_resnet152v2.py, which reads, hashes and splits all
photos, trains two batches and scores two; it runs again with the decoded images on disk. `all layers` is the same for
train_vgg19_finetune.py. `features` computes the features of all photos with EfficientNet-Lite0, random weights, and trains an
epoch on them. `evaluate` and `predict` take all photos through a model that averages their pixels.

Prints the peak memory and seconds of each process and a number that it computed, the test loss or the last probability; then
the ratio of the peaks with the most and the fewest photos. `random order` reads decoded images in the order of an epoch, in
batches of 32: with the page cache dropped, then with a warm one.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import os
import re
import subprocess
import tempfile
import time

import cv2
import numpy as np

from common import backend, cli, flags

ROOT = Path(__file__).parents[1]
DATA = ("--data", "photos", "--image-size", "224")
MODEL = ("model.keras", "--classes", "cat", "dog")
CASES = {
    "read": ("train_resnet152v2.py", *DATA, "--weights", "none", "--dry-run"),
    "read again": ("train_resnet152v2.py", *DATA, "--weights", "none", "--dry-run"),
    "all layers": ("train_vgg19_finetune.py", *DATA, "--weights", "none", "--dry-run", "--head-epochs", "0", "-b", "8"),
    "features": (
        "train_efficientnetb7.py", *DATA, "--base", "efficientnet-lite0", "--weights", "none", "--no-augment", "--epochs", "1",
    ),
    "evaluate": ("evaluate.py", *MODEL, "--data", "photos", "--part", "all", "--json"),
    "predict": ("predict.py", "model.keras", "photos", "--csv", "--classes", "cat", "dog"),
}  # fmt: skip


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    parser.add_argument("--photos", nargs="+", type=flags.positive_int, default=[2000, 20_000], metavar="N", help="how many")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help="which of them")
    return parser.parse_args(argv)


def make_photos(folder, count):
    """Smooth random JPEGs of 500x375, half in each of two classes."""
    random = np.random.default_rng(0)
    for number in range(count):
        path = folder / ("cat", "dog")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = random.integers(0, 256, (12, 16, 3), np.uint8)
        cv2.imwrite(str(path), cv2.resize(coarse, (500, 375), interpolation=cv2.INTER_CUBIC))


def make_model(path):
    """Save a model that averages the pixels of an image, with two classes."""
    keras = backend.start(False)
    keras.utils.set_random_seed(0)
    layers = [keras.Input((224, 224, 3)), keras.layers.Rescaling(1 / 255), keras.layers.GlobalAveragePooling2D()]
    keras.Sequential([*layers, keras.layers.Dense(2, activation="softmax")]).save(path)


def run(command, folder):
    """Seconds, peak memory in MiB and test loss, or last probability, of a script, as a process of its own."""
    started = time.perf_counter()
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen([sys.executable, ROOT / command[0], *command[1:]], cwd=folder, stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise cli.TrainingError(f"{command[0]} ended with exit code {os.waitstatus_to_exitcode(status)}")
    seconds, results = time.perf_counter() - started, sorted(folder.glob("runs/*/*/results.json"), key=os.path.getmtime)
    path = results[-1] if command[0].startswith("train") else folder / "output.txt"
    return seconds, usage.ru_maxrss / 2**10, re.findall(r'(?:"test_loss": |,)(\d\.\d+)\b', path.read_text())[-1]


def read_in_random_order(cache_dir):
    """Images a second, with the page cache dropped and with a warm one, of the largest file of decoded images."""
    from common.data.rows import RowFile

    path = max((cache_dir / "images").glob("*.npy"), key=lambda path: path.stat().st_size)
    shape = np.load(path, mmap_mode="r").shape
    order, rates = np.random.default_rng(0).permutation(shape[0]), []
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    for _ in range(2):
        rows, started = RowFile(path, shape, np.uint8).load(), time.perf_counter()
        for start in range(0, len(order), 32):
            rows[order[start : start + 32]]
        rates.append(len(order) / (time.perf_counter() - started))
    return rates


def main(argv=None):
    args, peaks = parse_args(argv), {}
    for count in args.photos:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            make_photos(folder / "photos", count)
            make_model(folder / "model.keras")
            for case in args.cases:
                seconds, peaks[case, count], score = run(CASES[case], folder)
                print(f"{count:7,} photos, {case:10}: {peaks[case, count]:6,.0f} MiB, {seconds:5.0f} s, {score}", flush=True)
            rates = read_in_random_order(folder / "cache")
            print(f"{count:7,} photos, random order: {rates[0]:,.0f} images/s, {rates[1]:,.0f} with a warm cache", flush=True)
    for case in args.cases:
        ratio = peaks[case, max(args.photos)] / peaks[case, min(args.photos)]
        print(f"ratio of memory, {case}: {ratio:.2f}")


if __name__ == "__main__":
    cli.run(main)
