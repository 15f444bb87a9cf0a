#!/usr/bin/env python3
"""How close the scripts come to what the device can do, and how long they take to start.

    python benchmarks/speed.py                                  # GPU: documented sizes; CPU: small ones, under five minutes
    python benchmarks/speed.py --full --data data/cifar10       # also the documented set, from start to finish, random weights

Extraction: images/s of each backbone, hashing and writing included, beside the limit: the bare compiled forward pass. Where
torch, torchvision and timm are installed, also theirs through torch.compile. Training: milliseconds a step in `fit`, beside the
limit: the compiled step alone, single or fused, whichever is faster. What the limits work on stays on the device. Start:
seconds from the command to the end of a dry run's first two steps, in two runs that share a cache folder. Images are random:
speed does not depend on what they show.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import argparse
import contextlib
import importlib
import io
import re
import subprocess
import tempfile
import time

import limits
import numpy as np

from common import backend, cli, flags
from common.data import augment
from common.data.dataset import Dataset, Samples
from common.models import weights
from common.results import tables
from common.training.folder import environment
from common.training.run import Experiment, Run

ROOT = Path(__file__).parents[1]
NUM_IMAGES = {"cpu": 128, "gpu": 8192}  # to extract
IMAGE_SIZE_ON_CPU = 96
NUM_STEPS = {"cpu": 4, "gpu": 704}  # of an epoch
FUSED = {"cpu": 1, "gpu": 64}  # steps in an execution, where they are fused
BACKBONES = [  # the script, the backbone's name in weights.py, the documented size, its name in torch
    ("train_vgg19", "vgg19-fc2", 224, "vgg19"),
    ("train_resnet152v2", "resnet152v2", 200, "resnetv2_152"),
    ("train_efficientnetb7", "efficientnetb7", 224, "tf_efficientnet_b7"),
]
STARTS = {"train_ab_split": "", "train_vgg19": "--weights none --image-size 64"}
DOCUMENTED = {
    "train_ab_split": "",
    "train_vgg19_finetune": "--weights none --head-epochs 50 --finetune-epochs 150",
    "train_vgg19": "--weights none",
    "train_resnet152v2": "--weights none",
    "train_efficientnetb7": "--weights none --lr .0005 .0007 .001 .0015 --dropout .25 .35",
}


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    parser.add_argument("--amp", action=argparse.BooleanOptionalAction, help="bfloat16 (default: on a GPU)")
    parser.add_argument("--full", action="store_true", help="also run the documented set")
    parser.add_argument("--data", default="cifar10", metavar="cifar10|PATH", help="of the documented set")
    return parser.parse_args(argv)


def best(*works, repeats=3):
    """The shortest time of several of each, in seconds, by turns, after one that compiles. None for None."""
    times = [[] for _ in works]
    for _ in range(repeats + 1):
        for work, measured in zip(works, times, strict=True):
            started = time.perf_counter()
            if work:
                work()
            measured.append(time.perf_counter() - started)
    return [min(measured[1:]) if work else None for work, measured in zip(works, times, strict=True)]


def random_samples(count):
    random = np.random.default_rng(0)
    return Samples(random.integers(0, 256, (count, 32, 32, 3), np.uint8), random.integers(0, 10, count))


def extraction(kind, amp):
    """A row for each backbone; the last cell is the ratio of its time to the limit."""
    return [extract_with(*backbone, kind, amp) for backbone in BACKBONES]


def extract_with(script, name, size, torch_name, kind, amp):
    from common.data.rows import Rows
    from common.models import features

    size = size if kind == "gpu" else IMAGE_SIZE_ON_CPU
    script = importlib.import_module(script)
    args = script.parse_args(["--weights", "none", "--image-size", str(size)])
    extractor = script.build_extractor(args, weights.find("none", name, size), (32, 32, 3))
    batch_size = features.batch_size(extractor)
    count = NUM_IMAGES[kind] // batch_size
    images = random_samples(count * batch_size).images
    with tempfile.TemporaryDirectory() as folder:
        cache = features.FeatureCache(extractor, folder)

        def extract():
            images[:] += 1  # others, which the cache does not have
            cache.extract(Rows([images]), name)

        bare = limits.forward(extractor, images[:batch_size], count)
        theirs = limits.torch_forward(torch_name, (batch_size, 3, size, size), amp, count)
        ours, bare, theirs = best(extract, bare, theirs)
    rates = [f"{len(images) / seconds:,.1f}" if seconds else "-" for seconds in (ours, bare, theirs)]
    return [f"{name} @{size}, batch {batch_size}", *rates, f"{ours / bare:.2f}"]


def make_vgg19(images):
    import keras

    import train_vgg19_finetune as script

    args = script.parse_args(["--weights", "none"])
    extractor = script.build_extractor(args, weights.find("none", "vgg19", 32), images)
    model = keras.Model(extractor.input, script.build_head(512, 10, 0.0)(extractor.output))
    for layer in model.get_layer("vgg19").layers:
        layer.trainable = True
    script.compile_model(model, 1e-3)
    return model


def make_cnn(images):
    import train_ab_split as script

    convolutions = script.build_convolutions(images.shape[1])
    model = script.join(convolutions, script.build_head(convolutions.output_shape[-1], 10, 0.4))
    script.compile_model(model, 1e-3)
    return model


def training(kind, amp):
    """A row for each of two networks; the last cell is the ratio of the time of a step to the limit."""
    samples = random_samples(64 * NUM_STEPS[kind])
    vgg19 = train_with("VGG19 @32, all layers, augmented", make_vgg19, samples.one_hot(10), augment.flip_and_shift, kind, amp)
    return [vgg19, train_with("CNN of the A/B split", make_cnn, samples, None, kind, amp)]


def train_with(title, make, samples, augmentation, kind, amp):
    batch_size, count = 64, NUM_STEPS[kind]
    batch = samples.images[:batch_size], samples.labels[:batch_size]
    single = limits.step(make(samples.images), batch, 1, count)
    fused = limits.step(make(samples.images), batch, FUSED[kind], count) if FUSED[kind] > 1 else None
    single, fused = (seconds / count if seconds else None for seconds in best(single, fused, repeats=2))
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        flags = {"batch_size": batch_size, "class_weight": "none", "amp": amp, "cache_dir": Path(folder) / "cache"}
        flags |= {"output_dir": Path(folder), "seed": 0, "name": None, "resume": None, "devices": 1}
        flags |= {"dry_run": False, "tensorboard": False}
        dataset = Dataset("random", tuple("0123456789"), samples, samples, samples)
        with Run(Experiment("speed", title, "none", 0, ""), argparse.Namespace(**flags), dataset) as run:
            run.fit("fit", make(samples.images), run.batches(samples, augmentation=augmentation), None, epochs=4)
    ours = min(row["seconds"] for row in run.history.rows("fit")[1:]) / count
    milliseconds = [f"{seconds * 1000:.2f}" if seconds else "-" for seconds in (ours, single, fused)]
    return [title, *milliseconds, f"{ours / min(single, fused or single):.2f}"]


def seconds_of(script, flags, folder, until=None):
    """Seconds that a script takes, or takes until it prints a line that matches `until`."""
    command = [sys.executable, str(ROOT / f"{script}.py"), *flags.split(), "--output-dir", "runs", "--cache-dir", "cache"]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        for line in process.stdout:
            if until and re.search(until, line):
                process.kill()
                return time.perf_counter() - started
    if process.returncode or until:
        raise RuntimeError(f"{script}.py {flags} failed")
    return time.perf_counter() - started


def starts(amp):
    """A row for each script."""
    rows = []
    for script, options in STARTS.items():
        options += " --data digits --dry-run" + " --amp" * amp
        with tempfile.TemporaryDirectory() as folder:
            rows.append(
                [f"{script}.py", *(f"{seconds_of(script, options, folder, r'^[0-9]+/[0-9]+ - '):.1f}" for _ in range(2))]
            )
    return rows


def documented_set(data, amp):
    """A row for each experiment, and one for all."""
    seconds = {}
    for script, options in DOCUMENTED.items():
        with tempfile.TemporaryDirectory() as folder:
            seconds[script] = seconds_of(script, f"--data {data} {options}" + " --amp" * amp, folder)
    seconds["all"] = sum(seconds.values())
    return [[script, f"{value:.1f}"] for script, value in seconds.items()]


def show(columns, rows):
    print("", *tables.text(rows, columns), sep="\n", flush=True)


def main(argv=None):
    args = parse_args(argv)
    backend.import_keras()
    kind = backend.kind()
    amp = kind == "gpu" if args.amp is None else args.amp
    backend.start(amp)
    about = environment(1)
    versions = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    print(f"{', '.join(about['devices'])}; Keras on {backend.name()}; {versions}; {about['precision']}", flush=True)
    show(["extraction, images/s", "ours", "limit", "torch", "time/limit"], extracted := extraction(kind, amp))
    show(["training, ms a step", "fit", "single", "fused", "time/limit"], trained := training(kind, amp))
    show(["seconds to the end of two steps", "first run", "second run"], starts(amp))
    if args.full:
        data = args.data if args.data == "cifar10" else Path(args.data).resolve()
        show(["documented set", "seconds"], documented_set(data, amp))
    worst = max(float(row[-1]) for row in extracted + trained)
    print(f"\nworst ratio to the limit: {worst:.2f}")


if __name__ == "__main__":
    cli.run(main)
