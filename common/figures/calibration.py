"""The reliability diagram: how often a model is right when it is as sure as this."""

import matplotlib.pyplot as plt
import numpy as np

from common.figures.style import COLOURS, PALETTE, save, shown


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
