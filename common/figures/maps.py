"""Maps of features: every image a point in the plane, close to those that the model finds alike."""

import itertools
import math

import matplotlib.pyplot as plt
import numpy as np

from common.figures.style import MARKERS, PALETTE, save, shown

MAX_NAMED = 20  # classes that a legend can tell apart
LEGEND_WIDTH = 120  # in letters
NAME_SIZE = (0.17, 0.06)  # width and height of a name, as shares of the panel
LABEL_BOX = {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "0.7", "alpha": 0.85}


def feature_maps(rows, labels, class_names, path, title=None):
    """Scatter plots of points `(n, 2)`, one for each `(name, points)` of each row; the points have the same `labels` `(n,)`.

    Each class has a colour and a marker of its own, its name in the legend, and once more at its middle where there is room. Of
    more than `MAX_NAMED` classes colours repeat, and the names are left out.
    """
    height, width = len(rows), len(rows[0])
    shared = labels % math.lcm(len(PALETTE), len(MARKERS)) if len(class_names) > MAX_NAMED else labels  # drawn alike
    size = min(4.5, 10.5 / width)
    figure, axes = plt.subplots(height, width, figsize=(size * width, 0.92 * size * height), squeeze=False)
    for axis, (name, points) in zip(axes.flat, itertools.chain(*rows), strict=True):
        for label in np.unique(shared):
            style = {"color": PALETTE[label % len(PALETTE)], "marker": MARKERS[label % len(MARKERS)]}
            size = np.clip(8000 / len(points), 9, 24)
            axis.scatter(*points[shared == label].T, s=size, linewidths=0, label=shown(class_names[label], 24), **style)
        if len(class_names) <= MAX_NAMED:
            _name_middles(axis, points, labels, class_names)
        axis.set(xticks=[], yticks=[], title=shown(name, 60))
        axis.margins(0.04)
    if len(class_names) <= MAX_NAMED:
        handles, names = axes.flat[0].get_legend_handles_labels()
        columns = np.clip(LEGEND_WIDTH // (np.mean([len(name) for name in names]) + 6), 1, 10)
        figure.legend(handles, names, loc="outside lower center", ncols=int(columns), markerscale=2)
    if title:
        figure.suptitle(shown(title))
    return save(figure, path)


def _name_middles(axis, points, labels, class_names):
    """Write the name of a class where its middle is, unless another name is there."""
    extent, taken = np.ptp(points, axis=0), []
    for label in np.unique(labels):
        middle = np.median(points[labels == label], axis=0)
        if all((abs(middle - other) > extent * NAME_SIZE).any() for other in taken):
            axis.annotate(shown(class_names[label], 24), middle, ha="center", va="center", fontsize=8.5, bbox=LABEL_BOX)
            taken.append(middle)
