"""Tables of a few rows as lines of text or Markdown, and what stands in the cells that several tables have."""

import re


def text(rows, columns):
    """Lines of a text table; `columns` are its headings, words to the left and figures to the right."""
    cells, figures = _cells(rows, columns)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def line(row):
        padded = (
            cell.rjust(width) if is_figure else cell.ljust(width)
            for cell, width, is_figure in zip(row, widths, figures, strict=True)
        )
        return "  ".join(padded).rstrip()

    return [line(cells[0]), "  ".join("-" * width for width in widths), *map(line, cells[1:])]


def markdown(rows, columns):
    """Lines of the same table in Markdown, as GitHub shows it."""
    cells, figures = _cells(rows, columns)

    def line(row):
        escaped = [cell.replace("|", r"\|") for cell in row]
        return f"| {' | '.join(escaped)} |"

    rule = "|".join("--:" if is_figure else "---" for is_figure in figures)
    return [line(cells[0]), f"|{rule}|", *map(line, cells[1:])]


def accuracy(mean, interval, deviation=None):
    """An accuracy with its interval in brackets and, over several seeds, the deviation."""
    spread = "" if deviation is None else f" ± {deviation:.4f}"
    return "{:.4f}{} [{:.4f}, {:.4f}]".format(mean, spread, *interval)


def documented(results):
    """The document's accuracy in what results.json holds, in brackets where ours can't be compared with it."""
    number = results["documented_accuracy"]
    if number is None:
        return "-"
    return f"{number:.4f}" if results["comparable"] else f"({number:.4f})"


def _cells(rows, columns):
    """The cells as text, the headings first, and which columns hold figures: nothing but numbers, `(number)` and `-`."""
    cells = [list(columns), *[[str(cell) for cell in row] for row in rows]]
    return cells, [all(re.match(r"\(?\d|-?$", row[index]) for row in cells[1:]) for index in range(len(columns))]
