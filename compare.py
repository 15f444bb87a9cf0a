#!/usr/bin/env python3
"""Finished runs side by side: a table with the documented numbers, a figure, and whether two models differ by more than chance.

    python compare.py                                                  # all under runs/
    python compare.py runs/vgg19 runs/resnet152v2 --markdown           # or --csv, unrounded, for other programs
    python compare.py runs/ab_split/20261123-020611/b-scratch runs/ab_split/20261123-020611/b-both-fc

RUN_DIR is a run folder, RUN_DIR/MODEL for one of a run's several models, or a folder of run folders. Anything else is named on
stderr and skipped; if nothing is left, the exit code is 2.

Runs that differ only in seed are one row; of two with the same seed the newer one counts. A model of the A/B split also has the
other seeds in points.csv with its number of images. Rows of one experiment are told apart by --name where each has its own,
else by the flags in which they differ. The figure shows val accuracy and val loss, a row of panels for each experiment with its
six best runs, and a thin line for each seed.

Two models are also compared image by image, by McNemar's exact test of their predictions.csv. Runs keep no test images, so
these are considered the same if their number, the class names and the true classes agree. The test is about these two trained
models; it can't say what other seeds would give.
"""

import csv
import os
import sys
from pathlib import Path

from common import cli, files, flags
from common.results import comparison, records, tables

LEVEL = 0.05
ACCURACY = "test accuracy [95 % interval]"
COLUMNS = (
    "experiment", "data, images", "weights", "trained, weights", "seeds", ACCURACY, "documented",
    "epochs", "time", "device",
)  # fmt: skip
LEGEND = """
Test accuracy: of one seed with its Wilson interval, of several the mean ± sample standard deviation with the t-interval of the
mean. A documented number in brackets can't be compared with ours. Time is a run's, the mean over seeds; where a run trains
several models, it is that of the model's own training."""


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
    args = parser.parse_args(argv)
    files.kind(args.figure, "--figure")  # a name that is too long
    folder, is_png = args.figure.parent, args.figure.suffix.lower() == ".png" and not os.path.isdir(args.figure)  # noqa: PTH112
    if not args.no_figure and not (is_png and os.path.isdir(folder) and os.access(folder, os.W_OK)):  # noqa: PTH112
        parser.error(f"--figure {args.figure}: give the path of a .png file in a folder that can be written to, or --no-figure")
    return args


def collect(folders):
    """The records of all runs in these folders, each once, and a dict from a skipped folder to the reason."""
    records_by_model, skipped = {}, {}
    for folder in folders:
        runs, others = records.find(folder)
        for run in (*runs, *others):
            try:
                records_by_model |= {(record.folder.resolve(), record.model): record for record in records.read(run)}
            except cli.InputError as error:
                skipped[run] = str(error)
    return list(records_by_model.values()), skipped


def cells(summary):
    """The cells of a row of the table."""
    epochs, seconds = summary["epochs"], summary["seconds"]
    return (
        summary["name"],
        f"{summary['data']}, {summary['train_size']:,}",
        Path(summary["weights"]).name,
        f"{summary['trained']}, {summary['trained_weights']:,}",
        len(summary["seeds"].split()),
        tables.accuracy(summary["test_accuracy"], (summary["low"], summary["high"]), summary["deviation"]),
        tables.documented(summary),
        f"{epochs:.0f}" if epochs == round(epochs) else f"{epochs:.1f}",
        f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min",
        f"{summary['device']}, {summary['precision']}",
    )


def compare_predictions(first, second):
    """McNemar's test of two rows in a sentence or two; it compares their models of the lowest seed."""
    from common.results import metrics

    one, other = first.first, second.first
    try:
        (true, predicted), (other_true, other_predicted) = one.predictions(), other.predictions()
    except cli.InputError as error:
        return f"No paired test: {error}."
    if one.results["class_names"] != other.results["class_names"] or true != other_true:
        return "No paired test: the two were scored on different test images."
    right, other_right = (
        [guess == label for guess, label in zip(guesses, true, strict=True)] for guesses in (predicted, other_predicted)
    )
    only_first, only_second, p_value = metrics.mcnemar(right, other_right)
    better = first.name if only_first > only_second else second.name
    verdict = f"{better} is better, by more than chance" if p_value < LEVEL else "the difference may be chance"
    names = dict.fromkeys(record.results["data"] for record in (one, other))
    copies = f" This assumes that {' and '.join(names)} hold the same images." if len(names) > 1 else ""
    has_several = len(first.scores) > 1 or len(second.scores) > 1
    seeds = f" Compared: seed {one.results['seed']} and seed {other.results['seed']}." if has_several else ""
    return (
        f"Of the same {len(true):,} test images, only {first.name} is right on {only_first:,}, only {second.name} on "
        f"{only_second:,}. McNemar's exact test: p = {p_value:.3g}; {verdict} ({LEVEL * 100:.0f} % level).{seeds}{copies}"
    )


def main(argv=None):
    args = parse_args(argv)
    all_records, skipped = collect(args.run_dirs)
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
    if args.csv:
        columns = [column for column in summaries[0] if column != "class_names"]
        writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        for row in summaries:
            texts = {key: tables.for_spreadsheets(value) for key, value in row.items() if isinstance(value, str)}
            writer.writerow(row | texts)
    elif args.markdown:
        rows_of_cells = [
            [cell if column == ACCURACY else tables.escaped(cell) for column, cell in zip(COLUMNS, cells(summary), strict=True)]
            for summary in summaries
        ]
        cli.tell(*tables.markdown(rows_of_cells, COLUMNS))
    else:
        cli.tell(*tables.text([cells(summary) for summary in summaries], COLUMNS))
    if not args.csv:
        cli.tell(*LEGEND.splitlines(), file=remarks)
    if len(rows) == 2:
        cli.tell("", compare_predictions(*rows), file=remarks)
    elif len(rows) > 2:
        cli.tell("", "For the paired test of two models give only these two, as RUN_DIR or RUN_DIR/MODEL.", file=remarks)
    if not args.no_figure:
        from common.figures import curves

        groups = {}
        for row in rows:
            group = groups.setdefault(row.first.results["experiment"], {})
            group[row.name] = [score.curve for score in row.scores.values()]
        cli.tell("", curves.overlay(groups, args.figure), file=remarks)
    return summaries


if __name__ == "__main__":
    cli.run(main)
