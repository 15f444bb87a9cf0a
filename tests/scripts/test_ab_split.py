"""The A/B split on scikit-learn's digits at 16x16: small images, the real layers, every stage."""

import contextlib
import io
import json
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
from common.training.run import load_data

ROOT = Path(__file__).parents[2]
SMALL = ("--data", "digits", "--image-size", "16", "--max-train-samples", "400", "--epochs", "3", "--batch-size", "32")
MODELS = ("a", "b-scratch", "b-last-fc", "b-both-fc")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run, and what main returned."""
    folder = tmp_path_factory.mktemp("ab")
    summary = train_ab_split.main([*SMALL, "--output-dir", str(folder / "runs"), "--cache-dir", str(folder / "cache")])
    (run,) = (folder / "runs" / "ab_split").iterdir()
    return run, summary


def load_model(run, name):
    return keras.models.load_model(run / name / "model.keras")


def test_a_run_leaves_every_file(finished):
    run, _ = finished
    figures = {"curves.png", "learning_rate.png", "confusion_matrix.png", "examples.png", "reliability.png", "feature_map.png"}
    for name in MODELS:
        files_of_model = {"model.keras", "results.json", "predictions.csv", "confusion_matrix.csv", "plots"}
        assert {path.name for path in (run / name).iterdir()} == files_of_model
        assert {path.name for path in (run / name / "plots").iterdir()} - {"mistakes.png"} == figures
    assert {path.name for path in (run / "plots").iterdir()} == {"overview.png", "features_of_b.png"}
    texts = {"args.json", "environment.json", "history.csv", "results.json", "report.html"}
    assert {path.name for path in run.iterdir()} == {*MODELS, *texts, "checkpoint", "plots"}
    assert not list(run.rglob(".*"))  # nothing half written


def test_evaluating_a_model_gives_its_own_numbers(finished, tmp_path, capsys):
    run, _ = finished
    for name in MODELS:
        check_evaluation(run / name, tmp_path)
    labels = load_data(train_ab_split.parse_args(SMALL)).test.labels
    others = f"Left out: {(~np.isin(labels, (0, 7))).sum()} images of classes that the model does not know: 1, 2, 3"
    told = capsys.readouterr().out
    assert others in told and told.count("These are the run's own test images.") == len(MODELS)


def test_the_report_shows_every_model(finished):
    run, _ = finished
    report = (run / "report.html").read_text()
    assert len(report) < 4_000_000 and report.count('alt="Learning curves: ') == 4
    for number, name in enumerate(MODELS, start=1):
        results = files.read_json(run / name / "results.json")
        assert f'<section id="model-{number}">\n<h2>{results["model"]}</h2>' in report
        assert f">{results['test_accuracy']:.4f}<" in report, name


def test_results_hold_what_the_house_promises(finished):
    run, summary = finished
    assert files.read_json(run / "results.json") == json.loads(json.dumps(summary))
    promised = {"experiment", "data", "weights", "seed", "train_size", "val_size", "test_size", "test_accuracy"}
    promised |= {"test_accuracy_interval", "test_loss", "val_accuracy", "best_epoch", "epochs", "seconds"}
    promised |= {"images_per_second", "documented_accuracy", "comparable", "status"}
    for scores in (summary, *(files.read_json(run / name / "results.json") for name in MODELS)):
        assert promised <= set(scores) and scores["status"] == "finished"
        assert scores["documented_accuracy"] is None and not scores["comparable"]  # digits are not CIFAR-10
    assert summary["models"] == list(MODELS) and summary["main_model"] == "b-both-fc"
    assert summary["model"] == "B, both FC layers" and summary["trained"] == "both FC layers"


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
        results = files.read_json(run / name / "results.json")
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
    models = {name: files.read_json(run / name / "results.json") for name in MODELS}
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
        check_evaluation(run / name, tmp_path)
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
def test_new_fc1_is_drawn_anew_where_it_is_trained(new_fc1):
    args = train_ab_split.parse_args(["--image-size", "8", *["--new-fc1"] * new_fc1])
    run = SimpleNamespace(args=args, epochs=int, batches=lambda *args, **kwargs: None, fit=lambda *args, **kwargs: None)
    samples = data.Samples(np.zeros((4, 8, 8, 3), np.uint8), np.arange(4) % 2)
    b = data.Dataset("b", ("no", "yes"), samples, samples, samples)
    cnn_a = train_ab_split.train_model(run, "a", replace(b, class_names=tuple("abcdefgh")))
    for name, layers in (("b-last-fc", ["last_fc"]), ("b-both-fc", ["fc1", "last_fc"])):
        model = train_ab_split.train_model(run, name, b, cnn_a, layers)
        is_of_a = np.array_equal(model.get_layer("fc1").kernel, cnn_a.get_layer("fc1").kernel)
        assert is_of_a == (not new_fc1 or name == "b-last-fc")


def test_b_of_fewer_images_has_no_val_part_and_is_not_compared_with_the_document():
    b = splits()[1]
    some = train_ab_split.take(b, 20, seed=0)
    assert len(some.train) == 20 and not len(some.val) and len(some.test) == len(b.test)
    assert np.bincount(some.train.labels).min() >= 8 and train_ab_split.take(b, "all", seed=0) is b
    for size, comparable in (("20", [True, False]), ("all", [True, True])):
        args = train_ab_split.parse_args(["--b-samples", size])
        run = SimpleNamespace(experiment=replace(EXPERIMENT, comparable=True), args=args, titled=str)
        assert [train_ab_split.describe(run, name).comparable for name in ("a", "b-scratch")] == comparable


def splits():
    """A and B as the run had them."""
    dataset = load_data(train_ab_split.parse_args(SMALL))
    return tuple(train_ab_split.only_classes(dataset, classes) for classes in ((1, 2, 3, 4, 5, 6, 8, 9), (0, 7)))


def test_scores_are_those_of_the_saved_model_on_test(finished):
    run, _ = finished
    a, b = splits()
    for name, part in (("a", a.test), ("b-scratch", b.test), ("b-last-fc", b.test), ("b-both-fc", b.test)):
        folder = run / name
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
    best_epochs = {files.read_json(run / name / "results.json")["best_epoch"] for name in MODELS}
    assert best_epochs != {3}  # otherwise the last weights would pass for the best
    for name in MODELS:
        results = files.read_json(run / name / "results.json")
        model_rows = [row for row in rows if row["phase"] == name]
        assert [row["epoch"] for row in model_rows] == [1, 2, 3]
        best = sorted(model_rows, key=lambda row: (-row["val_accuracy"], row["val_loss"]))[0]
        assert all(results[name] == best[column] for name, column in KEPT.items())
        # Scored once more after training, the model is the one of that epoch: the same test accuracy as on the curve.
        assert results["test_accuracy"] == pytest.approx(best["test_accuracy"], abs=1e-6)


@pytest.mark.parametrize("num_images, expected", [(20, 8), (32, 8), (33, 8), (256, 1), (1000, 1)])
def test_few_images_are_passed_over_often_enough(num_images, expected):
    args = train_ab_split.parse_args(["--batch-size", "32", "--epochs", "20"])  # 150 steps: 8 an epoch
    assert train_ab_split.passes(args, num_images) == expected


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
    assert results["status"] == "interrupted" and results["models"] == ["a", "b-scratch"]
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


def test_dry_run_takes_two_batches_of_every_stage(call, monkeypatch, tmp_path, empty_figures):
    monkeypatch.setattr(data.Dataset, "is_cifar10", True)
    code, out, _ = call(lambda: train_ab_split.main([*SMALL, "--dry-run", "--output-dir", str(tmp_path)]))
    assert code == 0 and "a dry run, the numbers mean nothing" in out
    (run,) = (tmp_path / "ab_split").iterdir()
    results = files.read_json(run / "results.json")
    assert run.name.endswith("-dry-run") and results["dry_run"] and not results["comparable"]
    models = [files.read_json(run / name / "results.json") for name in MODELS]
    assert 45 < models[0]["train_size"] < 58 and models[0]["epochs"] == 1  # of 64 in all
    assert all(model["model"].endswith(" (dry run)") for model in models)


@pytest.mark.parametrize(
    "flags, says",
    [
        (["--classes-b", "11"], "--classes-b 11"),
        (["--classes-b", "emu"], "0 bird, 1 cat, 2 dog"),
        (["--classes-b", "0", "1"], "A needs at least two"),
        (["--momentum", "0.9"], "--momentum has no effect without --optimizer sgd"),
        (["--image-size", "3"], "--image-size 3"),
        (["--b-samples", "1000"], "--b-samples: 1000 images"),
        (["--max-train-samples", "4"], "none is drawn as val"),
    ],
)
def test_bad_input_is_one_line_exit_2_and_nothing_left_behind(call, monkeypatch, tmp_path, image_folder, flags, says):
    folder = image_folder({"bird": 10, "cat": 10, "dog": 10})
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
    for row, prediction in zip(files.read_csv(run / "b-both-fc" / "predictions.csv")[:3], json.loads(out), strict=True):
        shares = prediction["probabilities"]
        assert Path(prediction["path"]).name == f"{int(row['index'])}.png"
        assert max(shares, key=shares.get) == str(int(row["predicted"]))
        assert max(shares.values()) == pytest.approx(row["probability"], abs=1e-5)

    words = [str(tmp_path / "*.png"), str(tmp_path / "some" / "[12].png"), str(tmp_path / "absent.png")]
    code, out, err = call(lambda: predict.main([str(run / "a"), *words]))
    assert code == 2 and err.count("\n") == 1 and "broken.png" in err and "absent.png" in err
    assert train_ab_split.MODELS["a"][0] in out and "some/1.png" in out and "some/2.png" in out and "some/0.png" not in out


def test_compare_shows_every_model(finished, call):
    run, _ = finished
    summaries = compare.main([str(run), "--no-figure"])
    assert [summary["name"] for summary in summaries] == [f"ab_split: {title}" for title, *_ in train_ab_split.MODELS.values()]
    assert [summary["seeds"] for summary in summaries] == ["0"] * 4
    assert [len(record.curve) for record in finished_runs.read_run(run)] == [3] * 4
    code, out, _ = call(compare.main, run / "b-scratch", run / "b-both-fc", "--no-figure")
    assert code == 0 and f"same {len(files.read_csv(run / 'b-both-fc' / 'predictions.csv'))} test images" in out
