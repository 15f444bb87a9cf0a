#!/usr/bin/env python3
"""Plant small faults in `common/`, one at a time, and name those that no test sees.

    .venv/bin/pip install -q cosmic-ray
    .venv/bin/python benchmarks/plant_faults.py                                       # 200 faults: half an hour on two cores
    .venv/bin/python benchmarks/plant_faults.py --modules data/dataset --faults 1000  # every fault of a module

A fault is a number, comparison, operator or condition that is changed (by Cosmic Ray's operators), or an item of a tuple or a
statement that is left out. The faults are a seeded random sample, one for a place at most. Each is planted in a copy of the
checkout and meets only the tests that are named here beside its module, until one fails. Some faults change nothing that
matters, and are missed rightly. Leaves with 1 if one was missed.
"""

import argparse
import ast
import difflib
import functools
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).parents[1]
TESTS = {  # without common/ and .py: files in tests/, the fastest first
    "cli": "test_cli hostile/test_escaping hostile/test_arguments",
    "flags": "test_cli hostile/test_arguments test_readme",
    "files": "test_files hostile/test_run_folders",
    "runs": "hostile/test_latest",
    "data/augment": "data/test_augment",
    "data/cifar": "data/test_cifar",
    "data/dataset": "data/test_dataset data/test_folders hostile/test_data_sets",
    "data/downloads": "data/test_cifar models/test_weights",
    "data/folders": "data/test_folders hostile/test_data_sets scripts/test_predict",
    "data/images": "data/test_folders hostile/test_images hostile/test_data_sets",
    "data/evaluation_data": "scripts/test_evaluate",
    "data/paths": "scripts/test_predict",
    "data/rows": "data/test_rows models/test_features",
    "models/features": "models/test_features",
    "models/inference": "models/test_inference models/test_foreign_models",
    "models/upscale": "models/test_upscale",
    "models/weights": "models/test_weights hostile/test_data_sets hostile/test_arguments",
    "results/comparison": "scripts/test_compare hostile/test_run_folders",
    "results/trained_model": "results/test_trained_model scripts/test_evaluate hostile/test_run_folders",
    "results/finished_runs": "scripts/test_compare hostile/test_run_folders",
    "results/metrics": "results/test_metrics scripts/test_compare",
    "results/page": "results/test_page hostile/test_escaping",
    "results/paired": "scripts/test_compare",
    "results/predictions": "results/test_predictions scripts/test_evaluate",
    "results/printing": "scripts/test_predict",
    "results/run_page": "results/test_page",
    "results/tables": "results/test_tables scripts/test_compare hostile/test_escaping test_publish",
    "training/callbacks": "training/test_callbacks",
    "training/checkpoints": "training/test_resume",
    "training/folder": "training/test_run training/test_resume",
    "training/history": "training/test_run training/test_resume",
    "training/resume": "training/test_resume hostile/test_arguments hostile/test_resumed_folders",
}
SLOW = (  # beginnings of tests that take long and whose siblings see as much
    "training/test_resume.py::test_resuming_with_more_epochs",
    *(f"training/test_resume.py::test_stopped_anywhere_it_ends_with_the_same_numbers[{stop}"
      for stop in ("KILL train", "KILL writing", "KILL renaming", "TERM train_batch_end 2", "TERM epoch_end")),
)  # fmt: skip
OF_CHECKPOINTS = [f"training/test_resume.py::test_{name}" for name in ("stopped_anywhere", "without_a_whole")]
LEFT_OUT = (  # Cosmic Ray's operators that nobody's slip would resemble, or that fail at once
    "RemoveDecorator", "ExceptionReplacer", "Variable", "_Is", "_IsNot", "LShift", "RShift", "_Pow", "_BitXor",
)  # fmt: skip
SECONDS = 240  # for the tests of one fault, which may make an endless loop
WORKERS = 2
HEAVY = ("keras", "pytest", "sklearn.datasets", "sklearn.metrics", "scipy.stats", "matplotlib.pyplot")  # imported once


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=200, help="how many to plant (default: 200)")
    parser.add_argument("--modules", nargs="+", default=list(TESTS), choices=TESTS, metavar="M", help="as in data/dataset")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default: 0)")
    return parser.parse_args(argv)


def faults_of_operators(source):
    """Cosmic Ray's faults in a source: the place, as line and column, and a function that gives the changed source."""
    from cosmic_ray import mutating, plugins
    from cosmic_ray.ast import ast_nodes, get_ast

    nodes = list(ast_nodes(get_ast(source)))
    for name in plugins.operator_names():
        if not any(word in name for word in LEFT_OUT):
            operator = plugins.get_operator(name)()
            places = [place for node in nodes for place, _ in operator.mutation_positions(node)]
            for number, place in enumerate(places):
                yield place, functools.partial(mutating.mutate_code, source, operator, number)


def faults_of_omission(source):
    """The same for an item or a statement that is left out."""
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)) and isinstance(getattr(node, "ctx", None), (ast.Load, type(None))):
            gone, instead = node.elts if len(node.elts) > 2 else [], ""
        elif isinstance(node, (ast.Expr, ast.Assign, ast.AugAssign, ast.Raise)) and node.col_offset:
            gone, instead = [] if isinstance(getattr(node, "value", None), ast.Constant) else [node], "pass"
        else:
            continue
        for item in gone:
            start, end = (sum(map(len, lines[: number - 1])) for number in (item.lineno, item.end_lineno))
            start += len(lines[item.lineno - 1].encode()[: item.col_offset].decode())
            end += len(lines[item.end_lineno - 1].encode()[: item.end_col_offset].decode())
            rest = source[end:]
            if not instead:
                rest = rest.lstrip()[1:] if rest.lstrip().startswith(",") else rest
            yield (item.lineno, item.col_offset), (source[:start] + instead + rest).__str__


def sample(modules, number, seed):
    """A random choice of faults: module, line, the source with the fault. At most one for each place, none in an annotation."""
    choice, places, chosen = random.Random(seed), {}, []
    for module in modules:
        source = (ROOT / "common" / f"{module}.py").read_text()
        notes = {node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.AnnAssign)}
        for place, fault in [*faults_of_operators(source), *faults_of_omission(source)]:
            if place[0] not in notes:
                places.setdefault((module, *place), []).append(fault)
    for module, line, column in choice.sample(sorted(places), len(places)):
        if len(chosen) == number:
            break
        changed = choice.choice(places[module, line, column])()
        if is_another_program(changed, (ROOT / "common" / f"{module}.py").read_text()):
            chosen.append((module, line, changed))
    return chosen


def is_another_program(changed, source):
    try:
        return ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source))
    except SyntaxError:
        return False


def run_tests(module, root):
    """Whether a module's tests pass in a copy of the checkout, and how long they took. They run in a fork: Keras is there."""
    left_out = [*SLOW, *([] if module == "training/checkpoints" else OF_CHECKPOINTS)]
    arguments = [*(f"tests/{name}.py" for name in TESTS[module].split()), *(f"--deselect=tests/{name}" for name in left_out)]
    arguments += ["-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts=-q", f"--basetemp={root}-tmp"]
    process = os.fork()
    if not process:
        code = 3
        try:
            os.setsid()
            os.chdir(root)
            sys.path[:] = [path for path in sys.path if path not in (str(ROOT), str(Path(__file__).parent), "")]
            sys.argv, sys.dont_write_bytecode = ["pytest", *arguments], True
            with Path(f"{root}-log").open("w") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            import pytest

            code = int(pytest.main(arguments))
        finally:
            os._exit(code)
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0, time.monotonic() - ends + SECONDS
        time.sleep(0.05)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return False, SECONDS


def main(argv=None):
    args = parse_args(argv)
    faults = sample(args.modules, args.faults, args.seed)
    for name in HEAVY:
        importlib.import_module(name)
    copies = Queue()
    with tempfile.TemporaryDirectory() as parent, ThreadPoolExecutor(WORKERS) as pool:
        for number in range(WORKERS):
            copy = Path(parent) / str(number)
            copies.put(shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv*", "runs", "cache")))

        def passes(module, line=0, changed=None):
            copy = copies.get()
            path = copy / "common" / f"{module}.py"
            source = path.read_text()
            path.write_text(changed or source)
            passed, seconds = run_tests(module, copy)
            path.write_text(source)
            copies.put(copy)
            if changed:
                lines = [f"{'MISSED' if passed else 'seen'} after {seconds:.0f} s: common/{module}.py:{line}"]
                difference = list(difflib.unified_diff(source.splitlines(), changed.splitlines(), n=0, lineterm=""))[3:]
                print("\n".join(lines + difference * passed), flush=True)
            return passed

        modules = sorted({module for module, _, _ in faults})
        if failing := [module for module, passed in zip(modules, pool.map(passes, modules), strict=True) if not passed]:
            sys.exit(f"without a fault the tests of {', '.join(failing)} fail")
        missed = [
            fault[0] for fault, passed in zip(faults, pool.map(lambda fault: passes(*fault), faults), strict=True) if passed
        ]
    for module, count in sorted(Counter(module for module, _, _ in faults).items()):
        print(f"{module}: {count - missed.count(module)} of {count} seen")
    print(f"{len(faults) - len(missed)} of {len(faults)} seen")
    return len(missed)


if __name__ == "__main__":
    sys.exit(main() > 0)
