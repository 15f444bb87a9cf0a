"""Accuracies of several models in one figure. Every function returns the path it wrote."""

import matplotlib.pyplot as plt
import numpy as np

from common.figures.style import COLOURS, MARKERS, PALETTE, save, shown


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
        colour = PALETTE[number + 1]  # the colour that the model has in overview_of_all, where model A is first
        axis.plot(samples, mean, marker=MARKERS[number + 1], color=colour, label=name)
        axis.fill_between(samples, mean - deviation, mean + deviation, color=colour, alpha=0.18, linewidth=0)
    ticks = sorted({row["samples"] for row in rows if row["model"] in names})
    axis.set_xscale("log")
    axis.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axis.minorticks_off()
    axis.set(xlabel="training images (logarithmic)", ylabel="test accuracy", title=shown(title))
    axis.legend(loc="lower right")
    return save(figure, path)


def accuracies(rows, path, title):
    """Test accuracies as dots with their intervals, one under the other: `rows` are (name, accuracy, (low, high))."""
    figure, axis = plt.subplots(figsize=(7, 0.34 * len(rows) + 1.2))
    for place, (_, accuracy, (low, high)) in enumerate(rows):
        spread = [[accuracy - low], [high - accuracy]]
        axis.errorbar(accuracy, place, xerr=spread, fmt="o", color=COLOURS["test"], capsize=3, markersize=5)
    axis.set_yticks(range(len(rows)), [shown(name, 60) for name, *_ in rows])
    axis.set(xlabel="test accuracy, 95 % interval", title=shown(title))
    axis.margins(y=0.15)
    axis.invert_yaxis()
    return save(figure, path)
