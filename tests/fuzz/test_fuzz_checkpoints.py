"""Damaged checkpoints and kept results of phases: restored, or said to be damaged; nothing in between."""

import io
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import changed, contained, damaged, documents
from support import make_run

from common import files
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
    """The arrays and the state of a checkpoint after three epochs, and the run and the content of its file."""
    folder = tmp_path_factory.mktemp("checkpoint")
    run = make_run(folder, batch_size=2)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError), run:
        patch.setattr(checkpoints, "SHARE", np.inf)
        train(run, kill_at=3)
    path = run.folder / "checkpoint" / "head.npz"
    arrays = files.read_arrays(path)
    return arrays, json.loads(str(arrays.pop("state"))), run, path.read_bytes()


@pytest.fixture(scope="module")
def model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(2, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    return model


def packed(state, arrays):
    buffer = io.BytesIO()
    np.savez(buffer, state=state, **arrays)
    return buffer.getvalue()


def checkpoint_of(path):
    callbacks = [BestEpoch(patience=1), keras.callbacks.ReduceLROnPlateau()]
    return checkpoints.Checkpoint(path.parent, path.stem, EPOCHS, callbacks, 0, dict)


def restore(path, run, model):
    """Do with a checkpoint what `fit` does; whether there was one."""
    with contained() as out:
        checkpoint = checkpoint_of(path)
        if not checkpoint.state:
            assert "is damaged" in out.getvalue() and not path.exists()
            return False
        run.history._rows.clear()
        run.history.extend(checkpoint.state["rows"])
        run.history.flush()
        assert len(run.history.rows("head")) == len(run.history)
        run.summary("head")
        assert checkpoint.state["elapsed"] + checkpoint.state["epoch_seconds"] >= 0
        range(checkpoint.state["epochs_done"], EPOCHS)[checkpoint.first_step :]
        checkpoint.set_model(model)
        try:
            checkpoint.on_train_begin()
        except InputError as error:
            assert "does not fit" in str(error)
        return True


@given(data=st.data())
def test_damaged_bytes_are_noticed(tmp_path, written, model, data):
    *_, run, content = written
    path = tmp_path / "head.npz"
    path.write_bytes(data.draw(damaged([content])))
    restore(path, run, model)


VALUES = [
    np.zeros(()),
    np.zeros((3, 2), np.float16),
    np.array("text"),
    np.zeros((2, 2, 2)),
    np.array([b"ab", b""]),
    np.zeros(0),
]


@given(data=st.data())
def test_a_state_of_any_kind(tmp_path, written, model, data):
    arrays, state, run, _ = written
    path = tmp_path / "head.npz"
    text = data.draw(documents(state).filter(lambda content: len(content) < 10_000)).decode(errors="replace")
    path.write_bytes(packed(text, arrays))
    restore(path, run, model)


@given(data=st.data())
def test_arrays_of_any_kind(tmp_path, written, model, data):
    arrays, state, run, _ = written
    path = tmp_path / "head.npz"
    names = st.sampled_from([*arrays, "model/9", "best/0/9", "best/9/0", "metric/0", "x"])
    others = data.draw(st.dictionaries(names, st.sampled_from([None, *VALUES, *arrays.values()]), max_size=3))
    arrays = {name: array for name, array in (arrays | others).items() if array is not None}
    path.write_bytes(packed(json.dumps(state | {"arrays": len(arrays)}), arrays))
    restore(path, run, model)


def test_the_undamaged_one_is_restored(tmp_path, written, model):
    *_, run, content = written
    path = tmp_path / "head.npz"
    path.write_bytes(content)
    assert restore(path, run, model) and len(run.history) == 3


POINT = {"model": "b", "samples": 20, "seed": 0, "test_accuracy": 0.5, "test_loss": 1.5, "passes": 8, "seconds": 0.1}
ROW = {"epoch": 1, "phase": "one phase", "learning_rate": 0.1, "loss": 1.0, "accuracy": 0.5, "seconds": 0.1}


@given(
    content=st.one_of(
        documents({"rows": [ROW, ROW | {"epoch": 2}], "result": POINT}),
        changed({"rows": [ROW], "result": POINT}).map(json.dumps).map(str.encode),
    )
)
def test_a_kept_result(written, content):
    run = written[2]
    path = run.folder / "checkpoint" / "one_phase.json"
    path.write_bytes(content)
    run.history._rows.clear()
    with contained() as out:
        result = run.result("one phase")
    if result is None:
        assert "is damaged" in out.getvalue() and not len(run.history)
        return
    assert {type(value) for value in result.values()} <= {str, int, float}
    run.history.flush()
    run.history.rows("one phase")
    assert Path(run.history.path).exists()
