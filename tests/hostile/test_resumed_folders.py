"""Run folders that `--resume` can't finish."""

import os

import pytest
from makers import ESCAPE, SCRIPTS, change_json, in_turn, make_finished, make_unfinished

from common import files

MADE_OF = "checkpoint/made_of.json"


def has(**changes):
    return lambda run: change_json(run / "args.json", **changes)


def holds(name, content):
    return lambda run: (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def in_place(name, make):
    return lambda run: ((run / name).unlink(), make(run / name))


def without(run, name):
    stored = files.read_json(run / "args.json")
    del stored[name]
    files.write_json(run / "args.json", stored)


ARGUMENTS = {
    "no arguments": lambda run: (run / "args.json").unlink(),
    "empty": holds("args.json", ""),
    "half written": lambda run: os.truncate(run / "args.json", 100),
    "zeros": holds("args.json", bytes(500)),
    "in no encoding": holds("args.json", b"\xff\xfe\x00"),
    "a list": holds("args.json", "[]"),
    "nested 100,000 deep": holds("args.json", "[" * 100_000),
    "a FIFO": in_place("args.json", os.mkfifo),
    "a folder": in_place("args.json", os.mkdir),
    "a link to itself": in_place("args.json", lambda path: path.symlink_to(path.name)),
    "a link to a device": in_place("args.json", lambda path: path.symlink_to("/dev/zero")),
    "a flag too few": lambda run: without(run, "seed"),
    "a flag too many": has(colour="red"),
    "a flag with an escape": has(**{ESCAPE: 1}),
    "seed a word": has(seed="none"),
    "seed of 400 digits": has(seed=10**399),
    "seed of 5,000 digits": holds("args.json", '{"seed": ' + "9" * 5000 + "}"),
    "seed a list": has(seed=[0]),
    "seed nothing": has(seed=None),
    "batch size negative": has(batch_size=-1),
    "batch size NaN": has(batch_size=float("nan")),
    "validation split infinite": has(validation_split=float("inf")),
    "validation split an object": has(validation_split={"a": 1}),
    "image size with an escape": has(image_size=ESCAPE),
    "image size of 5,000 letters": has(image_size="x" * 5000),
    "mixed precision a word": has(amp="yes"),
    "mixed precision a number": has(amp=1),
    "dry run a list": has(dry_run=[True]),
    "data a number": has(data=5),
    "data a list": has(data=["digits"]),
    "data an object": has(data={"a": 1}),
    "data with an escape": has(data=ESCAPE),
    "data with a NUL": has(data="a\0b"),
    "data of 300 letters": has(data="x" * 300),
    "name that leads out": has(name="../x"),
    "name a number": has(name=5.5e300),
    "cache folder with a NUL": has(cache_dir="a\0b"),
    "cache folder a list": has(cache_dir=["cache"]),
}


@pytest.mark.parametrize("script, case", in_turn(ARGUMENTS))
def test_arguments_that_no_script_can_have_stored(refused, tmp_path, script, case):
    ARGUMENTS[case](make_unfinished(tmp_path / "run", script))
    well_formed = {"data with": "--data", "data of": "--data", "cache folder with": "--cache-dir"}  # but can't be used
    name = next((flag for beginning, flag in well_formed.items() if case.startswith(beginning)), "--resume run")
    refused(SCRIPTS[script].main, "--resume", "run", names=[name])


@pytest.mark.parametrize("key, value", [("classes_b", "0"), ("classes_b", [[0]]), ("classes_b", [10**399]), ("b_samples", 5)])
def test_arguments_of_the_split_that_can_not_be(refused, tmp_path, key, value):
    make_unfinished(tmp_path / "run", **{key: value})
    refused(SCRIPTS["ab_split"].main, "--resume", "run", names=[])


NOTES = {
    f"{name} {kind}": change
    for name in (MADE_OF, "environment.json")
    for kind, change in {
        "missing": lambda run, name=name: (run / name).unlink(),
        "empty": holds(name, ""),
        "half written": lambda run, name=name: os.truncate(run / name, 20),
        "zeros": holds(name, bytes(500)),
        "a list": holds(name, "[]"),
        "nested 100,000 deep": holds(name, "[" * 100_000),
        "a FIFO": in_place(name, os.mkfifo),
        "a folder": in_place(name, os.mkdir),
        "a link to a device": in_place(name, lambda path: path.symlink_to("/dev/zero")),
    }.items()
} | {
    "made by another version": lambda run: change_json(run / MADE_OF, script="0" * 64),
    "made by another version, with an escape": lambda run: (
        change_json(run / MADE_OF, script="0"),
        change_json(run / "environment.json", git_commit=ESCAPE),
    ),
    "made by a version of 5,000 letters": lambda run: (
        change_json(run / MADE_OF, script="0"),
        change_json(run / "environment.json", git_commit="x" * 5000),
    ),
    "of an experiment that leads out": lambda run: change_json(run / MADE_OF, experiment="../../x"),
    "of an experiment that is a list": lambda run: change_json(run / MADE_OF, experiment=["ab_split"]),
    "of an experiment with an escape": lambda run: change_json(run / MADE_OF, experiment=ESCAPE),
    "of an experiment of 5,000 letters": lambda run: change_json(run / MADE_OF, experiment="x" * 5000),
    "of an experiment with a NUL": lambda run: change_json(run / MADE_OF, experiment="a\0b"),
}  # fmt: skip


@pytest.mark.parametrize("script, case", in_turn(NOTES))
def test_notes_that_can_not_be_read(refused, tmp_path, script, case):
    NOTES[case](make_unfinished(tmp_path / "run", script))
    refused(SCRIPTS[script].main, "--resume", "run", names=["--resume run"])


FOREIGN = {
    "empty": lambda run: run.mkdir(),
    "a file": lambda run: run.touch(),
    "a FIFO": os.mkfifo,
    "a link to itself": lambda run: run.symlink_to(run.name),
    "of photographs": lambda run: (run / "train" / "cat").mkdir(parents=True),
    "of another script": lambda run: make_unfinished(run, "vgg19"),
    "a published run": make_finished,
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_folder_that_is_no_run_of_this_script(refused, tmp_path, case):
    FOREIGN[case](tmp_path / "run")
    refused(SCRIPTS["ab_split"].main, "--resume", "run", names=["--resume run"])


@pytest.mark.parametrize(
    "flags", [["--epochs", "3"], ["--seed", "9"], ["--seeds", "9" * 5000], ["--data", ESCAPE], ["--name", "x"]]
)
def test_flags_beside_resume(refused, tmp_path, flags):
    make_unfinished(tmp_path / "run")
    refused(SCRIPTS["ab_split"].main, "--resume", "run", *flags, names=[flags[0]])
