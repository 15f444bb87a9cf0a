"""Accuracies of several models in one figure. Every function returns the path it wrote."""

import matplotlib.pyplot as plt
import numpy as np

from common.figures.style import MARKERS, PALETTE, save, shown


def accuracy_by_samples(rows, path, names, title):
    """Test accuracy against the number of training images (logarithmic): mean and standard deviation over seeds.

    `rows` have the columns model, samples, mean and deviation; `names` gives each model's label, in the legend's order.
    """
    figure, axis = plt.subplots(figsize=(7, 4.2))
    for number, (model, name) in enumerate(names.items()):
        model_rows = sorted((row for row in rows if row["model"] == model), key=lambda row: row["samples"])
        samples, mean, deviation = (
            np.array([row[column] or 0 for row in model_rows], float) for column in ("samples", "mean", "deviation")
        )
        style = number + 1  # that of the model in overview_of_all, where model A is first
        colour = PALETTE[style % len(PALETTE)]
        axis.plot(samples, mean, marker=MARKERS[style % len(MARKERS)], color=colour, label=name)
        axis.fill_between(samples, mean - deviation, mean + deviation, color=colour, alpha=0.18, linewidth=0)
    ticks = sorted({row["samples"] for row in rows if row["model"] in names})
    axis.set_xscale("log")
    axis.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axis.minorticks_off()
    axis.set(xlabel="training images (logarithmic)", ylabel="test accuracy", title=shown(title))
    axis.legend(loc="lower right")
    return save(figure, path)


def accuracy_by_group(rows, path, group, series, title):
    """Test accuracies as dots with their standard deviations: a line for each group, in it a dot for each series.

    `rows` have the columns `group` and `series`, both names, mean, deviation and runs, as `metrics.spread_by` gives them.
    """
    groups, names = (list(dict.fromkeys(row[column] for row in rows)) for column in (group, series))
    figure, axis = plt.subplots(figsize=(7, 0.5 * len(groups) + 1.4))
    for number, name in enumerate(names):
        own = [row for row in rows if row[series] == name]
        places = [groups.index(row[group]) + 0.22 * (number - (len(names) - 1) / 2) for row in own]
        axis.errorbar(
            [row["mean"] for row in own],
            places,
            xerr=[row["deviation"] or 0 for row in own],
            fmt=MARKERS[number % len(MARKERS)],
            color=PALETTE[number % len(PALETTE)],
            capsize=3,
            markersize=5,
            label=shown(name, 60),
        )
    axis.set_yticks(range(len(groups)), [shown(name, 60) for name in groups])
    seeds = "/".join(map(str, sorted({row["runs"] for row in rows})))
    axis.set(xlabel=f"test accuracy, mean and standard deviation over {seeds} seeds", title=shown(title))
    axis.margins(y=0.15)
    axis.invert_yaxis()
    axis.legend(title=shown(series), title_fontsize=9)
    return save(figure, path)
