#!/usr/bin/env python3
"""Size, time and memory of exports, how close they come to Keras, and how fast they are beside it.

    python benchmarks/exports.py runs/vgg19/20261123-120000                    # a row for Keras, three for the formats
    python benchmarks/exports.py runs/*/* --images 64                          # quicker, all runs

Each row is a process of its own: it exports the model as `export.py` does, into a folder that is removed, and then lets the
exported model predict images at random, 32 at a time, after one batch to warm up. Memory is the most that the process had until
the export was checked.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import contextlib
import io
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

import export
from benchmarks.memory import peak
from common import backend, cli, flags
from common.results import tables, trained_model

BATCH_SIZE = 32
COLUMNS = ("run", "format", "MB", "export, s", "memory, GiB", "largest difference", "1,000 images, s")


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    parser.add_argument("run_dirs", nargs="+", type=Path, metavar="RUN_DIR", help="what export.py takes")
    parser.add_argument("--images", type=flags.positive_int, default=1000, metavar="N", help="how many to predict")
    parser.add_argument("--formats", nargs="+", choices=export.FORMATS, default=list(export.FORMATS), help="what to export to")
    return parser.parse_args(argv)


def time_to_predict(run, size, num_images):
    """Seconds for 1,000 images."""
    images = np.random.default_rng(0).integers(0, 256, (BATCH_SIZE, size, size, 3)).astype(np.float32)
    run(images)
    num_batches = -(-num_images // BATCH_SIZE)
    started = time.perf_counter()
    for _ in range(num_batches):
        run(images)
    return (time.perf_counter() - started) * 1000 / (num_batches * BATCH_SIZE)


def with_keras(run_dir, num_images):
    """The row of Keras itself."""
    found = trained_model.find_model(run_dir, needs_classes=False)
    model = found.load()
    from common.models.inference import ForwardPass

    seconds = time_to_predict(ForwardPass(model, BATCH_SIZE), model.input_shape[1], num_images)
    return ["Keras", f"{found.path.stat().st_size / 1e6:,.0f}", "", "", "", f"{seconds:.1f}"]


def exported(run_dir, file_format, num_images):
    """The row of a format."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, export.FORMATS[file_format][0])
        started = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            results = export.main([str(run_dir), "--format", file_format, "--output", str(target)])
        seconds, gibibytes = time.perf_counter() - started, peak() / 1024
        from common.models import exports

        size = trained_model.find_model(run_dir, needs_classes=False).load().input_shape[1]
        with backend.held_back_stderr():
            per_thousand = time_to_predict(exports.open_exported(target, file_format), size, num_images)
    megabytes, difference = f"{results['bytes'] / 1e6:,.0f}", f"{results['difference']:.1e}"
    return [file_format, megabytes, f"{seconds:.0f}", f"{gibibytes:.1f}", difference, f"{per_thousand:.1f}"]


def in_a_process(function, *args):
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *args).result()


def main(argv=None):
    args = parse_args(argv)
    rows = []
    for run_dir in args.run_dirs:
        name = run_dir.resolve().parent.name
        rows.append([name, *in_a_process(with_keras, run_dir, args.images)])
        cli.tell("  ".join(rows[-1]), file=sys.stderr)
        for file_format in args.formats:
            rows.append([name, *in_a_process(exported, run_dir, file_format, args.images)])
            cli.tell("  ".join(rows[-1]), file=sys.stderr)
    cli.tell(*tables.text(rows, COLUMNS))
    return rows


if __name__ == "__main__":
    cli.run(main)
