import keras
import numpy as np
import pytest
from support import make_run

from common import files
from common.data.dataset import Samples

X = np.linspace(-1, 1, 32, dtype="float32")[:, None]
Y = (X[:, 0] > 0).astype("int64")


def fit(run, phase, epochs=3, learning_rate=0.01, callbacks=(), has_val=True):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, activation="softmax")])
    model.compile(keras.optimizers.SGD(learning_rate), loss="sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    samples = Samples(X, Y)
    run.fit(phase, model, run.batches(samples), samples if has_val else None, epochs=epochs, callbacks=callbacks)
    return model


def test_a_run_folder_is_never_used_twice(tmp_path):
    folders = [make_run(tmp_path, name="x").folder for _ in range(3)]
    assert len(set(folders)) == 3
    assert all(folder.parent == tmp_path / "runs" / "experiment" for folder in folders)
    assert all("-x" in folder.name for folder in folders)
    assert files.read_json(folders[0] / "args.json")["name"] == "x"
    environment = files.read_json(folders[0] / "environment.json")
    assert environment["packages"]["keras"] == keras.__version__ and environment["backend"] == keras.backend.backend()
    assert environment["devices"]


def test_history_has_what_keras_logged(tmp_path):
    run = make_run(tmp_path)
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1))
    model = fit(run, "head", callbacks=[schedule])
    fit(run, "all", epochs=1, has_val=False)
    rows = files.read_csv(run.folder / "history.csv")
    assert [(row["epoch"], row["phase"]) for row in rows] == [(1, "head"), (2, "head"), (3, "head"), (1, "all")]
    assert [row["learning_rate"] for row in rows[:3]] == pytest.approx([0.1, 0.05, 0.1 / 3])
    for column in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert [row[column] for row in rows[:3]] == model.history.history[column]
    assert rows[3]["val_loss"] is None
    header = (run.folder / "history.csv").read_text().splitlines()[0]
    assert header == "epoch,phase,learning_rate,loss,accuracy,val_loss,val_accuracy,seconds"


def test_scores_on_val_leave_out_what_fills_up_a_batch(tmp_path):
    run, val = make_run(tmp_path), Samples(X[:21], Y[:21])
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    run.fit("head", model, run.batches(Samples(X, Y)), val, epochs=1)
    (row,) = run.history.rows("head")
    probabilities = model.predict(val.images, verbose=0)
    assert row["val_accuracy"] == pytest.approx((probabilities.argmax(axis=1) == val.labels).mean(), abs=1e-7)
    assert row["val_loss"] == pytest.approx(-np.log(probabilities[np.arange(21), val.labels]).mean(), rel=1e-5)
    assert run.evaluate(model, val)["loss"] == pytest.approx(row["val_loss"], rel=1e-6)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    with pytest.raises(ValueError, match="weighted_metrics"):
        run.fit("again", model, run.batches(val), val, epochs=1)


def test_summary_takes_the_lowest_loss_or_without_val_the_last_epoch(tmp_path):
    run = make_run(tmp_path)
    losses = {"first": (0.9, 0.4, 0.7), "second": (0.6, 0.4)}
    for phase, values in losses.items():
        for epoch, value in enumerate(values, start=1):
            run.history.append({"epoch": epoch, "phase": phase, "val_loss": value, "val_accuracy": epoch / 8, "seconds": 0.25})
    run.samples_per_epoch["second"] = 10
    summary = run.summary("first", "second", monitor="val_loss")
    best = {"best_epoch": 2, "val_accuracy": 0.25, "val_loss": 0.4}
    assert summary == {"epochs": 5, **best, "seconds": 1.25, "images_per_second": 40.0}
    assert run.history.lowest("first", "val_loss") == 0.4 and run.history.lowest("third", "val_loss") == np.inf
    assert run.summary("second", monitor="none")["best_epoch"] == 2


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_ctrl_c_before_anything_is_learned_leaves_no_folder(tmp_path):
    run = make_run(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit(run, "head", callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=interrupt)])
    with pytest.raises(KeyboardInterrupt):
        run.interrupt(results={})
    assert not run.folder.exists()


def test_ctrl_c_while_the_first_model_is_saved_keeps_the_folder(tmp_path):
    run = make_run(tmp_path)
    fit(run, "head", epochs=1)
    with pytest.raises(KeyboardInterrupt):
        run.interrupt(results={})
    assert (run.folder / "history.csv").exists()
    run.interrupt(results={"head": {}})  # something to report: goes on quietly
    assert run.status == "interrupted"


def test_tensorboard_logs_lie_in_the_run_folder(tmp_path):
    pytest.importorskip("tensorboard")
    run = make_run(tmp_path, tensorboard=True)
    fit(run, "head", epochs=1)
    assert list((run.folder / "tensorboard" / "head").glob("**/events.out.tfevents.*"))


@pytest.mark.parametrize("is_terminal, verbose", [(True, 1), (False, 2)])
def test_progress_bar_on_a_terminal_only(tmp_path, monkeypatch, is_terminal, verbose):
    run = make_run(tmp_path)
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal)
    assert run.verbose == verbose
