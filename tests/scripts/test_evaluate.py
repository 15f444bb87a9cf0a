"""evaluate.py on a model whose every answer is known: it sees red, green or blue."""

import csv
import io
import json
import re
import shutil
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from keras import layers, ops
from support import BASE, check_evaluation, load, small_backbone

import evaluate
import train_vgg19
from common import cli, files
from common.data import dataset, images
from common.models import backbones

PUBLISHED = Path(__file__).parents[2] / "plots" / "results" / "vgg19" / "control"
COLOURS = {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200)}
SURE = ops.convert_to_numpy(ops.softmax(np.array([2.0, 0.2, 0.2], np.float32)))  # of the colours above


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model file: probabilities are the softmax of the mean colour, divided by 100."""
    inputs = keras.Input((8, 8, 3))
    outputs = layers.Dense(3, activation="softmax")
    model = keras.Model(inputs, outputs(layers.GlobalAveragePooling2D()(inputs)))
    outputs.set_weights([np.eye(3) / 100, np.zeros(3)])
    path = tmp_path_factory.mktemp("model") / "model.keras"
    model.save(path)
    return path


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def paint(folder, colours):
    """Write an image of each colour in this order."""
    for number, colour in enumerate(colours):
        folder.mkdir(parents=True, exist_ok=True)
        image = np.full((10, 10, 3), COLOURS[colour][::-1], np.uint8)
        image[0, 0] = number  # no two are the same
        cv2.imwrite(str(folder / f"{number}.png"), image)


def scores(model, *flags, classes=("red", "green", "blue")):
    return evaluate.main([str(model), "--classes", *classes, *map(str, flags)])


def test_scores_of_a_confusion_by_hand(model, tmp_path, capsys):
    # Of four red images one is blue, both green ones are green, the blue class is missing. Folders sort as green, red.
    paint(tmp_path / "data" / "red", ["red", "blue", "red", "red"])
    paint(tmp_path / "data" / "green", ["green", "green"])
    results = scores(model, "--data", tmp_path / "data", "--output-dir", tmp_path / "out")
    assert results["test_accuracy"] == pytest.approx(5 / 6) and results["images"] == 6
    assert results["per_class_accuracy"] == [0.75, 1, None]
    assert results["test_balanced_accuracy"] == 0.875 and results["per_class_interval"][2] is None
    assert results["per_class_interval"][0] == pytest.approx((0.3006, 0.9544), abs=1e-4)  # Wilson's of 3 of 4
    told = capsys.readouterr().out
    assert "balanced accuracy  0.8750\n" in told
    assert re.search(r"recall, 95 % interval\n.*\nred +1.0000  0.7500 .* 4  +\[0.3006, 0.9544\]\n.*\nblue .* -\n", told)
    assert results["most_confused"] == [{"true": "red", "predicted": "blue", "images": 1}]
    expected = -(5 * np.log(SURE[0]) + np.log(SURE[1])) / 6
    assert results["test_loss"] == pytest.approx(expected, rel=0.02)  # one pixel is another
    assert results["calibration_error"] == pytest.approx(abs(5 / 6 - SURE[0]), abs=0.01)
    red, green, blue = results["by_class"]
    assert (red["precision"], red["recall"], green["f1"], blue["precision"], blue["support"]) == (1, 0.75, 1, 0, 0)
    assert results["confusion_matrix"] == [[3, 0, 1], [0, 2, 0], [0, 0, 0]]
    rows = files.read_csv(tmp_path / "out" / "predictions.csv")
    (mistake,) = (row for row in rows if row["true"] != row["predicted"])
    assert mistake["path"] == str(tmp_path / "data" / "red" / "1.png")
    written = files.read_csv(tmp_path / "out" / "confusion_matrix.csv")
    assert [[row[name] for name in ("red", "green", "blue")] for row in written] == [[3, 0, 1], [0, 2, 0], [0, 0, 0]]
    assert files.read_json(tmp_path / "out" / "evaluation.json")["test_accuracy"] == results["test_accuracy"]
    drawn = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert drawn == {"confusion_matrix.png", "examples.png", "mistakes.png", "reliability.png"}


def test_classes_are_matched_by_name_and_differences_are_said(model, tmp_path, capsys):
    for name in ("green", "red", "violet"):
        paint(tmp_path / "data" / name, ["green" if name == "violet" else name] * 3)
    assert scores(model, "--data", "data")["test_accuracy"] == 1
    told = capsys.readouterr().out
    assert "Left out: 3 images of classes that the model does not know: violet." in told
    assert "No images of blue." in told and "all 9 images of data" in told


@pytest.mark.parametrize("folder", ["data/red", "data/test/red"])
def test_images_of_one_class_are_scored(model, tmp_path, capsys, folder):
    paint(tmp_path / "data" / "train" / "red", ["blue"]) if "test" in folder else None
    paint(tmp_path / folder, ["red", "blue", "red", "red"])
    results = scores(model, "--data", "data", "--output-dir", "out")
    assert results["test_accuracy"] == 0.75 and results["confusion_matrix"] == [[3, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert "No images of green, blue." in capsys.readouterr().out and (tmp_path / "out" / "confusion_matrix.png").is_file()


def test_the_test_part_is_scored_unless_all_is_asked_for(model, tmp_path):
    for part, colour in (("train", "blue"), ("test", "red")):
        paint(tmp_path / "data" / part / "red", [colour] * 4)
        paint(tmp_path / "data" / part / "blue", ["blue"] * 4)
    assert scores(model, "--data", "data")["test_accuracy"] == 1
    assert scores(model, "--data", "data", "--part", "all")["test_accuracy"] == 12 / 16
    (tmp_path / "data" / "test").rename(tmp_path / "data" / "val")
    assert scores(model, "--data", "data")["test_accuracy"] == 1  # val/ is test where there is no test/


def test_json_and_csv_are_for_programs(model, tmp_path, call):
    paint(tmp_path / "data" / "red", ["red", "blue"])
    paint(tmp_path / "data" / "=blue", ["blue"])
    flags = (model, "--data", "data", "--classes", "red", "green", "=blue")
    code, out, told = call(evaluate.main, *flags, "--json")
    assert code == cli.EXIT_DONE and json.loads(out)["test_accuracy"] == pytest.approx(2 / 3) and "accuracy" in told
    _, out, _ = call(evaluate.main, *flags, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["class"] for row in rows] == ["red", "green", "'=blue"]
    assert float(rows[0]["recall"]) == 0.5 and rows[1]["recall"] == "" and rows[2]["support"] == "1"


@pytest.fixture
def run(model, tmp_path):
    """The model as a run on the folder `data/`, which has no test part, and another folder of that name elsewhere."""
    for colour in COLOURS:
        paint(tmp_path / "data" / colour, [colour] * 40)
        paint(tmp_path / "elsewhere" / "data" / colour, [colour] * 50)
    whole = load("data", tmp_path, image_size=8)
    results = files.read_json(PUBLISHED / "results.json")
    changes = {"class_names": sorted(COLOURS), "image_size": 8, "test_size": len(whole.test), "data": "data"}
    changes |= {"all_images": whole.all_images, "holds_out_test": True}
    changes["test_images"] = dataset.fingerprint(whole.class_names, whole.test)
    (tmp_path / "run").mkdir()
    files.write_json(tmp_path / "run" / "results.json", results | changes)
    files.write_json(tmp_path / "run" / "args.json", {"data": "data"})
    shutil.copy(model, tmp_path / "run")
    return "run"


def told_of(call, run, *flags):
    code, out, err = call(evaluate.main, run, *flags)
    assert code == cli.EXIT_DONE, err
    return out


def test_a_run_is_scored_on_what_it_held_out_and_on_all_of_other_data(run, tmp_path, call):
    size = files.read_json(tmp_path / "run" / "results.json")["test_size"]
    held_out = f"{size} images of {{}}, about a fifth, held out as in training.\nThese are the run's own test images."
    assert held_out.format("data") in told_of(call, run, "--output-dir", "run/evaluation")
    assert held_out.format("./data") in told_of(call, run, "--data", "./data")
    assert "all 120 images of data, also those of training" in told_of(call, run, "--part", "all")
    out = told_of(call, run, "--data", "elsewhere/data")  # of the same name, but not where the run's data are
    assert "all 150 images of elsewhere/data.\nThese are not the test images of the run" in out and "--part test" in out
    (tmp_path / "data").rename(tmp_path / "elsewhere" / "moved")
    assert held_out.format("elsewhere/moved") in told_of(call, run, "--data", "elsewhere/moved")  # by its images
    code, _, err = call(evaluate.main, run)
    assert code == cli.EXIT_BAD_INPUT and "trained with data, which does not exist here" in err
    out = told_of(call, run, "--data", "elsewhere/data")  # may be the run's, brought here with it and changed
    assert "about a fifth, held out" in out and f"have changed since the run, which was scored on {size} images; none" in out


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: [(folder / "red" / f"{number}.png").unlink() for number in range(20)],
        lambda folder: [(folder / colour / "0.png").rename(folder / colour / "z.png") for colour in COLOURS],
        lambda folder: paint(folder / "red", ["red"] * 60),
    ],
)
def test_no_image_that_was_trained_on_is_scored_after_the_data_have_changed(run, tmp_path, call, change):
    train = load("data", tmp_path, image_size=8, validation_split=0).train.digests
    change(tmp_path / "data")
    out = told_of(call, run, "--output-dir", "out")
    scored = [images.read_image(row["path"]) for row in files.read_csv(tmp_path / "out" / "predictions.csv")]
    assert len(scored) > 10 and not set(images.digests(np.stack(scored))) & set(train)
    is_same = (tmp_path / "data" / "red" / "z.png").exists()  # renamed only
    assert ("These are the run's own test images." if is_same else "none of these was trained on.") in out


def test_a_run_is_not_overwritten(run, tmp_path, call):
    shutil.copytree(tmp_path / "run", tmp_path / "several" / "a")
    (tmp_path / "several" / "a" / "args.json").unlink()  # one model of several
    for folder in ("run", "run/plots", "several/a"):
        code, _, told = call(evaluate.main, run, "--output-dir", folder)
        assert code == cli.EXIT_BAD_INPUT and f"--output-dir {folder} is a folder of a run" in told


def test_an_earlier_evaluation_leaves_no_figure_behind(model, tmp_path):
    paint(tmp_path / "data" / "red", ["blue", "red"])
    paint(tmp_path / "data" / "blue", ["blue"])
    for is_wrong in (True, False):
        scores(model, "--data", "data", "--output-dir", "out")
        assert (tmp_path / "out" / "mistakes.png").exists() == is_wrong
        assert not (tmp_path / "out" / "feature_map.png").exists()  # three images are too few
        (tmp_path / "out" / "feature_map.png").touch()
        paint(tmp_path / "data" / "red", ["red", "red"])


def test_what_are_no_probabilities_is_refused(tmp_path, call):
    inputs = keras.Input((8, 8, 3))
    keras.Model(inputs, layers.Dense(2)(layers.Flatten()(inputs))).save(tmp_path / "logits.keras")
    paint(tmp_path / "data" / "red", ["red"])
    paint(tmp_path / "data" / "blue", ["blue"])
    code, _, told = call(evaluate.main, "logits.keras", "--data", "data", "--classes", "red", "blue")
    assert code == cli.EXIT_BAD_INPUT and "are no probabilities" in told and told.count("\n") == 1


def test_a_run_in_mixed_precision_gives_its_own_numbers_from_its_own_features(tmp_path, monkeypatch, empty_figures):
    monkeypatch.setattr(backbones, "build", small_backbone)
    try:
        train_vgg19.main([*BASE, "--epochs", "1", "--amp", "--cache-dir", "cache"])
        keras.config.set_dtype_policy("float32")  # as in a new process
        before = sorted((tmp_path / "cache" / "features").iterdir())
        check_evaluation(next((tmp_path / "runs" / "vgg19").iterdir()), tmp_path / "cache")
        assert sorted((tmp_path / "cache" / "features").iterdir()) == before
    finally:
        keras.config.set_dtype_policy("float32")
