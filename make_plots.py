#!/usr/bin/env python3
"""Redraw the figures of the README and docs/, and rewrite their tables, from the small text files in plots/results/.

    python make_plots.py                                             # redraw
    python make_plots.py runs/resnet152v2/20261123-120000-control    # publish a run first, as resnet152v2/control
    python make_plots.py latest                                      # the newest run under runs/
    python make_plots.py --check                                     # change nothing; name what disagrees with plots/results/

A run is published under its `--name`: its arguments, environment, history, scores and predictions, but not its weights, and
none of its images except a few figures. It replaces what was published under that name. Only finished runs can be published,
no dry runs.

With --check the exit code is 1 if a number, table, figure, link or file of README.md and docs/ is not as it should be.
"""

import sys
from pathlib import Path

from common import cli, files, flags
from common import runs as run_folders
from publish import checks, figures, runs, tables

ROOT = Path(__file__).parent
PLOTS = ROOT / "plots"
EXPERIMENTS = sorted(path.stem.removeprefix("train_") for path in ROOT.glob("train_*.py"))


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    parser.add_argument("run_dirs", nargs="*", type=Path, metavar="RUN_DIR", help="runs to publish first")
    parser.add_argument("--check", action="store_true", help="only compare README.md, docs/ and figures with plots/results/")
    parser.add_argument(
        "--output-dir",
        type=Path,
        default=PLOTS,
        metavar="DIR",
        help="parent of the figures; if it is not plots/, README.md and docs/ are left alone",
    )
    args = parser.parse_args(argv)
    if args.check and (args.run_dirs or args.output_dir != PLOTS):
        parser.error("--check publishes and draws nothing: leave out RUN_DIR and --output-dir")
    return args


def check():
    """Name what disagrees with plots/results/. Leaves with exit code 1 if anything does."""
    lines = []
    for line in checks.disagreements(ROOT):
        cli.tell(line)
        lines.append(line)
    if lines:
        sys.exit(cli.EXIT_FAILED)
    cli.tell("README.md, docs/ and plots/ agree with plots/results/.")


def main(argv=None):
    args = parse_args(argv)
    if args.check:
        check()
        return
    run_dirs = [run_folders.resolve(run_dir, "runs", "RUN_DIR", "results.json") for run_dir in args.run_dirs]
    cli.tell(*runs.publish(run_dirs, PLOTS, EXPERIMENTS))
    try:
        args.output_dir.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise cli.InputError(f"--output-dir {args.output_dir} can't be written to: {cli.reason(error)}") from error
    for figure in figures.draw_all(PLOTS / "results", args.output_dir):
        cli.tell(figure)
    if args.output_dir.resolve() == PLOTS.resolve():
        for path in (PLOTS.parent / name for name in tables.FILES):
            text = tables.update(path.read_text(encoding="utf-8"), PLOTS / "results")
            with files.atomic_write(path) as part:
                part.write_text(text, encoding="utf-8")
            cli.tell(path)


if __name__ == "__main__":
    cli.run(main)
