"""benchmarks/on_a_card.py: its commands are parsed by their scripts; what is run, left out, resumed. Without any training."""

import contextlib
import sys

import pytest
from makers import SCRIPTS

from benchmarks import on_a_card
from common import cli, files

RUN = """
import json, pathlib, sys
folder, accuracy, last = pathlib.Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
(folder / "checkpoint").mkdir(parents=True, exist_ok=True)
(folder / "args.json").write_text(json.dumps({"name": folder.name[16:]}))
if last == "fail":
    sys.exit("no good")
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
        fails = pytest.raises(cli.TrainingError, match="^failed: ") if "fail" in last.values() else contextlib.nullcontext()
        with fails:
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


def test_what_fails_is_told_and_what_needs_it_is_left_out(card, tmp_path):
    rows, began = card("--only", "resnet152v2", "--cifar100", "x", "--scenes", "y", "--collect", "taken", cifar100="fail")
    assert began == [("resnet152v2/cifar100", None)]
    assert rows.pop("resnet152v2/cifar100")["outcome"] == "failed with 1: no good"
    assert {row["outcome"] for row in rows.values()} == {"left out, needs resnet152v2/cifar100"} and len(rows) == 4
    assert not list((tmp_path / "taken").glob("*/*"))


def test_what_does_not_fit_is_left_out(card):
    flags = ("--only", "efficientnetb7/lite0", "vgg19_finetune/scratch", "--seeds", "1", "--setting", "plain")
    rows, began = card(*flags, "--seconds", "82", "--jobs", "9")
    assert began == [("efficientnetb7/lite0", None)]
    assert rows["vgg19_finetune/scratch"]["outcome"].startswith("left out, 8")
    assert rows["vgg19_finetune/scratch"]["val accuracy"] is None


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
