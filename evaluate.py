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
import functools
import json
import os
import sys
from pathlib import Path

from common import backend, cli, files, flags
from common.results import tables, trained_model

dataset = backend.lazy("common.data.dataset")
evaluation_data = backend.lazy("common.data.evaluation_data")
metrics = backend.lazy("common.results.metrics")
predicting = backend.lazy("common.results.predictions")

MAX_MATRIX = 12  # classes of a confusion matrix that a terminal can show


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="run folder, RUN_DIR/MODEL, latest, or a model file")
    parser.add_argument(
        "--data", metavar="cifar10|cifar100|digits|PATH", help="as for training; the run's own where it is not given"
    )
    parser.add_argument(
        "--part",
        choices=("test", "all"),
        help="score the test part or all images; where not given, the test part of data that has one and of the run's own data",
    )
    parser.add_argument("--classes", nargs="+", metavar="CLASS", help="the classes of a model file, in their order")
    flags.add_resize(parser.add_argument)
    flags.add_skip_damaged(parser.add_argument)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object, everything else on stderr")
    form.add_argument("--csv", action="store_true", help="print the scores by class as CSV, everything else on stderr")
    parser.add_argument("--output-dir", type=Path, metavar="DIR", help="write results and figures there")
    parser.add_argument(
        "--cache-dir", type=Path, default=Path("cache"), metavar="DIR", help="decoded images and features, shared by all runs"
    )
    return parser.parse_args(argv)


def check_output_dir(folder):
    """Raise InputError where a folder for results and figures can't be made, and for one that belongs to a run."""
    places = [folder, folder.parent] if folder.name == "plots" else [folder]
    if any(files.path_kind(place / name, "--output-dir") for place in places for name in ("args.json", "results.json")):
        raise cli.InputError(f"--output-dir {folder} is a folder of a run, whose files would be replaced: give another")
    files.need_writable(folder, "--output-dir")


def own_data(run):
    """The `--data` that a run was trained with. Raises InputError where that is unknown, or not there any more."""
    data = run.recorded("args.json", "data")
    if data is None:
        raise cli.InputError(f"nothing says which data {run.path} was trained with: name the images with --data")
    if data not in dataset.WORDS and not files.path_kind(data, "--data"):
        raise cli.InputError(f"the run was trained with {data}, which does not exist here: name the images with --data")
    return data


def is_data_of(run, source):
    """Whether `--data SOURCE` is where a run's data were, changed or not. The data of a run from elsewhere go by their name."""
    own = run.recorded("args.json", "data")
    if own and not {own, source} & {*dataset.WORDS} and files.path_kind(own, "--data"):
        return os.path.realpath(own) == os.path.realpath(source)
    return run.results is not None and run.results["data"] == dataset.name(source)


def load_images(args, run, image_size):
    """The Labelled images that the flags ask for, with the model's class numbers, and notes on what differs."""
    source = args.data or own_data(run)
    with cli.blaming(f"--data {source}"):
        class_names = dataset.class_names(source, at_least=1)
        evaluation_data.check_classes(class_names, run.class_names)
        is_own = is_data_of(run, source)
        reading = {"how": args.resize or run.resize or "squeeze", "skip_damaged": args.skip_damaged or run.skips_damaged}
        images = evaluation_data.load(source, image_size, args.cache_dir, args.part, run.results, is_own, **reading)
        images, notes = evaluation_data.for_model(images, class_names, run.class_names)
    return images, notes + ([compared(run.results, images, is_own)] if run.results and args.part != "all" else [])


def compared(results, images, is_own):
    """A line on whether Labelled images are the test images of a run, by its `results`."""
    if results.get("test_images") == dataset.fingerprint(results["class_names"], images.samples):
        return "These are the run's own test images."
    if is_own:
        changed = f"The data have changed since the run, which was scored on {results['test_size']:,} images"
        return f"{changed}; none of these was trained on." if images.is_held_out else f"{changed}."
    hint = "; --part test leaves out those that were trained on, if any" if results.get("holds_out_test") else ""
    return f"These are not the test images of the run, which was trained on {results['data']}{hint}."


def tell_scores(run, results, matrix, file):
    """Print the scores for people."""
    accuracy = tables.accuracy(results["test_accuracy"], results["test_accuracy_interval"])
    cli.tell("", f"accuracy           {accuracy}, {matrix.trace():,} of {matrix.sum():,} images", file=file)
    if "test_balanced_accuracy" in results:
        cli.tell(f"balanced accuracy  {results['test_balanced_accuracy']:.4f}", file=file)
    if "test_top5_accuracy" in results:
        cli.tell(f"top-5 accuracy     {results['test_top5_accuracy']:.4f}", file=file)
    cli.tell(f"loss               {results['test_loss']:.4f}", file=file)
    cli.tell(f"calibration error  {results['calibration_error']:.4f}", "", file=file)
    means = results["macro_average"] | {"class": "mean", "support": results["images"]}
    rows = [
        [row["class"], *("-" if row[key] is None else f"{row[key]:.4f}" for key in results["macro_average"]), row["support"]]
        for row in (*results["by_class"], means)
    ]
    for row, interval in zip(rows, [*results["per_class_interval"], None], strict=True):
        row.append("[{:.4f}, {:.4f}]".format(*interval) if interval else "-")
    cli.tell(*tables.text(rows, (*metrics.BY_CLASS, "recall, 95 % interval")), file=file)
    confused = [f"{pair['true']} taken for {pair['predicted']} {pair['images']}x" for pair in results["most_confused"]]
    cli.tell("", f"most confused: {', '.join(confused) or 'none'}", file=file)
    if len(run.class_names) <= MAX_MATRIX:
        names = run.class_names
        counts = [[name, *row] for name, row in zip(names, matrix.tolist(), strict=True)]
        cli.tell("", *tables.text(counts, ("true / predicted", *names)), file=file)
    else:
        cli.tell("", f"for the confusion matrix of all {len(run.class_names)} classes, use --json or --output-dir", file=file)


def score(args, run, model, images):
    """The Predictions for the images, the scores, a dict, and a function that makes the maps of the features."""
    paths = None if images.paths[0] is None else tuple(images.paths)
    try:
        with run.blamed():
            scored, inputs, batch_size = predicting.as_scored(model, images.samples.images, run.results, args.cache_dir)
            predictions = predicting.score(scored, inputs, images.samples, run.class_names, batch_size, paths)
    except cli.TrainingError as error:
        raise cli.InputError(f"{run.path} predicts nan: its training failed; give another model") from error
    if abs(predictions.probabilities.sum(axis=1) - 1).max() > 0.01:
        raise cli.InputError(f"the outputs of {run.path} don't sum to 1, so they are no probabilities; give another model")
    by_class = metrics.by_class(images.samples.labels, predictions.predicted, run.class_names)
    results = {
        "images": len(images.samples),
        "class_names": run.class_names,
        **predictions.results(),
        "by_class": by_class,
        "macro_average": metrics.macro_average(by_class),
        "confusion_matrix": predictions.matrix.tolist(),
    }
    return predictions, results, functools.partial(predicting.feature_maps, scored, inputs, batch_size)


def main(argv=None):
    args = parse_args(argv)
    backend.keep_compiled_programs(args.cache_dir)
    run = trained_model.find_model(args.run_dir, args.classes)
    if args.output_dir:
        check_output_dir(args.output_dir)
    model = None if run.results else run.load()  # only the model knows its image size
    images, notes = load_images(args, run, run.results["image_size"] if run.results else model.input_shape[1])
    if not model:
        backend.start("bfloat16" in (run.recorded("environment.json", "precision") or ""))
        model = run.load()
    remarks = sys.stderr if args.json or args.csv else sys.stdout
    cli.tell(run.title, f"Data: {images.description}.", *notes, file=remarks)

    predictions, scores, make_maps = score(args, run, model, images)
    results = {"model": str(run.path), "data": images.description, "notes": notes} | scores
    if args.json:
        cli.tell(*json.dumps(results, indent=2).splitlines())
    elif args.csv:
        writer = csv.DictWriter(sys.stdout, list(results["by_class"][0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | {"class": tables.for_spreadsheets(row["class"])} for row in results["by_class"])
    tell_scores(run, results, predictions.matrix, remarks)
    if args.output_dir:
        title = run.results["model"] if run.results else run.path.name
        args.output_dir.mkdir(parents=True, exist_ok=True)
        predictions.write_tables(args.output_dir)
        files.write_json(args.output_dir / "evaluation.json", results)
        predictions.draw(args.output_dir, title)
        with run.blamed():
            points = make_maps()
        predictions.draw_maps(points, args.output_dir, title)
        cli.tell("", args.output_dir.resolve(), file=remarks)
    return results


if __name__ == "__main__":
    cli.run(main)
