#!/usr/bin/env python3
"""What memory and time it takes to start on photos that fill the memory, by their number.

    python benchmarks/photos.py                             # 2,000 and 20,000 photos of 500x375, made for the purpose
    python benchmarks/photos.py --photos 2000 5000 20000

`train_resnet152v2.py --dry-run` at 224x224 reads all photos, splits them and hashes them; it trains two batches and scores two.
It runs twice: the second time the decoded images are on disk. Prints its peak memory and seconds, and the ratio of the peaks
with the most and the fewest photos. Decoded, 20,000 of them are 3.0 GB.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import os
import subprocess
import tempfile
import time

import cv2
import numpy as np

from common import cli, flags

ROOT = Path(__file__).parents[1]
TRAIN = ("train_resnet152v2.py", "--weights", "none", "--image-size", "224", "--dry-run", "--data", "photos")


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    parser.add_argument("--photos", nargs="+", type=flags.positive_int, default=[2000, 20_000], metavar="N", help="how many")
    return parser.parse_args(argv)


def make_photos(folder, count):
    """Smooth random JPEGs of 500x375, half in each of two classes."""
    random = np.random.default_rng(0)
    for number in range(count):
        path = folder / ("cat", "dog")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = random.integers(0, 256, (12, 16, 3), np.uint8)
        cv2.imwrite(str(path), cv2.resize(coarse, (500, 375), interpolation=cv2.INTER_CUBIC))


def run(folder):
    """Seconds and peak memory in MiB of the script, as a process of its own."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, ROOT / TRAIN[0], *TRAIN[1:]], cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise cli.TrainingError(f"{TRAIN[0]} ended with exit code {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - started, usage.ru_maxrss / 2**10


def main(argv=None):
    args, peaks = parse_args(argv), {}
    for count in args.photos:
        with tempfile.TemporaryDirectory() as folder:
            make_photos(Path(folder) / "photos", count)
            for what in ("first", "again"):
                seconds, peaks[count] = run(folder)
                print(f"{count:7,} photos, {what}: {peaks[count]:6,.0f} MiB, {seconds:4.0f} s", flush=True)
    print(f"ratio {peaks[max(peaks)] / peaks[min(peaks)]:.2f}")


if __name__ == "__main__":
    cli.run(main)
