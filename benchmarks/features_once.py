#!/usr/bin/env python3
"""What it saves to compute the frozen convolutions of the A/B split once and not in every epoch.

    python benchmarks/features_once.py                              # 2,000 images, 20 epochs
    python benchmarks/features_once.py --images 9000 --epochs 20  # B of CIFAR-10

The same head, first weights and batches both ways, on random images: speed does not depend on what they show. Prints
both times, measured side by side in one run, their ratio, and how far the final losses are apart.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import time

import numpy as np

import train_ab_split
from common import backend, cli, flags
from common.data import dataset as data


def main():
    parser = flags.build_parser(__doc__)
    parser.add_argument("--images", type=flags.positive_int, default=2000, metavar="N", help="training images")
    parser.add_argument("--epochs", type=flags.positive_int, default=20, metavar="N", help="passes over them")
    args = parser.parse_args()
    backend.start(amp=False)
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (args.images, 32, 32, 3), np.uint8), random.integers(0, 2, args.images)
    part = data.Samples(images, labels)
    dataset = data.Dataset("random", ("0", "1"), part, part.take(slice(0, 128)), part.take(slice(0, 128)))

    seconds, losses = {}, {}
    for way in ("through the frozen base", "features once"):
        backend.set_seed(0, "features once")
        convolutions = train_ab_split.build_convolutions(32)
        convolutions.trainable = False
        head = train_ab_split.build_head(convolutions.output_shape[-1], 2, 0.4)
        model = train_ab_split.join(convolutions, head)
        model.predict(images[:256], batch_size=256, verbose=0)  # both ways start with the base traced
        started = time.perf_counter()
        trained, inputs = (head, train_ab_split.extract(convolutions, dataset)) if way == "features once" else (model, dataset)
        train_ab_split.compile_model(trained, 1e-3)
        x, y = inputs.train.images, inputs.train.labels
        fitted = trained.fit(x, y, batch_size=128, epochs=args.epochs, shuffle=False, verbose=0)
        seconds[way], losses[way] = time.perf_counter() - started, fitted.history["loss"][-1]
        print(f"{way:24} {seconds[way]:7.2f} s   final loss {losses[way]:.6f}")
    slow, fast = seconds.values()
    print(f"ratio {slow / fast:.1f}")


if __name__ == "__main__":
    cli.run(main)
