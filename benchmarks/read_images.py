#!/usr/bin/env python3
"""What reading a folder of small images costs: a bare `cv2.imread` loop, our first reading and our second.

    python benchmarks/read_images.py                      # 20,000 PNGs of 32x32, made for the purpose
    python benchmarks/read_images.py --data PATH          # train/<class>/* of your own

All three are measured side by side in one run, twice over, the fastest of each counts; the ratios are the claim.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
import numpy as np

from common import cli, flags
from common.data import folders

NUM_CLASSES, NUM_IMAGES = 10, 20_000


def make_images(root):
    random = np.random.default_rng(0)
    for number in range(NUM_IMAGES):
        folder = root / "train" / f"class {number % NUM_CLASSES}"
        folder.mkdir(parents=True, exist_ok=True)
        small = random.integers(0, 256, (8, 8, 3), np.uint8)  # enlarged, so that a PNG is about as long as a CIFAR-10 one
        cv2.imwrite(str(folder / f"{number:05}.png"), cv2.resize(small, (32, 32), interpolation=cv2.INTER_CUBIC))


def seconds(function):
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def main():
    parser = flags.build_parser(__doc__)
    parser.add_argument("--data", type=Path, metavar="PATH", help="a folder train/<class>/* of images of 32x32")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = args.data or Path(scratch) / "images"
        if not args.data:
            make_images(root)
        names, train = folders.class_names(root), folders.parts(root)[0]
        files = [str(path) for path in train.glob("*/*")]
        times = {"bare cv2.imread": [], "first reading": [], "second reading": []}
        for number in range(2):
            cache = Path(scratch) / f"cache {number}"
            times["bare cv2.imread"].append(seconds(lambda: [cv2.imread(file) for file in files]))
            for name in ("first reading", "second reading"):
                times[name].append(seconds(lambda cache=cache: folders.read_part(train, names, 32, cache)))
    bare = min(times["bare cv2.imread"])
    print(f"{len(files):,} images")
    for name, measured in times.items():
        print(f"{name:16} {min(measured):7.2f} s   {min(measured) / bare:5.2f} times the bare loop")


if __name__ == "__main__":
    cli.run(main)
