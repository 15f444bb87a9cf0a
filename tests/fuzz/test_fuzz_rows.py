"""Damaged files of rows: whatever the header became, and wherever the file was cut off, the right rows come out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import contained, damaged

from common.data.rows import RowFile

RIGHT = np.arange(210, dtype=np.float32).reshape(70, 3)
WORDS = (
    (b"False", b"True "),
    (b"<f4", b">f4"),
    (b"<f4", b"<i4"),
    (b"<f4", b"|O "),
    (b"(70, 3)", b"(3, 70)"),
    (b"(70, 3)", b"(210,) "),
)


@st.composite
def with_another_header(draw, content):
    """An .npy whose header is damaged, or says something else of the array, in so many bytes or with another length."""
    if draw(st.booleans()):
        return draw(damaged([content[:128]])) + content[128:]
    for old, new in draw(st.lists(st.sampled_from(WORDS), max_size=3)):
        content = content.replace(old, new, 1)
    return content[:8] + draw(st.sampled_from((content[8:10], b"\0\1", b"\x75\0"))) + content[10:]


def fill(path):
    """The rows, and how many of them had to be written."""
    file = RowFile(path, RIGHT.shape, RIGHT.dtype)
    start = file.num_written()
    file.write(start, np.array_split(RIGHT[start:], 3))
    return file.load(), len(RIGHT) - start


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.npy"
    assert fill(path)[1] == 70
    return path.read_bytes()


@given(data=st.data())
def test_the_right_rows_come_out_of_any_file(tmp_path, written, data):
    path = tmp_path / "rows.npy"
    cut_off = st.integers(0, len(written)).map(lambda length: written[:length])
    path.write_bytes(data.draw(st.one_of(cut_off, with_another_header(written), st.binary(max_size=2000))))
    with contained():
        array, _ = fill(path)
        assert array.dtype == np.float32 and array.shape == RIGHT.shape and (array == RIGHT).all()
        assert fill(path)[1] == 0
