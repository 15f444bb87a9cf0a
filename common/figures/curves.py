"""Curves by epoch, from rows of history.csv, which are dicts by column name. Functions return the path that they wrote."""

import textwrap

import matplotlib.pyplot as plt

from common.figures.style import COLOURS, LINE_STYLES, MARKERS, PALETTE, save, shown

MAX_CURVES = 6  # in one panel; more can't be told apart


def learning_curves(rows, path, title, parts=("train", "val")):
    """Accuracy and loss by epoch, a line for each part, in two panels; a dashed line where the phase changes.

    Of a logistic head they are by C, on a logarithmic axis.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4))
    for axis, metric in zip(axes, ("accuracy", "loss"), strict=True):
        for part in parts:
            _line(axis, rows, _column(part, metric), label=part, color=COLOURS[part])
        _mark_phases(axis, rows)
        _finish(axis, metric)
        if _has_c(rows):
            axis.set(xlabel="C, the inverse of the L2 penalty", xscale="log")
    figure.suptitle(shown(title))
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


def learning_rate(rows, path, title):
    """Learning rate by epoch on a logarithmic axis."""
    figure, axis = plt.subplots(figsize=(6, 2.8))
    _line(axis, rows, "learning_rate", color=PALETTE[4])
    axis.set_yscale("log")
    _mark_phases(axis, rows)
    _finish(axis, "learning rate", legend=False)
    axis.set_title(shown(title))
    return save(figure, path)


def sweep(rows_by_point, path, title):
    """Val accuracy and val loss by epoch for every point `(learning rate, dropout rate)`: a colour for each learning rate, a
    line style for each dropout rate.
    """
    rates, dropouts = (sorted({point[place] for point in rows_by_point}) for place in (0, 1))
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8 + 0.2 * max(0, len(rows_by_point) // 4 - 2)))  # with room for the legend
    for axis, metric in zip(axes, ("accuracy", "loss"), strict=True):
        for (rate, dropout), rows in rows_by_point.items():
            number, style = rates.index(rate), dropouts.index(dropout)
            _line(
                axis, rows, _column("val", metric), label=f"lr {rate:g}, dropout {dropout:g}", markersize=3,
                color=PALETTE[number % len(PALETTE)], marker=MARKERS[number % len(MARKERS)],
                linestyle=LINE_STYLES[style % len(LINE_STYLES)],
            )  # fmt: skip
        _finish(axis, f"val {metric}", legend=False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
    figure.suptitle(shown(title))
    return save(figure, path)


def overlay(groups, path):
    """Val accuracy and val loss by epoch of several runs: a row of two panels for each group, with its own legend.

    `groups` is a dict from a title to a dict from a run's name to its curves, one for each seed; several are drawn thinner. A
    curve is rows of history.csv; runs without val are left out, and logistic heads, which have no epochs. A group shows its
    `MAX_CURVES` best runs by val accuracy, and its title says so. Groups without a curve have no row; if all are, nothing is
    drawn, and None is returned.
    """
    groups = {title: _best(curves_by_name) for title, curves_by_name in groups.items()}
    groups = {title: chosen for title, chosen in groups.items() if chosen[0]}
    if not groups:
        return None
    figure, axes = plt.subplots(len(groups), 2, figsize=(9, 3.5 * len(groups)), squeeze=False)
    for row, (title, (curves_by_name, note)) in zip(axes, groups.items(), strict=True):
        for axis, metric in zip(row, ("accuracy", "loss"), strict=True):
            for number, (name, curves) in enumerate(curves_by_name.items()):
                for place, rows in enumerate(curves):
                    label = textwrap.fill(shown(name, 240), 60) if place == 0 else None
                    _line(
                        axis, rows, _column("val", metric), label=label, color=PALETTE[number], marker=MARKERS[number],
                        markevery=max(1, len(rows) // 10), linewidth=1.6 if len(curves) == 1 else 0.9,
                    )  # fmt: skip
            _finish(axis, f"val {metric}", legend=False)
        row[0].set_title(f"{shown(title, 60)}{note}", loc="left", fontweight="bold")
        row[0].legend(loc="best", fontsize=7.5)
    return save(figure, path)


def _best(curves_by_name):
    """The best runs of a group by val accuracy, of those that `overlay` draws, and a note where some are left out."""
    with_val = {
        name: [
            rows
            for curve in curves
            if not _has_c(curve) and (rows := [row for row in curve if row["val_accuracy"] is not None])
        ]
        for name, curves in curves_by_name.items()
    }
    with_val = {name: curves for name, curves in with_val.items() if curves}
    ranked = sorted(with_val, key=lambda name: -max(row["val_accuracy"] for rows in with_val[name] for row in rows))
    chosen = set(ranked[:MAX_CURVES])
    note = f": the best {MAX_CURVES} of {len(ranked)} by val accuracy" if len(ranked) > MAX_CURVES else ""
    return {name: curves for name, curves in with_val.items() if name in chosen}, note


def _column(part, metric):
    return metric if part == "train" else f"{part}_{metric}"


def _has_c(rows):
    """Whether rows of history.csv are not of epochs but of a logistic head's values of C."""
    return bool(rows) and rows[0].get("C") is not None


def _line(axis, rows, column, **style):
    style = {"marker": "o", "markersize": 4} | style
    x = "C" if _has_c(rows) else "epoch"
    axis.plot([row[x] for row in rows], [row[column] for row in rows], **style)


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
