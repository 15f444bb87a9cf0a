"""train_linear_probe.py on digits at 32x32: two small bases side by side."""

import keras
import numpy as np
import pytest
from support import check_evaluation

import compare
import predict
import train_linear_probe
from common import files
from common.models.inference import split_model
from common.training.run import load_data


def test_a_probe_has_a_folder_for_each_base_and_one_stands_for_the_run(finished, call):
    run = finished("linear_probe")
    results = files.read_json(run.folder / "results.json")
    of_bases = {base: files.read_json(run.folder / base / "results.json") for base in ("efficientnetb7", "mobilenet")}
    assert results["models"] == [*of_bases]
    assert results["main_model"] == max(of_bases, key=lambda base: of_bases[base]["val_accuracy"])
    assert all(one["extraction"]["images"] == 120 + 367 and one["train_size"] == 120 for one in of_bases.values())
    for base, one in of_bases.items():
        rows = [row for row in files.read_csv(run.folder / "history.csv") if row["phase"] == base]
        assert one["C"] == min(rows, key=lambda row: row["val_loss"])["C"] and one["trained"] == "head"
        assert {"label_issues.csv", "duplicates.csv", "model.keras"} <= {path.name for path in (run.folder / base).iterdir()}
    page = (run.folder / "report.html").read_text()
    one = of_bases["mobilenet"]
    assert f"{one['C']:g}, chosen from {one['epochs']}" in page and "weights of epoch" not in page
    code, out, err = call(compare.main, run.folder, "--no-figure")
    assert code == 0 and "linear probe of MobileNet" in out, err


def test_its_models_go_the_way_of_all_models(finished, image_folder, call):
    run = finished("linear_probe")
    check_evaluation(run.folder, run.cache)
    check_evaluation(run.folder / "mobilenet", run.cache)
    code, out, _ = call(predict.main, run.folder, image_folder({"cat": 2}), "--csv")
    assert code == 0 and len(out.splitlines()) > 2


def test_its_predictions_are_those_of_the_head_on_the_features_of_the_images(finished):
    run = finished("linear_probe")
    dataset = load_data(run.script.parse_args([*run.flags]), upscaled_later=True, image_size=32)
    model = keras.models.load_model(run.folder / "mobilenet" / "model.keras")
    extractor, head = split_model(model)
    kernel, bias = head.get_weights()
    logits = keras.ops.convert_to_numpy(extractor(dataset.test.images)) @ kernel + bias
    predicted = [int(row["predicted"]) for row in files.read_csv(run.folder / "mobilenet" / "predictions.csv")]
    assert np.array_equal(logits.argmax(axis=1), predicted) and not len(dataset.val)


def test_k_examples_of_each_class_are_drawn_anew(finished, tmp_path, monkeypatch, quick):
    args = train_linear_probe.parse_args(["--examples-per-class", "4", "--draws", "3"])
    labels = np.repeat([0, 1, 2], [3, 10, 50])
    draws = [*train_linear_probe.draw_examples(args, labels)]
    assert [np.bincount(labels[draw]).tolist() for draw in draws] == [[3, 4, 4]] * 3
    assert len({tuple(draw) for draw in draws}) == 3 and all(len(set(draw)) == 11 for draw in draws)

    with pytest.raises(SystemExit):
        train_linear_probe.parse_args(["--draws", "3"])  # of all images, they would all be the same

    monkeypatch.chdir(tmp_path)
    results = train_linear_probe.main([*finished("linear_probe").flags, "--examples-per-class", "3", "--draws", "2"])
    assert results["train_size"] == 30 and len(results["accuracies"]) == 2
    assert results["accuracies"][0] == pytest.approx(results["test_accuracy"])
