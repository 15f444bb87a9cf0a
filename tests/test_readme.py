"""The README's commands are understood by their scripts, its links lead somewhere, its numbers come from plots/results/."""

import importlib
import re
import shlex
import statistics
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import make_plots
import train_ab_split
from common import cli, files
from common.results import readme
from common.training import resume

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
RESULTS = ROOT / "plots" / "results"
COMMANDS = [
    part.strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    for part in line.split("&&")
    if part.strip()
]
SCRIPTS = [command for command in COMMANDS if re.search(r"\w\.py\b", command)]


@pytest.mark.parametrize("command", SCRIPTS)
def test_every_command_is_parsed_by_its_script(command, tmp_path, monkeypatch):
    python, script, *flags = shlex.split(command)
    assert python == ".venv/bin/python"
    parse_args = importlib.import_module(Path(script).stem).parse_args
    if "--resume" in flags:
        monkeypatch.chdir(tmp_path)
        folder = Path(flags[flags.index("--resume") + 1])
        folder.mkdir(parents=True)
        files.write_json(folder / "args.json", resume.stored_form(parse_args([])))
    parse_args(flags)


def test_the_set_up_is_what_ci_runs():
    ci = (ROOT / ".ci" / "run").read_text()
    assert ".venv/bin/python -m pytest" in COMMANDS and ".venv/bin/python -m pytest" in ci
    for command in COMMANDS:
        for requirements in re.findall(r"-r (\S+)", command):
            assert (ROOT / requirements).is_file()
    assert ".venv/bin/python train_ab_split.py --data digits" in SCRIPTS


def test_every_link_and_file_exists():
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert len(targets) >= 3
    anchors = {f"#{re.sub(r'[^a-z ]', '', title.lower()).replace(' ', '-')}" for title in re.findall(r"(?m)^#+ (.*)$", README)}
    for target in set(targets) - anchors:
        assert target.startswith("https://") or (ROOT / target).exists(), target
    for path in re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|txt))`", README):
        assert (ROOT / path).is_file(), path


def cells(marker):
    """The rows of the table between two markers of the README, each a list of cells."""
    table = README.split(f"<!-- {marker} -->")[1].split(f"<!-- /{marker} -->")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()][2:]


def test_tables_and_commands_are_those_of_the_published_results():
    assert readme.update(README, RESULTS) == README
    changed = README.replace("0.4123", "0.4132")
    assert changed != README and readme.update(changed, RESULTS) == README


def test_the_table_of_results_agrees_with_the_confusion_matrices():
    rows = {row[0]: row for row in cells("results") if "ab_split" not in row[0]}
    assert len(rows) == len(readme.RUNS) - 1
    for run in rows.values():
        folder = ROOT / re.search(r"\((.*)\)", run[0])[1]
        args, matrix = files.read_json(folder / "args.json"), make_plots.read_matrix(folder / "confusion_matrix.csv")[0]
        assert run[4].startswith(f"{np.trace(matrix) / matrix.sum():.4f} [") and args["seed"] == 0
        data, sizes = run[2].split(": ")
        train, val, test = (int(size.replace(",", "")) for size in sizes.split(" + "))
        assert (data, train + val, test) == (Path(args["data"]).name, 50_000, 10_000) and test == matrix.sum()
        is_control = args["weights"] == "none" and folder.parent.name != "vgg19_finetune"
        assert run[1].startswith("**control**") == is_control
        assert run[5][0] == ("-" if data == "cifar100" else "(")  # nothing of these can be compared with what is documented


def test_the_documented_numbers_of_the_ab_split_are_comparable():
    rows = [row for row in cells("results") if "ab_split" in row[0]]
    assert [row[1] for row in rows] == list(train_ab_split.MODELS.values())
    assert [row[5] for row in rows] == [f"{number:.4f}" for number in train_ab_split.DOCUMENTED.values()]


def test_the_table_of_sizes_is_the_spread_over_the_studies_points():
    points = files.read_csv(RESULTS / "ab_split" / "study" / "points.csv")
    num_seeds = int(re.search(r"standard deviation over (\d+) seeds", README)[1])
    expected = []
    for size in (20, 50, 100, 500, 2000, 9000):
        expected.append([f"{size:,}"])
        for name in train_ab_split.B_MODELS:
            of = [point for point in points if (point["model"], point["samples"]) == (name, size)]
            assert len(of) == len({point["seed"] for point in of}) == num_seeds
            accuracies = [point["test_accuracy"] for point in of]
            expected[-1].append(f"{statistics.mean(accuracies):.4f} ± {statistics.stdev(accuracies):.4f}")
    assert cells("sizes") == expected


def test_the_upscaling_methods_were_compared_with_all_else_alike():
    runs = {name: files.read_json(RESULTS / "vgg19" / name / "args.json") for name in cli.INTERPOLATIONS}
    assert all(args["interpolation"] == name for name, args in runs.items())
    assert len({str(args | {"interpolation": None, "name": None}) for args in runs.values()}) == 1
    accuracies = {name: files.read_json(RESULTS / "vgg19" / name / "results.json")["test_accuracy"] for name in runs}
    quoted = re.findall(r"(\w+)\s+(\.\d{4})", README.split("**Which upscaling is best?**")[1].split("![")[0])
    assert dict(quoted) == {name: f"{accuracy:.4f}"[1:] for name, accuracy in accuracies.items()}


@pytest.mark.parametrize(
    "script, runs",
    [
        ("ab_split", ["default"]),
        ("vgg19", ["control", "lr-03"]),
        ("vgg19_finetune", ["scratch", "transfer"]),
        ("resnet152v2", ["control"]),
        ("efficientnetb7", ["control", "no-resize"]),
    ],
)
def test_what_the_scripts_call_measured_is_published(script, runs):
    measured = re.search(r"  measured (.*)", importlib.import_module(f"train_{script}").__doc__)[1]
    published = [files.read_json(RESULTS / script / run / "results.json") for run in runs]
    models = [model for of in published for model in of.get("models", {"": of}).values()]
    assert re.findall(r"(?<!\d)\.\d{4}", measured) == [f"{of['test_accuracy']:.4f}"[1:] for of in models]


def test_the_flags_are_all_there_and_no_others(monkeypatch):
    flags = set()

    def note(parser, argv=None):
        flags.update(parser._option_string_actions)
        raise SystemExit

    monkeypatch.setattr(cli._Parser, "parse_args", note)
    for script in ROOT.glob("train_*.py"):
        with pytest.raises(SystemExit):
            importlib.import_module(script.stem).parse_args([])
    section = README.split("\n## Flags\n")[1].split("\n## ")[0].replace("`--help` shows", "")
    assert set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", section)) == flags - {"-h", "--help"}


def test_published_figures_are_small_enough():
    for figure in (ROOT / "plots").rglob("*.png"):
        assert figure.stat().st_size <= 200_000, figure


def test_the_readmes_figures_are_drawn_from_the_published_results(tmp_path):
    make_plots.main(["--output-dir", str(tmp_path)])
    drawn = {path.relative_to(tmp_path) for path in tmp_path.rglob("*.png")}
    assert drawn == {path.relative_to(ROOT / "plots") for path in (ROOT / "plots").rglob("*.png")}
    shown = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert {ROOT / target for target in shown} == {ROOT / "plots" / path for path in drawn}
    for path in drawn:
        new, published = (Image.open(root / path) for root in (tmp_path, ROOT / "plots"))
        if new.info["Software"] == published.info["Software"]:  # another matplotlib sets its letters elsewhere
            difference = np.abs(np.asarray(new, int) - np.asarray(published, int))
            assert difference.mean() < 0.05, path
