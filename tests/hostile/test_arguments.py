"""Flags with values that can't be used, in every script and tool."""

import importlib.util
import io
import json
import os

import pytest
from contract import check_line, has_control
from makers import ESCAPE, SCRIPTS, command, encoded, make_finished, make_pictures

import compare
import evaluate
import export
import make_plots
import predict

WHOLE = {
    "ab_split": ("--image-size", "--batch-size", "--epochs", "--b-samples", "--seeds", "--seed"),
    "vgg19": ("--max-train-samples", "--devices", "--views", "--samples-per-epoch"),
    "vgg19_finetune": ("--head-epochs", "--finetune-epochs", "--lr-patience", "--patience", "--crop-padding", "--cutout"),
    "resnet152v2": ("--image-size", "--epochs", "--unfreeze-last", "--lr-patience"),
    "efficientnetb7": ("-b", "--epochs", "--patience", "--unfreeze-last", "--warmup-epochs"),
}
BROKEN = {
    "ab_split": ("--lr", "--dropout"),
    "vgg19": ("--validation-split",),
    "vgg19_finetune": ("--head-lr", "--finetune-lr", "--lr-factor", "--dropout", "--weight-decay", "--smoothing"),
    "resnet152v2": ("--lr", "--lr-factor", "--min-lr", "--momentum", "--weight-decay"),
    "efficientnetb7": ("--lr", "--dropout"),
}
NOT_WHOLE = {
    "negative": "-1",
    "fraction": "1.5",
    "NaN": "nan",
    "word": "many",
    "empty": "",
    "escape": ESCAPE,
    "newline": "1\n2",
    "NUL": "1\0",
    "5,000 digits": "9" * 5000,
    "10 to the 18th": str(10**18),
}
NOT_BROKEN = {
    "negative": "-0.1",
    "NaN": "nan",
    "infinite": "inf",
    "beyond a float": "1e999",
    "word": "some",
    "empty": "",
    "escape": ESCAPE,
    "5,000 digits": "9" * 5000,
    "5,000 zeros": f"0.{'0' * 5000}1",
}


def product(flags, values):
    return [
        pytest.param(script, flag, value, id=f"{script} {flag} {kind}")
        for script, names in flags.items()
        for flag in names
        for kind, value in values.items()
        if (flag, kind) != ("--unfreeze-last", "word")
    ]


@pytest.mark.parametrize("script, flag, value", product(WHOLE, NOT_WHOLE) + product(BROKEN, NOT_BROKEN))
def test_a_number_that_is_none_or_out_of_range(refused, script, flag, value):
    refused(*command(script), f"{flag}={value}" if flag.startswith("--") else f"{flag}{value}", names=[flag])


WORDS = {
    "unknown flag": (["--colour", "red"], "--colour"),
    "abbreviated flag": (["--see", "1"], "--see"),
    "flag with an escape": ([f"--{ESCAPE}"], "[2Jb"),
    "flag of 5,000 letters": (["--" + "x" * 5000], "--xxx"),
    "stray word": (["stray"], "stray"),
    "stray word with a newline": (["a\nb"], "unrecognized"),
    "5,000 stray words": (["stray"] * 5000, "stray"),
    "no value": (["--seed"], "--seed"),
    "value for a switch": (["--amp=yes"], "--amp"),
    "name that leads out": (["--name", "../x"], "--name"),
    "name with a slash": (["--name", "a/b"], "--name"),
    "name that is hidden": (["--name", ".x"], "--name"),
    "name with a newline": (["--name", "a\nb"], "--name"),
    "name with an escape": (["--name", ESCAPE], "--name"),
    "empty name": (["--name", ""], "--name"),
    "name of 5,000 letters": (["--name", "x" * 5000], "--name"),
    "output below a file": (["--output-dir", "file/runs"], "--output-dir file"),
    "output is a file with an escape": (["--output-dir", f"file{ESCAPE}"], "--output-dir file"),
    "output of 300 characters": (["--output-dir", "x" * 300], "--output-dir"),
    "output with a NUL": (["--output-dir", "a\0b"], "--output-dir"),
    "data of 300 characters": (["--data", "x" * 300], "--data"),
    "data of 300 characters below others": (["--data", "/".join(["x" * 300] * 10)], "--data"),
    "data with an escape": (["--data", ESCAPE], "--data"),
    "data with a NUL": (["--data", "a\0b"], "--data"),
    "data is empty": (["--data", ""], "--data"),
    "run to resume is missing": (["--resume", "nowhere"], "--resume nowhere"),
    "run to resume of 300 characters": (["--resume", "x" * 300], "--resume"),
    "run to resume with a NUL": (["--resume", "a\0b"], "--resume"),
    "run to resume with an escape": (["--resume", ESCAPE], "--resume"),
}


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("case", WORDS)
def test_a_word_that_can_not_be_used(refused, tmp_path, script, case):
    (tmp_path / "file").touch()
    (tmp_path / f"file{ESCAPE}").touch()
    flags, name = WORDS[case]
    refused(*command(script), *flags, names=[name])


OF_ONE_SCRIPT = {
    "views 1 with augmentation": ("vgg19", ["--views", "1", "--augment"], "--views"),
    "views 1 with augmentation by default": ("efficientnetb7", ["--views", "1"], "--views"),
    "no epochs at all": ("vgg19_finetune", ["--head-epochs", "0", "--finetune-epochs", "0"], "--head-epochs"),
    "unknown schedule": ("vgg19_finetune", ["--schedule", "sharp"], "--schedule"),
    "crop of images as they are": ("vgg19_finetune", ["--crop-padding", "4", "--no-augment"], "--crop-padding has"),
    "crop padded by a whole image": ("vgg19_finetune", ["--crop-padding", "32"], "--crop-padding 32"),
    "cutout of the whole image": ("vgg19_finetune", ["--cutout", "32"], "--cutout 32"),
    "momentum of Adam": ("resnet152v2", ["--momentum", ".9"], "--momentum has no effect"),
    "warm-up without a cosine": ("resnet152v2", ["--warmup-epochs", "1"], "--warmup-epochs has no"),
    "warm-up that takes all": ("efficientnetb7", ["--schedule", "cosine", "--warmup-epochs", "27"], "--warmup-epochs 27"),
    "views of one image": ("vgg19", ["--views", "8"], "--views has no effect without --augment"),
    "views without a cache": ("resnet152v2", ["--views", "8", "--no-cache"], "--views has no effect with --no-cache"),
    "lowest rate of a cosine": ("resnet152v2", ["--schedule", "cosine", "--min-lr", ".001"], "--min-lr has no effect with"),
    "factor of a cosine": ("vgg19_finetune", ["--schedule", "cosine", "--lr-factor", ".5"], "--lr-factor has no effect with"),
    "rate of no head": ("vgg19_finetune", ["--head-lr", ".01"], "--head-lr has no effect without --head-epochs"),
    "cutout of no epoch": ("vgg19_finetune", ["--finetune-epochs", "0", "--cutout", "4"], "--cutout has no effect with"),
    "method of no resize": ("efficientnetb7", ["--no-resize", "--interpolation", "area"], "--interpolation has no effect"),
    "unknown interpolation": ("vgg19", ["--interpolation", "sharp"], "--interpolation"),
    "interpolation of 5,000 letters": ("resnet152v2", ["--interpolation", "x" * 5000], "--interpolation"),
    "interpolation with an escape": ("efficientnetb7", ["--interpolation", ESCAPE], "--interpolation"),
    "images too small for poolings": ("ab_split", ["--image-size", "3"], "--image-size"),
    "images too small for VGG19": ("vgg19_finetune", ["--image-size", "31"], "--image-size"),
    "images too small for ResNet152V2": ("resnet152v2", ["--image-size", "31"], "--image-size"),
    "size that ImageNet's VGG19 can't have": ("vgg19", ["--weights", "imagenet", "--image-size", "64"], "--image-size"),
    "all classes for B": ("ab_split", ["--classes-b", *"0123456789"], "--classes-b"),
    "all classes but one for B": ("ab_split", ["--classes-b", *"012345678"], "--classes-b"),
    "a class twice": ("ab_split", ["--classes-b", "1", "1"], "--classes-b"),
    "unknown class": ("ab_split", ["--classes-b", "tiger"], "--classes-b tiger"),
    "class out of range": ("ab_split", ["--classes-b", "10"], "--classes-b 10"),
    "negative class": ("ab_split", ["--classes-b=-1"], "--classes-b -1"),
    "class of 5,000 digits": ("ab_split", ["--classes-b", "9" * 5000], "--classes-b"),
    "class of 5,000 letters": ("ab_split", ["--classes-b", "x" * 5000], "--classes-b"),
    "class with an escape": ("ab_split", ["--classes-b", ESCAPE], "--classes-b"),
    "class with a raised digit": ("ab_split", ["--classes-b", "²"], "--classes-b"),
    "no class": ("ab_split", ["--classes-b"], "--classes-b"),
    "fewer images than classes": ("ab_split", ["--b-samples", "1"], "--b-samples"),
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


@pytest.mark.parametrize("size", [20_000, 1_000_000])
@pytest.mark.parametrize("script", SCRIPTS)
def test_images_too_large_for_the_memory(refused, tmp_path, script, size):
    make_pictures(tmp_path / "pictures")
    refused(*command(script, "pictures"), "--image-size", size, names=["--image-size"])


def test_images_too_large_for_the_memory_of_evaluate(refused, tmp_path):
    (make_finished(tmp_path / "run", image_size=20_000) / "model.keras").write_text("a model")
    make_pictures(tmp_path / "pictures", classes=("cat", "dog"), parts=("test", "train"))
    refused(evaluate.main, "run", "--data", "pictures", names=["--data: 24 images of 20000x20000"])


def test_an_output_folder_that_can_not_be_written_to(refused, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    refused(*command("vgg19", "digits"), names=["--output-dir runs"])


def test_tensorboard_without_its_package(refused, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    refused(*command("vgg19"), "--tensorboard", names=["--tensorboard"])


LONG = "x" * 300
TO = ("--format", "saved_model")
OF_TOOLS = {
    "predict without images": (predict.main, ["run"], "IMAGE"),
    "predict top 0": (predict.main, ["run", "a.png", "--top", "0"], "--top"),
    "predict top of 5,000 digits": (predict.main, ["run", "a.png", "--top", "9" * 5000], "--top"),
    "predict in no folder": (predict.main, ["nowhere", "a.png"], "nowhere"),
    "predict in a folder of 300 characters": (predict.main, [LONG, "a.png"], "xxx"),
    "predict in a folder with a NUL": (predict.main, ["a\0b", "a.png"], "RUN_DIR"),
    "predict in a folder with an escape": (predict.main, [ESCAPE, "a.png"], "[2Jb"),
    "predict in a folder that is a file": (predict.main, ["file", "a.png"], "file"),
    "predict no such image": (predict.main, ["run", "nowhere.png"], "nowhere.png"),
    "predict an image of 300 characters": (predict.main, ["run", LONG], "xxx"),
    "predict an image with a NUL": (predict.main, ["run", "a\0b.png"], "b.png"),
    "predict an image with an escape": (predict.main, ["run", ESCAPE], "[2Jb"),
    "predict 5,000 images that are missing": (predict.main, ["run", *["nowhere.png"] * 5000], "nowhere.png"),
    "predict stdin twice": (predict.main, ["run", "-", "a.png", "-"], "-"),
    "predict in two forms": (predict.main, ["run", "a.png", "--csv", "--json"], "--json"),
    "predict the top in CSV": (predict.main, ["run", "a.png", "--csv", "--top", "3"], "--top"),
    "predict classes of a folder": (predict.main, ["run", "a.png", "--classes", "cat", ESCAPE], "--classes"),
    "predict by a model without classes": (predict.main, ["run/model.keras", "a.png"], "--classes"),
    "predict a class twice": (predict.main, ["run/model.keras", "a.png", "--classes", ESCAPE, ESCAPE], "[2Jb"),
    "predict no class": (predict.main, ["run", "a.png", "--classes"], "--classes"),
    "evaluate no folder": (evaluate.main, ["nowhere"], "nowhere"),
    "evaluate a folder with an escape": (evaluate.main, [ESCAPE], "[2Jb"),
    "evaluate a run that names no data": (evaluate.main, ["run"], "--data"),
    "evaluate on no data": (evaluate.main, ["run", "--data", "nowhere"], "--data nowhere"),
    "evaluate on a folder with a NUL": (evaluate.main, ["run", "--data", "a\0b"], "--data"),
    "evaluate on a folder of 300 characters": (evaluate.main, ["run", "--data", LONG], "--data"),
    "evaluate on a folder with an escape": (evaluate.main, ["run", "--data", ESCAPE], "[2Jb"),
    "evaluate on other classes": (evaluate.main, ["run", "--data", "digits"], "share none"),
    "evaluate on a part that is none": (evaluate.main, ["run", "--data", "digits", "--part", ESCAPE], "--part"),
    "evaluate in two forms": (evaluate.main, ["run", "--data", "digits", "--csv", "--json"], "--json"),
    "evaluate into a run": (evaluate.main, ["run", "--data", "digits", "--output-dir", "run"], "--output-dir run"),
    "evaluate into a file": (evaluate.main, ["run", "--data", "digits", "--output-dir", "file"], "--output-dir file"),
    "evaluate below a file": (evaluate.main, ["run", "--data", "digits", "--output-dir", "file/x"], "--output-dir file/x"),
    "evaluate classes of a folder": (evaluate.main, ["run", "--data", "digits", "--classes", "cat"], "--classes"),
    "evaluate a model without classes": (evaluate.main, ["run/model.keras", "--data", "digits"], "--classes"),
    "compare nothing": (compare.main, [], "runs"),
    "compare no folder": (compare.main, ["nowhere"], "nowhere"),
    "compare a folder of 300 characters": (compare.main, [LONG], "xxx"),
    "compare a folder with a NUL": (compare.main, ["a\0b"], "compare"),
    "compare a folder with an escape": (compare.main, [ESCAPE], "[2Jb"),
    "compare in two forms": (compare.main, ["--csv", "--markdown"], "--markdown"),
    "compare with a figure that is no PNG": (compare.main, ["--figure", "x.jpg"], "--figure"),
    "compare with a figure of 300 characters": (compare.main, ["--figure", LONG + ".png"], "--figure"),
    "compare with a figure nowhere": (compare.main, ["--figure", f"{ESCAPE}/x.png"], "--figure"),
    "export without a format": (export.main, ["run"], "--format"),
    "export to an unknown format": (export.main, ["run", "--format", "pickle"], "--format"),
    "export to a format with an escape": (export.main, ["run", "--format", ESCAPE], "--format"),
    "export images of another type": (export.main, ["run", *TO, "--input-dtype", "int8"], "--input-dtype"),
    "export no folder": (export.main, ["nowhere", *TO], "nowhere"),
    "export a folder of 300 characters": (export.main, [LONG, *TO], "xxx"),
    "export a folder with a NUL": (export.main, ["a\0b", *TO], "RUN_DIR"),
    "export a folder with an escape": (export.main, [ESCAPE, *TO], "[2Jb"),
    "export a file that is no model": (export.main, ["file", *TO], "file"),
    "export over a file": (export.main, ["run", *TO, "--output", "file"], "is there already"),
    "export over a folder": (export.main, ["run", *TO, "--output", "run"], "is there already"),
    "export over a link to nothing": (export.main, ["run", *TO, "--output", "link"], "is there already"),
    "export below a file": (export.main, ["run", *TO, "--output", "file/model"], "--output"),
    "export to a folder that is missing": (export.main, ["run", *TO, "--output", "nowhere/model"], "nowhere"),
    "export to a name of 300 characters": (export.main, ["run", *TO, "--output", LONG], "--output"),
    "export to a name with a NUL": (export.main, ["run", *TO, "--output", "a\0b"], "--output"),
    "export to a folder with an escape": (export.main, ["run", *TO, "--output", f"{ESCAPE}/model"], "[2Jb"),
    "export to a file of another name": (export.main, ["run", "--format", "litert", "--output", "model.onnx"], ".tflite"),
    "publish no folder": (make_plots.main, ["nowhere"], "nowhere"),
    "publish a folder of 300 characters": (make_plots.main, [LONG], "xxx"),
    "publish a folder with a NUL": (make_plots.main, ["a\0b"], "b"),
    "publish a folder with an escape": (make_plots.main, [ESCAPE], "[2Jb"),
    "draw below a file": (make_plots.main, ["--output-dir", "file/plots"], "--output-dir"),
    "draw into a folder of 300 characters": (make_plots.main, ["--output-dir", LONG], "--output-dir"),
}


@pytest.mark.parametrize("case", OF_TOOLS)
def test_what_a_tool_can_not_do(refused, monkeypatch, tmp_path, case):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nothing")
    (make_finished(tmp_path / "run") / "model.keras").write_text("a model")
    main, arguments, name = OF_TOOLS[case]
    if main is export.main:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)  # all packages are there
    refused(main, *arguments, names=[name])


LISTS = {
    "nothing": b"",
    "empty lines": b"\n\r\n\n",
    "NULs": b"\0" * 100_000,
    "5,000 missing images": b"nowhere.png\n" * 5000,
    "5,000 missing images with NULs": b"nowhere.png\0" * 5000,
    "an escape": b"a\x1b[2Jb\n",
    "bytes in no encoding": b"\xff\xfe\x80.png\n",
    "lines with a NUL": b"a.png\n" * 12_000 + b"a\0b.png\n",
    "a folder": b"run\n",
    "a path of 5,000 bytes": b"x" * 5000 + b"\n",
    "a path without end": b"x" * 10_000_000,
    "an image": encoded("png"),
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


@pytest.mark.parametrize("output", ["saved_model", "folder/model"])
def test_an_export_is_not_written_where_that_is_not_allowed(refused, monkeypatch, tmp_path, output):
    (make_finished(tmp_path / "run") / "model.keras").write_text("a model")
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    refused(export.main, "run", *TO, "--output", output, names=["can be written to", "--output"])


def test_an_export_does_not_replace_an_earlier_one(refused, tmp_path):
    (make_finished(tmp_path / "run") / "model.keras").write_text("a model")
    (tmp_path / "run" / "saved_model").mkdir()
    refused(export.main, "run", *TO, names=["run/saved_model is there already"])
