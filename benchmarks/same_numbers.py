#!/usr/bin/env python3
"""Count the numbers that differ between two run folders, of two versions of the code or of two machines.

    python benchmarks/same_numbers.py OLD_RUN NEW_RUN

Start both runs with the same flags. Compares history, results, predictions, and the weights and optimizer state of the saved
models, bit for bit, without times and memory. Exits with 1 if a number differs.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.kill_and_resume import count_differences, numbers
from common import cli, flags


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    parser.add_argument("old", type=Path, metavar="OLD_RUN", help="run folder")
    parser.add_argument("new", type=Path, metavar="NEW_RUN", help="run folder with the same flags")
    parser.add_argument("--show", type=flags.count, default=0, metavar="N", help="list up to N places that differ")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    old, new = numbers(args.old), numbers(args.new)
    differing, total = count_differences(old, new)
    places = [
        place
        for place in sorted(old.keys() | new.keys())
        if count_differences(*({place: run[place]} if place in run else {} for run in (old, new)))[0]
    ]
    for place in places[: args.show]:
        print(f"differs: {place}")
    print(f"{total:,} numbers compared, {differing:,} differ")
    if differing:
        sys.exit(cli.EXIT_FAILED)


if __name__ == "__main__":
    cli.run(main)
