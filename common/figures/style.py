"""How figures look: the colours of train, val and test, the palette, the size on disk. Importing this picks Agg.

The palette is seaborn's colour-blind one.
"""

import contextlib
import functools
import warnings

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import seaborn as sns  # noqa: E402
from matplotlib import font_manager  # noqa: E402
from matplotlib.text import Text  # noqa: E402

from common import files  # noqa: E402
from common.cli import printable, shortened  # noqa: E402

PALETTE = sns.color_palette("colorblind")
COLOURS = {"train": PALETTE[0], "val": PALETTE[1], "test": PALETTE[2]}  # where a figure shows one model
MARKERS = "osD^vP"
LINE_STYLES = ("-", "--", ":", "-.")
DPI = 110

# A class name in a script that no font has, or whose letters matplotlib does not join.
warnings.filterwarnings("ignore", "Glyph .* missing|Matplotlib currently does not support")
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
    texts = figure.findobj(Text)
    letters = frozenset(char for text in texts for char in text.get_text() if char > "\u024f")  # not Latin
    if families := _families_with(letters):
        for text in texts:
            text.set_fontfamily([*text.get_fontfamily(), *families])
    with files.atomic_write(path) as part:
        figure.savefig(part, dpi=DPI, bbox_inches="tight", format="png")
    plt.close(figure)
    return path


@functools.cache
def _families_with(letters):
    """Families of fonts of the system that have those letters that matplotlib's own font lacks, as far as there are some."""
    letters = {ord(char) for char in letters} - font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap().keys()
    families, paths = [], font_manager.findSystemFonts() if letters else ()
    for path in sorted(paths, key=lambda path: ("Regular" not in path, "Sans" not in path, path)):
        with contextlib.suppress(Exception):  # a font that FreeType can't read
            if letters & (letters_there := font_manager.get_font(path).get_charmap().keys()) and "LastResort" not in path:
                font_manager.fontManager.addfont(path)
                families.append(font_manager.FontProperties(fname=path).get_name())
                letters = letters - letters_there
    return families
