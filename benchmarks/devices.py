#!/usr/bin/env python3
"""Are the numbers of a run those of one device? Every script on digits on one device, on several, and in several processes.

    KERAS_BACKEND=jax python benchmarks/devices.py           # all five scripts, on 2 and 3 devices and in 2 and 3 processes
    KERAS_BACKEND=tensorflow python benchmarks/devices.py    # MirroredStrategy on 2 and 3 devices
    KERAS_BACKEND=jax python benchmarks/devices.py --kill    # in 3 processes one is killed; then all resume on 2 devices

The CPU stands for several devices, processes are connected over loopback. The numbers of train, val and test images divide by
neither 2 nor 3, nor does the batch size on JAX, and there is no dropout. Prints the largest difference from one device in any
loss, accuracy and weight of the saved models, relative to the largest one of an array with weights above 1.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import os
import random
import socket
import subprocess
import tempfile
import time

import numpy as np

from benchmarks.kill_and_resume import ROOT, numbers, resuming, run_folder
from common import cli, flags

DIGITS = ("--data", "digits", "--max-train-samples", "301", "--dropout", "0", "--name", "x")
BASE = (*DIGITS, "--weights", "none", "--image-size", "32")
SCRIPTS = {
    "vgg19": (*BASE, "--epochs", "4", "--augment", "--views", "2"),
    "vgg19_finetune": (*BASE, "--max-train-samples=120", "--head-epochs=2", "--finetune-epochs=2", "--finetune-lr=1e-4"),
    "resnet152v2": (*BASE, "--epochs", "4", "--no-augment"),
    "efficientnetb7": (*BASE, "--epochs", "4", "--no-augment"),
    "ab_split": (*DIGITS, "--image-size", "16", "--epochs", "3", "--lr", ".00001"),
}
ON_VIRTUAL_DEVICES = """
import runpy, sys
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * {})
sys.argv = sys.argv[1:]
sys.path.insert(0, {!r})
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    parser.add_argument("--scripts", nargs="+", choices=SCRIPTS, default=list(SCRIPTS), help="without train_")
    parser.add_argument("--numbers", nargs="+", type=int, default=[2, 3], metavar="N", help="of devices and of processes")
    parser.add_argument("--kill", action="store_true", help="kill one of three processes, and resume")
    parser.add_argument(
        "--seed", type=flags.seed, default=0, metavar="N", help="of the moment and of the process that is killed"
    )
    return parser.parse_args(argv)


def free_address():
    """An address on this machine that no other program listens to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def start(script, flags, folder, devices=1, processes=1):
    """A script's processes, which write under `folder`, on so many devices each."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(script), *flags]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
    if environment.get("KERAS_BACKEND", "tensorflow") == "tensorflow" and devices > 1:
        command[1:1] = ["-c", ON_VIRTUAL_DEVICES.format(devices, str(ROOT))]
    environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    if devices * processes > 1:
        command += ["--devices", "all"]
    if processes > 1:
        environment |= {"JAX_COORDINATOR_ADDRESS": free_address(), "JAX_NUM_PROCESSES": str(processes)}
    started = []
    for number in range(processes):
        environment["JAX_PROCESS_ID"] = str(number)
        with (folder / f"{number}.log").open("w") as log:
            started.append(subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, env=environment))
    return started


def finish(processes, folder):
    """Wait for the processes. Raises RuntimeError if one failed."""
    codes = [process.wait() for process in processes]
    if any(codes):
        raise RuntimeError(f"exit codes {codes}; the end of 0.log:\n{(folder / '0.log').read_text()[-2000:]}")


def differences(expected, actual):
    """The largest difference between two runs in loss, accuracy and weights; infinite where one lacks a number of the other."""
    largest = {"loss": 0.0, "accuracy": 0.0, "weights": 0.0}
    for place in expected.keys() | actual.keys():
        kind = "weights" if ".keras " in place and "/vars/" in place else place.split("_")[-1].split(" ")[-1]
        if kind not in largest or any(word in place for word in ("optimizer", "per_class", "documented")):
            continue
        one, other = (np.asarray(run.get(place, np.inf), np.float64) for run in (expected, actual))
        scale = max(1, np.abs(one).max(initial=0)) if kind == "weights" else 1
        largest[kind] = max(largest[kind], float(np.abs(one - other).max(initial=0) / scale))
    return largest


def kill_one(processes, folder, victim, delay=0.0):
    """Kill one of a run's processes so many seconds after its first checkpoint.

    Returns how long it took until all had ended, their exit codes, and the last line of each.
    """
    while not (run_folder(folder) and list((run_folder(folder) / "checkpoint").glob("*.npz"))):
        if any(process.poll() for process in processes):
            break  # one has failed, which `finish` tells
        time.sleep(0.05)
    time.sleep(delay)
    processes[victim].kill()
    killed = time.perf_counter()
    codes = [process.wait() for process in processes]
    logs = [(folder / f"{number}.log").read_text().strip().splitlines() for number in range(len(processes))]
    return time.perf_counter() - killed, codes, [log[-1] for log in logs]


def main(argv=None):
    args = parse_args(argv)
    is_jax = os.environ.get("KERAS_BACKEND") == "jax"
    if args.kill and not is_jax:
        raise cli.InputError("--kill needs KERAS_BACKEND=jax")
    rng = random.Random(args.seed)
    variants = {f"{number} devices": {"devices": number} for number in args.numbers}
    if is_jax:
        variants |= {f"{number} processes": {"processes": number} for number in args.numbers}
    for name in args.scripts:
        script, flags = ROOT / f"train_{name}.py", (*SCRIPTS[name], "--batch-size", "35" if is_jax else "36")
        with tempfile.TemporaryDirectory() as temporary:
            one = Path(temporary) / "one"
            finish(start(script, flags, one), one)
            for title, variant in ({"killed, resumed": {"processes": 3}} if args.kill else variants).items():
                folder = Path(temporary) / title.replace(" ", "-")
                processes = start(script, flags, folder, **variant)
                if args.kill:
                    victim = rng.randrange(3)
                    seconds, codes, lines = kill_one(processes, folder, victim, rng.uniform(0, 5))
                    print(f"{name}: process {victim} killed; all ended {seconds:.1f} s later, exit codes {codes}")
                    print(*(f"  process {number}: {line}" for number, line in enumerate(lines) if number != victim), sep="\n")
                    processes = start(script, resuming(folder), folder, devices=2)
                finish(processes, folder)
                found = differences(numbers(run_folder(one)), numbers(run_folder(folder)))
                print(f"{name:15} {title:15}", *(f"{kind} {value:.1e}" for kind, value in found.items()), sep="  ", flush=True)


if __name__ == "__main__":
    cli.run(main)
