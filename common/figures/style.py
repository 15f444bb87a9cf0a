"""How figures look: the colours of train, val and test, the palette, the size on disk. Importing this picks Agg.

The palette is seaborn's colour-blind one.
"""

import warnings

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import seaborn as sns  # noqa: E402

from common import files  # noqa: E402
from common.cli import printable, shortened  # noqa: E402

PALETTE = sns.color_palette("colorblind")
COLOURS = {"train": PALETTE[0], "val": PALETTE[1], "test": PALETTE[2]}  # where a figure shows one model
MARKERS = "osD^vP"
LINE_STYLES = ("-", "--", ":", "-.")
DPI = 110

sns.set_theme(
    style="whitegrid",
    rc={
        "axes.titlesize": 11,
        "axes.labelsize": 10,
        "legend.fontsize": 9,
        "figure.constrained_layout.use": True,
    },
)


def shown(text, length=120):
    """A name or a title as a figure shows it: control characters escaped, shortened, and no formula between dollars."""
    return shortened(printable(text), length).replace("$", r"\$")


def save(figure, path):
    """Write a figure as PNG, whole or not at all, and close it. Returns the path."""
    with files.whole(path) as part, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a class name in a script that the font lacks
        figure.savefig(part, dpi=DPI, bbox_inches="tight", format="png")
    plt.close(figure)
    return path
