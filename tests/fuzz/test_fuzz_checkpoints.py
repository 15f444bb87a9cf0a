"""Damaged checkpoints: read as they were written, or said to be damaged; nothing in between."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import contained, damaged
from support import make_run

from common.data.dataset import Samples
from common.training import checkpoints
from common.training.callbacks import BestEpoch

SAMPLES = Samples(np.eye(4, 3, dtype=np.float32), np.array([0, 1, 0, 1]))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The content of a checkpoint with everything that one keeps, its state and its arrays."""
    run = make_run(tmp_path_factory.mktemp("checkpoint"), batch_size=2)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(2, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"], run_eagerly=True)
    callbacks = [BestEpoch(patience=3), keras.callbacks.ReduceLROnPlateau("val_loss", patience=2)]
    run.fit("head", model, run.batches(SAMPLES), SAMPLES, epochs=3, callbacks=callbacks)
    path = run.folder / "checkpoint" / "head.npz"
    return path.read_bytes(), *checkpoints._read(path)


def check(path, content, state, arrays):
    path.write_bytes(content)
    with contained() as out:
        read_state, read_arrays = checkpoints._read(path)
    if read_state is None:
        assert "is damaged" in out.getvalue()
        return False
    assert read_state == state and read_arrays.keys() == arrays.keys()
    assert all(np.array_equal(read_arrays[name], array) for name, array in arrays.items())
    return True


@given(data=st.data())
def test_damaged_bytes_are_noticed(tmp_path, written, data):
    content, state, arrays = written
    check(tmp_path / "head.npz", data.draw(damaged([content])), state, arrays)


def test_the_undamaged_one_is_read(tmp_path, written):
    assert check(tmp_path / "head.npz", *written)
