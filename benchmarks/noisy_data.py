#!/usr/bin/env python3
"""How many wrong labels and copied test images train_linear_probe.py finds, of those that were planted.

    python benchmarks/noisy_data.py --data cifar10-subset                # a folder train/<class>/*, test/<class>/*
    python benchmarks/noisy_data.py --data cifar10-subset --base efficientnet-lite0 efficientnet-lite2

In a copy of the data, --labels training images move to another class at random, and --copies test images go into train as
JPEG of quality 90. Prints how many of the former are among the first 30 of label_issues.csv, and for duplicates.csv how many of
the latter it has and how many other pairs: images that are alike in the data themselves, or false ones.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import contextlib
import shutil
import tempfile

import cv2
import numpy as np

import train_linear_probe
from common import cli, files, flags

FIRST = 30


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="PATH", help="a folder of PNG images with train and test")
    parser.add_argument("--base", nargs="+", default=["efficientnet-lite0"], metavar="NAME", help="the networks")
    parser.add_argument("--labels", type=flags.positive_int, default=20, metavar="N", help="wrong labels to plant")
    parser.add_argument("--copies", type=flags.positive_int, default=10, metavar="N", help="test images to copy into train")
    parser.add_argument("--seed", type=flags.seed, default=0, metavar="N", help="of what is planted where")
    return parser.parse_args(argv)


def plant(data, args):
    """Change a copy of the data. Returns the paths of images with a wrong label, and pairs of test image and copy."""
    random = np.random.default_rng(args.seed)
    train, test = (sorted((data / part).rglob("*.png")) for part in ("train", "test"))
    classes = sorted(path.name for path in (data / "train").iterdir())
    wrong, copies = set(), set()
    for index in random.choice(len(train), args.labels, replace=False):
        path = train[index]
        other = random.choice([name for name in classes if name != path.parent.name])
        wrong.add(str(path.rename(data / "train" / other / f"{path.parent.name}-{path.name}")))
    for index in random.choice(len(test), args.copies, replace=False):
        path = test[index]
        copy = data / "train" / path.parent.name / f"copy-{path.stem}.jpg"
        cv2.imwrite(str(copy), cv2.imread(str(path)), [cv2.IMWRITE_JPEG_QUALITY, 90])
        copies.add((str(path), str(copy)))
    return wrong, copies


def main(argv=None):
    args = parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder).resolve()
        shutil.copytree(args.data, folder / "data")
        wrong, copies = plant(folder / "data", args)
        places = ("--data", str(folder / "data"), "--output-dir", str(folder / "runs"), "--cache-dir", str(folder / "cache"))
        with contextlib.redirect_stdout(sys.stderr):
            train_linear_probe.main([*places, "--base", *args.base])
        (run,) = (folder / "runs" / "linear_probe").iterdir()
        for base in args.base:
            issues, duplicates = (files.read_csv(run / base / name, False) for name in ("label_issues.csv", "duplicates.csv"))
            num_wrong = len(wrong & {row["image"] for row in issues[:FIRST]})
            pairs = {(row["test"], row["train"]) for row in duplicates}
            print(f"{base}: {num_wrong} of {len(wrong)} wrong labels among the first {FIRST};", end=" ")
            print(f"{len(copies & pairs)} of {len(copies)} copies found, and {len(pairs - copies)} other pairs")


if __name__ == "__main__":
    cli.run(main)
