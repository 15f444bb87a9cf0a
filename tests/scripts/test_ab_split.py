"""The A/B split on scikit-learn's digits at 16x16: small images, the real layers, every stage."""

import contextlib
import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import keras
import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import accuracy_score
from support import EXPERIMENT, check_evaluation

import compare
import predict
import train_ab_split
from benchmarks import kill_and_resume
from common import backend, files
from common.data import dataset as data
from common.results import finished_runs
from common.training.job import Job

ROOT = Path(__file__).parents[2]
SMALL = ("--data", "digits", "--image-size", "16", "--max-train-samples", "400", "--epochs", "3", "--batch-size", "32")
FLAGS = (*SMALL, "--b-samples", "20", "all", "--seeds", "2")
MODELS = ("a", "b-scratch", "b-last-fc", "b-both-fc")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run with two sizes and two seeds, and what main returned."""
    folder = tmp_path_factory.mktemp("ab")
    summary = train_ab_split.main([*FLAGS, "--output-dir", str(folder / "runs"), "--cache-dir", str(folder / "cache")])
    (run,) = (folder / "runs" / "ab_split").iterdir()
    return run, summary


def model_folder(run, name):
    return run if name == "b-both-fc" else run / name


def load_model(run, name):
    return keras.models.load_model(model_folder(run, name) / "model.keras")


def test_a_run_leaves_every_file(finished):
    run, _ = finished
    for name in MODELS:
        folder = model_folder(run, name)
        for file in ("model.keras", "results.json", "predictions.csv", "confusion_matrix.csv", "plots/examples.png"):
            assert (folder / file).is_file(), (name, file)
    figures = {f"{name}_{kind}.png" for name in MODELS for kind in ("curves", "test")}
    figures |= {f"{part}_{metric}_all.png" for part in ("train", "test") for metric in ("accuracy", "loss")}
    figures |= {"overview.png", "accuracy_by_samples.png", "confusion_matrix.png", "examples.png", "learning_rate.png"}
    figures |= {"reliability.png", "feature_map.png", "features_of_b.png"}
    assert {file.name for file in (run / "plots").iterdir()} - {"mistakes.png"} == figures
    for file in ("args.json", "environment.json", "history.csv", "points.csv", "accuracy_by_samples.csv", "report.html"):
        assert (run / file).is_file()
    assert not list(run.rglob(".*"))  # nothing half written


def test_evaluating_a_model_gives_its_own_numbers(finished, tmp_path, capsys):
    run, _ = finished
    for name in MODELS:
        check_evaluation(model_folder(run, name), tmp_path)
    labels = data.load(train_ab_split.parse_args(FLAGS)).test.labels
    others = f"Left out: {(~np.isin(labels, (0, 7))).sum()} images of classes that the model does not know: 1, 2, 3"
    told = capsys.readouterr().out
    assert others in told and told.count("These are the run's own test images.") == len(MODELS)


def test_the_report_shows_every_model(finished):
    run, summary = finished
    report = (run / "report.html").read_text()
    assert len(report) < 4_000_000 and report.count('alt="Learning curves: ') == 4
    for number, (name, results) in enumerate(summary["models"].items(), start=1):
        assert f'<section id="model-{number}">\n<h2>{results["model"]}</h2>' in report
        assert report.count(f">{results['test_accuracy']:.4f}<") >= 1, name
    for row in summary["spread"]:
        assert f">{row['mean']:.4f}<" in report and f">{row['deviation']:.4f}<" in report


def test_results_hold_what_the_house_promises(finished):
    run, summary = finished
    results = files.read_json(run / "results.json")
    promised = {"experiment", "data", "weights", "seed", "train_size", "val_size", "test_size", "test_accuracy"}
    promised |= {"test_accuracy_interval", "test_loss", "val_accuracy", "best_epoch", "epochs", "seconds"}
    promised |= {"images_per_second", "documented_accuracy", "comparable", "status"}
    for scores in (results, *results["models"].values()):
        assert promised <= set(scores)
    assert results["model"] == "B, both FC layers" and results["trained"] == "both FC layers"
    assert results["documented_accuracy"] is None and not results["comparable"]  # digits are not CIFAR-10
    assert results["status"] == summary["status"] == "finished"


def test_the_architecture_is_the_documents(finished):
    run, _ = finished
    # conv 32, 64, 32, 64 of 3x3; at 16x16 twice halved 4 * 4 * 64 = 1,024 features; FC 128
    convolutions = (3 * 9 + 1) * 32 + (32 * 9 + 1) * 64 + (64 * 9 + 1) * 32 + (32 * 9 + 1) * 64
    fc1 = (1024 + 1) * 128
    for name, num_classes, trained in (
        ("a", 8, convolutions + fc1 + 129 * 8),
        ("b-scratch", 2, convolutions + fc1 + 129 * 2),
        ("b-last-fc", 2, 129 * 2),
        ("b-both-fc", 2, fc1 + 129 * 2),
    ):
        results = files.read_json(model_folder(run, name) / "results.json")
        assert results["trained_weights"] + results["frozen_weights"] == convolutions + fc1 + 129 * num_classes
        assert results["trained_weights"] == trained, name


def weights(model):
    """The tensors of the CNN by layer: eight of the convolutions, two of each fully connected layer."""
    layers = {layer.name: layer.get_weights() for layer in model.layers}
    return layers["convolutions"], layers["fc1"], layers["last_fc"]


def are_equal(some, others):
    return [np.array_equal(one, other) for one, other in zip(some, others, strict=True)]


def test_which_tensors_moved_bit_for_bit(finished):
    run, _ = finished
    a, last, both, scratch = (weights(load_model(run, name)) for name in ("a", "b-last-fc", "b-both-fc", "b-scratch"))
    assert len(a[0]) == 8
    assert all(are_equal(a[0], last[0])) and all(are_equal(a[1], last[1]))  # only the last FC layer is B's own
    assert all(are_equal(a[0], both[0])) and not any(are_equal(a[1], both[1]))
    assert not any(are_equal(a[0], scratch[0])) and not any(are_equal(a[1], scratch[1]))
    assert last[2][0].shape == (128, 2) and not np.array_equal(last[2][0], both[2][0])


def test_both_strategies_start_from_the_weights_of_a(tmp_path, monkeypatch, empty_figures):
    monkeypatch.setattr(data.Dataset, "is_cifar10", True)
    monkeypatch.setattr(train_ab_split, "MIN_STEPS", 1)
    # At this rate a step is lost in float32: what a layer holds after training is what it started from.
    train_ab_split.main(
        [*SMALL, "--epochs", "1", "--lr", "1e-30", "--output-dir", str(tmp_path), "--cache-dir", str(tmp_path / "cache")]
    )
    (run,) = (tmp_path / "ab_split").iterdir()
    a, last, both = (weights(load_model(run, name)) for name in ("a", "b-last-fc", "b-both-fc"))
    for of_b in (last, both):
        assert are_equal(a[0] + a[1][:1], of_b[0] + of_b[1][:1]) == [True] * 9
    assert not np.array_equal(last[2][0], a[2][0][:, :2])  # the last FC layer is new
    assert [scores["comparable"] for scores in files.read_json(run / "results.json")["models"].values()] == [True] * 4


SGD = ("--optimizer", "sgd", "--lr", "0.01", "--momentum", "0.9", "--weight-decay", "0.01")
WITHOUT_VAL = (*SMALL, *SGD, "--validation-split", "0", "--image-size", "8", "--epochs", "2")


@pytest.fixture(scope="module")
def without_val(tmp_path_factory):
    """The folder of a finished run by SGD without a val part, and what it printed."""
    folder, out = tmp_path_factory.mktemp("without_val"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(Figure, "savefig", lambda figure, path, **options: Path(path).touch())
        patch.setattr(data.Dataset, "is_cifar10", True)
        patch.setattr(train_ab_split, "MIN_STEPS", 1)
        train_ab_split.main([*WITHOUT_VAL, "--output-dir", str(folder / "runs"), "--cache-dir", str(folder / "cache")])
    (run,) = (folder / "runs" / "ab_split").iterdir()
    return run, out.getvalue()


def test_without_a_val_part_all_images_are_trained_on_and_the_last_weights_kept(without_val):
    run, out = without_val
    models = files.read_json(run / "results.json")["models"]
    assert [models["a"]["train_size"] + models[name]["train_size"] for name in MODELS[1:]] == [400] * 3
    for name, results in models.items():
        assert (results["val_size"], results["val_accuracy"]) == (0, None)
        assert results["best_epoch"] == results["epochs"] == 2 and results["comparable"]
        rows = [row for row in files.read_csv(run / "history.csv") if row["phase"] == name]
        assert [row["val_accuracy"] for row in rows] == [row["val_loss"] for row in rows] == [None] * 2
        losses = [row["test_loss"] for row in rows]
        assert results["test_loss"] == pytest.approx(losses[-1], abs=1e-5) and min(losses[:-1]) != losses[-1]
    epochs = [line for line in out.splitlines() if "step - " in line]
    assert len(epochs) == 4 * 2 and all("test_accuracy" in line and "val_" not in line for line in epochs)
    assert " / 0 val / " in out and " / 0 val / " in (run / "report.html").read_text()


def test_a_run_without_a_val_part_is_evaluated_compared_and_not_drawn(without_val, tmp_path, monkeypatch, capsys):
    run, _ = without_val
    for name in MODELS:
        check_evaluation(model_folder(run, name), tmp_path)
    monkeypatch.chdir(tmp_path)
    summaries = compare.main([str(run), "--html", "page.html"])
    assert [summary["val_size"] for summary in summaries] == [0] * 4 and (tmp_path / "page.html").is_file()
    assert "No curves: none of these models has epochs with a val part." in capsys.readouterr().out
    assert not (tmp_path / "compare.png").exists()


def test_a_run_without_a_val_part_resumes_to_the_same_numbers(without_val, call, monkeypatch, tmp_path, empty_figures):
    monkeypatch.setattr(train_ab_split, "MIN_STEPS", 1)
    monkeypatch.setattr(data.Dataset, "is_cifar10", True)
    monkeypatch.setattr("common.training.checkpoints.SHARE", float("inf"))
    with monkeypatch.context() as patch:
        interrupt_before(patch, "b-both-fc", 1)
        code, _, _ = call(train_ab_split.main, *WITHOUT_VAL, "--output-dir", tmp_path)
    assert code == 130
    (run,) = (tmp_path / "ab_split").iterdir()
    train_ab_split.main(["--resume", str(run)])
    differing, total = kill_and_resume.count_differences(*map(kill_and_resume.numbers, (without_val[0], run)))
    assert differing == 0 and total > 10_000


def test_the_saved_model_holds_the_optimizer(without_val):
    run, _ = without_val
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
def test_new_fc1_is_drawn_anew_where_it_is_trained(monkeypatch, new_fc1):
    monkeypatch.setattr(train_ab_split, "fit", lambda *args: None)
    args = vars(train_ab_split.parse_args(["--image-size", "8", *["--new-fc1"] * new_fc1]))
    run = SimpleNamespace(args=SimpleNamespace(**args))
    convolutions = train_ab_split.build_convolutions(8)
    head = train_ab_split.build_head(convolutions.output_shape[-1], 8, 0.4)
    for name in ("b-last-fc", "b-both-fc"):
        job, b = Job(name, 20, 0, is_published=False, has_all=False), SimpleNamespace(class_names=("no", "yes"))
        model = train_ab_split.train_b(run, job, b, None, convolutions, head)
        is_of_a = np.array_equal(model.get_layer("fc1").kernel, head.get_layer("fc1").kernel)
        assert is_of_a == (not new_fc1 or name == "b-last-fc")


def test_models_of_fewer_images_are_not_compared_with_the_document():
    run = SimpleNamespace(experiment=replace(EXPERIMENT, comparable=True), titled=str)
    for has_all in (True, False):
        job = Job("b-scratch", 20, 0, is_published=True, has_all=has_all)
        assert train_ab_split.published(run, job).comparable == has_all


def splits():
    """A and B as the run had them."""
    dataset = data.load(train_ab_split.parse_args(FLAGS))
    return tuple(data.only_classes(dataset, classes, "--classes-b") for classes in ((1, 2, 3, 4, 5, 6, 8, 9), (0, 7)))


def test_scores_are_those_of_the_saved_model_on_test(finished):
    run, _ = finished
    a, b = splits()
    for name, part in (("a", a.test), ("b-scratch", b.test), ("b-last-fc", b.test), ("b-both-fc", b.test)):
        folder = model_folder(run, name)
        results, rows = files.read_json(folder / "results.json"), files.read_csv(folder / "predictions.csv")
        loss, accuracy = load_model(run, name).evaluate(part.images, part.labels, verbose=0)
        assert results["test_accuracy"] == pytest.approx(accuracy, abs=1e-6)
        assert results["test_loss"] == pytest.approx(loss, abs=1e-5)
        true = [results["class_names"].index(str(int(row["true"]))) for row in rows]
        assert true == part.labels.tolist()
        predicted = [results["class_names"].index(str(int(row["predicted"]))) for row in rows]
        assert accuracy_score(true, predicted) == pytest.approx(accuracy)


KEPT = {"best_epoch": "epoch", "val_accuracy": "val_accuracy", "val_loss": "val_loss"}


def test_the_kept_weights_are_those_of_the_best_val_epoch(finished):
    run, _ = finished
    rows = files.read_csv(run / "history.csv")
    best_epochs = {files.read_json(model_folder(run, name) / "results.json")["best_epoch"] for name in MODELS}
    assert best_epochs != {3}  # otherwise the last weights would pass for the best
    for name in MODELS:
        results = files.read_json(model_folder(run, name) / "results.json")
        model_rows = [row for row in rows if row["phase"] == name]
        assert [row["epoch"] for row in model_rows] == [1, 2, 3]
        best = sorted(model_rows, key=lambda row: (-row["val_accuracy"], row["val_loss"]))[0]
        assert all(results[name] == best[column] for name, column in KEPT.items())
        # Scored once more after training, the model is the one of that epoch: the same test accuracy as on the curve.
        assert results["test_accuracy"] == pytest.approx(best["test_accuracy"], abs=1e-6)


def test_every_size_and_seed_is_trained_and_a_once_a_seed(finished):
    run, summary = finished
    points = files.read_csv(run / "points.csv")
    largest = max(point["samples"] for point in points if point["model"] != "a")
    expected = {(name, size, seed) for name in MODELS[1:] for size in (20, largest) for seed in (0, 1)}
    trained_points = [(point["model"], point["samples"], point["seed"]) for point in points]
    assert len(trained_points) == len(set(trained_points)) == len(expected) + 2
    assert {point for point in trained_points if point[0] != "a"} == expected
    phases = {row["phase"] for row in files.read_csv(run / "history.csv")}
    assert [phase for phase in phases if phase.startswith("a ")] == [f"a samples={summary['models']['a']['train_size']} seed=1"]
    accuracies = [point["test_accuracy"] for point in points if point["model"] == "b-both-fc" and point["samples"] == 20]
    (of_both,) = (row for row in summary["spread"] if row["model"] == "b-both-fc" and row["samples"] == 20)
    assert of_both["mean"] == pytest.approx(np.mean(accuracies)) and of_both["runs"] == 2
    assert files.read_csv(run / "accuracy_by_samples.csv") == summary["spread"]


def test_few_images_are_passed_over_often_enough(finished):
    run, _ = finished
    for point in files.read_csv(run / "points.csv"):
        steps = 3 * round(point["passes"] / 3 * point["samples"] / min(32, point["samples"]))  # three epochs
        assert steps >= train_ab_split.MIN_STEPS and point["passes"] % 3 == 0


def test_features_once_are_training_through_the_frozen_convolutions():
    _, b = splits()
    curves = []
    for through_base in (False, True):
        keras.utils.set_random_seed(3)
        convolutions = train_ab_split.build_convolutions(16)
        convolutions.trainable = False
        head = train_ab_split.build_head(convolutions.output_shape[-1], 2, 0.4)
        keras.utils.set_random_seed(4)
        if through_base:
            model, dataset = train_ab_split.join(convolutions, head), b
        else:
            model, dataset = head, train_ab_split.extract(convolutions, b)
        model.compile(keras.optimizers.Adam(1e-3), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        fitted = model.fit(dataset.train.images, dataset.train.labels, batch_size=16, epochs=4, shuffle=False, verbose=0)
        curves.append(fitted.history["loss"])
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-5)


def test_the_same_command_in_another_process_gives_the_same_bits(finished, tmp_path):
    run, _ = finished
    # Without the sizes and seeds of the finished run: the four models must not depend on what else is trained.
    command = [sys.executable, str(ROOT / "train_ab_split.py"), *SMALL, "--output-dir", "runs", "--cache-dir", "cache"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0 and ended.stderr == "", ended.stderr
    (again,) = (tmp_path / "runs" / "ab_split").iterdir()
    assert ended.stdout.splitlines()[-1] == str(again)

    def figures(folder):
        without = ("seconds", "images_per_second", "total_seconds", "peak_memory_gib", "models", "spread")
        results = {key: value for key, value in files.read_json(folder / "results.json").items() if key not in without}
        return results, (folder / "predictions.csv").read_text()

    for name in MODELS:
        assert figures(model_folder(run, name)) == figures(model_folder(again, name))
        one, other = load_model(run, name).get_weights(), load_model(again, name).get_weights()
        assert all(are_equal(one, other))
    for file, column in (("history.csv", "phase"), ("points.csv", "model")):
        one, other = ([{**row, "seconds": 0} for row in files.read_csv(folder / file)] for folder in (run, again))
        assert all(row in one for row in other) and {row[column] for row in other} == set(MODELS), file


def interrupt_before(monkeypatch, phase, epoch):
    """Ctrl-C when this epoch of this phase begins."""
    from common.training.callbacks import Recorder

    begin = Recorder.on_epoch_begin

    def on_epoch_begin(self, number, logs=None):
        if (self.phase, number) == (phase, epoch):
            raise KeyboardInterrupt
        begin(self, number, logs)

    monkeypatch.setattr(Recorder, "on_epoch_begin", on_epoch_begin)


def test_ctrl_c_scores_and_saves_what_was_learned(call, monkeypatch, tmp_path, empty_figures):
    interrupt_before(monkeypatch, "b-scratch", 1)
    code, out, _ = call(lambda: train_ab_split.main([*SMALL, "--output-dir", str(tmp_path)]))
    assert code == 130
    (run,) = (tmp_path / "ab_split").iterdir()
    results = files.read_json(run / "results.json")
    assert results["status"] == "interrupted" and list(results["models"]) == ["a", "b-scratch"]
    assert results["model"] == "B from scratch" and results["epochs"] == 1
    assert (run / "b-scratch" / "model.keras").is_file() and (run / "plots" / "overview.png").is_file()
    assert "interrupted after 1 whole epochs of b-scratch" in out
    assert "documented:" not in out and "MB on disk" in out  # digits are not what the document is about


def test_ctrl_c_while_test_is_scored_reports_the_weights_it_saves(call, monkeypatch, tmp_path, empty_figures):
    evaluate, tests_scored = keras.Model.evaluate, []

    def interrupted(self, *args, **kwargs):
        if "_use_cached_eval_dataset" not in kwargs:  # which fit passes when it evaluates val
            tests_scored.append(1)
        if len(tests_scored) == 3:
            tests_scored.append("interrupted")
            raise KeyboardInterrupt
        return evaluate(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "evaluate", interrupted)
        code, _, _ = call(lambda: train_ab_split.main([*SMALL, "--output-dir", str(tmp_path)]))
    assert code == 130
    (run,) = (tmp_path / "ab_split").iterdir()
    results = files.read_json(run / "results.json")
    assert results["model"] == "A from scratch" and results["epochs"] == 2
    a, _ = splits()
    _, accuracy = load_model(run, "a").evaluate(a.val.images, a.val.labels, verbose=0)
    assert results["val_accuracy"] == pytest.approx(accuracy, abs=1e-6)


def test_ctrl_c_before_the_first_epoch_leaves_nothing(call, monkeypatch, tmp_path):
    interrupt_before(monkeypatch, "a", 0)
    code, _, err = call(lambda: train_ab_split.main([*SMALL, "--output-dir", str(tmp_path)]))
    assert (code, err) == (130, "script.py: error: interrupted\n")
    assert not list((tmp_path / "ab_split").iterdir())


def test_a_learning_rate_that_explodes_is_named_with_its_epoch(call, tmp_path):
    code, _, err = call(lambda: train_ab_split.main([*SMALL, "--lr", "1e30", "--output-dir", str(tmp_path)]))
    assert code == 1
    assert "in epoch 1 of a: try a lower learning rate than 1e+30" in err and err.count("\n") == 1


def test_dry_run_takes_two_batches_of_every_stage(call, monkeypatch, tmp_path, empty_figures):
    monkeypatch.setattr(data.Dataset, "is_cifar10", True)
    code, out, _ = call(lambda: train_ab_split.main([*SMALL, "--dry-run", "--output-dir", str(tmp_path)]))
    assert code == 0 and "a dry run, the numbers mean nothing" in out
    (run,) = (tmp_path / "ab_split").iterdir()
    results = files.read_json(run / "results.json")
    assert run.name.endswith("-dry-run") and results["dry_run"] and not results["comparable"]
    assert 45 < results["models"]["a"]["train_size"] < 58 and results["models"]["a"]["epochs"] == 1  # of 64 in all
    assert all(model["model"].endswith(" (dry run)") for model in results["models"].values())


def break_nothing(folder):
    return []


def make_empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def leave_one_class(folder):
    for path in folder.glob("*/[bd]*"):
        shutil.rmtree(path)


def add_text(folder):
    (folder / "train" / "cat" / "notes.txt").write_text("hello")


def cut_off(folder):
    image = folder / "train" / "cat" / "003.png"
    image.write_bytes(image.read_bytes()[:-30])


def leave_no_bird_in_test(folder):
    shutil.rmtree(folder / "test" / "bird")


def remove_images(folder):
    shutil.rmtree(folder / "train" / "cat")
    (folder / "train" / "cat").mkdir()


def add_class_to_test(folder):
    (folder / "test" / "emu").mkdir()


def block_output(folder):
    (folder.parent / "file").touch()


@pytest.mark.parametrize(
    "spoil, flags, says",
    [
        (shutil.rmtree, [], "no such folder"),
        (make_empty, [], "no class folders"),
        (leave_one_class, [], "one class only, cat"),
        (add_text, [], "notes.txt"),
        (cut_off, [], "003.png is cut off"),
        (remove_images, [], "no images"),
        (add_class_to_test, [], "emu"),
        (leave_no_bird_in_test, [], "test has no image of bird"),
        (break_nothing, ["--classes-b", "11"], "--classes-b 11"),
        (break_nothing, ["--classes-b", "emu"], "0 bird, 1 cat, 2 dog"),
        (break_nothing, ["--classes-b", "0", "1", "2"], "A needs at least two"),
        (break_nothing, ["--classes-b", "0", "1"], "A needs at least two"),
        (break_nothing, ["--classes-b", "dog", "2"], "given twice"),
        (break_nothing, ["--epochs", "0"], "--epochs"),
        (break_nothing, ["--lr", "-1"], "--lr"),
        (break_nothing, ["--lr", "nan"], "--lr"),
        (break_nothing, ["--momentum", "0.9"], "--momentum has no effect without --optimizer sgd"),
        (break_nothing, ["--weight-decay", "1.1"], "--weight-decay"),
        (break_nothing, ["--validation-split", "1"], "--validation-split"),
        (break_nothing, ["--image-size", "3"], "--image-size 3"),
        (break_nothing, ["--b-samples", "1000"], "--b-samples 1000"),
        (break_nothing, ["--max-train-samples", "2"], "--max-train-samples 2"),
        (break_nothing, ["--max-train-samples", "4"], "none is drawn as val"),
        (block_output, ["--output-dir", "file/runs"], "--output-dir"),
    ],
)
def test_bad_input_is_one_line_exit_2_and_nothing_left_behind(call, monkeypatch, tmp_path, image_folder, spoil, flags, says):
    folder = image_folder({"bird": 10, "cat": 10, "dog": 10})
    spoil(folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(backend, "start", lambda amp: pytest.fail("Keras was imported before the arguments were checked"))
    before = sorted(tmp_path.rglob("*"))
    flags = flags if "--classes-b" in flags else [*flags, "--classes-b", "bird"]
    code, _, err = call(lambda: train_ab_split.main(["--data", str(folder), *flags]))
    assert code == 2
    assert err.count("\n") == 1 and says in err, err
    assert sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts) == before


@pytest.mark.filterwarnings("ignore::UserWarning")  # Keras and scikit-learn wonder at a single class, as they should
def test_images_of_ones_own_with_one_class_in_b(tmp_path, image_folder, capsys, monkeypatch, empty_figures):
    monkeypatch.setattr(train_ab_split, "MIN_STEPS", 1)
    folder = image_folder({"bird": 12, "cat": 12, "dog": 12})
    flags = ["--data", str(folder), "--classes-b", "dog", "--epochs", "1", "--image-size", "16"]
    train_ab_split.main([*flags, "--output-dir", str(tmp_path / "runs"), "--cache-dir", str(tmp_path / "cache")])
    out = capsys.readouterr().out
    assert "72 images were resized to 16x16" in out and "A is bird, cat; B is dog" in out
    assert "a model of one class is always right" in out


def test_predict_agrees_with_the_run(finished, call, tmp_path):
    run, _ = finished
    _, b = splits()
    (tmp_path / "some").mkdir()
    for index in range(3):
        cv2.imwrite(str(tmp_path / "some" / f"{index}.png"), b.test.images[index])  # grey: RGB is BGR
    (tmp_path / "broken.png").write_text("no image")

    _, out, _ = call(predict.main, run, tmp_path / "some", "--json")
    for row, prediction in zip(files.read_csv(run / "predictions.csv")[:3], json.loads(out), strict=True):
        shares = prediction["probabilities"]
        assert Path(prediction["path"]).name == f"{int(row['index'])}.png"
        assert max(shares, key=shares.get) == str(int(row["predicted"]))
        assert max(shares.values()) == pytest.approx(row["probability"], abs=1e-5)

    words = [str(tmp_path / "*.png"), str(tmp_path / "some" / "[12].png"), str(tmp_path / "absent.png")]
    code, out, err = call(lambda: predict.main([str(run / "a"), *words]))
    assert code == 2 and err.count("\n") == 1 and "broken.png" in err and "absent.png" in err
    assert train_ab_split.MODELS["a"] in out and "some/1.png" in out and "some/2.png" in out and "some/0.png" not in out


def test_predict_wants_a_run_folder(call, finished, tmp_path):
    run, _ = finished
    (tmp_path / "runs").mkdir()
    shutil.copytree(run / "a", tmp_path / "runs" / "a")
    code, _, err = call(lambda: predict.main([str(tmp_path / "runs"), "x.png"]))
    assert code == 2 and "there are models in" in err and str(tmp_path / "runs" / "a") in err
    model = tmp_path / "runs" / "a" / "model.keras"
    model.write_bytes(model.read_bytes()[:5000])
    image = Path(tmp_path / "p.png")
    cv2.imwrite(str(image), np.zeros((8, 8, 3), np.uint8))
    code, _, err = call(lambda: predict.main([str(tmp_path / "runs" / "a"), str(image)]))
    assert code == 2 and "can't be loaded" in err and err.count("\n") == 1


def test_compare_shows_every_model_with_all_its_seeds(finished, call):
    run, _ = finished
    points, summaries = files.read_csv(run / "points.csv"), compare.main([str(run), "--no-figure"])
    assert [summary["name"] for summary in summaries] == [f"ab_split: {train_ab_split.MODELS[name]}" for name in MODELS]
    for name, summary in zip(MODELS, summaries, strict=True):
        most = max(point["samples"] for point in points if point["model"] == name)
        accuracies = [scores["test_accuracy"] for scores in points if (scores["model"], scores["samples"]) == (name, most)]
        assert summary["seeds"] == "0 1" and len(accuracies) == 2 and summary["train_size"] == most
        assert summary["test_accuracy"] == pytest.approx(np.mean(accuracies))
        assert summary["deviation"] == pytest.approx(np.std(accuracies, ddof=1))
    curves = [score.curve for record in finished_runs.read_run(run) for score in record.scores.values()]
    assert [len(curve) for curve in curves] == [3] * 8
    code, out, _ = call(compare.main, run / "b-scratch", run / "b-both-fc", "--no-figure")
    assert code == 0 and f"same {len(files.read_csv(run / 'predictions.csv'))} test images" in out
