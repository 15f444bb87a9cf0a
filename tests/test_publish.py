"""The tables of README.md and docs/, and that `make_plots.py --check` sees what does not agree."""

import re
import shutil
import statistics
from pathlib import Path

import cv2
import pytest

import make_plots
from common import files
from publish import checks, figures, runs, tables

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "plots" / "results"


def cells(line):
    return line.replace("\N{NO-BREAK SPACE}", " ").strip("| ").split(" | ")


def test_a_row_of_several_seeds_is_their_mean_and_deviation(tmp_path, monkeypatch):
    accuracies, minutes = (0.7, 0.74, 0.75), (2, 9, 9)
    for name, accuracy, time in zip(("vgg19/lite0", "vgg19/lite0-1", "vgg19/lite0-2"), accuracies, minutes, strict=True):
        shutil.copytree(RESULTS / "vgg19" / "control", tmp_path / name)
        scores = files.read_json(tmp_path / name / "results.json")
        changes = {"test_accuracy": accuracy, "test_accuracy_interval": [0.1, 0.9], "total_seconds": 60.0 * time}
        files.write_json(tmp_path / name / "results.json", scores | changes)
    (tmp_path / "vgg19" / "lite0-4").mkdir()  # there is no lite0-3
    monkeypatch.setattr(tables, "CONTROLS", (tables.Row("vgg19/lite0", "`x`", "vgg16-finetuned"),))
    (line,) = tables.controls(tmp_path)[2:]
    assert cells(line) == [
        "[VGG19 at 224](../plots/results/vgg19/lite0)",
        "`x`",
        f"{statistics.mean(accuracies):.4f} ± {statistics.stdev(accuracies):.4f} (3 seeds)",
        "(0.8300)",
        "[0.80](https://github.com/royhuang9/transfer_learning)",
        "2 min, H200",
    ]


def test_the_models_of_the_ab_split_have_a_row_each(tmp_path, monkeypatch):
    for name in ("default", "default-1"):
        shutil.copytree(RESULTS / "ab_split" / "default", tmp_path / "ab_split" / name)
    run = tmp_path / "ab_split" / "default-1"
    a, b = (files.read_json(run / name / "results.json") for name in ("a", "b-last-fc"))
    other, last = a["test_accuracy"], b["test_accuracy"]
    files.write_json(run / "a" / "results.json", a | {"test_accuracy": 0.7})
    monkeypatch.setattr(tables, "RESULTS", (tables.Row("ab_split/default", "Adam"),))
    rows = [cells(line) for line in tables.results(tmp_path)[2:]]
    assert [row[1] for row in rows] == [
        f"{model}, Adam" for model in ("A from scratch", "B from scratch", "B, last FC layer", "B, both FC layers")
    ]
    assert rows[0][2] == f"{(0.7 + other) / 2:.4f} ± {statistics.stdev((0.7, other)):.4f} (2 seeds)"
    assert rows[2][2] == f"{last:.4f} ± 0.0000 (2 seeds)"
    assert [row[3] for row in rows] == ["0.2914", "0.6785", "0.7490", "0.8100"]


PLANTED = {  # a file, what is replaced, by what, and words of the line that says so
    "an accuracy": ("README.md", "0.9274 [", "0.9275 [", "| 0.9275 ["),
    "a command": ("docs/experiments.md", "--lr .03 --name", "--lr .3 --name", "--lr .3 --name"),
    "a point of a table": ("docs/experiments.md", "0.8026 ±", "0.8126 ±", "make_plots.py writes | 20 | 0.8026 ± 0.0358"),
    "a number of others": ("docs/experiments.md", "[0.8864]", "[0.8865]", "[0.8865]"),
    "a measured time": ("docs/performance.md", "13.70 s", "13.71 s", "13.71 is not in benchmarks/one_pass.txt"),
    "kills": ("docs/reproducibility.md", "10 kills", "11 kills", "10 kills, 323,664,431 numbers compared, 0 differ"),
    "a number of seeds": ("docs/experiments.md", "over 5 seeds", "over 6 seeds", "over 5 seeds"),
    "a flag": ("docs/performance.md", "memory.py --images", "memory.py --imgs", "benchmarks/memory.py has no --imgs"),
    "measured": ("train_vgg19.py", "  measured    .3452", "  measured    .3453", "measured is .3452, .4330"),
    "a matrix": ("vgg19/lr-03/confusion_matrix.csv", "\nairplane,", "\nairplane,1", "vgg19/lr-03: results.json does not give"),
    "a seed": ("efficientnetb7/lite0-plain-1/results.json", '"seed": 1', '"seed": 2', "lite0-plain: the seeds of its runs"),
    "comparable": ("vgg19/control/results.json", '"comparable": false', '"comparable": true', "vgg19/control: its documented"),
    "weights": ("vgg19/control/args.json", '"weights": "none"', '"weights": "imagenet"', "controls, and only they"),
    "a setting": ("vgg19_finetune/transfer/environment.json", "--cutout 8", "--cutout 4", "transfer has other settings"),
}  # fmt: skip


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of this repository, for which the published figures are drawn."""
    left_out = shutil.ignore_patterns(".git", ".venv*", ".*_cache", "__pycache__", ".hypothesis", "runs", "cache", "data")
    copy = shutil.copytree(ROOT, tmp_path / "copy", ignore=left_out)

    def draw(results, folder):
        for path in (ROOT / "plots").rglob("*.png"):
            drawn = folder / path.relative_to(ROOT / "plots")
            if drawn.relative_to(folder).as_posix() not in runs.COPIED:
                drawn.parent.mkdir(exist_ok=True)
                yield Path(shutil.copy(path, drawn))

    monkeypatch.setattr(make_plots, "ROOT", copy)
    monkeypatch.setattr(figures, "draw_all", draw)
    return copy


def test_the_check_sees_what_is_planted(copy, call):
    before = call(make_plots.main, "--check")[1]
    for name, old, new, _ in PLANTED.values():
        path = copy / name if (copy / name).exists() else copy / "plots" / "results" / name
        text = path.read_text(encoding="utf-8")
        assert old in text, (name, old)
        path.write_text(text.replace(old, new), encoding="utf-8")
    code, out, err = call(make_plots.main, "--check")
    assert (code, err) == (1, "")
    assert [case for case, (*_, told) in PLANTED.items() if told in before or told not in out] == []


def test_the_check_sees_figures(copy, call):
    before = call(make_plots.main, "--check")[1]
    curves = copy / "plots" / "vgg19_finetune" / "curves.png"
    software = re.search(rb"Matplotlib version[\d.]+", curves.read_bytes())[0]
    cv2.imwrite(str(curves), 255 - cv2.imread(str(curves)))
    curves.write_bytes(curves.read_bytes() + software + bytes(200_000))
    (copy / "plots" / "transfer" / "old.png").touch()
    (copy / "plots" / "ab_split" / "overview.png").unlink()
    code, out, _ = call(make_plots.main, "--check")
    assert code == 1 and set(out.splitlines()) - set(before.splitlines()) == {
        "README.md: the link to plots/ab_split/overview.png leads nowhere",
        "plots/ab_split/overview.png is missing",
        "plots/transfer/old.png is none of the figures of make_plots.py",
        "plots/transfer/old.png is shown on no page",
        "plots/vgg19_finetune/curves.png has over 200,000 bytes",
        "plots/vgg19_finetune/curves.png is not what make_plots.py draws",
    }


def test_a_check_that_finds_nothing(call, monkeypatch):
    monkeypatch.setattr(checks, "disagreements", lambda root: iter(()))
    assert call(make_plots.main, "--check") == (0, "README.md, docs/ and plots/ agree with plots/results/.\n", "")
