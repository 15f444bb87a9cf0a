"""How figures look: the colours of train, val and test, the palette, the size on disk. Importing this picks Agg.

The palette is seaborn's colour-blind one.
"""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import seaborn as sns  # noqa: E402

from common import files  # noqa: E402

PALETTE = sns.color_palette("colorblind")
COLOURS = {"train": PALETTE[0], "val": PALETTE[1], "test": PALETTE[2]}  # where a figure shows one model
MARKERS = "osD^vP"
LINE_STYLES = ("-", "--", ":", "-.")
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
