"""The page of several runs: the table of compare.py, the val curves, the paired tests of all models."""

import os
from pathlib import Path
from urllib.parse import quote

from common import runs
from common.results import comparison, page, paired


def write(path, rows, summaries, figure, skipped):
    """Write the page.

    `rows` are named, `summaries` theirs, `figure` the path of the PNG file with the curves, or None, `skipped` a dict from
    folders to the reason why they are not compared.
    """
    caption = "Val accuracy and val loss by epoch; a row of panels for each experiment, a thin line for each of several seeds."
    pairs, untested = paired.all_pairs(rows)
    page.write(
        path,
        "comparison.html",
        columns=comparison.COLUMNS,
        accuracy=comparison.ACCURACY,
        legend=" ".join(comparison.LEGEND.split()),
        rows=[
            {"cells": comparison.cells(summary), "summary": summary, "reports": _reports(row, Path(path).parent)}
            for row, summary in zip(rows, summaries, strict=True)
        ],
        curves=page.picture(figure, "Curves", caption) if figure else None,
        pairs=pairs,
        data=", ".join(dict.fromkeys(row.first.results["data"] for row in rows)),
        has_seeds=any(len(row.scores) > 1 for row in rows),
        level=paired.LEVEL,
        untested=untested,
        skipped={str(folder): reason for folder, reason in skipped.items()},
    )


def _reports(row, folder):
    """Links from `folder` to the report.html of a row's runs, where they have one: pairs of seed and address."""
    links = []
    for record in row.records:
        if runs.has_file(record.folder, "report.html"):
            relative = Path(os.path.relpath(record.folder / "report.html", folder)).as_posix()
            links.append((record.results["seed"], quote(os.fsencode(relative))))
    return links
