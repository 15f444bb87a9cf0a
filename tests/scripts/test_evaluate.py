"""evaluate.py on a model whose every answer is known: it sees red, green or blue."""

import csv
import io
import json

import cv2
import keras
import numpy as np
import pytest
from keras import layers, ops

import evaluate
from common import cli, files

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


def test_scores_of_a_confusion_by_hand(model, tmp_path):
    # Of four red images one is blue, both green ones are green, the blue class is missing. Folders sort as green, red.
    paint(tmp_path / "data" / "red", ["red", "blue", "red", "red"])
    paint(tmp_path / "data" / "green", ["green", "green"])
    results = scores(model, "--data", tmp_path / "data", "--output-dir", tmp_path / "out")
    assert results["test_accuracy"] == pytest.approx(5 / 6) and results["images"] == 6
    assert results["per_class_accuracy"] == [0.75, 1, None]
    assert results["most_confused"] == [{"true": "red", "predicted": "blue", "pictures": 1}]
    expected = -(5 * np.log(SURE[0]) + np.log(SURE[1])) / 6
    assert results["test_loss"] == pytest.approx(expected, rel=0.02)  # one pixel is another
    assert results["calibration_error"] == pytest.approx(abs(5 / 6 - SURE[0]), abs=0.01)
    red, green, blue = results["by_class"]
    assert (red["precision"], red["recall"], green["f1"], blue["precision"], blue["support"]) == (1, 0.75, 1, 0, 0)
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


def test_data_with_other_classes_is_refused(model, call):
    code, _, told = call(evaluate.main, model, "--classes", *COLOURS, "--data", "digits")
    assert code == cli.EXIT_BAD_INPUT and told.count("\n") == 1
    assert "the model knows red, green, blue: they share none" in told and "0, 1, 2" in told


def test_the_test_part_is_scored_unless_all_is_asked_for(model, tmp_path):
    for part, colour in (("train", "blue"), ("test", "red")):
        paint(tmp_path / "data" / part / "red", [colour] * 4)
        paint(tmp_path / "data" / part / "blue", ["blue"] * 4)
    assert scores(model, "--data", "data")["test_accuracy"] == 1
    assert scores(model, "--data", "data", "--part", "all")["test_accuracy"] == 12 / 16
    (tmp_path / "data" / "test").rename(tmp_path / "data" / "val")
    assert scores(model, "--data", "data")["test_accuracy"] == 1  # val/ is test where there is no test/


def test_train_is_not_read_for_test(model, tmp_path):
    for part in ("train", "test"):
        paint(tmp_path / "data" / part / "red", ["red"])
        paint(tmp_path / "data" / part / "blue", ["blue"])
    (tmp_path / "data" / "train" / "red" / "0.png").write_text("damaged")
    assert scores(model, "--data", "data")["images"] == 2


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


def test_a_run_is_not_overwritten(model, tmp_path, call):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "args.json").write_text("{}")
    code, _, told = call(evaluate.main, model, "--data", "digits", "--output-dir", "run", "--classes", *COLOURS)
    assert code == cli.EXIT_BAD_INPUT and "--output-dir run is the folder of a run" in told


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--data", "digits"], "--classes"),  # a model alone
        (["--data", "digits", "--classes", "cat", "dog"], "which is not what"),  # it has three
        (["--classes", *COLOURS], "name the images with --data"),
        (["--data", "nowhere", "--classes", *COLOURS], "nowhere"),
    ],
)
def test_what_is_missing_is_one_line(model, call, flags, words):
    code, _, told = call(evaluate.main, model, *flags)
    assert code == cli.EXIT_BAD_INPUT and words in told and told.count("\n") == 1
