"""Damaged batches and archives of CIFAR-10's python version: images or one line, nothing run, memory not filled."""

import bz2
import gzip
import io
import lzma
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from makers import batch, batches, make_batches
from mutations import contained, damaged, is_plain_line

from common.cli import InputError
from common.data import cifar10

MARKER = Path("marker")


class Attack:
    """A pickle that makes a file where it is read."""

    def __reduce__(self):
        return Path.touch, (MARKER,)


def in_protocol(number, **content):
    return pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 9], **content}, protocol=number)


ORIGINALS = [
    batch(),
    *map(in_protocol, range(5)),
    in_protocol(2, other=Attack()),
    pickle.dumps({b"data": np.ones((2, 3072), np.uint8), b"labels": [1, 2]}, protocol=2),
]
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


def check(path):
    with contained():
        try:
            for images, labels in cifar10.read(path):
                assert images.dtype == np.uint8 and images.shape == (len(labels), 32, 32, 3)
                assert labels.dtype == np.int64 and set(labels.tolist()) <= set(range(10))
        except InputError as error:
            assert "--data" in str(error) and is_plain_line(error), str(error)
    assert not MARKER.exists()


@given(content=st.one_of(damaged(ORIGINALS), with_words()))
def test_a_damaged_batch(tmp_path, content):
    folder = tmp_path / "cifar"
    if not folder.exists():
        make_batches(folder)
    (folder / "data_batch_3").write_bytes(content)
    check(folder)


def archive(tar_format, **changes):
    """An archive, not compressed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as tar:
        for name, content in batches(**changes).items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


SMALL = in_protocol(2, data=np.zeros((0, 3072), np.uint8), labels=[])
MEMBERS = dict.fromkeys(batches(), SMALL) | {
    f"{'d' * 80}/é": b""
}  # a name for which GNU's and PAX's need a member of their own
TARS = [archive(tar_format, **MEMBERS) for tar_format in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)]
PACKED = [pack(TARS[0]) for pack in (gzip.compress, bz2.compress, lzma.compress)]
PACK = st.sampled_from((bytes, gzip.compress, bz2.compress, lzma.compress))


@pytest.mark.parametrize("kind", ["tar", "packed"])
@given(data=st.data())
def test_a_damaged_archive(tmp_path, kind, data):
    content = data.draw(PACK)(data.draw(damaged(TARS))) if kind == "tar" else data.draw(damaged(PACKED))
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(content)
    check(path)


def test_the_pickle_would_have_run(tmp_path):
    pickle.loads(pickle.dumps(Attack()))
    assert (tmp_path / MARKER).exists()
