"""The reader of arrays, and that of checkpoints: what they promise, or OSError or ValueError."""

import io
import zipfile

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import contained, damaged
from support import make_run

from common import files
from common.data.dataset import Samples
from common.training import checkpoints
from common.training.callbacks import BestEpoch


def outcome(read, path):
    """What a reader returns, or None and an error of the kinds that callers expect."""
    with contained():
        try:
            return read(path), None
        except (OSError, ValueError) as error:
            return None, error


def npz(save=np.savez, **arrays):
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


ARRAYS = [
    {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "state": np.array("a text"), "b": np.int64(3)},
    {"x": np.zeros((0, 4), np.uint8), "y": np.array([[b"ab", b"c"]]), "z": np.asfortranarray(np.eye(3))},
]
NPZ = [npz(**ARRAYS[0]), npz(**ARRAYS[1]), npz(np.savez_compressed, **ARRAYS[0]), npz(a=np.array([{}], object))]


def members(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [archive.read(name) for name in archive.namelist()]


NPY = [member for content in NPZ for member in members(content)]
SHAPES = st.lists(st.one_of(st.integers(-2, 8), st.sampled_from((2**31, 2**63, 2**64 + 1, True, "2", 1.5))), max_size=3).map(
    tuple
)
DTYPES = st.sampled_from(
    ("<f4", "|u1", "|O", "|V0", "<U0", "|S0", ">i8", "<m8[s]", [("a", "<f4")], [("a", "|O")], "x", "f,f", None)
)


@st.composite
def with_header(draw):
    """An .npy of a header that Python would write of any dtype and shape, and of some bytes."""
    header = {"descr": draw(DTYPES), "fortran_order": draw(st.sampled_from((True, False, 1))), "shape": draw(SHAPES)}
    if draw(st.booleans()):
        del header[draw(st.sampled_from(list(header)))]
    text = repr(header).encode() + b"\n"
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + bytes(draw(st.integers(0, 64)))


@st.composite
def zipped(draw):
    """An .npz with damaged arrays in it, whose checksums are right."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in draw(st.lists(st.sampled_from(("a.npy", "b.npy", "state", ".", "../x", "é")), max_size=3, unique=True)):
            archive.writestr(name, draw(st.one_of(damaged(NPY), with_header())))
    return buffer.getvalue()


@pytest.mark.parametrize("content", [damaged(NPZ), zipped()], ids=["damaged", "damaged before it was zipped"])
@given(data=st.data())
def test_arrays(tmp_path, content, data):
    path = tmp_path / "x.npz"
    path.write_bytes(data.draw(content))
    arrays, error = outcome(files.read_arrays, path)
    if error is None:
        assert all(isinstance(array, np.ndarray) and not array.dtype.hasobject for array in arrays.values())
        assert sum(array.nbytes for array in arrays.values()) <= path.stat().st_size


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The content of a checkpoint with everything that one keeps, its state and its arrays."""
    run = make_run(tmp_path_factory.mktemp("checkpoint"), batch_size=2)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(2, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"], run_eagerly=True)
    callbacks = [BestEpoch(patience=3), keras.callbacks.ReduceLROnPlateau("val_loss", patience=2)]
    samples = Samples(np.eye(4, 3, dtype=np.float32), np.array([0, 1, 0, 1]))
    run.fit("head", model, run.batches(samples), samples, epochs=3, callbacks=callbacks)
    path = run.folder / "checkpoint" / "head.npz"
    return path.read_bytes(), *checkpoints._read(path)


@given(data=st.data())
def test_a_damaged_checkpoint_is_noticed(tmp_path, checkpoint, data):
    content, state, arrays = checkpoint
    path = tmp_path / "head.npz"
    path.write_bytes(data.draw(st.one_of(st.just(content), damaged([content]))))
    with contained() as out:
        read_state, read_arrays = checkpoints._read(path)
    if read_state is None:
        assert "is damaged" in out.getvalue() and path.read_bytes() != content
    else:
        assert read_state == state and read_arrays.keys() == arrays.keys()
        assert all(np.array_equal(read_arrays[name], array) for name, array in arrays.items())
