"""Figures from arrays or from rows of history.csv, which are read by column name. Every function returns the path it wrote.

Train, val and test have one colour each in every figure; the palette is seaborn's colour-blind one.
"""

import textwrap

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
import seaborn as sns  # noqa: E402

from common import files  # noqa: E402

PALETTE = sns.color_palette("colorblind")
COLOURS = {"train": PALETTE[0], "val": PALETTE[1], "test": PALETTE[2]}
MARKERS = "osD^vP"
STYLES = ("-", "--", ":", "-.")
DPI = 110

sns.set_theme(
    style="whitegrid",
    rc={"axes.titlesize": 11, "axes.labelsize": 10, "legend.fontsize": 9, "figure.constrained_layout.use": True},
)


def save(figure, path):
    """Write a figure as PNG, whole or not at all, and close it. Returns the path."""
    with files.whole(path) as part:
        figure.savefig(part, dpi=DPI, bbox_inches="tight", format="png")
    plt.close(figure)
    return path


def learning_curves(rows, path, title, parts=("train", "val")):
    """Accuracy and loss by epoch, a line for each part, in two panels; a dashed line where the phase changes."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4))
    for axis, metric in zip(axes, ("accuracy", "loss"), strict=True):
        for part in parts:
            _line(axis, rows, _column(part, metric), label=part, color=COLOURS[part])
        _mark_phases(axis, rows)
        _finish(axis, metric)
    figure.suptitle(title)
    return save(figure, path)


def accuracy_and_loss(rows, path, title):
    """Test accuracy and test loss by epoch in one panel with two axes."""
    figure, axis = plt.subplots(figsize=(6, 3.4))
    _line(axis, rows, "test_accuracy", color=PALETTE[2], marker="o", label="test accuracy")
    loss_axis = axis.twinx()
    loss_axis.grid(False)
    _line(loss_axis, rows, "test_loss", color=PALETTE[3], marker="s", linestyle="--", label="test loss")
    _finish(axis, "test accuracy", legend=False)
    loss_axis.set_ylabel("test loss")
    handles = axis.get_lines() + loss_axis.get_lines()
    axis.legend(handles, [line.get_label() for line in handles], loc="center right")
    axis.set_title(title)
    return save(figure, path)


def curves_of_all(rows_by_model, path, part, metric):
    """One metric (accuracy or loss) on one part (train, val or test) by epoch, a line for each model."""
    figure, axis = plt.subplots(figsize=(6, 3.6))
    _lines_of_all(axis, rows_by_model, part, metric)
    axis.legend()
    return save(figure, path)


def overview_of_all(rows_by_model, path):
    """Accuracy and loss on train and on test, a line for each model, in four panels with one legend."""
    figure, axes = plt.subplots(2, 2, figsize=(9, 6.4), sharex=True, sharey="row")
    panels = [(part, metric) for metric in ("accuracy", "loss") for part in ("train", "test")]
    for axis, (part, metric) in zip(axes.flat, panels, strict=True):
        _lines_of_all(axis, rows_by_model, part, metric)
        axis.label_outer()
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return save(figure, path)


def sweep(rows_by_point, path, title):
    """Val accuracy and val loss by epoch for every point `(learning rate, dropout rate)`: a colour for each learning rate, a
    line style for each dropout rate.
    """
    rates, dropouts = (sorted({point[place] for point in rows_by_point}) for place in (0, 1))
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8))
    for axis, metric in zip(axes, ("accuracy", "loss"), strict=True):
        for (rate, dropout), rows in rows_by_point.items():
            number, style = rates.index(rate), dropouts.index(dropout)
            _line(
                axis, rows, _column("val", metric), label=f"lr {rate:g}, dropout {dropout:g}", markersize=3,
                color=PALETTE[number % len(PALETTE)], marker=MARKERS[number % len(MARKERS)],
                linestyle=STYLES[style % len(STYLES)],
            )  # fmt: skip
        _finish(axis, f"val {metric}", legend=False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
    figure.suptitle(title)
    return save(figure, path)


def overlay(curves_by_name, path):
    """Val accuracy and val loss by epoch of several runs, a colour and a marker for each name.

    `curves_by_name` is a dict from a name to its curves, one for each seed, which are drawn thinner where there are several.
    A curve is rows of history.csv; those without a val part are left out.
    """
    names = [textwrap.fill(name, 100) for name in curves_by_name]
    columns = max(1, min(3, 120 // (max(map(len, names)) + 8)))
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4 + 0.22 * -(-len(names) // columns)))
    for axis, metric in zip(axes, ("accuracy", "loss"), strict=True):
        column = _column("val", metric)
        for number, (name, curves) in enumerate(zip(names, curves_by_name.values(), strict=True)):
            for place, rows in enumerate(curves):
                rows = [row for row in rows if row[column] is not None]
                _line(
                    axis, rows, column, label="_" * bool(place) + name, color=PALETTE[number % len(PALETTE)],
                    marker=MARKERS[number % len(MARKERS)], markevery=max(1, len(rows) // 10),
                    linestyle=STYLES[number // len(PALETTE) % len(STYLES)], linewidth=1.6 if len(curves) == 1 else 0.9,
                )  # fmt: skip
        _finish(axis, f"val {metric}", legend=False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)
    return save(figure, path)


def learning_rate(rows, path, title):
    """Learning rate by epoch on a logarithmic axis."""
    figure, axis = plt.subplots(figsize=(6, 2.8))
    _line(axis, rows, "learning_rate", color=PALETTE[4])
    axis.set_yscale("log")
    _mark_phases(axis, rows)
    _finish(axis, "learning rate", legend=False)
    axis.set_title(title)
    return save(figure, path)


def confusion_matrix(matrix, class_names, path, title):
    """Heatmap of counts `(n, n)`: rows true, columns predicted; the shade is the share of the row."""
    size = min(max(4.2, 0.62 * len(class_names) + 1.6), 16)
    figure, axis = plt.subplots(figsize=(size, size * 0.88))
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    annotations = matrix if len(class_names) <= 20 else False
    sns.heatmap(
        share, annot=annotations, fmt="d", cmap="cividis", vmin=0, vmax=1, square=True, ax=axis,
        xticklabels=class_names, yticklabels=class_names, annot_kws={"size": 9}, cbar_kws={"label": "share of the true class"},
    )  # fmt: skip
    axis.set(xlabel="predicted", ylabel="true", title=title)
    plt.setp(axis.get_xticklabels(), rotation=45, ha="right", rotation_mode="anchor")
    axis.tick_params(axis="y", rotation=0)
    return save(figure, path)


def accuracy_by_samples(rows, path, names, title):
    """Test accuracy against the number of training pictures (logarithmic): mean and standard deviation over seeds.

    `rows` have the columns model, samples, mean and deviation; `names` gives each model's label, in the legend's order.
    """
    figure, axis = plt.subplots(figsize=(7, 4.2))
    for number, (model, name) in enumerate(names.items()):
        of_model = sorted((row for row in rows if row["model"] == model), key=lambda row: row["samples"])
        samples, mean, deviation = (
            np.array([row[column] or 0 for row in of_model], float) for column in ("samples", "mean", "deviation")
        )
        colour = PALETTE[number + 1]  # the colour that the model has in overview_of_all, where model A is first
        axis.plot(samples, mean, marker=MARKERS[number + 1], color=colour, label=name)
        axis.fill_between(samples, mean - deviation, mean + deviation, color=colour, alpha=0.18, linewidth=0)
    ticks = sorted({row["samples"] for row in rows if row["model"] in names})
    axis.set_xscale("log")
    axis.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axis.minorticks_off()
    axis.set(xlabel="training pictures of B (logarithmic)", ylabel="test accuracy", title=title)
    axis.legend(loc="lower right")
    return save(figure, path)


def accuracies(rows, path, title):
    """Test accuracies as dots with their intervals, one under the other: `rows` are (name, accuracy, (low, high))."""
    figure, axis = plt.subplots(figsize=(7, 0.34 * len(rows) + 1.2))
    for place, (_, accuracy, (low, high)) in enumerate(rows):
        spread = [[accuracy - low], [high - accuracy]]
        axis.errorbar(accuracy, place, xerr=spread, fmt="o", color=COLOURS["test"], capsize=3, markersize=5)
    axis.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axis.set(xlabel="test accuracy, 95 % interval", title=title)
    axis.margins(y=0.15)
    axis.invert_yaxis()
    return save(figure, path)


def _column(part, metric):
    return metric if part == "train" else f"{part}_{metric}"


def _line(axis, rows, column, **style):
    style = {"marker": "o", "markersize": 4} | style
    axis.plot([row["epoch"] for row in rows], [row[column] for row in rows], **style)


def _lines_of_all(axis, rows_by_model, part, metric):
    for number, (name, rows) in enumerate(rows_by_model.items()):
        _line(axis, rows, _column(part, metric), label=name, color=PALETTE[number], marker=MARKERS[number])
    _finish(axis, metric, legend=False)
    axis.set_title(f"{part} {metric}")


def _mark_phases(axis, rows):
    """A dashed line between two phases, with the name of the second."""
    for before, row in zip(rows, rows[1:], strict=False):
        if row.get("phase") != before.get("phase"):
            axis.axvline(row["epoch"] - 0.5, color="0.35", linestyle="--", linewidth=1.2)
            axis.annotate(
                row["phase"], (row["epoch"] - 0.5, 1), xycoords=("data", "axes fraction"), xytext=(3, -3),
                textcoords="offset points", va="top", fontsize=8, color="0.35",
            )  # fmt: skip


def _finish(axis, metric, legend=True):
    axis.set(xlabel="epoch", ylabel=metric)
    axis.xaxis.get_major_locator().set_params(integer=True)
    if legend:
        axis.legend()
