"""The epoch that is kept: the best val accuracy, of a tie the lowest val loss, of these the first; and the cosine."""

import argparse
import math
from dataclasses import replace

import keras
import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from support import DATASET, EXPERIMENT, make_args, make_run

from common import cli, files
from common.data.dataset import Samples
from common.results import sweep
from common.training import checkpoints
from common.training.callbacks import BestEpoch, cosine
from common.training.run import Run

SAMPLES = Samples(np.ones((4, 1), np.float32), np.array([0, 1, 0, 1]))


RATES = [  # steps, those of a warm-up, and all rates; of a dry run all but the last step are warm-up
    (40, 0, [0.02 * (1 + math.cos(math.pi * step / 40)) / 2 for step in range(41)]),
    (40, 10, [0.002 + 0.0018 * n for n in range(10)] + [0.02 * (1 + math.cos(math.pi * n / 30)) / 2 for n in range(31)]),
    (1, 99, [0.02, 0]),
]


class KilledError(BaseException):
    pass


class Told(keras.callbacks.Callback):
    """Scores on val as they are written down, and weights that say which epoch they are of, counted from 1."""

    def __init__(self, scores, kill_at=None):
        super().__init__()
        self.scores, self.kill_at = scores, kill_at

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.kill_at:
            raise KilledError

    def on_epoch_end(self, epoch, logs=None):
        logs["val_accuracy"], logs["val_loss"] = self.scores[epoch]
        self.model.set_weights([np.full((1, 2), epoch + 1.0), np.zeros(2)])


def train(run, scores, patience, kill_at=None, callbacks=None):
    """The epoch whose weights the model ends with."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"], run_eagerly=True)
    callbacks = [Told(scores, kill_at), *(callbacks or [BestEpoch(patience)])]
    run.fit("head", model, run.batches(SAMPLES), SAMPLES, epochs=len(scores), callbacks=callbacks)
    return int(model.get_weights()[0][0, 0])


# Val accuracy and val loss by epoch, patience; the kept epoch, how many are trained.
HISTORIES = {
    "no tie": ([(0.5, 1), (0.7, 2), (0.6, 0.1)], 9, 2, 3),
    "the lower loss of a tie": ([(0.7, 2), (0.5, 1), (0.7, 1.5), (0.7, 1.8)], 9, 3, 4),
    "the first of a whole tie": ([(0.7, 1), (0.7, 1), (0.7, 1)], 9, 1, 3),
    "a tie with an epoch that was passed": ([(0.7, 1), (0.8, 3), (0.7, 0.5)], 9, 2, 3),
    "accuracy that never rises": ([(0, 3), (0, 2), (0, 1)], 9, 3, 3),
    "ties are not waited for": ([(0.7, 3), (0.7, 2), (0.7, 1), (0.7, 0.5)], 2, 3, 3),
    "a better accuracy is waited for": ([(0.7, 3), (0.7, 2), (0.8, 9), (0.7, 1), (0.8, 8), (0.9, 1)], 2, 5, 5),
}


@pytest.mark.parametrize(("scores", "patience", "kept", "epochs"), HISTORIES.values(), ids=HISTORIES)
def test_kept_epochs_by_hand(tmp_path, scores, patience, kept, epochs):
    run = make_run(tmp_path)
    assert train(run, scores, patience) == kept
    summary = run.summary("head")
    accuracy, loss = scores[kept - 1]
    assert (summary["best_epoch"], summary["epochs"]) == (kept, epochs)
    assert (summary["val_accuracy"], summary["val_loss"]) == (accuracy, loss)


def train_killed_before_every_epoch(args, monkeypatch, scores, epochs, make_callbacks):
    """The epoch whose weights the model ends with, and the rows of history.csv."""
    monkeypatch.setattr(checkpoints, "SHARE", np.inf)
    for kill_at in range(1, epochs):
        with pytest.raises(KilledError), Run(EXPERIMENT, args, DATASET) as run:
            train(run, scores, 0, kill_at, make_callbacks())
        args = argparse.Namespace(**vars(args) | {"resume": run.folder})
    with Run(EXPERIMENT, args, DATASET) as run:
        kept = train(run, scores, 0, callbacks=make_callbacks())
    rows = files.read_csv(run.folder / "history.csv")
    assert [row["epoch"] for row in rows] == [*range(1, epochs + 1)]
    return kept, rows


@pytest.mark.parametrize("name", ["the lower loss of a tie", "ties are not waited for", "a better accuracy is waited for"])
def test_killed_before_every_epoch_it_keeps_the_same(tmp_path, monkeypatch, name):
    scores, patience, kept, epochs = HISTORIES[name]
    killed = train_killed_before_every_epoch(make_args(tmp_path), monkeypatch, scores, epochs, lambda: [BestEpoch(patience)])
    assert killed[0] == kept


def test_the_epoch_of_the_best_balanced_accuracy_is_kept(tmp_path):
    random, seen = np.random.default_rng(0), []
    labels = np.repeat([0, 1, 2], (40, 8, 3))
    samples = Samples(random.normal(size=(51, 2)).astype("float32") + labels[:, None], labels)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "softmax", kernel_initializer="zeros")])
    model.compile(keras.optimizers.Adam(0.2), "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    note = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(predict()))
    predict = lambda: model.predict(samples.images, verbose=0).argmax(axis=1)  # noqa: E731
    run = make_run(tmp_path)
    run.experiment = replace(run.experiment, monitor="val_balanced_accuracy")
    run.fit("head", model, run.batches(samples), samples, epochs=9, callbacks=[BestEpoch(9, run.experiment.monitor), note])
    rows, expected = run.history.rows("head"), [balanced_accuracy_score(labels, predicted) for predicted in seen]
    assert [row["val_balanced_accuracy"] for row in rows] == pytest.approx(expected, abs=1e-6)
    plain = [row["val_accuracy"] for row in rows]
    assert plain.index(max(plain)) != expected.index(max(expected))  # not trivial
    assert balanced_accuracy_score(labels, predict()) == max(expected)
    summary = run.summary("head")
    assert expected[summary["best_epoch"] - 1] == max(expected) == pytest.approx(summary["val_balanced_accuracy"])


def test_scores_that_are_no_numbers_end_training(tmp_path):
    run = make_run(tmp_path)
    with pytest.raises(cli.TrainingError, match="val_loss became nan in epoch 2"):
        train(run, [(0.7, 1), (0.7, np.nan)], 9)
    assert run.summary("head")["best_epoch"] == 1
    callback = BestEpoch(patience=9)
    callback.set_model(keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]))
    callback.on_train_begin()
    for epoch, scores in enumerate([(0.7, 1), (0.7, np.nan), (np.nan, 0.1)]):
        callback.on_epoch_end(epoch, dict(zip(("val_accuracy", "val_loss"), scores, strict=True)))
    assert callback.best_epoch == 0


def test_a_sweep_chooses_among_equal_accuracies_by_loss(tmp_path):
    run, losses = make_run(tmp_path), iter([(0.5, 0.4), (0.9, 0.3), (0.3, 0.7)])
    combinations = sweep.Sweep(run)
    for rate, dropout in combinations.points([0.1, 0.2, 0.3, 0.1], [0.5]):
        with combinations.trying(rate, dropout) as phase:
            for epoch, loss in enumerate(next(losses), start=1):
                scores = {"learning_rate": 0.1, "loss": 1, "accuracy": 0.5, "val_loss": loss, "val_accuracy": 0.75}
                run.history.append({"epoch": epoch, "phase": phase, **scores, "seconds": 1})
            run.samples_per_epoch[phase] = 10
            combinations.keep(phase, rate)
    phase, model, chosen = combinations.best()
    assert chosen == {"learning_rate": 0.2, "dropout": 0.5} and phase == "lr=0.2 dropout=0.5" and model == 0.2
    assert [row["lr"] for row in files.read_csv(run.folder / "sweep.csv")] == [0.2, 0.3, 0.1]


@pytest.mark.parametrize("steps, warmup, expected", RATES)
def test_a_cosine_falls_to_zero_after_a_warm_up_from_a_tenth(steps, warmup, expected):
    schedule = cosine(0.02, steps, warmup)
    rates = [float(keras.ops.convert_to_numpy(schedule(step))) for step in range(steps + 1)]
    assert rates == pytest.approx(expected, abs=1e-8)
