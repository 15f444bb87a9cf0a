"""The A/B split on scikit-learn's digits at 8x8: small images, the real layers, every stage."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import keras
import numpy as np
import pytest
from sklearn.metrics import accuracy_score
from support import EXPERIMENT, check_evaluation

import compare
import predict
import train_ab_split
from common import files
from common.data import dataset as data
from common.training.callbacks import Recorder
from common.training.run import load_data

MODELS = ("a", "b-scratch", "b-last-fc", "b-both-fc")
A, B = (1, 2, 3, 4, 5, 6, 8, 9), (0, 7)


@pytest.fixture
def run(finished):
    """The folder of a run by SGD, at 8x8, whose B has 20 images and no val part."""
    return finished("ab_split").folder


@pytest.fixture
def results(run):
    """What results.json says of each model."""
    return {name: files.read_json(run / name / "results.json") for name in MODELS}


@pytest.fixture
def parts(finished):
    """A and B as the run had them."""
    dataset = load_data(train_ab_split.parse_args([*finished("ab_split").flags]))
    a, b = (train_ab_split.only_classes(dataset, classes) for classes in (A, B))
    return dict.fromkeys(MODELS, train_ab_split.take(b, 20, seed=0)) | {"a": a}


def load_model(run, name):
    return keras.models.load_model(run / name / "model.keras")


def test_a_run_leaves_every_file_and_its_page_shows_every_model(run, results):
    figures = {"curves.png", "learning_rate.png", "confusion_matrix.png", "examples.png", "reliability.png", "feature_map.png"}
    for name in MODELS:
        files_of_model = {"model.keras", "results.json", "predictions.csv", "confusion_matrix.csv", "plots"}
        assert {path.name for path in (run / name).iterdir()} == files_of_model
        assert {path.name for path in (run / name / "plots").iterdir()} - {"mistakes.png"} == figures
    assert {path.name for path in (run / "plots").iterdir()} == {"overview.png", "features_of_b.png"}
    texts = {"args.json", "environment.json", "history.csv", "results.json", "report.html"}
    assert {path.name for path in run.iterdir()} == {*MODELS, *texts, "checkpoint", "plots"}
    assert not list(run.rglob(".*"))  # nothing half written
    report = (run / "report.html").read_text()
    assert report.count('alt="Learning curves: ') == 4 and " / 0 val / " in report
    for number, name in enumerate(MODELS, start=1):
        assert f'<section id="model-{number}">\n<h2>{results[name]["model"]}</h2>' in report
        assert f">{results[name]['test_accuracy']:.4f}<" in report, name


def test_evaluating_a_model_gives_its_own_numbers(finished, run, tmp_path, capsys):
    for name in MODELS:
        check_evaluation(run / name, tmp_path)
    labels = load_data(train_ab_split.parse_args([*finished("ab_split").flags])).test.labels
    others = f"Left out: {(~np.isin(labels, B)).sum()} images of classes that the model does not know: 1, 2, 3"
    told = capsys.readouterr().out
    assert others in told and told.count("These are the run's own test images.") == len(MODELS)


def test_results_hold_what_the_house_promises(run, results):
    promised = {"experiment", "data", "weights", "seed", "train_size", "val_size", "test_size", "test_accuracy"}
    promised |= {"test_accuracy_interval", "test_loss", "val_accuracy", "best_epoch", "epochs", "seconds"}
    promised |= {"images_per_second", "documented_accuracy", "comparable", "status"}
    summary = files.read_json(run / "results.json")
    for scores in (summary, *results.values()):
        assert promised <= set(scores) and scores["status"] == "finished"
        assert scores["documented_accuracy"] is None and not scores["comparable"]  # digits are not CIFAR-10
    assert summary["models"] == list(MODELS) and summary["main_model"] == "b-both-fc"
    assert summary["model"] == "B, both FC layers" and summary["trained"] == "both FC layers"


def test_the_architecture_is_the_documents(results):
    # conv 32, 64, 32, 64 of 3x3; at 8x8 twice halved 2 * 2 * 64 = 256 features; FC 128
    convolutions = (3 * 9 + 1) * 32 + (32 * 9 + 1) * 64 + (64 * 9 + 1) * 32 + (32 * 9 + 1) * 64
    fc1 = (256 + 1) * 128
    trained = (convolutions + fc1 + 129 * 8, convolutions + fc1 + 129 * 2, 129 * 2, fc1 + 129 * 2)
    for name, num_classes, number in zip(MODELS, (8, 2, 2, 2), trained, strict=True):
        whole = convolutions + fc1 + 129 * num_classes
        assert (results[name]["trained_weights"], results[name]["frozen_weights"]) == (number, whole - number), name


def weights(model):
    """The tensors of the CNN by layer: eight of the convolutions, two of each fully connected layer."""
    layers = {layer.name: layer.get_weights() for layer in model.layers}
    return layers["convolutions"], layers["fc1"], layers["last_fc"]


def are_equal(some, others):
    return [np.array_equal(one, other) for one, other in zip(some, others, strict=True)]


def test_which_tensors_moved_bit_for_bit(run):
    a, scratch, last, both = (weights(load_model(run, name)) for name in MODELS)
    assert len(a[0]) == 8
    assert all(are_equal(a[0], last[0])) and all(are_equal(a[1], last[1]))  # only the last FC layer is B's own
    assert all(are_equal(a[0], both[0])) and not any(are_equal(a[1], both[1]))
    assert not any(are_equal(a[0], scratch[0])) and not any(are_equal(a[1], scratch[1]))
    assert last[2][0].shape == (128, 2) and not np.array_equal(last[2][0], both[2][0])


def test_without_a_val_part_models_are_compared_and_not_drawn(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    summaries = compare.main([*(str(run / name) for name in MODELS[1:]), "--html", "page.html"])
    assert [summary["val_size"] for summary in summaries] == [0] * 3 and (tmp_path / "page.html").is_file()
    assert "No curves: none of these models has epochs with a val part." in capsys.readouterr().out
    assert not (tmp_path / "compare.png").exists()


def test_the_saved_model_holds_the_optimizer(run):
    for name in MODELS:
        optimizer = load_model(run, name).optimizer
        assert isinstance(optimizer, keras.optimizers.SGD)
        settings = {key: optimizer.get_config()[key] for key in ("momentum", "nesterov", "weight_decay")}
        assert settings == {"momentum": 0.9, "nesterov": False, "weight_decay": 0.01}
        assert float(optimizer.learning_rate) == pytest.approx(0.01)


def softmax_regression():
    """A model of one layer with known weights, a batch, and the gradient of its cross-entropy by hand."""
    rng = np.random.default_rng(0)
    x, y, start = rng.normal(size=(8, 3)), rng.integers(2, size=8), rng.normal(size=(3, 2))
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="softmax", use_bias=False)])
    model.set_weights([start])

    def gradient(weights):
        exponents = np.exp(x @ weights)
        return x.T @ (exponents / exponents.sum(axis=1, keepdims=True) - np.eye(2)[y]) / len(y)

    return model, x.astype("float32"), y, start, gradient


@pytest.mark.parametrize("momentum, weight_decay", [(0.0, 0.0), (0.9, 0.0), (0.9, 0.2)])
def test_two_steps_of_sgd_are_those_by_hand(momentum, weight_decay):
    model, x, y, weights, gradient = softmax_regression()
    train_ab_split.compile_model(model, 0.1, "sgd", momentum, weight_decay)
    velocity = 0
    for _ in range(2):
        model.train_on_batch(x, y)
        velocity = momentum * velocity - 0.1 * gradient(weights)
        weights = weights * (1 - 0.1 * weight_decay) + velocity
        np.testing.assert_allclose(model.get_weights()[0], weights, rtol=1e-4)


def test_a_step_of_adam_is_that_by_hand():
    model, x, y, weights, gradient = softmax_regression()
    train_ab_split.compile_model(model, 0.1, weight_decay=0.2)
    model.train_on_batch(x, y)
    # Kingma and Ba 2015: the first step is the learning rate in the gradient's direction, whatever its size.
    np.testing.assert_allclose(model.get_weights()[0], weights * (1 - 0.1 * 0.2) - 0.1 * np.sign(gradient(weights)), rtol=1e-3)


@pytest.mark.parametrize("new_fc1", [False, True])
def test_new_fc1_is_drawn_anew_where_it_is_trained(new_fc1):
    args = train_ab_split.parse_args(["--image-size", "8", *["--new-fc1"] * new_fc1])
    run = SimpleNamespace(args=args, capped=int, batches=lambda *args, **kwargs: None, fit=lambda *args, **kwargs: None)
    samples = data.Samples(np.zeros((4, 8, 8, 3), np.uint8), np.arange(4) % 2)
    b = data.Dataset("b", ("no", "yes"), samples, samples, samples)
    cnn_a = train_ab_split.train_model(run, "a", replace(b, class_names=tuple("abcdefgh")))
    for name, layers in (("b-last-fc", ["last_fc"]), ("b-both-fc", ["fc1", "last_fc"])):
        model = train_ab_split.train_model(run, name, b, cnn_a, layers)
        is_of_a = np.array_equal(model.get_layer("fc1").kernel, cnn_a.get_layer("fc1").kernel)
        assert is_of_a == (not new_fc1 or name == "b-last-fc")


def test_b_of_fewer_images_has_no_val_part_and_is_not_compared_with_the_document():
    b = train_ab_split.only_classes(load_data(train_ab_split.parse_args(["--data", "digits", "--image-size", "8"])), B)
    some = train_ab_split.take(b, 20, seed=0)
    assert len(some.train) == 20 and not len(some.val) and len(some.test) == len(b.test)
    assert np.bincount(some.train.labels).min() >= 8 and train_ab_split.take(b, "all", seed=0) is b
    for size, comparable in (("20", [True, False]), ("all", [True, True])):
        args = train_ab_split.parse_args(["--b-samples", size])
        run = SimpleNamespace(experiment=replace(EXPERIMENT, comparable=True), args=args, titled=str)
        assert [train_ab_split.describe(run, name).comparable for name in ("a", "b-scratch")] == comparable


def test_scores_are_those_of_the_saved_model_on_test(run, results, parts):
    for name in MODELS:
        test, class_names = parts[name].test, results[name]["class_names"]
        loss, accuracy = load_model(run, name).evaluate(test.images, test.labels, verbose=0)
        assert results[name]["test_accuracy"] == pytest.approx(accuracy, abs=1e-6)
        assert results[name]["test_loss"] == pytest.approx(loss, abs=1e-5)
        rows = files.read_csv(run / name / "predictions.csv", convert=False)
        assert [class_names.index(row["true"]) for row in rows] == test.labels.tolist()
        predicted = [class_names.index(row["predicted"]) for row in rows]
        assert accuracy_score(test.labels, predicted) == pytest.approx(accuracy)


def test_the_kept_weights_are_those_of_the_best_val_epoch_or_without_val_of_the_last(run, results):
    rows = files.read_csv(run / "history.csv")
    for name in MODELS:
        ours, curve = results[name], [row for row in rows if row["phase"] == name]
        assert [row["epoch"] for row in curve] == [1, 2]
        best = min(curve, key=lambda row: (-row["val_accuracy"], row["val_loss"])) if name == "a" else curve[-1]
        assert all(ours[key] == best[key] for key in ("val_accuracy", "val_loss")) and ours["best_epoch"] == best["epoch"]
        assert (ours["val_size"] > 0) == (best["val_loss"] is not None) == (name == "a")
        assert ours["test_loss"] == pytest.approx(best["test_loss"], abs=1e-5)  # scored once more after training
        assert len({row["test_loss"] for row in curve}) == 2  # otherwise the other would pass for it


@pytest.mark.parametrize("num_images, expected", [(20, 8), (32, 8), (33, 8), (256, 1), (1000, 1)])
def test_few_images_are_passed_over_often_enough(num_images, expected):
    args = train_ab_split.parse_args(["--batch-size", "32", "--epochs", "20"])  # 150 steps: 8 an epoch
    assert train_ab_split.passes(args, num_images) == expected


def test_features_once_are_training_through_the_frozen_convolutions(parts):
    curves, b = [], parts["b-scratch"]
    for through_base in (False, True):
        keras.utils.set_random_seed(3)
        convolutions = train_ab_split.build_convolutions(8)
        convolutions.trainable = False
        head = train_ab_split.build_head(convolutions.output_shape[-1], 2, 0.4)
        keras.utils.set_random_seed(4)
        if through_base:
            model, dataset = train_ab_split.join(convolutions, head), b
        else:
            model, dataset = head, train_ab_split.extract(convolutions, b)
        model.compile(keras.optimizers.Adam(1e-3), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        fitted = model.fit(dataset.train.images, dataset.train.labels, batch_size=5, epochs=4, shuffle=False, verbose=0)
        curves.append(fitted.history["loss"])
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-5)


@pytest.fixture
def start(call, tmp_path, quick):
    """`start(*flags)`: a small run; returns exit code, stdout and the run folder."""

    def start(*flags, data="digits"):
        small = ("--data", data, "--image-size", "8", "--max-train-samples", "200", "--epochs", "2", "--batch-size", "32")
        places = ("--output-dir", tmp_path / "runs", "--cache-dir", tmp_path / "cache")
        code, out, _ = call(train_ab_split.main, *small, *flags, *places)
        return code, out, next((tmp_path / "runs" / "ab_split").iterdir())

    return start


def test_ctrl_c_scores_and_saves_what_was_learned(start, monkeypatch):
    begin = Recorder.on_epoch_begin

    def interrupted(self, epoch, logs=None):
        if (self.phase, epoch) == ("b-scratch", 1):
            raise KeyboardInterrupt
        begin(self, epoch, logs)

    monkeypatch.setattr(Recorder, "on_epoch_begin", interrupted)
    code, out, run = start()
    results = files.read_json(run / "results.json")
    assert code == 130 and results["status"] == "interrupted" and results["models"] == ["a", "b-scratch"]
    assert results["model"] == "B from scratch" and results["epochs"] == 1
    assert (run / "b-scratch" / "model.keras").is_file() and (run / "plots" / "overview.png").is_file()
    assert "interrupted after 1 whole epochs of b-scratch" in out
    assert "documented:" not in out and "MB on disk" in out  # digits are not what the document is about


def test_ctrl_c_while_test_is_scored_reports_the_weights_it_saves(start, monkeypatch):
    evaluate, tests_scored = keras.Model.evaluate, []

    def interrupted(self, *args, **kwargs):
        if "_use_cached_eval_dataset" not in kwargs:  # which fit passes when it evaluates val
            tests_scored.append(1)
        if len(tests_scored) == 2:
            tests_scored.append("interrupted")
            raise KeyboardInterrupt
        return evaluate(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "evaluate", interrupted)
        code, _, run = start()
    results = files.read_json(run / "results.json")
    assert code == 130 and results["model"] == "A from scratch" and results["epochs"] == 1
    args = train_ab_split.parse_args(["--data", "digits", "--image-size", "8", "--max-train-samples", "200"])
    val = train_ab_split.only_classes(load_data(args), A).val
    _, accuracy = load_model(run, "a").evaluate(val.images, val.labels, verbose=0)
    assert results["val_accuracy"] == pytest.approx(accuracy, abs=1e-6)


def test_dry_run_takes_two_batches_of_every_stage(start, monkeypatch):
    monkeypatch.setattr(data.Dataset, "is_cifar10", True)
    code, out, run = start("--dry-run", "--validation-split", "0")
    assert code == 0 and "a dry run, the numbers mean nothing" in out and " / 0 val / " in out
    results = files.read_json(run / "results.json")
    assert run.name.endswith("-dry-run") and results["dry_run"] and not results["comparable"]
    models = [files.read_json(run / name / "results.json") for name in MODELS]
    assert [models[0]["train_size"] + model["train_size"] for model in models[1:]] == [64] * 3 and models[0]["epochs"] == 1
    assert all(model["model"].endswith(" (dry run)") for model in models)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Keras and scikit-learn wonder at a single class, as they should
def test_images_of_ones_own_with_one_class_in_b(start, image_folder):
    code, out, _ = start("--classes-b", "dog", data=image_folder({"bird": 12, "cat": 12, "dog": 12}))
    assert code == 0 and "72 images were resized to 8x8" in out and "A is bird, cat; B is dog" in out
    assert "a model of one class is always right" in out


def test_predict_agrees_with_the_run(run, parts, call, tmp_path):
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), parts["b-both-fc"].test.images[index])  # grey: RGB is BGR
    _, out, _ = call(predict.main, run, tmp_path, "--json")
    for row, prediction in zip(files.read_csv(run / "b-both-fc" / "predictions.csv")[:3], json.loads(out), strict=True):
        shares = prediction["probabilities"]
        assert Path(prediction["path"]).name == f"{int(row['index'])}.png"
        assert max(shares, key=shares.get) == str(int(row["predicted"]))
        assert max(shares.values()) == pytest.approx(row["probability"], abs=1e-5)
    assert train_ab_split.MODELS["a"][0] in call(predict.main, run / "a", tmp_path)[1]
