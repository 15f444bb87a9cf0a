#!/usr/bin/env python3
"""Three studies: when does transfer pay, from ImageNet and from eight classes to the other two; which upscaling is best?

    python benchmarks/studies.py ab --data data/cifar10 --seeds 5
    python benchmarks/studies.py transfer --data data/cifar10
    python benchmarks/studies.py upscaling --data data/cifar10

ab          accuracy by number of B's training images: the three ways of train_ab_split.py to a model of B, and A once a seed
transfer    accuracy by number of training images, a tenth of which is val, or one of each class: logistic regression on the
            features of EfficientNet-Lite0, ImageNet weights, frozen at 224x224; the A/B split's CNN from scratch, on all
            classes, with Adam 1e-3 for 20 to 300 epochs; with --models lite0-finetuned, for a GPU, all layers of Lite0
upscaling   five methods, on 4,000 training images: logistic regression on Lite0's features, and the document's head

Val chooses C and the epoch (with fewer than all images of B nothing is chosen); test is scored once. Each seed draws its own
images, val part and initial weights; for upscaling the images are always the same. A row for every model goes to
plots/results/<study>/points.csv as it is trained; what is there is not trained again. The backbone runs once, since its
features are kept under --cache-dir.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import functools
import itertools
import math
import shlex
import time

import numpy as np

from common import backend, cli, files, flags
from common.data import dataset as data
from common.data.dataset import Samples
from common.models import weights as pretrained
from common.training.run import load_data

RESULTS = Path(__file__).parents[1] / "plots" / "results"
LITE0 = ("--base", "efficientnet-lite0", "--no-augment")
SIZES = {"ab": (20, 50, 100, 500, 2000, "all"), "transfer": (50, 200, 1000, 5000), "upscaling": ()}
POOL = 4000  # images that upscaling is compared on
CNN_EPOCHS, CNN_BATCH_SIZE, CNN_LEARNING_RATE = 20, 128, 1e-3  # the recipe of train_ab_split.py
MIN_STEPS, MAX_EPOCHS = 2000, 300  # of the CNN: with few images it has more epochs
FINETUNING = (
    *LITE0, "--unfreeze-last", "all", "--lr", "1e-4", "--weight-decay", ".05", "--schedule", "cosine",
    "--batch-size", "64",
)  # fmt: skip


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    parser.add_argument("study", choices=STUDIES, help="which one")
    parser.add_argument("--data", default="cifar10", metavar="cifar10|digits|PATH", help="as for the scripts")
    parser.add_argument("--sizes", type=flags.positive_int_or_all, nargs="+", metavar="N", help="of ab and transfer")
    parser.add_argument("--models", choices=(*MODELS, "lite0-finetuned"), nargs="+", default=tuple(MODELS), help="of transfer")
    parser.add_argument("--seeds", type=flags.positive_int, default=3, metavar="N", help="of each point, from 0 on")
    parser.add_argument("--image-size", type=flags.positive_int, default=224, metavar="N", help="in the backbone; 32 of ab")
    parser.add_argument("--cache-dir", type=Path, default=Path("cache"), metavar="DIR", help="features, as for the scripts")
    parser.add_argument("--output-dir", type=Path, default=RESULTS, metavar="DIR", help="parent of the studies' folders")
    args = parser.parse_args(argv)
    args.sizes = args.sizes or SIZES[args.study]
    args.image_size = 32 if args.study == "ab" else args.image_size
    return args


class Points:
    """The rows of points.csv: written as they come, and known in the next call with the same data and image size."""

    def __init__(self, path, args):
        self.path, self.terms = path, {"data": args.data, "image_size": args.image_size}
        rows = files.read_csv(path) if path.exists() else []
        self.rows = [row | {name: int(row[name]) for name in ("image_size", "samples", "seed") if name in row} for row in rows]

    def add(self, identity, train):
        """The row of `identity`, a dict, with what `train()` returns, unless there is one."""
        identity = self.terms | identity
        if any(identity.items() <= row.items() for row in self.rows):
            return
        started = time.perf_counter()
        scores = train()
        scores |= {name: round(value, 6) for name, value in scores.items() if name != "chosen"}  # Keras's are float32
        row = identity | scores | {"seconds": round(time.perf_counter() - started, 1), "device": backend.devices()[0]}
        self.rows.append(row | {"command": shlex.join(["benchmarks/studies.py", *sys.argv[1:]])})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        files.write_csv(self.path, self.rows, self.rows[0])
        cli.tell(", ".join(f"{name} {value}" for name, value in row.items()))


def load(args, *given):
    """The data, once as images and once as features: two Datasets."""
    import train_efficientnetb7
    from common.models import features

    args = train_efficientnetb7.parse_args([
        *LITE0, *given, "--data", args.data, "--image-size", str(args.image_size), "--cache-dir", str(args.cache_dir)
    ])  # fmt: skip
    dataset = load_data(args, upscaled_later=True)
    weights = pretrained.find(args.weights, args.base, args.image_size)
    extractor = train_efficientnetb7.build_extractor(args, weights, dataset.test.images.shape[1:])
    return dataset, features.Inputs(extractor, dataset, args.cache_dir)


def pool(dataset):
    """Train and val together."""
    parts = dataset.train, dataset.val
    return Samples(np.concatenate([part.images[:] for part in parts]), np.concatenate([part.labels for part in parts]))


def split(labels, size, seed):
    """Indices of train and val: a seeded, stratified choice of `size` images, a tenth of them val, or one of each class."""
    from sklearn.model_selection import train_test_split

    chosen = data.choose_samples(labels, size, seed)
    num_val = max(size // 10, len(np.unique(labels)))
    return train_test_split(chosen, test_size=num_val, stratify=labels[chosen], random_state=seed)


def num_classes(samples):
    """The number of classes; each has samples."""
    return int(samples.labels.max()) + 1


def fit_logistic(train, val, test, seed):
    """The scores of logistic regression on the features of train and val, with cross-validated C."""
    from common.training import logistic

    features, labels = (np.concatenate([getattr(part, name) for part in (train, val)]) for name in ("images", "labels"))
    pipeline, _, rows = logistic.fit(features, labels, seed)
    best = min(rows, key=lambda row: row["val_loss"])
    accuracy = pipeline.score(test.images, test.labels)
    return {"val_accuracy": best["val_accuracy"], "test_accuracy": accuracy, "chosen": f"C={best['C']:g}"}


def fit_document(train, val, test, seed):
    """The scores of the head of train_efficientnetb7.py on features, at its learning rate and dropout rate."""
    import train_efficientnetb7

    recipe = train_efficientnetb7.parse_args([])
    backend.set_seed(seed, "head")
    head = train_efficientnetb7.build_head(test.images.shape[1], num_classes(test), *recipe.dropout)
    train_efficientnetb7.compile_model(head, *recipe.lr)
    train, val, test = (part.one_hot(num_classes(test)) for part in (train, val, test))
    return fit(head, train, val, test, epochs=recipe.epochs, batch_size=recipe.batch_size, patience=recipe.patience)


def fit_cnn(train, val, test, seed):
    """The scores of the A/B split's CNN, trained on images from scratch."""
    import train_ab_split

    backend.set_seed(seed, "cnn")
    convolutions = train_ab_split.build_convolutions(test.images.shape[1])
    head = train_ab_split.build_head(convolutions.output_shape[-1], num_classes(test), 0.4)
    model = train_ab_split.join(convolutions, head)
    train_ab_split.compile_model(model, CNN_LEARNING_RATE)
    epochs = max(CNN_EPOCHS, min(math.ceil(MIN_STEPS / math.ceil(len(train) / CNN_BATCH_SIZE)), MAX_EPOCHS))
    return fit(model, train, val, test, epochs=epochs, batch_size=CNN_BATCH_SIZE, patience=epochs)


def finetune(args, size, seed):
    """The scores of train_efficientnetb7.py with all layers trained, for 400 steps and 5 epochs or more.

    The script draws the images itself: with the same seed they are not those of the other models.
    """
    import train_efficientnetb7

    epochs = max(5, math.ceil(400 / math.ceil(0.9 * size / 64)))
    results = train_efficientnetb7.main([
        *FINETUNING, "--epochs", str(epochs), "--patience", str(epochs), "--data", args.data,
        "--image-size", str(args.image_size), "--seed", str(seed),
        "--max-train-samples", str(size), "--validation-split", str(max(0.1, 10 / size)), "--cache-dir", str(args.cache_dir),
    ])  # fmt: skip
    if results["status"] == "interrupted":
        raise KeyboardInterrupt
    scores = {name: results[name] for name in ("val_accuracy", "test_accuracy")}
    return scores | {"chosen": f"epoch {results['best_epoch']}"}


def fit(model, train, val, test, *, epochs, batch_size, patience):
    """Train a compiled model by Keras's own `fit`; the best epoch's weights are kept. Returns the scores."""
    from common.training.callbacks import BestEpoch

    keep_best = BestEpoch(patience)
    validation = {"validation_data": (val.images, val.labels), "validation_batch_size": 1000}
    model.fit(train.images, train.labels, batch_size, epochs, verbose=0, callbacks=[keep_best], **validation)
    accuracy = model.evaluate(test.images, test.labels, 1000, verbose=0, return_dict=True)["accuracy"]
    return {"val_accuracy": keep_best.best, "test_accuracy": accuracy, "chosen": f"epoch {keep_best.best_epoch + 1}"}


MODELS = {"lite0-frozen": fit_logistic, "cnn-scratch": fit_cnn}
HEADS = {"logistic": fit_logistic, "document": fit_document}


def transfer(args, points):
    pools = {}
    if set(args.models) & set(MODELS):
        images, features = load(args)
        pools = {"lite0-frozen": (pool(features), features.test), "cnn-scratch": (pool(images), images.test)}
    for size, seed, model in itertools.product(args.sizes, range(args.seeds), args.models):
        identity = {"model": model, "samples": size, "seed": seed}
        if model == "lite0-finetuned":
            points.add(identity, lambda: finetune(args, size, seed))  # noqa: B023  called at once
            continue
        samples, test = pools[model]
        train, val = (samples.take(part) for part in split(samples.labels, size, seed))
        points.add(identity, lambda: MODELS[model](train, val, test, seed))  # noqa: B023


class BareRun:
    """What `train_ab_split.train_model` asks of a run: Keras's own `fit`, without folder, history and checkpoints."""

    def __init__(self, args):
        self.args = args

    def capped(self, number):
        """As many."""
        return number

    def batches(self, samples, passes):
        """The script's batches."""
        from common.data.batches import Batches

        return Batches(samples.images, samples.labels, self.args.batch_size, self.args.seed, passes)

    def fit(self, name, model, train, val, epochs, callbacks):
        """Train by Keras's own `fit`; of the script's callbacks only those that keep the best epoch."""
        validation = {"validation_data": (val.images, val.labels), "validation_batch_size": 1000} if val else {}
        keep_best = callbacks[1:]  # the first one scores test after every epoch
        model.fit(train, epochs=epochs, verbose=0, callbacks=[train.follow_fit(), *keep_best], shuffle=False, **validation)


def ab(args, points):
    import train_ab_split

    ways = {"b-scratch": (), "b-last-fc": ["last_fc"], "b-both-fc": ["fc1", "last_fc"]}
    for seed in range(args.seeds):
        given = ["--data", args.data, "--seed", str(seed), "--cache-dir", str(args.cache_dir)]
        run = BareRun(train_ab_split.parse_args(given))
        dataset, classes = load_data(run.args), train_ab_split.find_classes(run.args)
        a, b = (train_ab_split.only_classes(dataset, numbers) for numbers in classes)
        train = functools.partial(train_ab_split.train_model, run)
        cnn_a = functools.cache(lambda: train("a", a))  # noqa: B023  called at once, as all of these
        points.add({"model": "a", "samples": len(a.train), "seed": seed}, lambda: test(cnn_a(), a))  # noqa: B023
        for size, (name, fc_layers) in itertools.product(args.sizes, ways.items()):
            some = train_ab_split.take(b, size, seed)
            base = lambda: cnn_a() if fc_layers else None  # noqa: B023, E731
            identity = {"model": name, "samples": len(some.train), "seed": seed}
            points.add(identity, lambda: test(train(name, some, base(), fc_layers), some))  # noqa: B023


def test(model, dataset):
    """The score of a model on test."""
    scores = model.evaluate(dataset.test.images, dataset.test.labels, 1000, verbose=0, return_dict=True)
    return {"test_accuracy": scores["accuracy"]}


def upscaling(args, points):
    for interpolation in flags.INTERPOLATIONS:
        _, features = load(args, "--interpolation", interpolation, "--max-train-samples", str(POOL))
        samples = pool(features)
        for seed, (head, fit_head) in itertools.product(range(args.seeds), HEADS.items()):
            train, val = (samples.take(part) for part in split(samples.labels, len(samples), seed))
            identity = {"interpolation": interpolation, "head": head, "seed": seed}
            points.add(identity, lambda: fit_head(train, val, features.test, seed))  # noqa: B023


STUDIES = {"ab": ab, "transfer": transfer, "upscaling": upscaling}


def main(argv=None):
    args = parse_args(argv)
    if args.output_dir == RESULTS and (Path(args.data).name != "cifar10" or args.image_size not in (32, 224)):
        raise cli.InputError("what is published is CIFAR-10, at 224x224 in the backbone: give another --output-dir")
    backend.keep_compiled_programs(args.cache_dir)
    backend.start(amp=False)
    STUDIES[args.study](args, Points(args.output_dir / args.study / "points.csv", args))


if __name__ == "__main__":
    cli.run(main)
