"""The confusion matrix as a heatmap."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from common.figures.style import save, shown


def confusion_matrix(matrix, class_names, path, title):
    """Heatmap of counts `(n, n)`: rows true, columns predicted; the shade is the share of the row."""
    size = min(max(4.2, 0.62 * len(class_names) + 1.6), 16)
    class_names = [shown(name, 40) for name in class_names]
    figure, axis = plt.subplots(figsize=(size, size * 0.88))
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    annotations = matrix if len(class_names) <= 20 else False
    sns.heatmap(
        share, annot=annotations, fmt="d", cmap="cividis", vmin=0, vmax=1, square=True, ax=axis,
        xticklabels=class_names, yticklabels=class_names, annot_kws={"size": 9}, cbar_kws={"label": "share of the true class"},
    )  # fmt: skip
    axis.set(xlabel="predicted", ylabel="true", title=shown(title))
    plt.setp(axis.get_xticklabels(), rotation=45, ha="right", rotation_mode="anchor")
    axis.tick_params(axis="y", rotation=0)
    return save(figure, path)
