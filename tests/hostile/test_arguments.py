"""Flags with values that can't be used, in every script and tool."""

import importlib.util
import io
import json
import os

import pytest
from contract import check_line, has_control
from makers import ESCAPE, command, in_turn, make_finished, make_pictures

import compare
import evaluate
import export
import make_plots
import predict

NUMBERS = ["", "-1", "nan", "inf", "1e999", "many", "1\n2", "1\0", ESCAPE, "9" * 5000]


@pytest.mark.parametrize("flag", ["--epochs", "--lr", "--dropout"])
@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: ascii(value[:9]))
def test_a_number_that_is_none_or_out_of_range(refused, flag, value):
    """Of a type of each kind: test_cli.py holds every flag to these types, and tests their limits."""
    refused(*command("ab_split"), f"{flag}={value}", names=[flag])


WORDS = {
    "unknown flag": (["--colour", "red"], "--colour"),
    "flag with an escape": ([f"--{ESCAPE}"], "[2Jb"),
    "no value": (["--seed"], "--seed"),
    "value for a switch": (["--amp=yes"], "--amp"),
    "name with an escape": (["--name", ESCAPE], "--name"),
    "output below a file": (["--output-dir", "file/runs"], "--output-dir file"),
    "output is a file with an escape": (["--output-dir", f"file{ESCAPE}"], "--output-dir file"),
    "output with a NUL": (["--output-dir", "a\0b"], "--output-dir"),
    "data with an escape": (["--data", ESCAPE], "--data"),
    "data with a NUL": (["--data", "a\0b"], "--data"),
    "run to resume is missing": (["--resume", "nowhere"], "--resume nowhere"),
    "run to resume with an escape": (["--resume", ESCAPE], "--resume"),
}


@pytest.mark.parametrize("script, case", in_turn(WORDS))
def test_a_word_that_can_not_be_used(refused, tmp_path, script, case):
    (tmp_path / "file").touch()
    (tmp_path / f"file{ESCAPE}").touch()
    flags, name = WORDS[case]
    refused(*command(script), *flags, names=[name])


OF_ONE_SCRIPT = {
    "views 1 with augmentation": ("vgg19", ["--views", "1", "--augment"], "--views"),
    "no epochs at all": ("vgg19_finetune", ["--head-epochs", "0", "--finetune-epochs", "0"], "--head-epochs"),
    "crop of images as they are": ("vgg19_finetune", ["--crop-padding", "4", "--no-augment"], "--crop-padding has"),
    "momentum of Adam": ("resnet152v2", ["--momentum", ".9"], "--momentum has no effect"),
    "warm-up without a cosine": ("resnet152v2", ["--warmup-epochs", "1"], "--warmup-epochs has no"),
    "warm-up that takes all": ("efficientnetb7", ["--schedule", "cosine", "--warmup-epochs", "27"], "--warmup-epochs 27"),
    "views without a cache": ("resnet152v2", ["--views", "8", "--no-cache"], "--views has no effect with --no-cache"),
    "lowest rate of a cosine": ("resnet152v2", ["--schedule", "cosine", "--min-lr", ".001"], "--min-lr has no effect with"),
    "rate of no head": ("vgg19_finetune", ["--head-lr", ".01"], "--head-lr has no effect without --head-epochs"),
    "cutout of no epoch": ("vgg19_finetune", ["--finetune-epochs", "0", "--cutout", "4"], "--cutout has no effect with"),
    "method of no resize": ("efficientnetb7", ["--no-resize", "--interpolation", "area"], "--interpolation has no effect"),
    "images too small for poolings": ("ab_split", ["--image-size", "3"], "--image-size"),
    "images too small for VGG19": ("vgg19_finetune", ["--image-size", "31"], "--image-size"),
    "size that ImageNet's VGG19 can't have": ("vgg19", ["--weights", "imagenet", "--image-size", "64"], "--image-size"),
    "all classes for B": ("ab_split", ["--classes-b", *"0123456789"], "--classes-b"),
    "unknown class": ("ab_split", ["--classes-b", "tiger"], "--classes-b tiger"),
    "class with an escape": ("ab_split", ["--classes-b", ESCAPE], "--classes-b"),
    "more images than there are": ("ab_split", ["--b-samples", "100000"], "--b-samples"),
    "fewer train images than classes": ("vgg19", ["--max-train-samples", "9"], "--max-train-samples"),
    "val part of no image": ("vgg19_finetune", ["--validation-split", "0.0001"], "--validation-split"),
}


@pytest.mark.parametrize("case", OF_ONE_SCRIPT)
def test_what_one_script_can_not_do(refused, case):
    script, flags, name = OF_ONE_SCRIPT[case]
    refused(*command(script, "digits"), *flags, names=[name])


@pytest.mark.parametrize("flags", ["--unfreeze-last all --views 1", "--no-cache --views 1"])
def test_a_flag_that_asks_for_nothing_is_taken(refused, flags):
    refused(*command("resnet152v2", "nowhere"), *flags.split(), names=["--data nowhere"])


def test_images_too_large_for_the_memory(refused, tmp_path):
    make_pictures(tmp_path / "pictures")
    refused(*command("ab_split", "pictures"), "--image-size", 8192, names=["--data pictures: 36 images of 8192x8192"])


def test_an_output_folder_that_can_not_be_written_to(refused, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    refused(*command("vgg19", "digits"), names=["--output-dir runs"])


TO = ("--format", "saved_model")
DATA = ("run", "--data", "digits")
OF_TOOLS = {
    "predict in a folder that is a file": (predict.main, ["file", "a.png"], "file"),
    "predict no such image": (predict.main, ["run", "nowhere.png"], "nowhere.png"),
    "predict stdin twice": (predict.main, ["run", "-", "a.png", "-"], "-"),
    "predict the top in CSV": (predict.main, ["run", "a.png", "--csv", "--top", "3"], "--top"),
    "predict by a model without classes": (predict.main, ["run/model.keras", "a.png"], "--classes"),
    "evaluate a run that names no data": (evaluate.main, ["run"], "--data"),
    "evaluate on other classes": (evaluate.main, DATA, "share none"),
    "evaluate into a run": (evaluate.main, [*DATA, "--output-dir", "run"], "--output-dir run"),
    "compare nothing": (compare.main, [], "runs"),
    "compare with a figure that is no PNG": (compare.main, ["--figure", "x.jpg"], "--figure"),
    "export over a file": (export.main, ["run", *TO, "--output", "file"], "is there already"),
    "export below a file": (export.main, ["run", *TO, "--output", "file/model"], "--output"),
    "export to a folder that is missing": (export.main, ["run", *TO, "--output", "nowhere/model"], "nowhere"),
    "export to a file of another name": (export.main, ["run", "--format", "litert", "--output", "model.onnx"], ".tflite"),
    "draw below a file": (make_plots.main, ["--output-dir", "file/plots"], "--output-dir"),
}
PATHS = {  # what begins the arguments of a tool that take a path, and what follows it
    "predict": (predict.main, ["run"], []),
    "evaluate": (evaluate.main, [], []),
    "evaluate on": (evaluate.main, ["run", "--data"], []),
    "compare": (compare.main, [], []),
    "export": (export.main, [], TO),
    "export to": (export.main, ["run", *TO, "--output"], []),
    "publish": (make_plots.main, [], []),
}
ODD_PATHS = {"nowhere": "where", "x" * 300: "xxx", "a\0b": "b", ESCAPE: "[2Jb"}
OF_TOOLS |= {
    f"{tool} {path[:9]!a}": (main, [*before, path, *after], name)
    for tool, (main, before, after) in PATHS.items()
    for path, name in ODD_PATHS.items()
    if path in ("x" * 300, "a\0b") or tool != "export to"  # which may have any other name
}


@pytest.mark.parametrize("case", OF_TOOLS)
def test_what_a_tool_can_not_do(refused, monkeypatch, tmp_path, case):
    (tmp_path / "file").touch()
    (make_finished(tmp_path / "run") / "model.keras").write_text("a model")
    main, arguments, name = OF_TOOLS[case]
    if main is export.main:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)  # all packages are there
    refused(main, *arguments, names=[name])


LISTS = {
    "nothing": b"",
    "5,000 missing images": b"nowhere.png\n" * 5000,
    "an escape": b"a\x1b[2Jb\n",
    "lines with a NUL": b"a.png\n" * 12_000 + b"a\0b.png\n",
    "a path without end": b"x" * 10_000_000,
}


@pytest.mark.parametrize("form", ["--top=1", "--csv", "--json"])
@pytest.mark.parametrize("case", LISTS)
def test_a_list_of_images_that_are_none(watched, tmp_path, monkeypatch, case, form):
    (make_finished(tmp_path / "run") / "model.keras").write_text("a model")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(LISTS[case])))
    code, out, err = watched(predict.main, "run", "-", form)
    assert code == 2 and not has_control(out)
    *named, last = err.splitlines(keepends=True)
    assert not named or form != "--top=1"
    check_line(last)
    assert err.count("nowhere.png") == (0 if "5,000 missing" not in case else 5 if form == "--top=1" else 5000)
    for line in named[:10]:
        check_line(line, "skipped: ")
    if form == "--json":
        assert json.loads(out) == []


def test_a_closed_stdin(refused, tmp_path, monkeypatch):
    (make_finished(tmp_path / "run") / "model.keras").write_text("a model")
    monkeypatch.setattr("sys.stdin", None)
    refused(predict.main, "run", "-", names=["stdin is closed"])


def test_an_export_does_not_replace_an_earlier_one(refused, tmp_path):
    (make_finished(tmp_path / "run") / "model.keras").write_text("a model")
    (tmp_path / "run" / "saved_model").mkdir()
    refused(export.main, "run", *TO, names=["run/saved_model is there already"])
