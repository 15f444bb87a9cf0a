#!/usr/bin/env python3
"""Run a benchmark and keep what it prints under plots/results/benchmarks/, with all that it takes to judge or repeat it.

    python benchmarks/keep.py memory --images 4000                         # benchmarks/memory.py --images 4000, as memory.txt
    python benchmarks/keep.py --name kills-term kill_and_resume --signal TERM

The file begins with date, command, commit, device and versions. It is written when the benchmark has ended well, and replaces
an earlier one. What goes to stderr is shown, but not kept.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import argparse
import shlex
import subprocess
from datetime import date

from common import cli, files, flags

BENCHMARKS = Path(__file__).parent
KEPT = BENCHMARKS.parent / "plots" / "results" / "benchmarks"


def parse_args(argv=None):
    names = sorted({path.stem for path in BENCHMARKS.glob("*.py")} - {"keep"})
    parser = flags.build_parser(__doc__)
    parser.add_argument("--name", type=flags.run_name, help="name of the file, if not that of the benchmark")
    parser.add_argument("benchmark", choices=names, metavar="BENCHMARK", help=f"one of {', '.join(names)}")
    parser.add_argument("flags", nargs=argparse.REMAINDER, metavar="FLAG", help="its own flags")
    args = parser.parse_args(argv)
    args.name = args.name or args.benchmark
    return args


def run(command):
    """Show what a command prints to stdout as it comes, and return it. Raises CalledProcessError where it fails."""
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        for line in process.stdout:
            cli.tell(line.rstrip("\n"))
            lines.append(line)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return "".join(lines)


def heading(command):
    """Lines that say what a benchmark ran on. They are made after it, since a backend in this process takes memory, too."""
    from common.training.folder import environment

    on = environment(1)
    versions = {"Python": on["python"]} | on["packages"]
    return [
        f"$ python {command}",
        f"{date.today()}, commit {on['git_commit']}",
        f"{on['devices'][0]}, {on['processor']}, Keras on {on['backend']}",
        ", ".join(f"{name} {version}" for name, version in versions.items()),
    ]


def main(argv=None):
    args = parse_args(argv)
    script = f"benchmarks/{args.benchmark}.py"
    try:
        output = run([sys.executable, "-u", str(BENCHMARKS.parent / script), *args.flags])
    except subprocess.CalledProcessError as error:
        raise cli.InputError(f"{script} ended with exit code {error.returncode}: nothing is kept") from error
    KEPT.mkdir(parents=True, exist_ok=True)
    with files.atomic_write(KEPT / f"{args.name}.txt") as part:
        part.write_text("\n".join([*heading(shlex.join([script, *args.flags])), "", output]), encoding="utf-8")
    cli.tell("", KEPT / f"{args.name}.txt")


if __name__ == "__main__":
    cli.run(main)
