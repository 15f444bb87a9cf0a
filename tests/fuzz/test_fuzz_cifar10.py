"""Damaged batches of CIFAR-10's python version: images or one line, and nothing run."""

import pickle
from pathlib import Path

import keras  # noqa: F401  here, not in an example's time and memory
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from makers import batch, make_batches
from mutations import contained, damaged, is_plain_line

from common.cli import InputError
from common.data import cifar10

MARKER = Path("marker")


class Attack:
    """A pickle that makes a file where it is read."""

    def __reduce__(self):
        return Path.touch, (MARKER,)


WHOLE = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 9]}
ORIGINALS = [batch(), batch(more=Attack()), *(pickle.dumps(WHOLE, protocol=number) for number in range(5))]
WORDS = [  # what a pickle is made of
    b"cposix\nsystem\n", b"(S'touch marker'\ntR", b"cbuiltins\neval\n", b"cnumpy\nload\n", b"cnumpy\nndarray\n", b"R", b"b",
    b"}", b"\x8c\x05posix\x8c\x06system\x93", b"\x81", b"\x92", b"(", b"l", b"t", b"d", b"0", b"1", b"2", b"h\x00", b"q\x00",
    b"\x88", b"\x94", b"\x8a\x04\xff\xff\xff\x7f", b"\x8b\xff\xff\xff\x7f", b"T\xff\xff\xff\x7f", b"\x91",
    b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f", b"r\xff\xff\xff\x7f", b"P0\n", b"Q",
    b"\x82\x01", b"i", b"o", b".", b"u", b"s", b"e", b"\x8f", b"\x90",
]  # fmt: skip


@st.composite
def with_words(draw):
    """A pickle with more words of the format in it, or made of nothing else."""
    content = draw(st.sampled_from([*ORIGINALS, b"\x80\x02", b""]))
    at = draw(st.integers(0, len(content)))
    return content[:at] + b"".join(draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8))) + content[at:]


@given(content=st.one_of(damaged(ORIGINALS), with_words()))
def test_a_damaged_batch(tmp_path, content):
    folder = tmp_path / "cifar"
    if not folder.exists():
        make_batches(folder)
    (folder / "data_batch_3").write_bytes(content)
    with contained():
        try:
            for images, labels in cifar10.read(folder):
                assert images.dtype == np.uint8 and images.shape == (len(labels), 32, 32, 3)
                assert labels.dtype == np.int64 and set(labels.tolist()) <= set(range(10))
        except InputError as error:
            assert "--data" in str(error) and is_plain_line(error), str(error)
    assert not MARKER.exists()


def test_the_pickle_would_have_run(tmp_path):
    pickle.loads(pickle.dumps(Attack()))
    assert (tmp_path / MARKER).exists()
