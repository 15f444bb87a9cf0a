"""Tables of a few rows as lines of text or Markdown, and what stands in the cells that several tables have."""

import re
from collections import Counter

from common.cli import printable

FORMULA = ("=", "+", "-", "@", "'")  # how a cell begins that is quoted; the quote itself, so that no two texts become one


def text(rows, columns):
    """Lines of a text table; `columns` are its headings. Words are aligned left, numbers right."""
    cells, is_number = _cells(rows, columns)
    cells = [[printable(cell) for cell in row] for row in cells]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def line(row):
        padded = (
            cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(row, widths, is_number, strict=True)
        )
        return "  ".join(padded).rstrip()

    return [line(cells[0]), "  ".join("-" * width for width in widths), *map(line, cells[1:])]


def markdown(rows, columns):
    """Lines of the same table in GitHub's Markdown. Cells are Markdown: what comes from a run is `escaped` before."""
    cells, is_number = _cells(rows, columns)

    def line(row):
        return f"| {' | '.join(row)} |"

    rule = "|".join("--:" if right else "---" for right in is_number)
    return [line(cells[0]), f"|{rule}|", *map(line, cells[1:])]


def escaped(text):
    """Text that Markdown shows as it is: no tags, links, emphasis, code or further cells."""
    return re.sub(r"([\\`*_~$\[\]<>|&@#]|(?<=http):|(?<=https):|(?<=www)\.)", r"\\\1", printable(str(text)))


def for_spreadsheets(text):
    """A cell of a CSV file in which no program sees a formula (OWASP, CSV Injection), and without control characters."""
    text = printable(str(text))
    return f"'{text}" if text.startswith(FORMULA) else text


def from_spreadsheets(cell):
    """The text of such a cell; control characters stay escaped."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell


def path_for_spreadsheets(path):
    """A path as such a cell, which still leads to its file: `-x.png` becomes `./-x.png`."""
    text = printable(str(path))
    return f"./{text}" if text.startswith(FORMULA) else text


def accuracy(mean, interval, deviation=None, balanced=None):
    """An accuracy, its interval in brackets and, where there is one, the deviation over seeds and the balanced accuracy."""
    spread = "" if deviation is None else f" ± {deviation:.4f}"
    beside = "" if balanced is None else f", balanced {balanced:.4f}"
    return "{:.4f}{} [{:.4f}, {:.4f}]{}".format(mean, spread, *interval, beside)


def documented(results):
    """The documented accuracy beside these results: in brackets where it can't be compared with ours, `-` on other data."""
    if results["documented_accuracy"] is None:
        return "-"
    return f"{results['documented_accuracy']:.4f}" if results["comparable"] else f"({results['documented_accuracy']:.4f})"


def duration(seconds):
    """A time in a cell: `66 s`, or `12 min` from ten minutes on."""
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def devices(names):
    """The devices of a run in a cell: equal ones are counted, as in `8 x NVIDIA H200`."""
    return ", ".join(device if count == 1 else f"{count} x {device}" for device, count in Counter(map(str, names)).items())


def _cells(rows, columns):
    """The cells as text, the headings first, and which columns hold numbers: `1.2`, `(1.2)`, `[1.2]` or `-` in every row."""
    cells = [list(columns), *[[str(cell) for cell in row] for row in rows]]
    return cells, [all(re.match(r"[(\[]?\d|-?$", row[index]) for row in cells[1:]) for index in range(len(columns))]
