#!/usr/bin/env python3
"""Finished runs side by side: a table with the documented numbers, a figure, and whether two models differ by more than luck.

    python compare.py                                                  # all under runs/
    python compare.py runs/vgg19 runs/resnet152v2 --markdown           # or --csv, unrounded, for other programs
    python compare.py runs/ab_split/20261123-020611/b-scratch runs/ab_split/20261123-020611/b-both-fc

RUN_DIR is a run folder, or RUN_DIR/MODEL for one of a run's several models, or a folder with run folders in it. What is no
finished run of this collection is named on stderr and skipped; if nothing is left, the exit code is 2.

Runs that differ only in seed are one row; of two with the same seed the newer counts. A model of the A/B split also has the
further seeds of points.csv at its number of pictures. What tells the rows of one experiment apart stands behind its name:
the word of --name where each row has its own, else the flags in which they differ.
The figure overlays val accuracy and val loss, a thin line for each seed; a row without a val part has none.

Two models are compared picture by picture: McNemar's exact test of their predictions.csv. Runs keep no test pictures; they
are taken for the same if their number, the class names and the true class of each agree. The test is of two trained models:
what other seeds would give, only other seeds can say.
"""

import csv
import os
import sys
from pathlib import Path

from common import cli
from common.results import comparison, records, tables

LEVEL = 0.05
COLUMNS = (
    "experiment", "data, pictures", "weights", "trained, weights", "seeds", "test accuracy [95 % interval]", "documented",
    "epochs", "time", "device",
)  # fmt: skip
LEGEND = """
Test accuracy of one seed with the Wilson interval of one model on its test pictures; of several seeds mean ± sample standard
deviation with the t-interval of the mean. A documented number in brackets can't be compared with ours. Time is that of a run,
the mean over seeds; where a run trains several models, that of the model's own training."""


def parse_args(argv=None):
    parser = cli.build_parser(__doc__)
    parser.add_argument(
        "run_dirs", nargs="*", type=Path, default=[Path("runs")], metavar="RUN_DIR", help="run folder, or a folder of them"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="the table as Markdown, all else on stderr")
    form.add_argument("--csv", action="store_true", help="the table as CSV with unrounded numbers, all else on stderr")
    parser.add_argument(
        "--figure", type=Path, default=Path("compare.png"), metavar="PATH", help="the curves are drawn there, as PNG"
    )
    parser.add_argument("--no-figure", action="store_true", help="draw no curves")
    args = parser.parse_args(argv)
    folder, is_png = args.figure.parent, args.figure.suffix.lower() == ".png" and not args.figure.is_dir()
    if not args.no_figure and not (is_png and folder.is_dir() and os.access(folder, os.W_OK)):
        parser.error(f"--figure {args.figure}: give the path of a .png file in a folder that can be written to, or --no-figure")
    return args


def collect(folders):
    """The records of all runs in some folders, each once, and by its path why a folder is skipped."""
    found, skipped = {}, {}
    for folder in folders:
        runs, others = records.find(folder)
        for run in (*runs, *others):
            try:
                found |= {(of.folder.resolve(), of.model): of for of in records.read(run)}
            except cli.InputError as error:
                skipped[run] = str(error)
    return list(found.values()), skipped


def cells(of):
    """What the table shows of a row's summary."""
    epochs = of["epochs"]
    return (
        of["name"],
        f"{of['data']}, {of['train_size']:,}",
        Path(of["weights"]).name,
        f"{of['trained']}, {of['trained_weights']:,}",
        len(of["seeds"].split()),
        tables.accuracy(of["test_accuracy"], (of["low"], of["high"]), of["deviation"]),
        tables.documented(of),
        f"{epochs:.0f}" if epochs == round(epochs) else f"{epochs:.1f}",
        f"{of['seconds']:.0f} s" if of["seconds"] < 600 else f"{of['seconds'] / 60:.0f} min",
        f"{of['device']}, {of['precision']}",
    )


def compare_predictions(first, second):
    """What McNemar's test says of two rows, in a sentence or two: of their models of the lowest seed."""
    from common.results import metrics

    one, other = first.first, second.first
    try:
        (true, predicted), (other_true, other_predicted) = one.predictions(), other.predictions()
    except cli.InputError as error:
        return f"No paired test: {error}."
    if one.results["class_names"] != other.results["class_names"] or true != other_true:
        return "No paired test: the two were scored on different test pictures."
    right, other_right = ([guess == of for guess, of in zip(each, true, strict=True)] for each in (predicted, other_predicted))
    only_first, only_second, chance = metrics.mcnemar(right, other_right)
    better = first.name if only_first > only_second else second.name
    verdict = f"{better} is better, by more than luck" if chance < LEVEL else "the difference may well be luck"
    names = dict.fromkeys(of.results["data"] for of in (one, other))
    copies = f" They are the same only if {' and '.join(names)} hold the same." if len(names) > 1 else ""
    has_several = len(first.scores) > 1 or len(second.scores) > 1
    seeds = f" Compared are seed {one.results['seed']} and seed {other.results['seed']}." if has_several else ""
    return (
        f"Of the same {len(true):,} test pictures {first.name} alone is right on {only_first:,}, {second.name} alone on "
        f"{only_second:,}. McNemar's exact test: p = {chance:.3g}; {verdict} ({LEVEL * 100:.0f} % level).{seeds}{copies}"
    )


def main(argv=None):
    args = parse_args(argv)
    found, skipped = collect(args.run_dirs)
    rows, replaced = comparison.group(found)
    skipped |= {folder: f"{newer} is newer, with the same arguments and seed" for folder, newer in replaced.items()}
    if not rows and len(skipped) == 1:
        raise cli.InputError("nothing to compare, {}: {}; name finished runs".format(*skipped.popitem()))
    for folder, reason in skipped.items():
        print(f"skipped {folder}: {reason}", file=sys.stderr)
    if not rows:
        raise cli.InputError(f"nothing to compare: none of these {len(skipped)} is a finished run")

    comparison.name(rows)
    summaries = [row.summary() for row in rows]
    remarks = sys.stderr if args.csv or args.markdown else sys.stdout
    if args.csv:
        writer = csv.DictWriter(sys.stdout, summaries[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(summaries)
    else:
        lines = tables.markdown if args.markdown else tables.text
        print(*lines([cells(summary) for summary in summaries], COLUMNS), sep="\n")
        print(LEGEND, file=remarks)
    if len(rows) == 2:
        print("", compare_predictions(*rows), sep="\n", file=remarks)
    elif len(rows) > 2:
        print("\nFor the paired test of two models give these two alone, as RUN_DIR or RUN_DIR/MODEL.", file=remarks)
    if not args.no_figure:
        from common.figures import curves

        groups = {}
        for row in rows:
            group = groups.setdefault(row.first.results["experiment"], {})
            group[row.name] = [score.curve for score in row.scores.values()]
        print("", curves.overlay(groups, args.figure), sep="\n", file=remarks)
    return summaries


if __name__ == "__main__":
    cli.run(main)
