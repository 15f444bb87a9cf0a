"""Benchmarks whose results are published: what is run, left out, resumed, trained once, kept."""

import importlib.util
import sys
from pathlib import Path

import pytest
from makers import SCRIPTS

import train_ab_split
from benchmarks import on_a_card
from common import files

RUN = """
import json, pathlib, sys
folder, accuracy, last = pathlib.Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
(folder / "checkpoint").mkdir(parents=True, exist_ok=True)
(folder / "args.json").write_text(json.dumps({"name": folder.name[16:]}))
if last == "sleep":
    import time
    time.sleep(60)
scores = {"val_accuracy": accuracy, "test_accuracy": accuracy / 2, "total_seconds": 1.5}
(folder / "results.json").write_text(json.dumps(scores))
(folder / "environment.json").write_text(json.dumps({"devices": ["a card"], "command": "the command"}))
(folder / "model.keras").touch()
(folder / "checkpoint" / "finished.json").touch()
"""


@pytest.fixture
def card(tmp_path, monkeypatch):
    """`card(*flags, **last)`: the script, whose steps write a run folder and end as `last` says; gives outcomes by name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(on_a_card, "GRACE", 0)
    began = []

    def start(*flags, accuracies=None, **last):
        def command(step, args):
            began.append((step.label, on_a_card.chosen_setting(args) if step.is_chosen else None))
            known = on_a_card.run_folder(args, step.label)
            folder = known or args.output_dir / step.script / f"20261127-120000-{step.name}"
            name = step.name.replace("-", "_")
            accuracy = str((accuracies or {}).get(step.name, 0.5))
            return [sys.executable, "-IS", "-c", RUN, str(folder), accuracy, last.get(name, "")]

        monkeypatch.setattr(on_a_card, "command", command)
        began.clear()
        on_a_card.main(list(flags))
        rows = files.read_csv(tmp_path / "runs" / "on_a_card" / "on_a_card.csv")
        return {row["step"]: row for row in rows}, list(began)

    return start


def test_every_command_is_parsed_by_its_script():
    args = on_a_card.parse_args(["--cifar100", "cifar100", "--scenes", "scenes"])
    steps = on_a_card.all_steps(args)
    assert len({step.label for step in steps}) == len(steps)
    known = {step.label for step in steps}
    for step in steps:
        assert {*step.needs(args)} <= known
        parse_args = SCRIPTS[step.script].parse_args
        for setting in on_a_card.SETTINGS.values() if step.is_chosen else [()]:
            parsed = parse_args([*step.flags, *setting, "--amp", "--name", step.name])
            assert parsed.data in ("cifar10", "cifar100", "scenes")


def test_steps_run_in_order_with_the_setting_that_val_chose(card):
    accuracies = {"choice-plain": 0.6, "choice-decay": 0.7, "choice-crop": 0.9, "choice-fast": 0.85, "choice-strong": 0.8}
    flags = ("--only", "vgg19_finetune", "--cifar100", "x", "--seeds", "1", "--collect", "taken")
    rows, began = card(*flags, accuracies=accuracies)
    steps = dict.fromkeys(accuracies) | dict.fromkeys(("scratch", "cifar100", "transfer"), "crop")
    steps |= {"frozen": None, "scratch-longer": "crop"}
    assert began == [(f"vgg19_finetune/{name}", setting) for name, setting in steps.items()]
    assert {row["outcome"] for row in rows.values()} == {"done"}
    row = rows["vgg19_finetune/choice-crop"]
    assert (row["val accuracy"], row["test accuracy"], row["seconds"], row["device"]) == (0.9, 0.45, 1.5, "a card")
    rows, began = card(*flags)
    assert not began and {row["outcome"] for row in rows.values()} == {"finished before"}


def test_what_runs_at_the_end_of_the_time_is_cut_off_and_later_resumed(card, tmp_path, monkeypatch):
    def take(seconds):
        monkeypatch.setattr(on_a_card, "all_steps", lambda args: [on_a_card.Step("vgg19_finetune", "long", (), seconds)])

    take(0)
    rows, _ = card("--seconds", "1", long="sleep")
    assert rows["vgg19_finetune/long"]["outcome"] == "cut off, to be resumed"
    take(1000)
    rows, _ = card("--collect", "taken", "--seconds", "60")  # what was begun does not need the time of all of it
    assert rows["vgg19_finetune/long"]["outcome"] == "done"
    (taken,) = (tmp_path / "taken" / "vgg19_finetune").iterdir()
    assert {path.name for path in taken.iterdir()} == {"args.json", "results.json", "environment.json"}


STUDIES = Path(__file__).parents[1] / "benchmarks" / "studies.py"


@pytest.fixture(scope="module")
def studies():
    spec = importlib.util.spec_from_file_location("studies", STUDIES)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_point_is_trained_once_for_its_data_and_image_size(studies, tmp_path):
    trained = []

    def add(*flags, seed=0):
        def train():
            trained.append((*flags, seed))
            return {"val_accuracy": 0.5, "test_accuracy": 0.25, "chosen": "epoch 1"}

        args = studies.parse_args(["transfer", *flags])
        studies.Points(tmp_path / "points.csv", args).add({"model": "m", "samples": 50, "seed": seed}, train)

    for _ in range(2):
        add()
        add(seed=1)
        add("--data", "data/cifar100")
        add("--image-size", "96")
    assert trained == [(0,), (1,), ("--data", "data/cifar100", 0), ("--image-size", "96", 0)]
    rows = files.read_csv(tmp_path / "points.csv")
    assert [(row["data"], row["image_size"], row["seed"]) for row in rows] == [
        ("cifar10", 224, 0), ("cifar10", 224, 1), ("data/cifar100", 224, 0), ("cifar10", 96, 0)
    ]  # fmt: skip


def test_ab_on_digits(studies, tmp_path, quick):
    """The point of the whole of B is what the script itself gets, to rounding."""
    parse_args = train_ab_split.parse_args
    small = ["--image-size", "8", "--max-train-samples", "200", "--epochs", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_ab_split, "parse_args", lambda argv: parse_args([*argv, *small]))
        flags = ["--data", "digits", "--cache-dir", str(tmp_path / "cache"), "--output-dir", str(tmp_path)]
        studies.main(["ab", *flags, "--sizes", "20", "all", "--seeds", "1"])
        train_ab_split.main(flags)
    points = files.read_csv(tmp_path / "ab" / "points.csv")
    assert [row["model"] for row in points] == ["a", *["b-scratch", "b-last-fc", "b-both-fc"] * 2]
    assert points[1]["samples"] == 20 < points[4]["samples"]
    (run,) = (tmp_path / "ab_split").iterdir()
    for row in (points[0], *points[4:]):
        results = files.read_json(run / row["model"] / "results.json")
        assert (row["test_accuracy"], row["samples"]) == (
            pytest.approx(results["test_accuracy"], abs=1e-6),
            results["train_size"],
        )
