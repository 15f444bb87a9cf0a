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

    rows = files.read_csv(results / "default" / "a" / "confusion_matrix.csv")
    _, *class_names = rows[0]
    matrix = np.array([[int(row[name]) for name in class_names] for row in rows])
    yield plots.confusion_matrix(matrix, class_names, figures / "confusion_matrix_a.png", MODELS["a"])

    spread = files.read_csv(results / "study" / "accuracy_by_samples.csv")
    titles = {name: MODELS[name] for name in B_MODELS}
    yield plots.accuracy_by_samples(spread, figures / "accuracy_by_samples.png", titles, "B is airplane, horse")


def main(argv=None):
    args = parse_args(argv)
    for figure in draw_ab_split(PLOTS / "results" / "ab_split", args.output_dir / "ab_split"):
        print(figure)


if __name__ == "__main__":
    cli.run(main)
