"""Run folders that `--resume` can't finish."""

import os

import pytest
from makers import ESCAPE, SCRIPTS, change_json, make_finished, make_unfinished

MADE_OF = "checkpoint/made_of.json"


UNREADABLE = {
    "missing": lambda path: path.unlink(),
    "half written": lambda path: os.truncate(path, 20),
    "a list": lambda path: path.write_text("[]"),
    "a FIFO": lambda path: (path.unlink(), os.mkfifo(path)),
}


@pytest.mark.parametrize("name", ["args.json", "environment.json", MADE_OF])
@pytest.mark.parametrize("case", UNREADABLE)
def test_what_a_run_has_noted_can_not_be_read(refused, tmp_path, case, name):
    UNREADABLE[case](make_unfinished(tmp_path / "run", "vgg19") / name)
    refused(SCRIPTS["vgg19"].main, "--resume", "run", names=["--resume run"])


ARGUMENTS = {  # each could not be typed so, and is none of the defaults
    "a flag too many": {"colour": "red"},
    "a flag with an escape": {ESCAPE: 1},
    "seed a word": {"seed": "none"},
    "seed nothing": {"seed": None},
    "batch size negative": {"batch_size": -1},
    "image size with an escape": {"image_size": ESCAPE},
    "mixed precision a word": {"amp": "yes"},
    "dry run a list": {"dry_run": [True]},
    "data a flag": {"data": ["a", "--amp"]},
    "name that leads out": {"name": "../x"},
    "interpolation unknown": {"interpolation": "sharp"},
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments_that_no_script_can_have_stored(refused, tmp_path, case):
    make_unfinished(tmp_path / "run", "vgg19", **ARGUMENTS[case])
    refused(SCRIPTS["vgg19"].main, "--resume", "run", names=["--resume run"])


@pytest.mark.parametrize("lr", [0.1, ["x"], [[0.1]], [], ["0.1", "--amp"]])
def test_lists_that_no_script_can_have_stored(refused, tmp_path, lr):
    make_unfinished(tmp_path / "run", "efficientnetb7", lr=lr)
    refused(SCRIPTS["efficientnetb7"].main, "--resume", "run", names=["--resume run"])


OTHER_VERSIONS = {
    "of the code": {"script": "0" * 64},
    "of an experiment that leads out": {"experiment": "../../x"},
    "of an experiment that is a list": {"experiment": ["vgg19"]},
}


@pytest.mark.parametrize("case", OTHER_VERSIONS)
def test_another_version(refused, tmp_path, case):
    run = make_unfinished(tmp_path / "run", "vgg19")
    change_json(run / MADE_OF, **OTHER_VERSIONS[case])
    change_json(run / "environment.json", git_commit=ESCAPE)
    refused(SCRIPTS["vgg19"].main, "--resume", "run", names=["--resume run"])


FOREIGN = {
    "empty": lambda run: run.mkdir(),
    "a file": lambda run: run.touch(),
    "a FIFO": os.mkfifo,
    "of another script": lambda run: make_unfinished(run, "resnet152v2"),
    "a published run": make_finished,
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_folder_that_is_no_run_of_this_script(refused, tmp_path, case):
    FOREIGN[case](tmp_path / "run")
    refused(SCRIPTS["vgg19"].main, "--resume", "run", names=["--resume run"])


@pytest.mark.parametrize("flags", [["--epochs", "3"], ["--seed", "9"], ["--augment"], ["--data", ESCAPE], ["--name", "x"]])
def test_flags_beside_resume(refused, tmp_path, flags):
    make_unfinished(tmp_path / "run", "vgg19")
    refused(SCRIPTS["vgg19"].main, "--resume", "run", *flags, names=[flags[0]])
