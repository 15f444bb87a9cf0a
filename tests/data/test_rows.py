"""Rows on disk: what is there after a program was killed, damaged or doubled, and that the rest is written."""

import os
import shutil

import numpy as np
import pytest

from common.data import rows
from common.data.rows import RowFile, Rows

RIGHT = np.random.default_rng(0).integers(0, 256, (37, 2, 3), np.uint8)


def make_file(folder):
    return RowFile(folder / "made" / "rows.npy", RIGHT.shape, RIGHT.dtype)


def fill(file, end=37):
    """Write the missing rows up to this one, five at a time; how many were there."""
    start = file.num_written()
    file.write(start, (RIGHT[row : min(row + 5, end)] for row in range(start, end, 5)))
    return start


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_whole_file_is_what_numpy_would_save(tmp_path, dtype):
    file = RowFile(tmp_path / "rows.npy", RIGHT.shape, dtype)
    file.write(0, np.array_split(RIGHT, 4))
    np.save(tmp_path / "saved.npy", RIGHT.astype(dtype))
    assert file.path.read_bytes() == (tmp_path / "saved.npy").read_bytes()
    np.testing.assert_array_equal(file.load(), RIGHT)


HEADER = 128


@pytest.mark.parametrize("num_bytes", [0, HEADER - 1, HEADER + 5, HEADER + 6, HEADER + 6 * 36 + 5, HEADER + 6 * 37])
def test_cut_off_anywhere_it_goes_on_after_the_last_whole_row(tmp_path, num_bytes):
    file = make_file(tmp_path)
    fill(file)
    os.truncate(file.path, num_bytes)
    if num_bytes < HEADER + 6 * 37:
        with pytest.raises(OSError, match="is not whole"):
            file.load()  # nobody takes a part for the whole
    assert fill(file) == max(num_bytes - HEADER, 0) // 6
    np.testing.assert_array_equal(file.load(), RIGHT)


def overwrite(path, offset, content):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


DAMAGES = {
    "header of another kind": lambda path: overwrite(path, 20, b"(((("),  # Python's tokenizer gives up
    "columns first": lambda path: overwrite(path, path.read_bytes().index(b"False"), b"True "),
    "another shape": lambda path: np.save(path, RIGHT[:5]),
    "too long": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_another_file_in_its_place_is_said_to_be_damaged_and_written_again(tmp_path, capsys, damage):
    file = make_file(tmp_path)
    fill(file)
    DAMAGES[damage](file.path)
    assert fill(file) == 0 and "is damaged: computing it again" in capsys.readouterr().out
    np.testing.assert_array_equal(file.load(), RIGHT)
    assert file.num_written() == 37 and capsys.readouterr().out == ""


def test_two_writers_that_overtake_each_other_end_with_the_same_file(tmp_path):
    one, other = make_file(tmp_path), make_file(tmp_path)
    fill(one, 10)

    def overtaken():
        yield RIGHT[10:15]
        assert fill(other, 30) == 15
        yield RIGHT[15:20]
        assert fill(other) == 30
        yield RIGHT[20:]

    one.write(one.num_written(), overtaken())
    np.testing.assert_array_equal(one.load(), RIGHT)
    one.write(0, [RIGHT + 1])  # as by one that computes with other rounding: a run may be training on what is there
    np.testing.assert_array_equal(one.load(), RIGHT)


def test_a_disk_that_is_too_full_is_said_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 221))
    with pytest.raises(OSError, match=r"^0\.00 MB are needed, 0\.00 MB are free$"):
        fill(make_file(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 222))
    assert fill(make_file(tmp_path)) == 0


CHOICES = {
    "one": 5,
    "a slice": slice(3, 30, 4),
    "all": slice(None),
    "none": [],
    "numbers in any order": np.array([36, 0, 0, 20, 19]),
    "a mask": np.arange(37) % 3 == 0,
}


@pytest.mark.parametrize("choice", CHOICES)
def test_rows_are_indexed_like_an_array_wherever_they_lie(tmp_path, monkeypatch, choice):
    file = make_file(tmp_path)
    fill(file)
    monkeypatch.setattr(rows, "IN_MEMORY", 0)
    expected = RIGHT[CHOICES[choice]]
    for there in (file.load(), Rows([RIGHT[:20], file.load().take(slice(20, None))]), Rows([RIGHT])):
        assert (len(there), there.shape, there.dtype, there.ndim) == (37, RIGHT.shape, RIGHT.dtype, 3)
        np.testing.assert_array_equal(there[CHOICES[choice]], expected)
        if choice != "one":
            np.testing.assert_array_equal(there.take(CHOICES[choice])[:], expected)
    np.testing.assert_array_equal(list(file.load()), RIGHT)
