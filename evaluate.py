#!/usr/bin/env python3
"""How good is a trained model on labelled images: its own test images, or any others.

    python evaluate.py latest                                               # the newest run on its own test images
    python evaluate.py runs/vgg19/20261123-120000 --data my_images --output-dir evaluation
    python evaluate.py model.keras --classes cat dog --data pets --json     # a model file alone

RUN_DIR is a run folder, RUN_DIR/MODEL for one of a run's several models, `latest`, or a model file. Prints accuracy with its
95 % interval, loss, expected calibration error, precision, recall and F1 of each class, the most confused pairs and the
confusion matrix. On a run's own test images these are the run's own numbers.

Classes are matched by name. Images of a class that the model does not know are left out, which is said. --output-dir gets
evaluation.json, predictions.csv, confusion_matrix.csv and the figures of a run: confusion matrix, reliability diagram, surest
mistakes, examples, map of the features.
"""

import csv
import json
import os
import sys
from pathlib import Path

from common import cli, files, flags
from common.results import finished, tables

MAX_MATRIX = 12  # classes of a confusion matrix that a terminal can show


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="run folder, RUN_DIR/MODEL, latest, or a model file")
    parser.add_argument("--data", metavar="cifar10|digits|PATH", help="as for training; the run's own where it is not given")
    parser.add_argument(
        "--part",
        choices=("test", "all"),
        help="score the test part or all images; where not given, the test part of data that has one and of the run's own data",
    )
    parser.add_argument("--classes", nargs="+", metavar="CLASS", help="the classes of a model file, in their order")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object, everything else on stderr")
    form.add_argument("--csv", action="store_true", help="print the scores by class as CSV, everything else on stderr")
    parser.add_argument("--output-dir", type=Path, metavar="DIR", help="write results and figures there")
    parser.add_argument(
        "--cache-dir", type=Path, default=Path("cache"), metavar="DIR", help="decoded images and features, shared by all runs"
    )
    return parser.parse_args(argv)


def check_output_dir(folder):
    """Raise InputError where a folder for results and figures can't be made, and for the folder of a run."""
    if files.kind(folder / "args.json", "--output-dir"):
        raise cli.InputError(f"--output-dir {folder} is the folder of a run: give another")
    parent = next(path for path in (folder, *folder.absolute().parents) if files.kind(path, "--output-dir"))
    if files.kind(parent, "--output-dir") != "folder" or not os.access(parent, os.W_OK | os.X_OK):
        raise cli.InputError(f"--output-dir {folder} can't be created or written to: check {parent}")


def own_data(run):
    """The `--data` that a run was trained with. Raises InputError where nothing says so."""
    for folder in (run.path.parent, run.path.parent.parent):  # that of a run's only model, or of one of several
        try:
            data = files.read_json(folder / "args.json")["data"] if run.results else None
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(data, str):
            return data
    raise cli.InputError(f"nothing says which data {run.path} was trained with: name the images with --data")


def load_images(args, run, image_size):
    """The labelled images that the flags ask for, with the model's class numbers; notes on what differs; what they are."""
    from common.data import dataset, labelled

    source = args.data or own_data(run)
    class_names = dataset.class_names(source)
    labelled.check_classes(class_names, run.class_names)
    is_own = run.results is not None and run.results["data"] == dataset.name(source)
    samples, description = labelled.load(source, image_size, args.cache_dir, args.part, is_own)
    return *labelled.for_model(samples, class_names, run.class_names), description


def tell_scores(run, results, matrix, file):
    """Print the scores for people."""
    accuracy = tables.accuracy(results["test_accuracy"], results["test_accuracy_interval"])
    cli.tell("", f"accuracy           {accuracy}, {matrix.trace():,} of {matrix.sum():,} images", file=file)
    if "test_top5_accuracy" in results:
        cli.tell(f"top-5 accuracy     {results['test_top5_accuracy']:.4f}", file=file)
    cli.tell(f"loss               {results['test_loss']:.4f}", file=file)
    cli.tell(f"calibration error  {results['calibration_error']:.4f}", "", file=file)
    means = results["macro_average"] | {"class": "mean", "support": results["images"]}
    rows = [
        [row["class"], *("-" if row[key] is None else f"{row[key]:.4f}" for key in results["macro_average"]), row["support"]]
        for row in (*results["by_class"], means)
    ]
    cli.tell(*tables.text(rows, list(results["by_class"][0])), file=file)
    confused = [f"{pair['true']} taken for {pair['predicted']} {pair['pictures']}x" for pair in results["most_confused"]]
    cli.tell("", f"most confused: {', '.join(confused) or 'none'}", file=file)
    if len(run.class_names) <= MAX_MATRIX:
        names = run.class_names
        counts = [[name, *row] for name, row in zip(names, matrix.tolist(), strict=True)]
        cli.tell("", *tables.text(counts, ("true / predicted", *names)), file=file)


def main(argv=None):
    args = parse_args(argv)
    run = finished.find(args.run_dir, args.classes)
    if args.output_dir:
        check_output_dir(args.output_dir)
    remarks = sys.stderr if args.json or args.csv else sys.stdout
    model = None if run.results else run.load()  # only the model knows its image size
    samples, notes, description = load_images(args, run, run.results["image_size"] if run.results else model.input_shape[1])
    model = model or run.load()
    cli.tell(run.title, f"Data: {description}.", *notes, file=remarks)

    from common.results import metrics, scoring
    from common.results.predictions import Predictions

    scored, inputs, batch_size = scoring.as_scored(model, samples, run.results, args.cache_dir)
    scores = scoring.score(scored, inputs, batch_size)
    maps = scoring.feature_maps(scored, inputs.images, batch_size) if args.output_dir else {}
    predictions = Predictions(samples, run.class_names, scores.pop("probabilities"), maps)
    by_class = metrics.by_class(samples.labels, predictions.predicted, run.class_names)
    results = {
        "model": str(run.path),
        "data": description,
        "images": len(samples),
        "class_names": run.class_names,
        **scores,
        **predictions.results(),
        "by_class": by_class,
        "macro_average": metrics.macro_average(by_class),
    }
    if args.json:
        cli.tell(*json.dumps(results, indent=2).splitlines())
    elif args.csv:
        writer = csv.DictWriter(sys.stdout, metrics.BY_CLASS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | {"class": tables.for_spreadsheets(row["class"])} for row in results["by_class"])
    tell_scores(run, results, predictions.matrix, remarks)
    if args.output_dir:
        args.output_dir.mkdir(parents=True, exist_ok=True)
        predictions.write_tables(args.output_dir)
        predictions.draw(args.output_dir, run.results["model"] if run.results else run.path.name)
        files.write_json(args.output_dir / "evaluation.json", results)
        cli.tell("", args.output_dir.resolve(), file=remarks)
    return results


if __name__ == "__main__":
    cli.run(main)
