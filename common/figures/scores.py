"""What a model is right about: confusion matrix, reliability diagram, maps of its features. Functions return their path."""

import itertools
import math
import textwrap

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.colors import PowerNorm

from common.figures.style import COLOURS, MARKERS, PALETTE, save, shown

MAX_NAMED = 40  # classes whose names fit beside a matrix
MAX_BLOCKS = 100  # a side, of more classes than that
NUM_PAIRS = 20
MAX_MAPPED = 20  # classes that a legend can tell apart
LEGEND_WIDTH = 120  # in letters
NAME_SIZE = (0.17, 0.06)  # width and height of a name, as shares of the panel
LABEL_BOX = {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "0.7", "alpha": 0.85}


def confusion_matrix(matrix, class_names, path, title):
    """Heatmap of counts `(n, n)`: rows true, columns predicted; the shade is the share of the row."""
    if len(class_names) > MAX_NAMED:
        return _of_many(matrix, class_names, path, title)
    size = min(max(4.2, 0.62 * len(class_names) + 1.6), 16)
    class_names = [shown(name, 30) for name in class_names]
    room = 0.085 * max(0, *(len(name) - 10 for name in class_names))  # for names longer than usual
    figure, axis = plt.subplots(figsize=(size + room, size * 0.88 + 0.8 * room))
    annotations = matrix if len(class_names) <= 20 else False
    sns.heatmap(
        _shares(matrix), annot=annotations, fmt="d", cmap="cividis", vmin=0, vmax=1, square=True, ax=axis,
        xticklabels=class_names, yticklabels=class_names, annot_kws={"size": 9}, cbar_kws={"label": "share of the true class"},
    )  # fmt: skip
    axis.set(xlabel="predicted", ylabel="true", title=textwrap.fill(shown(title), int(8 * size)))  # up to the colour bar
    plt.setp(axis.get_xticklabels(), rotation=45, ha="right", rotation_mode="anchor")
    axis.tick_params(axis="y", rotation=0)
    return save(figure, path)


def _of_many(matrix, class_names, path, title):
    """A matrix without names, where need be of blocks of classes that follow each other, and the most confused pairs."""
    num_classes = len(class_names)
    block = -(-num_classes // MAX_BLOCKS)
    starts = np.arange(0, num_classes, block)
    blocks = np.add.reduceat(np.add.reduceat(matrix, starts, axis=0), starts, axis=1)
    figure, (axis, beside) = plt.subplots(1, 2, figsize=(13, 5.6), width_ratios=(5, 4))
    end, norm = block * len(blocks) - 0.5, PowerNorm(0.5, 0, 1)  # small shares are seen, too
    image = axis.imshow(_shares(blocks), "cividis", norm, extent=(-0.5, end, end, -0.5), interpolation="nearest")
    axis.grid(False)
    axis.set(xlabel="predicted, the class's number", ylabel="true", title=f"by blocks of {block} classes" if block > 1 else "")
    figure.colorbar(image, ax=axis, label="share of the true class")

    wrong = matrix - np.diag(np.diag(matrix))
    places = [divmod(place, num_classes) for place in np.argsort(-wrong, axis=None, kind="stable")[:NUM_PAIRS]]
    pairs = [place for place in places if wrong[place]]
    beside.barh(range(len(pairs)), [wrong[pair] for pair in pairs], color=PALETTE[0])
    names = [" taken for ".join(shown(class_names[label], 24) for label in pair) for pair in pairs]
    beside.set_yticks(range(len(pairs)), names)
    beside.set(xlabel="images", title="most confused" if pairs else "none is confused")
    beside.xaxis.get_major_locator().set_params(integer=True)
    beside.grid(False, axis="y")
    beside.invert_yaxis()
    figure.suptitle(shown(title))
    return save(figure, path)


def _shares(matrix):
    return matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)


def reliability(bins, path, title):
    """Accuracy against confidence, `bins` as `common.results.metrics.calibration` has them, above the share of images.

    Below the diagonal a model is surer than it is right. A dot grows with the number of its images.
    """
    images, confidence, accuracy = (bins[name] for name in ("images", "confidence", "accuracy"))
    filled, share = images > 0, images / images.sum()
    figure, (axis, below) = plt.subplots(2, 1, figsize=(4.6, 5.2), sharex=True, height_ratios=(3, 1))
    axis.plot((0, 1), (0, 1), color="0.35", linestyle="--", linewidth=1.2, label="as sure as right")
    axis.vlines(confidence[filled], accuracy[filled], confidence[filled], color=PALETTE[1], linewidth=3, label="gap")
    sizes = 16 + 120 * share[filled]
    axis.scatter(confidence[filled], accuracy[filled], sizes, color=COLOURS["test"], zorder=3, label="accuracy")
    error = np.sum(share[filled] * abs(confidence[filled] - accuracy[filled]))
    axis.set(ylabel="accuracy", title=f"{shown(title)}\ncalibration error {error:.4f}", ylim=(-0.03, 1.03))
    axis.legend(loc="best")
    edges = np.linspace(0, 1, len(images) + 1)
    below.bar(edges[:-1], share, width=np.diff(edges), align="edge", color=COLOURS["test"], edgecolor="white", linewidth=0.6)
    below.set(xlabel="probability of the predicted class", ylabel="share of images", xlim=(-0.01, 1.01))
    return save(figure, path)


def accuracy_by_seconds(rows, path):
    """Test accuracy with its interval against the seconds for 1,000 images, a labelled point for each base, dicts."""
    figure, axis = plt.subplots(figsize=(6.4, 4))
    for row, colour in zip(rows, itertools.cycle(PALETTE), strict=False):
        accuracy, seconds, interval = row["accuracy"], row["seconds_per_1000"], row["interval"]
        axis.errorbar(seconds, accuracy, np.abs(np.subtract(interval, accuracy))[:, None], color=colour, marker="o", capsize=3)
        axis.annotate(shown(row["base"]), (seconds, accuracy), xytext=(7, 5), textcoords="offset points", fontsize=9)
    axis.set(xlabel="seconds for the features of 1,000 images", ylabel="test accuracy")
    axis.margins(x=0.4)
    return save(figure, path)


def feature_maps(rows, labels, class_names, path, title=None):
    """Scatter plots of points `(n, 2)`, one for each `(name, points)` of each row; the points have the same `labels` `(n,)`.

    Each class has a colour and a marker of its own, its name in the legend, and once more at its middle where there is room. Of
    more than `MAX_MAPPED` classes colours repeat, and the names are left out.
    """
    height, width = len(rows), len(rows[0])
    shared = labels % math.lcm(len(PALETTE), len(MARKERS)) if len(class_names) > MAX_MAPPED else labels  # drawn alike
    size = min(4.5, 10.5 / width)
    figure, axes = plt.subplots(height, width, figsize=(size * width, 0.92 * size * height), squeeze=False)
    for axis, (name, points) in zip(axes.flat, itertools.chain(*rows), strict=True):
        for label in np.unique(shared):
            style = {"color": PALETTE[label % len(PALETTE)], "marker": MARKERS[label % len(MARKERS)]}
            size = np.clip(8000 / len(points), 9, 24)
            axis.scatter(*points[shared == label].T, s=size, linewidths=0, label=shown(class_names[label], 24), **style)
        if len(class_names) <= MAX_MAPPED:
            _name_middles(axis, points, labels, class_names)
        axis.set(xticks=[], yticks=[], title=shown(name, 60))
        axis.margins(0.04)
    if len(class_names) <= MAX_MAPPED:
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
