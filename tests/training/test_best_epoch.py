"""The epoch that is kept: best val accuracy, of epochs with the same one the lowest val loss, of these the first."""

import argparse
import itertools

import keras
import numpy as np
import pytest
from support import DATASET, EXPERIMENT, make_args, make_run

from common import cli, files
from common.data.dataset import Samples
from common.results import sweep
from common.training import checkpoints
from common.training.callbacks import BestEpoch
from common.training.run import Run

SAMPLES = Samples(np.ones((4, 1), np.float32), np.array([0, 1, 0, 1]))


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


def train(run, scores, patience, kill_at=None):
    """The epoch whose weights the model ends with."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"], run_eagerly=True)
    callbacks = [Told(scores, kill_at), BestEpoch(patience)]
    run.fit("head", model, run.batches(SAMPLES), SAMPLES, epochs=len(scores), callbacks=callbacks)
    return int(model.get_weights()[0][0, 0])


# Val accuracy and val loss by epoch, patience; the kept epoch, how many are trained.
HISTORIES = {
    "no tie": ([(0.5, 1), (0.7, 2), (0.6, 0.1)], 9, 2, 3),
    "the lower loss of a tie": ([(0.7, 2), (0.5, 1), (0.7, 1.5), (0.7, 1.8)], 9, 3, 4),
    "the higher loss of a tie": ([(0.7, 1), (0.7, 1.5)], 9, 1, 2),
    "the first of a whole tie": ([(0.7, 1), (0.7, 1), (0.7, 1)], 9, 1, 3),
    "a better accuracy with a higher loss": ([(0.7, 1), (0.7, 0.5), (0.8, 3), (0.8, 2)], 9, 4, 4),
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


@pytest.mark.parametrize("name", ["the lower loss of a tie", "ties are not waited for", "a better accuracy is waited for"])
def test_killed_before_every_epoch_it_keeps_the_same(tmp_path, monkeypatch, name):
    monkeypatch.setattr(checkpoints, "SHARE", np.inf)
    scores, patience, kept, epochs = HISTORIES[name]
    args = make_args(tmp_path)
    for kill_at in range(1, epochs):
        with pytest.raises(KilledError), Run(EXPERIMENT, args, DATASET) as run:
            train(run, scores, patience, kill_at)
        args = argparse.Namespace(**vars(args) | {"resume": run.folder})
    with Run(EXPERIMENT, args, DATASET) as run:
        assert train(run, scores, patience) == kept
    assert [row["epoch"] for row in files.read_csv(run.folder / "history.csv")] == [*range(1, epochs + 1)]


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


def test_every_order_of_the_same_epochs_keeps_the_same_scores(tmp_path):
    for number, scores in enumerate(itertools.permutations([(0.5, 1), (0.7, 2), (0.7, 1)])):
        kept = train(make_run(tmp_path / str(number)), list(scores), 9)
        assert scores[kept - 1] == (0.7, 1)
