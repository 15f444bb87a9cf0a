"""A run that was moved and renamed, or published: every script and tool takes its folder, however it is named."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import compare
import evaluate
import export
import make_plots
import predict
import train_vgg19
from common import cli, files
from common.models import weights
from publish import figures

SMALL = ("--data", "digits", "--weights", "none", "--image-size", "32", "--max-train-samples", "120", "--batch-size", "32")


@pytest.fixture
def moved(finished, tmp_path, monkeypatch, quick):
    """The run in a folder of another name at another place, where the working directory is; runs/ is gone."""
    shutil.copytree(finished("vgg19").folder, tmp_path / "kept" / "best one")
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("seven.png", np.full((40, 40), 200, np.uint8))
    Path("link").symlink_to("kept/best one")
    monkeypatch.setattr(make_plots, "PLOTS", tmp_path / "plots")
    monkeypatch.setattr(figures, "DRAW", {})
    return tmp_path / "kept" / "best one"


def from_inside(folder):
    os.chdir(folder)
    return "."


WAYS = {
    "relative, with a slash": lambda folder: "kept/best one/",
    "a link with a slash": lambda folder: "link/",
    "from inside": from_inside,
    "from beside": lambda folder: (os.chdir(folder.parent / ".."), "kept/../kept/best one")[1],
}


@pytest.mark.parametrize("way", WAYS)
def test_every_tool_takes_a_moved_run(moved, call, way):
    place, test_accuracy = moved.parents[1], files.read_json(moved / "results.json")["test_accuracy"]
    given = WAYS[way](moved)
    code, out, err = call(predict.main, given, place / "seven.png")
    assert (code, err) == (0, "") and "seven.png" in out
    code, out, err = call(evaluate.main, given, "--cache-dir", place / "cache")
    assert (code, err) == (0, "") and f"accuracy           {test_accuracy:.4f}" in out
    if way == "from inside":  # takes seconds
        code, out, err = call(export.main, given, "--format", "saved_model", "--output", place / "exported")
        assert (code, err) == (0, "") and (place / "exported" / "saved_model.pb").exists()
    code, out, err = call(compare.main, given, "--figure", place / "compare.png")
    assert (code, err) == (0, "") and "vgg19" in out and (place / "compare.png").exists()
    code, out, err = call(make_plots.main, given, "--output-dir", place / "figures")
    published = place / "plots" / "results" / "vgg19" / "control"
    assert (code, err) == (0, "") and (published / "results.json").read_bytes() == (moved / "results.json").read_bytes()
    assert not list(published.glob("*.keras"))
    found = weights.find(given, "vgg19", 32)
    assert found.path.samefile(moved / "model.keras") and found.label == "weights of best one"


@pytest.mark.parametrize("way", ["a link with a slash", "from inside"])
def test_resume_finishes_a_moved_run_in_its_new_place(moved, call, way):
    before = files.read_json(moved / "environment.json")
    code, out, err = call(train_vgg19.main, "--resume", given := WAYS[way](moved), "--epochs", "4")
    assert (code, err) == (0, "") and f"Resuming {Path(given)}" in out
    assert [row["epoch"] for row in files.read_csv(moved / "history.csv")] == [1, 2, 3, 4]
    assert files.read_json(moved / "args.json")["epochs"] == 4
    after = files.read_json(moved / "environment.json")
    assert after["started"] == before["started"] and len(after["resumed"]) == 1
    assert not (moved.parents[1] / "runs").exists() and not (moved / "runs").exists()
    code, out, err = call(train_vgg19.main, "--resume", given)
    assert (code, err) == (0, "") and "is finished" in out


def test_a_run_started_from_a_moved_one_keeps_its_path(moved, call):
    shutil.move(moved, "runs/vgg19/best")
    code, out, err = call(train_vgg19.main, *SMALL, "--weights", "latest", "--epochs", "1", "--cache-dir", "cache")
    assert (code, err) == (0, "latest: runs/vgg19/best\n")
    (run,) = (folder for folder in Path("runs/vgg19").iterdir() if folder.name != "best")
    assert files.read_json(run / "args.json")["weights"] == "runs/vgg19/best"
    assert files.read_json(run / "results.json")["model"] == "frozen VGG19, weights of best"
    assert "The weights come from a run on the same images, which held out the same test images." in out
    (run / "results.json").unlink()
    code, out, err = call(train_vgg19.main, "--resume", "latest")
    assert (code, err) == (0, f"latest: {run}\n") and (run / "results.json").exists()


def test_a_run_goes_on_where_its_images_are_now(call, tmp_path, monkeypatch, image_folder, quick):
    monkeypatch.chdir(tmp_path)
    images = image_folder({"cat": 40, "dog": 40})
    flags = ("--weights", "none", "--image-size", "32", "--cache-dir", "cache", "--validation-split", ".3")
    train_vgg19.main(["--data", str(images), *flags, "--epochs", "1"])
    results = files.read_json(next(Path("runs/vgg19").iterdir()) / "results.json")
    assert (results["documented_accuracy"], results["trained"]) == (None, "head")  # cats and dogs, but not CIFAR-10's
    images.rename("elsewhere")
    code, out, err = call(train_vgg19.main, "--resume", "latest", "--epochs", "2", "--data", "elsewhere")
    assert code == 0 and "1 of 2 epochs done" in out
    code, out, err = call(train_vgg19.main, "--resume", "latest", "--data", "elsewhere")
    assert code == 0 and "is finished" in out
    next(Path("elsewhere/train/cat").iterdir()).unlink()
    code, out, err = call(train_vgg19.main, "--resume", "latest", "--epochs", "3")
    assert code == cli.EXIT_BAD_INPUT and "the run was started with other data" in err
    code, out, err = call(
        train_vgg19.main, "--data", "elsewhere", *flags[2:], "--weights", "latest", "--epochs", "1", "--dry-run"
    )
    assert code == 0 and "The weights come from a run on elsewhere before its images changed; test accuracy is too high" in out
    (dry_run,) = Path("runs/vgg19").glob("*-dry-run")
    assert files.read_json(dry_run / "results.json")["model"].endswith("(dry run)")
    assert "dry-run" not in call(predict.main, "latest", next(Path("elsewhere/test/cat").iterdir()))[2]


def test_a_published_run_is_compared_and_has_no_weights(moved, call):
    call(make_plots.main, moved, "--output-dir", "figures")
    published = "plots/results/vgg19/control"
    code, out, err = call(compare.main, published, "--no-figure")
    assert (code, err) == (0, "") and "vgg19" in out
    for main, *arguments in (
        (predict.main, published, "seven.png"),
        (evaluate.main, published),
        (export.main, published, "--format", "saved_model"),
        (train_vgg19.main, *SMALL, "--weights", published),
    ):
        code, out, err = call(main, *arguments)
        assert code == cli.EXIT_BAD_INPUT and err.count("\n") == 1 and "published" in err
    code, out, err = call(make_plots.main, published, "--output-dir", "figures")  # which changes nothing
    assert (code, err) == (0, "")
