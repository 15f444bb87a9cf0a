#!/usr/bin/env python3
"""Finished runs side by side: a table with the documented numbers, a figure, and whether two models differ by more than chance.

    python compare.py                                                  # all under runs/
    python compare.py runs/vgg19 runs/resnet152v2 --markdown           # or --csv, unrounded, for other programs
    python compare.py --html compare.html                              # a page to send to others
    python compare.py runs/ab_split/20261123-020611/b-scratch runs/ab_split/20261123-020611/b-both-fc

RUN_DIR is a run folder, RUN_DIR/MODEL for one of a run's several models, or a folder of run folders; latest is the newest run
under runs/. What can't be used is named on stderr and skipped; if nothing is left, the exit code is 2.

Runs that differ only in seed are one row; of two with the same seed the newer one counts. Rows of one experiment are told apart
by --name where each has its own, else by the flags in which they differ. The figure shows val accuracy and val loss, a row of
panels for each experiment with its six best runs, and a thin line for each seed.

Two models, and on the page of --html all pairs of models, are also compared image by image, by McNemar's exact test of their
predictions.csv; the p-values of all pairs are corrected by Holm's method. Test images are the same if their hashes in
results.json are; of runs of earlier versions, if their number, the class names and the true classes agree. The test is about
these trained models; it can't say what other seeds would give.
"""

import csv
import os
import sys
from pathlib import Path
from urllib.parse import quote

from common import backend, cli, files, flags, runs
from common.results import comparison, finished_runs, paired, tables

curves = backend.lazy("common.figures.curves")
page = backend.lazy("common.results.page")


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    parser.add_argument(
        "run_dirs", nargs="*", type=Path, default=[Path("runs")], metavar="RUN_DIR", help="run folder, or folder of run folders"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="print the table as Markdown, everything else on stderr")
    form.add_argument(
        "--csv", action="store_true", help="print the table as CSV with unrounded numbers, everything else on stderr"
    )
    parser.add_argument("--figure", type=Path, default=Path("compare.png"), metavar="PATH", help="PNG file for the curves")
    parser.add_argument("--no-figure", action="store_true", help="draw no curves")
    parser.add_argument("--html", type=Path, metavar="PATH", help="HTML file for all of it on a page, with all paired tests")
    args = parser.parse_args(argv)
    if not (args.no_figure or can_be_written(args.figure, "--figure", ".png")):
        parser.error(f"--figure {args.figure}: give the path of a .png file in a folder that can be written to, or --no-figure")
    if args.html and not can_be_written(args.html, "--html", ".html"):
        parser.error(f"--html {args.html}: give the path of an .html file in a folder that can be written to")
    return args


def can_be_written(path, flag, suffix):
    """Whether a path is that of a file with this suffix in a folder that can be written to."""
    files.path_kind(path, flag)  # a name that is too long
    is_file = path.suffix.lower() == suffix and not os.path.isdir(path)  # noqa: PTH112  Path.is_dir may raise
    return is_file and os.path.isdir(path.parent) and os.access(path.parent, os.W_OK)  # noqa: PTH112


def collect(folders):
    """The records of all runs in these folders, each once, and a dict from a skipped folder to the reason."""
    records_by_model, skipped = {}, {}
    for folder in folders:
        for run in runs.find_runs(folder) or [folder]:
            try:
                records = finished_runs.read_run(run)
                records_by_model |= {(record.folder.resolve(), record.model): record for record in records}
            except cli.InputError as error:
                skipped[run] = str(error)
    return list(records_by_model.values()), skipped


def show(summaries, args):
    """Print the table in the form that was asked for."""
    if args.csv:
        columns = [column for column in summaries[0] if column != "class_names"]
        writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        for row in summaries:
            texts = {key: tables.for_spreadsheets(value) for key, value in row.items() if isinstance(value, str)}
            writer.writerow(row | texts)
        return
    rows = [comparison.cells(summary) for summary in summaries]
    if args.markdown:
        is_ours = [column == comparison.ACCURACY for column in comparison.COLUMNS]
        rows = [[cell if ours else tables.escaped(cell) for cell, ours in zip(row, is_ours, strict=True)] for row in rows]
    lines = tables.markdown if args.markdown else tables.text
    cli.tell(*lines(rows, comparison.COLUMNS))


def paired_test(first, second):
    """McNemar's test of two rows in a sentence or two."""
    try:
        return paired.test(first, second)
    except cli.InputError as error:
        return f"No paired test: {error}."


def draw(rows, path):
    """Draw the val curves, each experiment's in panels of their own. Returns the path, or None without epochs with val."""
    groups = {}
    for row in rows:
        group = groups.setdefault(row.first.results["experiment"], {})
        group[row.name] = [record.curve for record in row.records]
    return curves.overlay(groups, path)


def write_page(path, rows, summaries, figure, skipped):
    """Write the page: the table, the val curves, the paired tests of all models.

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
            {"cells": comparison.cells(summary), "summary": summary, "reports": find_reports(row, path.parent)}
            for row, summary in zip(rows, summaries, strict=True)
        ],
        curves=page.picture(figure, "Curves", caption) if figure else None,
        pairs=pairs,
        data=", ".join(dict.fromkeys(row.first.results["data"] for row in rows)),
        has_seeds=any(len(row.records) > 1 for row in rows),
        level=paired.LEVEL,
        untested=untested,
        skipped={str(folder): reason for folder, reason in skipped.items()},
    )


def find_reports(row, folder):
    """Links from `folder` to the report.html of a row's runs, where they have one: pairs of seed and address."""
    links = []
    for record in row.records:
        if runs.has_file(record.folder, "report.html"):
            relative = Path(os.path.relpath(record.folder / "report.html", folder)).as_posix()
            links.append((record.results["seed"], quote(os.fsencode(relative))))
    return links


def main(argv=None):
    args = parse_args(argv)
    all_records, skipped = collect([runs.resolve(folder, "runs", "RUN_DIR", "results.json") for folder in args.run_dirs])
    rows, replaced = comparison.group(all_records)
    skipped |= {folder: f"{newer} is newer, with the same arguments and seed" for folder, newer in replaced.items()}
    if not rows and len(skipped) == 1:
        raise cli.InputError("nothing to compare, {}: {}; name finished runs".format(*skipped.popitem()))
    for folder, reason in skipped.items():
        cli.tell(cli.one_line(f"skipped {folder}: {reason}"), file=sys.stderr)
    if not rows:
        raise cli.InputError(f"nothing to compare: none of these {len(skipped)} is a finished run")

    comparison.name(rows)
    summaries = [row.summary() for row in rows]
    remarks = sys.stderr if args.csv or args.markdown else sys.stdout
    show(summaries, args)
    if not args.csv:
        cli.tell(*comparison.LEGEND.splitlines(), file=remarks)
    if len(rows) == 2:
        cli.tell("", paired_test(*rows), file=remarks)
    elif len(rows) > 2 and not args.html:
        hint = "For the paired test of two models give only these two, as RUN_DIR or RUN_DIR/MODEL; --html has those of all."
        cli.tell("", hint, file=remarks)
    figure = None if args.no_figure else draw(rows, args.figure)
    if not args.no_figure:
        cli.tell("", figure or "No curves: none of these models has epochs with a val part.", file=remarks)
    if args.html:
        write_page(args.html, rows, summaries, figure, skipped)
        cli.tell("", args.html, file=remarks)
    return summaries


if __name__ == "__main__":
    cli.run(main)
