#!/usr/bin/env python3
"""Redraw every figure that the README shows from the small text files in plots/results/.

python make_plots.py
"""

from pathlib import Path

import numpy as np

from common import cli, files
from train_ab_split import B_MODELS, MODELS

PLOTS = Path(__file__).parent / "plots"


def parse_args(argv=None):
    parser = cli.build_parser(__doc__)
    parser.add_argument("--output-dir", type=Path, default=PLOTS, metavar="DIR", help="the figures are written under it")
    return parser.parse_args(argv)


def draw_ab_split(results, figures):
    """The A/B split: the four models of the default run, A's confusion matrix, accuracy against size."""
    from common import plots

    figures.mkdir(parents=True, exist_ok=True)
    history = files.read_csv(results / "default" / "history.csv")
    rows_by_title = {title: [row for row in history if row["phase"] == name] for name, title in MODELS.items()}
    yield plots.overview_of_all(rows_by_title, figures / "overview.png")

    matrix, class_names = read_matrix(results / "default" / "a" / "confusion_matrix.csv")
    yield plots.confusion_matrix(matrix, class_names, figures / "confusion_matrix_a.png", MODELS["a"])

    spread = files.read_csv(results / "study" / "accuracy_by_samples.csv")
    titles = {name: MODELS[name] for name in B_MODELS}
    yield plots.accuracy_by_samples(spread, figures / "accuracy_by_samples.png", titles, "B is airplane, horse")


def draw_resnet152v2(results, figures):
    """ResNet152V2: learning curves and confusion matrix of the control without pretraining."""
    from common import plots

    figures.mkdir(parents=True, exist_ok=True)
    title = "frozen ResNet152V2, random weights (control)"
    yield plots.learning_curves(files.read_csv(results / "control" / "history.csv"), figures / "curves.png", title)
    matrix, class_names = read_matrix(results / "control" / "confusion_matrix.csv")
    yield plots.confusion_matrix(matrix, class_names, figures / "heatmap.png", title)


def read_matrix(path):
    """A confusion_matrix.csv as counts `(n, n)` and class names."""
    rows = files.read_csv(path)
    _, *class_names = rows[0]
    return np.array([[int(row[name]) for name in class_names] for row in rows]), class_names


def main(argv=None):
    args = parse_args(argv)
    for experiment, draw in (("ab_split", draw_ab_split), ("resnet152v2", draw_resnet152v2)):
        for figure in draw(PLOTS / "results" / experiment, args.output_dir / experiment):
            print(figure)


if __name__ == "__main__":
    cli.run(main)
