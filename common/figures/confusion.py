"""The confusion matrix as a heatmap; of many classes by blocks, beside the most confused pairs."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.colors import PowerNorm

from common.figures.style import PALETTE, save, shown

MAX_NAMED = 40  # classes whose names fit beside a matrix
MAX_BLOCKS = 100  # a side, of more classes than that
NUM_PAIRS = 20


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
