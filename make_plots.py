#!/usr/bin/env python3
"""Redraw every figure that the README shows, and rewrite its tables, from the small text files in plots/results/.

    python make_plots.py                                             # redraw
    python make_plots.py runs/resnet152v2/20261123-120000-control    # publish a run first, as resnet152v2/control

A run is published under its `--name`: its arguments, environment, history and scores, none of its weights and images. What
was published under the same name before is replaced. Only finished runs, no dry runs.
"""

import shutil
from pathlib import Path

import numpy as np

from common import cli, files
from common.results import records
from train_ab_split import B_MODELS, MODELS

PLOTS = Path(__file__).parent / "plots"
README = Path(__file__).parent / "README.md"
TEXTS = (
    "args.json", "environment.json", "history.csv", "results.json", "confusion_matrix.csv", "points.csv",
    "accuracy_by_samples.csv", "sweep.csv",
)  # fmt: skip
FINETUNED = {"scratch": "from scratch", "transfer": "from CIFAR-100's weights: head, then all layers"}


def parse_args(argv=None):
    parser = cli.build_parser(__doc__)
    parser.add_argument("run_dirs", nargs="*", type=Path, metavar="RUN_DIR", help="runs to publish first")
    parser.add_argument(
        "--output-dir",
        type=Path,
        default=PLOTS,
        metavar="DIR",
        help="the figures are written under it; elsewhere than in plots/, the README is left alone",
    )
    return parser.parse_args(argv)


def check(run_dir):
    """The experiment and the name of a run that can be published. Raises InputError for any other folder."""
    try:
        record = records.read(run_dir)[0]
    except cli.InputError as error:
        raise cli.InputError(f"{run_dir}: {error}; give the folder of a finished run") from error
    if not record.args.get("name"):
        raise cli.InputError(f"{run_dir} has no name to be published under: start runs for publication with --name")
    return record.results["experiment"], record.args["name"]


def publish(run_dir, experiment, name):
    """Copy the small text files of a run, and of its models' subfolders, to plots/results/<experiment>/<name>/."""
    target = PLOTS / "results" / experiment / name
    texts = [path for text in TEXTS for path in (*run_dir.glob(text), *run_dir.glob(f"*/{text}"))]
    contents = {path.relative_to(run_dir): path.read_bytes() for path in texts}  # the run may be the published one itself
    shutil.rmtree(target, ignore_errors=True)
    for path, content in contents.items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_bytes(content)
    return target


def draw_ab_split(results, figures):
    """The A/B split: the four models of the default run, A's confusion matrix, accuracy against size in all of the study."""
    from common.figures import plots
    from common.results import readme

    history = files.read_csv(results / "default" / "history.csv")
    rows_by_title = {title: [row for row in history if row["phase"] == name] for name, title in MODELS.items()}
    yield plots.overview_of_all(rows_by_title, figures / "overview.png")

    matrix, class_names = read_matrix(results / "default" / "a" / "confusion_matrix.csv")
    yield plots.confusion_matrix(matrix, class_names, figures / "confusion_matrix_a.png", MODELS["a"])

    titles = {name: MODELS[name] for name in B_MODELS}
    yield plots.accuracy_by_samples(
        readme.study(results.parent), figures / "accuracy_by_samples.png", titles, "B is airplane, horse"
    )


def draw_vgg19(results, figures):
    """Frozen VGG19: test accuracy by how the images were upscaled."""
    from common.figures import plots

    rows = []
    for interpolation in cli.INTERPOLATIONS:
        of = files.read_json(results / interpolation / "results.json")
        rows.append((interpolation, of["test_accuracy"], of["test_accuracy_interval"]))
    size = image_size(results / "bicubic")
    yield plots.accuracies(
        rows, figures / "interpolations.png", f"frozen VGG19, random weights (control): 32x32 to {size}x{size}"
    )


def draw_resnet152v2(results, figures):
    """ResNet152V2: learning curves and confusion matrix of the control without pretraining."""
    from common.figures import plots

    title = "frozen ResNet152V2, random weights (control)"
    yield plots.learning_curves(files.read_csv(results / "control" / "history.csv"), figures / "curves.png", title)
    matrix, class_names = read_matrix(results / "control" / "confusion_matrix.csv")
    yield plots.confusion_matrix(matrix, class_names, figures / "heatmap.png", title)


def draw_efficientnetb7(results, figures):
    """EfficientNetB7: val curves of all combinations of the control, and of one of them with and without the resize layer."""
    from common.figures import plots

    by_point = {}
    for row in files.read_csv(results / "control" / "history.csv"):
        by_point.setdefault(point(row["phase"]), []).append(row)
    order = [(of["lr"], of["dropout"]) for of in files.read_csv(results / "control" / "sweep.csv")]
    curves = {of: by_point[of] for of in order}
    yield plots.sweep(curves, figures / "sweep.png", "frozen EfficientNetB7, random weights (control)")

    not_resized = files.read_csv(results / "no-resize" / "history.csv")
    size = image_size(results / "control")
    curves = {
        f"resized to {size}x{size}": [by_point[point(not_resized[0]["phase"])]],
        "32x32 as they are, --no-resize": [not_resized],
    }
    yield plots.overlay(curves, figures / "collapse.png")


def draw_vgg19_finetune(results, figures):
    """VGG19 at 32x32: val curves on CIFAR-10 from scratch and from CIFAR-100's weights, the confusion matrix of the better."""
    from common.figures import plots

    curves = {title: [files.read_csv(results / name / "history.csv")] for name, title in FINETUNED.items()}
    yield plots.overlay(curves, figures / "curves.png")
    matrix, class_names = read_matrix(results / "transfer" / "confusion_matrix.csv")
    yield plots.confusion_matrix(matrix, class_names, figures / "confusion_matrix.png", FINETUNED["transfer"])


def point(phase):
    """Learning rate and dropout of a phase of EfficientNetB7's history.csv: `lr=0.001 dropout=0.25`."""
    return tuple(float(word.split("=")[1]) for word in phase.split())


def image_size(published):
    """The edge in pixels of what a published run's base took."""
    return files.read_json(published / "args.json")["image_size"]


def read_matrix(path):
    """A confusion_matrix.csv as counts `(n, n)` and class names."""
    rows = files.read_csv(path)
    _, *class_names = rows[0]
    return np.array([[int(row[name]) for name in class_names] for row in rows]), class_names


DRAW = {
    "ab_split": draw_ab_split,
    "efficientnetb7": draw_efficientnetb7,
    "resnet152v2": draw_resnet152v2,
    "vgg19": draw_vgg19,
    "vgg19_finetune": draw_vgg19_finetune,
}


def main(argv=None):
    args = parse_args(argv)
    names = [check(run_dir) for run_dir in args.run_dirs]  # all of them, before anything is replaced
    for run_dir, (experiment, name) in zip(args.run_dirs, names, strict=True):
        print(publish(run_dir, experiment, name))
    for experiment, draw in DRAW.items():
        (args.output_dir / experiment).mkdir(parents=True, exist_ok=True)
        for figure in draw(PLOTS / "results" / experiment, args.output_dir / experiment):
            print(figure)

    if args.output_dir == PLOTS:
        from common.results import readme

        text = readme.update(README.read_text(encoding="utf-8"), PLOTS / "results")
        with files.whole(README) as part:
            part.write_text(text, encoding="utf-8")
        print(README)


if __name__ == "__main__":
    cli.run(main)
