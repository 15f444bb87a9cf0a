#!/usr/bin/env python3
"""Redraw the figures of the README and docs/, and rewrite their tables, from the small text files in plots/results/.

    python make_plots.py                                             # redraw
    python make_plots.py runs/resnet152v2/20261123-120000-control    # publish a run first, as resnet152v2/control
    python make_plots.py latest                                      # the newest run under runs/

A run is published under its `--name`: its arguments, environment, history, scores and predictions, but not its weights, and
none of its images except a few figures. It replaces what was published under that name. Only finished runs can be published,
no dry runs.
"""

from pathlib import Path

from common import cli, files, flags, runs
from common.results import publishing

PLOTS = Path(__file__).parent / "plots"
EXPERIMENTS = sorted(path.stem.removeprefix("train_") for path in Path(__file__).parent.glob("train_*.py"))
STRATEGIES = {"b-scratch": "from scratch", "b-last-fc": "pretrained, last layer", "b-both-fc": "pretrained, both FC layers"}
FINETUNED = {
    "scratch": "from scratch",
    "scratch-longer": "from scratch, twice as long",
    "transfer": "pretrained on CIFAR-100 (5 epochs: head only)",
}


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    parser.add_argument("run_dirs", nargs="*", type=Path, metavar="RUN_DIR", help="runs to publish first")
    parser.add_argument(
        "--output-dir",
        type=Path,
        default=PLOTS,
        metavar="DIR",
        help="parent of the figures; if it is not plots/, README.md and docs/ are left alone",
    )
    return parser.parse_args(argv)


def draw_ab_split(results, folder):
    """The A/B split: the four models of the default run, A's confusion matrix, accuracy by number of images in the study."""
    from common.figures import comparisons, confusion, curves
    from common.results import readme

    history, models = files.read_csv(results / "default" / "history.csv"), read_results(results / "default")["models"]
    rows_by_title = {model["model"]: [row for row in history if row["phase"] == name] for name, model in models.items()}
    yield curves.overview_of_all(rows_by_title, folder / "overview.png")

    matrix, class_names = read_matrix(results / "default" / "a" / "confusion_matrix.csv")
    yield confusion.confusion_matrix(matrix, class_names, folder / "confusion_matrix_a.png", "Model A on its eight classes")

    title = "Airplane or horse? Test accuracy by number of training images"
    yield comparisons.accuracy_by_samples(readme.study(results.parent), folder / "accuracy_by_samples.png", STRATEGIES, title)


def draw_resnet152v2(results, folder):
    """ResNet152V2: learning curves, learning rate and confusion matrix of the control."""
    from common.figures import confusion, curves

    title, rows = "Head on frozen ResNet152V2, random weights", files.read_csv(results / "control" / "history.csv")
    yield curves.learning_curves(rows, folder / "curves.png", title)
    yield curves.learning_rate(rows, folder / "learning_rate.png", "Learning rate, reduced when val accuracy stalls")
    matrix, class_names = read_matrix(results / "control" / "confusion_matrix.csv")
    yield confusion.confusion_matrix(matrix, class_names, folder / "heatmap.png", title)


def draw_efficientnetb7(results, folder):
    """EfficientNetB7: val curves of all combinations of the control; Lite0: with and without the resize layer."""
    from common.figures import curves
    from common.results import readme

    rows_by_point = {}
    for row in files.read_csv(results / "control" / "history.csv"):
        rows_by_point.setdefault(point(row["phase"]), []).append(row)
    order = [(row["lr"], row["dropout"]) for row in files.read_csv(results / "control" / "sweep.csv")]
    title = "Head on frozen EfficientNetB7, random weights: learning rates and dropout rates"
    yield curves.sweep({point: rows_by_point[point] for point in order}, folder / "sweep.png", title)

    size, curves_by_name = image_size(results / "lite0-plain"), {}
    for title, name in ((f"resized to {size}x{size}", "lite0-plain"), ("not resized, 32x32", "lite0-32")):
        curves_by_name[title] = [files.read_csv(run / "history.csv") for run in readme.with_seeds(results / name)]
    title = "Head on frozen EfficientNet-Lite0, ImageNet weights"
    yield curves.overlay({title: curves_by_name}, folder / "collapse.png")


def draw_vgg19_finetune(results, folder):
    """VGG19 at 32x32: val curves from scratch and pretrained on CIFAR-100, confusion matrix of the latter."""
    from common.figures import confusion, curves

    by_name = {title: [files.read_csv(results / name / "history.csv")] for name, title in FINETUNED.items()}
    yield curves.overlay({"VGG19 at 32x32": by_name}, folder / "curves.png")
    matrix, class_names = read_matrix(results / "transfer" / "confusion_matrix.csv")
    title = "VGG19 at 32x32, pretrained on CIFAR-100"
    yield confusion.confusion_matrix(matrix, class_names, folder / "confusion_matrix.png", title)


def draw_transfer(points, path):
    """Test accuracy of several models by the number of their training images; `points` are rows of points.csv."""
    from common.figures import comparisons
    from common.results import metrics, readme

    rows = metrics.spread_by(points, ("model", "samples"), "test_accuracy")
    names = {model: title for model, title in readme.TRANSFER.items() if any(row["model"] == model for row in rows)}
    return comparisons.accuracy_by_samples(rows, path, names, "CIFAR-10: test accuracy by number of training images")


def draw_upscaling(points, path):
    """Test accuracy by upscaling method, of each head; `points` are rows of points.csv."""
    from common.figures import comparisons
    from common.results import metrics

    rows = metrics.spread_by(points, ("interpolation", "head"), "test_accuracy")
    rows.sort(key=lambda row: flags.INTERPOLATIONS.index(row["interpolation"]))
    title = "Upscaling from 32x32 for frozen EfficientNet-Lite0"
    return comparisons.accuracy_by_group(rows, path, "interpolation", "head", title)


def point(phase):
    """Learning rate and dropout rate of a phase of EfficientNetB7's history.csv: `lr=0.001 dropout=0.25`."""
    return tuple(float(word.split("=")[1]) for word in phase.split())


def image_size(published):
    """The edge in pixels of the images in the backbone of a published run."""
    return files.read_json(published / "args.json")["image_size"]


def read_results(published):
    """The results.json of a published run."""
    return files.read_json(published / "results.json")


def read_matrix(path):
    """Counts `(n, n)` and class names of a confusion_matrix.csv."""
    import numpy as np

    rows = files.read_csv(path)
    _, *class_names = rows[0]
    return np.array([[int(row[name]) for name in class_names] for row in rows]), class_names


DRAW = {
    "ab_split": draw_ab_split,
    "efficientnetb7": draw_efficientnetb7,
    "resnet152v2": draw_resnet152v2,
    "vgg19_finetune": draw_vgg19_finetune,
}
STUDIES = {  # figures of several runs, by the folder of plots/results/ whose points.csv has a row for each
    "transfer": ("transfer/accuracy_by_samples.png", draw_transfer),
    "upscaling": ("efficientnetb7/interpolations.png", draw_upscaling),
}


def draw_all(results, folder):
    """Draw all figures of what is published in `results`, plots/results/, and give their paths, one by one."""
    for experiment, draw in DRAW.items():
        (folder / experiment).mkdir(parents=True, exist_ok=True)
        yield from draw(results / experiment, folder / experiment)
    for study, (figure, draw) in STUDIES.items():
        points = results / study / "points.csv"
        if points.is_file():
            (folder / figure).parent.mkdir(exist_ok=True)
            yield draw(files.read_csv(points), folder / figure)


def main(argv=None):
    args = parse_args(argv)
    run_dirs = [runs.resolve(run_dir, "runs", "RUN_DIR", "results.json") for run_dir in args.run_dirs]
    for run_dir in run_dirs:  # all of them, before anything is replaced
        publishing.check(run_dir, EXPERIMENTS)
    cli.tell(*publishing.publish(run_dirs, PLOTS))
    try:
        args.output_dir.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise cli.InputError(f"--output-dir {args.output_dir} can't be written to: {cli.reason(error)}") from error
    for figure in draw_all(PLOTS / "results", args.output_dir):
        cli.tell(figure)
    if args.output_dir.resolve() == PLOTS.resolve():
        from common.results import readme

        for path in (PLOTS.parent / name for name in readme.FILES):
            text = readme.update(path.read_text(encoding="utf-8"), PLOTS / "results")
            with files.whole(path) as part:
                part.write_text(text, encoding="utf-8")
            cli.tell(path)


if __name__ == "__main__":
    cli.run(main)
