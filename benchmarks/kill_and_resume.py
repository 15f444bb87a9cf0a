#!/usr/bin/env python3
"""End every script by SIGKILL, SIGTERM or Ctrl-C at random moments, resume it until it is done, and count what differs.

    python benchmarks/kill_and_resume.py                             # all five scripts on digits, 10 kills each: half an hour
    python benchmarks/kill_and_resume.py --scripts vgg19 --kills 3
    python benchmarks/kill_and_resume.py --signal TERM               # as SLURM ends a job
    python benchmarks/kill_and_resume.py --signal INT                # Ctrl-C: the best weights so far are scored

Each script runs once unbroken, then killed and resumed with `--resume` until it has been killed often enough and has come to
its end, if need be in several runs. Compared are history, results, predictions, weights and optimizer state of both, bit for
bit, but for times and memory. Leaves with 1 if a number differs.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import json
import random
import signal
import subprocess
import tempfile
import time
import zipfile

import h5py
import numpy as np

from common import cli, files, flags

ROOT = Path(__file__).parents[1]
DIGITS = ("--data", "digits", "--max-train-samples", "120", "--batch-size", "32", "--name", "x")
BASE = (*DIGITS, "--weights", "none", "--image-size", "32")
SCRIPTS = {
    "vgg19": (*BASE, "--epochs", "40", "--augment", "--views", "2"),
    "vgg19_finetune": (*BASE, "--head-epochs", "15", "--finetune-epochs", "4", "--dropout", ".25", "--amp"),
    "resnet152v2": (*BASE, "--epochs", "40", "--no-augment"),
    "efficientnetb7": (*BASE, "--epochs", "15", "--views", "2", "--lr", ".001", ".003"),
    "ab_split": (*DIGITS, "--image-size", "16", "--epochs", "8", "--b-samples", "20"),
}
TIMES = {  # of results.json and the tables
    "seconds", "seconds_per_1000", "images_per_second", "total_seconds", "peak_memory_gib", "extraction",
}  # fmt: skip


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    parser.add_argument("--scripts", nargs="+", choices=SCRIPTS, default=list(SCRIPTS), help="without train_")
    parser.add_argument("--kills", type=flags.positive_int, default=10, metavar="N", help="of each script")
    parser.add_argument("--signal", choices=("KILL", "TERM", "INT"), default="KILL", help="what ends the process")
    parser.add_argument("--seed", type=flags.seed, default=0, metavar="N", help="of the moments")
    return parser.parse_args(argv)


def start(name, flags, folder):
    """A script as a process of its own, which writes under `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(ROOT / f"train_{name}.py"), *flags]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process):
    """Its output. Raises RuntimeError if it failed."""
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(process.args)} left with {process.returncode}:\n{output}")
    return output


def run_folder(folder):
    """The run folder under `folder` that can be resumed, None if there is none yet."""
    return next((path.parent for path in folder.glob("runs/*/*/args.json")), None)


def resuming(folder):
    """The flags that resume the run under `folder`, None if there is none yet."""
    made = run_folder(folder)
    return made and ["--resume", str(made.relative_to(folder))]


def kill_until_done(name, flags, folder, delays, number=signal.SIGKILL):
    """Start a script and kill it after each of `delays`, seconds that come one by one; returns how often, at the end."""
    kills = 0
    for delay in delays:
        process = start(name, resuming(folder) or flags, folder)
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            output, _ = process.communicate()
            if run_folder(folder):  # before that it was Python that was killed, not a run
                check_ending(process.returncode, output, number)
                kills += 1
            continue
        finish(process)
        break
    else:
        finish(start(name, resuming(folder) or flags, folder))
    return kills


def check_ending(code, output, number):
    """Raise RuntimeError for a run that a signal did not end as it should, or one that Ctrl-C ended without scores."""
    expected = {signal.SIGTERM: cli.EXIT_TERMINATED, signal.SIGINT: cli.EXIT_INTERRUPTED}.get(number, -number)
    is_scored = "test accuracy" in output or "interrupted; --resume" in output  # which is said before one whole epoch
    if code not in (expected, cli.EXIT_DONE) or (number == signal.SIGINT and not is_scored):
        raise RuntimeError(f"after {number.name} a script left with {code}:\n{output}")


def numbers(folder):
    """Every number of a run folder that must be repeated, by where it stands; arrays as they are."""
    values = {}
    for path in sorted(folder.rglob("*")):
        place = str(path.relative_to(folder))
        if path.suffix == ".csv":
            for row, cells in enumerate(files.read_csv(path)):
                values |= {f"{place} {row} {column}": value for column, value in cells.items() if column not in TIMES}
        elif path.name == "results.json":
            values |= {f"{place} {key}": value for key, value in _leaves(files.read_json(path))}
        elif path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as weights, h5py.File(weights) as file:
                values |= _arrays(place, file)
        elif path.suffix == ".h5":
            with h5py.File(path) as file:
                values |= _arrays(place, file)
    return values


def count_differences(expected, actual):
    """How many numbers of two runs differ, and how many there are; what only one of them has counts as different."""
    total = differing = 0
    for place in expected.keys() | actual.keys():
        one, other = (np.atleast_1d(np.asarray(run.get(place, np.nan))) for run in (expected, actual))
        total += one.size
        equal = one.shape == other.shape and one.dtype == other.dtype and (one == other)
        differing += one.size if equal is False else int((~np.atleast_1d(equal)).sum())
    return differing, total


def _leaves(content, path=""):
    if isinstance(content, dict):
        for key, value in content.items():
            if key not in TIMES:
                yield from _leaves(value, f"{path}/{key}")
    elif isinstance(content, list):
        for number, value in enumerate(content):
            yield from _leaves(value, f"{path}/{number}")
    else:
        yield path, json.dumps(content)


def _arrays(place, file):
    values = {}
    file.visititems(lambda name, item: values.update({f"{place} {name}": item[()]}) if isinstance(item, h5py.Dataset) else None)
    return values


def main(argv=None):
    args = parse_args(argv)
    moments, failed = random.Random(args.seed), 0
    for name in args.scripts:
        with tempfile.TemporaryDirectory() as temporary:
            started = time.perf_counter()
            finish(start(name, SCRIPTS[name], Path(temporary) / "unbroken"))
            seconds = time.perf_counter() - started
            expected = numbers(run_folder(Path(temporary) / "unbroken"))
            kills = differing = total = attempts = 0
            while kills < args.kills:
                folder = Path(temporary) / f"killed-{attempts}"
                delays = [moments.uniform(2, seconds) for _ in range(args.kills - kills)]
                kills += kill_until_done(name, SCRIPTS[name], folder, delays, signal.Signals[f"SIG{args.signal}"])
                different, compared = count_differences(expected, numbers(run_folder(folder)))
                differing, total, attempts = differing + different, total + compared, attempts + 1
            print(
                f"{name:15} unbroken {seconds:5.1f} s, {kills:3} kills in {attempts} runs, {total:11,} numbers compared, "
                f"{differing} differ",
                flush=True,
            )
            failed += differing
    print(f"{failed} differing numbers")
    if failed:
        sys.exit(cli.EXIT_FAILED)


if __name__ == "__main__":
    cli.run(main)
