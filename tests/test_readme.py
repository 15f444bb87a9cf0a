"""The README's commands are understood by their scripts, its links lead somewhere, its numbers come from plots/results/."""

import importlib
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import make_plots
import train_ab_split
import train_resnet152v2
import train_vgg19_finetune
from common import files, resume

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
RESULTS = ROOT / "plots" / "results" / "ab_split"
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
    assert SCRIPTS[0] == ".venv/bin/python train_ab_split.py --data digits"


def test_every_link_and_file_exists():
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert len(targets) >= 3
    for target in targets:
        assert target.startswith("https://") or (ROOT / target).exists(), target
    for path in re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|txt))`", README):
        assert (ROOT / path).is_file(), path


def cells(marker):
    """The rows of the table between two markers of the README, each a list of cells."""
    table = README.split(f"<!-- {marker} -->")[1].split(f"<!-- /{marker} -->")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()][2:]


def test_the_table_of_models_comes_from_the_published_results():
    models = files.read_json(RESULTS / "default" / "results.json")["models"]
    expected = [
        [
            of["model"],
            f"{of['trained_weights']:,}",
            "{:.4f} [{:.4f}, {:.4f}]".format(of["test_accuracy"], *of["test_accuracy_interval"]),
            f"{of['seconds']:.0f}",
            f"{train_ab_split.DOCUMENTED[name]:.4f}",
        ]
        for name, of in models.items()
    ]
    assert cells("models") == expected
    measured = re.search(r"measured (.*)", train_ab_split.__doc__)[1]
    assert re.findall(r"\.\d{4}", measured) == [f"{of['test_accuracy']:.4f}"[1:] for of in models.values()]


def test_the_table_of_controls_comes_from_the_published_results():
    expected = []
    for folder in sorted((ROOT / "plots" / "results").glob("*/control")):
        of, environment = files.read_json(folder / "results.json"), files.read_json(folder / "environment.json")
        assert of["weights"] == "none" and not of["comparable"] and environment["git_commit"].isalnum()
        minutes = f"{of['total_seconds'] / 60:.0f} min"
        interval = "{:.4f} [{:.4f}, {:.4f}]".format(of["test_accuracy"], *of["test_accuracy_interval"])
        memory, documented = f"{of['peak_memory_gib']:.1f} GiB", f"({of['documented_accuracy']:.4f})"
        expected.append([f"`{environment['command']}`", interval, f"{of['trained_weights']:,}", minutes, memory, documented])
    assert cells("controls") == expected and len(expected) == 1
    measured = re.search(r"measured (.*)", train_resnet152v2.__doc__)[1]
    assert f"{files.read_json(folder / 'results.json')['test_accuracy']:.4f}"[1:] in measured


def test_the_table_of_vgg19_comes_from_the_published_results():
    expected = []
    for name in ("scratch", "frozen", "transfer", "cifar100"):
        of = files.read_json(ROOT / "plots" / "results" / "vgg19_finetune" / name / "results.json")
        interval = "{:.4f} [{:.4f}, {:.4f}]".format(of["test_accuracy"], *of["test_accuracy_interval"])
        minutes, documented = f"{of['total_seconds'] / 60:.0f} min", f"({of['documented_accuracy']:.4f})"
        expected.append([interval, f"{of['epochs']}", minutes, "-" if name == "cifar100" else documented])
    assert [row[1:] for row in cells("finetune")] == expected
    assert f"{cells('finetune')[0][1][1:5]}" in re.search(r"measured (.*)", train_vgg19_finetune.__doc__)[1]


def test_the_table_of_sizes_comes_from_the_published_results():
    rows = files.read_csv(RESULTS / "study" / "accuracy_by_samples.csv")
    by_size = {}
    for row in rows:
        if row["model"] != "a":
            by_size.setdefault(row["samples"], {})[row["model"]] = f"{row['mean']:.4f} ± {row['deviation']:.4f}"
    expected = [[f"{size:,.0f}", *(by_size[size][name] for name in train_ab_split.B_MODELS)] for size in sorted(by_size)]
    assert cells("sizes") == expected


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
