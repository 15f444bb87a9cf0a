#!/usr/bin/env python3
"""What do two devices cost and gain? The bytes they exchange in a step, the batch from which on that pays, and a measurement.

    python benchmarks/scaling.py                # a minute: bytes, and batches by calculation
    python benchmarks/scaling.py --measure      # five more: two processes on a CPU core each, against one on one core

Counted are the bytes of all all-reduces in the program that XLA compiles of a training step for two devices. A ring sends each
of them once over the link between two devices (2 (n - 1) / n times for n). Two devices pay where half of a batch takes one of
them longer than that: images > 2 x time x images a second of one. What overlaps with computing makes that smaller, the latency
of a collective, some 20 microseconds on one host, larger.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import argparse
import math
import os
import re
import subprocess
import time

import numpy as np

from benchmarks.devices import free_address
from common import backend, cli, devices, flags, hosts
from common.results import tables

LINKS = {"NVLink 4, 450 GB/s": 450e9, "PCIe 4.0 x16, 32 GB/s": 32e9, "100 Gb Ethernet, 12.5 GB/s": 12.5e9}
# Images a second in training on one GPU in bfloat16: from plots/results/ (H200), all of VGG19 assumed (64 images in 1.52 ms).
RATES = {"VGG19 head": 41_900, "VGG19@32 all": 42_000, "ResNet152V2 head": 38_300}
RATES |= {"EfficientNetB7 head": 90_900, "A/B split, A": 17_300}
BYTES = {"f32": 4, "bf16": 2, "s32": 4, "u32": 4, "f64": 8, "pred": 1}


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    parser.add_argument("--measure", action="store_true", help="time steps of the A/B split's model A in one and two processes")
    parser.add_argument("--batch-sizes", nargs="+", type=flags.positive_int, default=[8, 32, 128, 512], metavar="N")
    parser.add_argument("--seconds", type=flags.positive_float, default=2, metavar="S", help="of each measurement")
    parser.add_argument("--worker", type=int, metavar="CORE", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def model_a():
    import train_ab_split

    convolutions = train_ab_split.build_convolutions(32)
    model = train_ab_split.join(convolutions, train_ab_split.build_head(convolutions.output_shape[-1], 8, 0))
    train_ab_split.compile_model(model, 1e-3)
    return model, (32, 32, 3), ()


def models():
    """The compiled models that are trained in each experiment, with the shapes of an image and of a label."""
    import keras

    import train_efficientnetb7
    import train_resnet152v2
    import train_vgg19
    import train_vgg19_finetune

    def head(script, width, *args, label=(10,)):
        model = script.build_head(width, 10, *args)
        script.compile_model(model, 1e-3)
        return model, (width,), label

    yield "VGG19 head", *head(train_vgg19, 4096, 0, label=())
    base = keras.applications.VGG19(weights=None, include_top=False, input_shape=(32, 32, 3))
    whole = keras.Sequential([base, keras.layers.Flatten(), train_vgg19_finetune.build_head(512, 10, 0)])
    train_vgg19_finetune.compile_model(whole, 1e-3)
    yield "VGG19@32 all", whole, (32, 32, 3), (10,)
    yield "ResNet152V2 head", *head(train_resnet152v2, 2048, 0)
    yield "EfficientNetB7 head", *head(train_efficientnetb7, 2560, 0)
    yield "A/B split, A", *model_a()


def bytes_reduced(model, image, label):
    """The bytes of all all-reduces in a compiled training step."""
    import jax

    model.optimizer.build(model.trainable_variables)
    kinds = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables, model.metrics_variables)
    state = [[variable.value for variable in kind] for kind in kinds]
    data = [devices.spread(np.zeros((8, *shape), np.float32)) for shape in (image, label)]
    program = jax.jit(model.train_step).lower(state, data).compile().as_text()
    results = re.findall(r" = (.*?) all-reduce(?:-start)?\(", program)
    return sum(
        BYTES[kind] * math.prod(map(int, filter(None, shape.split(","))))
        for result in results
        for kind, shape in re.findall(r"(\w+)\[([\d,]*)\]", result)
    )


def calculate():
    """A row for each model: its name, weights, bytes, and time and break-even batch at the rate of each link."""
    rows = []
    with devices.scope("all"):
        for name, model, image, label in models():
            weights = sum(math.prod(weight.shape) for weight in model.trainable_weights)
            count = bytes_reduced(model, image, label)
            times = [count / rate for rate in LINKS.values()]
            cells = [f"{seconds * 1e3:.3f} ms, {math.ceil(2 * seconds * RATES[name])}" for seconds in times]
            rows.append((name, f"{weights:,}", f"{count:,}", *cells))
    return rows


def worker(args):
    """Print the milliseconds of a step of model A for each batch size, on one core."""
    os.sched_setaffinity(0, {args.worker})
    several = "JAX_COORDINATOR_ADDRESS" in os.environ
    devices.start(argparse.Namespace(devices="all" if several else 1, amp=False, cache_dir=None))
    backend.start(amp=False)
    from common.data.batches import Batches

    with devices.scope("all"):
        for batch_size in args.batch_sizes:
            backend.set_seed(0, "a")  # the same weights in both processes
            model, image, _ = model_a()
            batches = Batches(
                np.zeros((batch_size, *image), np.uint8), np.zeros(batch_size, np.int64), batch_size, 0, passes=20
            )
            times = []
            while len(times) < 2 or hosts.broadcast(np.array(sum(times[1:]))) < args.seconds:  # the first compiles
                started = time.perf_counter()
                model.fit(batches, verbose=0, shuffle=False)
                times.append(time.perf_counter() - started)
            print(f"{min(times[1:]) / len(batches) * 1e3:.2f} ms", flush=True)


def measure(args):
    """A row for each batch size: milliseconds of a step in one process, in two, and the ratio."""

    def run(cores):
        address, processes = free_address(), []
        for number, core in enumerate(cores):
            environment = os.environ | {"NPROC": "1", "XLA_FLAGS": ""}
            if len(cores) > 1:
                environment |= {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": str(number)}
            sizes = map(str, args.batch_sizes)
            command = [sys.executable, __file__, "--worker", str(core), "--seconds", str(args.seconds), "--batch-sizes", *sizes]
            processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        lines = processes[0].communicate()[0].splitlines()
        return [float(line.removesuffix(" ms")) for line in lines if line.endswith(" ms")]  # Gloo prints too

    cores = sorted(os.sched_getaffinity(0))[:2]
    return [
        (batch_size, f"{one:.2f}", f"{two:.2f}", f"{one / two:.2f}")
        for batch_size, one, two in zip(args.batch_sizes, run(cores[:1]), run(cores), strict=True)
    ]


def main(argv=None):
    args = parse_args(argv)
    if args.worker is not None:
        worker(args)
        return
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
    if backend.import_keras().backend.backend() != "jax":
        raise cli.InputError("set KERAS_BACKEND=jax")
    links = [f"{link}: time, batch" for link in LINKS]
    print(*tables.text(calculate(), ("trained", "weights", "bytes a step", *links)), sep="\n")
    if args.measure:
        print("", *tables.text(measure(args), ("batch", "ms in one process", "in two", "times faster")), sep="\n")


if __name__ == "__main__":
    cli.run(main)
