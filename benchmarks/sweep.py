#!/usr/bin/env python3
"""What the document's comparison of 4 learning rates and 2 dropout rates costs against a single run, both without a cache.

    python benchmarks/sweep.py                            # scikit-learn's digits, 1,000 for training, at 96x96
    python benchmarks/sweep.py --data PATH --images 5000

Runs train_efficientnetb7.py, the real EfficientNetB7 with random weights and its usual augmented views, once with one
combination and once with eight, each in a process of its own with an empty cache. Prints both times and their ratio.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import subprocess
import tempfile
import time

from common import cli, flags

SWEEP = ("--lr", ".0005", ".0007", ".001", ".0015", "--dropout", ".25", ".35")


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    parser.add_argument("--data", default="digits", metavar="cifar10|digits|PATH", help="as for train_efficientnetb7.py")
    parser.add_argument("--images", type=flags.positive_int, default=1000, metavar="N", help="training images, val included")
    parser.add_argument("--image-size", type=flags.positive_int, default=96, metavar="N", help="they are upscaled to N x N")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    script = Path(__file__).parents[1] / "train_efficientnetb7.py"
    flags = ("--data", args.data, "--weights", "none", "--max-train-samples", args.images, "--image-size", args.image_size)
    seconds = []
    for name, sweep in (("one combination", ()), ("eight combinations", SWEEP)):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, script, *flags, *sweep, "--cache-dir", f"{folder}/cache", "--output-dir", folder]
            started = time.perf_counter()
            subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - started)
        print(f"{name:20} {seconds[-1]:7.1f} s", flush=True)
    print(f"ratio {seconds[1] / seconds[0]:.2f}")


if __name__ == "__main__":
    cli.run(main)
