"""The figures of README.md and docs/, drawn from the small text files in plots/results/."""

import numpy as np

from common import files, flags
from common.figures import curves, scores
from common.results import finished_runs, metrics
from publish import comparisons, tables

STRATEGIES = {"b-scratch": "from scratch", "b-last-fc": "pretrained, last layer", "b-both-fc": "pretrained, both FC layers"}
FINETUNED = {
    "scratch": "from scratch",
    "scratch-longer": "from scratch, twice as long",
    "transfer": "pretrained on CIFAR-100 (5 epochs: head only)",
}


def draw_ab_split(results, folder):
    """The A/B split: the four models of the default run, A's confusion matrix."""
    curves_by_title = {record.results["model"]: record.curve for record in finished_runs.read_run(results / "default")}
    yield curves.overview_of_all(curves_by_title, folder / "overview.png")
    yield draw_matrix(results / "default" / "a", folder / "confusion_matrix_a.png", "Model A on its eight classes")


def draw_resnet152v2(results, folder):
    """ResNet152V2: learning curves, learning rate and confusion matrix of the control."""
    title, rows = "Head on frozen ResNet152V2, random weights", files.read_csv(results / "control" / "history.csv")
    yield curves.learning_curves(rows, folder / "curves.png", title)
    yield curves.learning_rate(rows, folder / "learning_rate.png", "Learning rate, reduced when val accuracy stalls")
    yield draw_matrix(results / "control", folder / "heatmap.png", title)


def draw_efficientnetb7(results, folder):
    """EfficientNetB7: val curves of all combinations of the control; Lite0: with and without the resize layer."""
    rows_by_point = {}
    for row in files.read_csv(results / "control" / "history.csv"):
        rows_by_point.setdefault(point(row["phase"]), []).append(row)
    order = [(row["lr"], row["dropout"]) for row in files.read_csv(results / "control" / "sweep.csv")]
    title = "Head on frozen EfficientNetB7, random weights: learning rates and dropout rates"
    yield curves.sweep({point: rows_by_point[point] for point in order}, folder / "sweep.png", title)

    size, curves_by_name = files.read_json(results / "lite0-plain" / "args.json")["image_size"], {}
    for title, name in ((f"resized to {size}x{size}", "lite0-plain"), ("not resized, 32x32", "lite0-32")):
        curves_by_name[title] = [files.read_csv(run / "history.csv") for run in tables.with_seeds(results / name)]
    title = "Head on frozen EfficientNet-Lite0, ImageNet weights"
    yield curves.overlay({title: curves_by_name}, folder / "collapse.png")


def draw_vgg19_finetune(results, folder):
    """VGG19 at 32x32: val curves from scratch and pretrained on CIFAR-100, confusion matrix of the latter."""
    by_name = {title: [files.read_csv(results / name / "history.csv")] for name, title in FINETUNED.items()}
    yield curves.overlay({"VGG19 at 32x32": by_name}, folder / "curves.png")
    yield draw_matrix(results / "transfer", folder / "confusion_matrix.png", "VGG19 at 32x32, pretrained on CIFAR-100")


def draw_ab(points, path):
    """Test accuracy of the three ways to train B by the number of its images; `points` are rows of points.csv."""
    title, rows = "Airplane or horse? Test accuracy by number of training images", tables.spread(points)
    return comparisons.accuracy_by_samples(rows, path, STRATEGIES, title)


def draw_transfer(points, path):
    """Test accuracy of several models by the number of their training images; `points` are rows of points.csv."""
    rows = tables.spread(points)
    names = {model: title for model, title in tables.TRANSFER.items() if any(row["model"] == model for row in rows)}
    return comparisons.accuracy_by_samples(rows, path, names, "CIFAR-10: test accuracy by number of training images")


def draw_upscaling(points, path):
    """Test accuracy by upscaling method, of each head; `points` are rows of points.csv."""
    rows = metrics.spread_by(points, ("interpolation", "head"), "test_accuracy")
    rows.sort(key=lambda row: flags.INTERPOLATIONS.index(row["interpolation"]))
    title = "Upscaling from 32x32 for frozen EfficientNet-Lite0"
    return comparisons.accuracy_by_group(rows, path, "interpolation", "head", title)


def point(phase):
    """Learning rate and dropout rate of a phase of EfficientNetB7's history.csv: `lr=0.001 dropout=0.25`."""
    return tuple(float(word.split("=")[1]) for word in phase.split())


def draw_matrix(published, path, title):
    """The confusion matrix of a published run, or of one of its models."""
    matrix, class_names = read_matrix(published / "confusion_matrix.csv")
    return scores.confusion_matrix(matrix, class_names, path, title)


def read_matrix(path):
    """Counts `(n, n)` and class names of a confusion_matrix.csv."""
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
    "ab": ("ab_split/accuracy_by_samples.png", draw_ab),
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
