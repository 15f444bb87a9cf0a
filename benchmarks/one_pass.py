#!/usr/bin/env python3
"""What it saves to run frozen VGG19 once over the images and not once an epoch, and what the feature cache adds to it.

    python benchmarks/one_pass.py                                     # 1,000 images at 48x48, 20 epochs
    python benchmarks/one_pass.py --images 200 --image-size 224     # at the documented size

Trains the head of train_vgg19.py both ways, same first weights and batches, on random images: speed does not depend on what
they show. Then times the extraction, upscaling, hashing and writing included, against a bare `predict` of the same base on
images that were upscaled beforehand. Prints times measured side by side in one run, and their ratios.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import tempfile
import time

import numpy as np

import train_vgg19
from common import backend, cli, flags
from common.data import dataset as data
from common.models import weights


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    parser.add_argument("--images", type=flags.positive_int, default=1000, metavar="N", help="training images")
    parser.add_argument("--image-size", type=flags.positive_int, default=48, metavar="N", help="they are upscaled to N x N")
    parser.add_argument("--epochs", type=flags.positive_int, default=20, metavar="N", help="passes over them")
    parser.add_argument("--amp", action="store_true", help="bfloat16 arithmetic")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    keras = backend.start(args.amp)
    from common.data.batches import Batches
    from common.data.rows import Rows
    from common.models import features

    flags = train_vgg19.parse_args(["--weights", "none", "--image-size", str(args.image_size)])
    random = np.random.default_rng(0)

    def part(count):
        return data.Samples(random.integers(0, 256, (count, 32, 32, 3), np.uint8), random.integers(0, 10, count))

    dataset = data.Dataset("random", tuple("0123456789"), part(args.images), part(args.images // 10), part(32))
    extractor = train_vgg19.build_extractor(flags, weights.find("none", "vgg19-fc2", args.image_size), (32, 32, 3))
    extractor.predict_on_batch(dataset.test.images)  # both ways start with the base traced

    seconds, endings = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        flags.cache_dir = folder
        for way in ("through the base in every epoch", "one pass, features cached"):
            backend.set_seed(0, "head")
            head = train_vgg19.build_head(extractor.output_shape[-1], 10, 0.5)
            model = keras.Model(extractor.input, head(extractor.output))
            started = time.perf_counter()
            trained, inputs = model, dataset
            if way.startswith("one"):
                trained, inputs = head, features.Inputs(extractor, dataset, folder)
            train_vgg19.compile_model(trained, 1e-3)
            batches = Batches(inputs.train.images, inputs.train.labels, 250, 0)
            validation = (inputs.val.images, inputs.val.labels)
            fitted = trained.fit(
                batches,
                epochs=args.epochs,
                validation_data=validation,
                callbacks=[batches.follow_fit()],
                shuffle=False,
                verbose=0,
            )
            seconds[way] = time.perf_counter() - started
            endings[way] = [fitted.history[name][-1] for name in ("loss", "val_accuracy")]
            print(
                f"{way:34} {seconds[way]:8.2f} s   loss {endings[way][0]:.6f}, val accuracy {endings[way][1]:.4f}", flush=True
            )
        slow, fast = seconds.values()
        print(f"ratio {slow / fast:.1f}", flush=True)

        images, base = dataset.train.images, extractor.layers[-1]
        before = extractor.operations[extractor.operations.index(base) - 1]
        ready = keras.Model(extractor.input, before.output).predict(images, batch_size=32, verbose=0)
        base.predict(ready[:64], batch_size=32, verbose=0)
        bare, cached = [], []
        for number in range(3):
            started = time.perf_counter()
            base.predict(ready, batch_size=32, verbose=0)
            bare.append(time.perf_counter() - started)
            started = time.perf_counter()
            features.FeatureCache(extractor, Path(folder) / str(number)).extract(Rows([images]), "features")
            cached.append(time.perf_counter() - started)
    print(f"bare predict of the base {min(bare):.2f} s, extraction into the cache {min(cached):.2f} s (the best of three each)")
    print(f"ratio {min(cached) / min(bare):.2f}")


if __name__ == "__main__":
    cli.run(main)
