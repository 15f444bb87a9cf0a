"""Damaged checkpoints: restored, or said to be damaged; nothing in between."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import contained, damaged
from support import make_run

from common.cli import InputError
from common.data.dataset import Samples
from common.training import checkpoints
from common.training.callbacks import BestEpoch

SAMPLES = Samples(np.eye(4, 3, dtype=np.float32), np.array([0, 1, 0, 1]))
EPOCHS = 5


class KilledError(Exception):
    pass


def train(run, kill_at=None):
    """A phase with everything that a checkpoint keeps."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(2, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"], run_eagerly=True)

    def kill(epoch, logs):
        if epoch == kill_at:
            raise KilledError

    callbacks = [
        BestEpoch(patience=EPOCHS),
        keras.callbacks.ReduceLROnPlateau("val_loss", patience=2),
        keras.callbacks.LambdaCallback(on_epoch_begin=kill),
    ]
    run.fit("head", model, run.batches(SAMPLES), SAMPLES, epochs=EPOCHS, callbacks=callbacks)
    return model


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A run that was killed after three epochs, and the content of its checkpoint."""
    folder = tmp_path_factory.mktemp("checkpoint")
    run = make_run(folder, batch_size=2)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError), run:
        patch.setattr(checkpoints, "SHARE", np.inf)
        train(run, kill_at=3)
    return run, (run.folder / "checkpoint" / "head.npz").read_bytes()


@pytest.fixture(scope="module")
def model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(2, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    return model


def checkpoint_of(path):
    callbacks = [BestEpoch(patience=1), keras.callbacks.ReduceLROnPlateau()]
    return checkpoints.Checkpoint(path.parent, path.stem, EPOCHS, callbacks, 0, dict)


def restore(path, run, model):
    """Do with a checkpoint what `fit` does; whether there was one."""
    with contained() as out:
        checkpoint = checkpoint_of(path)
        if not checkpoint.state:
            assert "is damaged" in out.getvalue()
            return False
        run.history._rows.clear()
        run.history.extend(checkpoint.state["rows"])
        run.history.flush()
        assert len(run.history.rows("head")) == len(run.history)
        run.summary("head")
        checkpoint.set_model(model)
        try:
            checkpoint.on_train_begin()
        except InputError as error:
            assert "does not fit" in str(error)
        return True


@given(data=st.data())
def test_damaged_bytes_are_noticed(tmp_path, written, model, data):
    run, content = written
    path = tmp_path / "head.npz"
    path.write_bytes(data.draw(damaged([content])))
    restore(path, run, model)


def test_the_undamaged_one_is_restored(tmp_path, written, model):
    run, content = written
    path = tmp_path / "head.npz"
    path.write_bytes(content)
    assert restore(path, run, model) and len(run.history) == 3
