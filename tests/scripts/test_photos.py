"""Photos of one's own, of any shape: how they become squares in training, predict.py and evaluate.py; damaged ones left out."""

import json
import shutil
from pathlib import Path

import cv2
import pytest
from sklearn.datasets import load_digits
from support import BASE, check_evaluation

import evaluate
import predict
import train_vgg19
from benchmarks import kill_and_resume
from common import cli, files
from common.training.run import load_data

FLAGS = (*BASE, "--epochs", "1")


def write_photos(root, shapes):
    """Digits as PNGs, 30 of each of two classes in train and 10 in test, of these (width, height) in turn."""
    scans = load_digits()
    for number, digit in enumerate(("one", "two")):
        for index, image in enumerate(scans.images[scans.target == number + 1][:40]):
            path = root / ("train" if index < 30 else "test") / digit / f"{index:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), cv2.resize(image * 15, shapes[index % len(shapes)]))
    return root


def train(folder, *flags):
    """The run folder of a run in `folder`, on `folder/photos`."""
    places = ("--data", folder / "photos", "--cache-dir", folder / "cache", "--output-dir", folder / "runs")
    train_vgg19.main([*FLAGS, *map(str, places), *flags])
    return next((folder / "runs" / "vgg19").iterdir())


@pytest.mark.parametrize("how, brought", [("crop", "cropped"), ("pad", "padded")])
def test_training_evaluate_and_predict_bring_photos_to_the_same_squares(tmp_path, quick, call, how, brought):
    write_photos(tmp_path / "photos", [(48, 30), (20, 64), (40, 40)])
    run = train(tmp_path, "--resize", how)
    assert files.read_json(run / "args.json")["resize"] == how
    cache = tmp_path / "cache"
    check_evaluation(run, cache)
    squeezed = evaluate.main(
        [str(run), "--resize", "squeeze", "--cache-dir", str(cache), "--output-dir", str(tmp_path / "out")]
    )
    assert squeezed["test_loss"] != files.read_json(run / "results.json")["test_loss"]
    evaluate.main([str(run), "--cache-dir", str(cache), "--output-dir", str(tmp_path / "out")])
    rows = {row["path"]: row for row in files.read_csv(tmp_path / "out" / "predictions.csv")}
    expected = [row["probability"] for row in files.read_csv(run / "predictions.csv")]
    assert [row["probability"] for row in rows.values()] == expected
    for options, said in (((run,), f"{brought}, as in training"), ((run / "model.keras", "--resize", how), brought)):
        of_file = ("--classes", "one", "two", "--json") if said == brought else ("--json",)
        code, out, err = call(predict.main, *options, tmp_path / "photos" / "test", *of_file)
        assert code == 0 and err.endswith(f" of 20 images are not square: {said}\n")
        for row in json.loads(out):
            guess = rows[row["path"]]
            assert row["class"] == guess["predicted"]
            assert row["probabilities"][row["class"]] == pytest.approx(guess["probability"], abs=2e-6)


@pytest.mark.parametrize("shape", [(16, 16), (40, 24)], ids=["upscaled on the device", "resized when read"])
def test_damaged_photos_are_left_out_as_if_they_were_not_there(tmp_path, quick, call, shape):
    write_photos(tmp_path / "with" / "photos", [shape])
    shutil.copytree(tmp_path / "with", tmp_path / "without")
    damaged = [
        Path("photos", *place) for place in (("train", "one", "00.png"), ("train", "two", "03.png"), ("test", "one", "39.png"))
    ]
    for path in damaged:
        (tmp_path / "with" / path).write_bytes((tmp_path / "with" / path).read_bytes()[:-20])
        (tmp_path / "without" / path).unlink()
    code, _, err = call(lambda: train(tmp_path / "with"))
    assert code == cli.EXIT_BAD_INPUT and err.count("is cut off") == 2 and "or leave them out with --skip-damaged" in err
    runs = train(tmp_path / "with", "--skip-damaged"), train(tmp_path / "without")
    numbers = [{place: each for place, each in kill_and_resume.numbers(run).items() if "skip" not in place} for run in runs]
    differing, total = kill_and_resume.count_differences(*numbers)
    assert differing == 0 and total > 1000
    rows = files.read_csv(runs[0] / "skipped.csv")
    assert [row["path"] for row in rows] == [str(tmp_path / "with" / path) for path in damaged]
    assert {row["reason"] for row in rows} == {"is cut off: its end is missing"} and not (runs[1] / "skipped.csv").exists()
    check_evaluation(runs[0], tmp_path / "with" / "cache")
    resumed = load_data(train_vgg19.parse_args(["--resume", str(runs[0])]), upscaled_later=True)
    assert resumed.fingerprint() == files.read_json(runs[0] / "checkpoint" / "made_of.json")["data"]
