"""The cache of decoded images, damaged: said so, and the images are read again."""

import os
import shutil

import numpy as np
import pytest
from contract import has_control
from images import load
from makers import make_pictures, zeroed


def stored(path):
    with np.load(path) as arrays:
        return dict(arrays)


def change(path, **arrays):
    """Other arrays; None leaves one out."""
    arrays = {name: array for name, array in (stored(path) | arrays).items() if array is not None}
    np.savez(path, **arrays)


def in_place(path, make):
    path.unlink()
    make(path)


DAMAGED = {
    "empty": lambda path: os.truncate(path, 0),
    "text": lambda path: path.write_text("hello"),
    "zeros": lambda path: path.write_bytes(bytes(5000)),
    "cut off": lambda path: os.truncate(path, path.stat().st_size // 2),
    "without its end": lambda path: os.truncate(path, path.stat().st_size - 10),
    "zeroed at its head": lambda path: path.write_bytes(zeroed(path.read_bytes(), 0)),
    "zeroed in the middle": lambda path: path.write_bytes(zeroed(path.read_bytes(), path.stat().st_size // 2)),
    "a single array": lambda path: (np.save(path.with_suffix(".npy"), np.zeros(3)), path.with_suffix(".npy").replace(path)),
    "without images": lambda path: change(path, images=None),
    "without the count": lambda path: change(path, num_resized=None),
    "a count that is a word": lambda path: change(path, num_resized=np.array("many")),
    "a count that is a list": lambda path: change(path, num_resized=np.arange(3)),
    "a count that is NaN": lambda path: change(path, num_resized=np.float64("nan")),
    "a negative count": lambda path: change(path, num_resized=np.int64(-1)),
    "a count of more than all": lambda path: change(path, num_resized=np.int64(10**9)),
    "too few images": lambda path: change(path, images=stored(path)["images"][1:]),
    "images of another size": lambda path: change(path, images=stored(path)["images"][:, 1:]),
    "too few hashes": lambda path: change(path, digests=stored(path)["digests"][1:]),
    "hashes as numbers": lambda path: change(path, digests=np.zeros(36)),
    "images as fractions": lambda path: change(path, images=stored(path)["images"].astype(np.float32)),
    "images as objects": lambda path: change(path, images=stored(path)["images"].astype(object)),
    "images of a declared TB": lambda path: path.write_bytes(path.read_bytes().replace(b"'shape': (36,", b"'shape': (10**9,")),
    "a folder": lambda path: in_place(path, lambda path: path.mkdir()),
    "a FIFO": lambda path: in_place(path, os.mkfifo),
    "a link to itself": lambda path: in_place(path, lambda path: path.symlink_to(path.name)),
    "a link to a device": lambda path: in_place(path, lambda path: path.symlink_to("/dev/zero")),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_cache_is_said_to_be_and_made_again(tmp_path, capsys, case):
    make_pictures(tmp_path / "pictures")
    fresh = load("pictures", tmp_path, validation_split=0.25)
    cache = tmp_path / "cache" / "pictures"
    for path in list(cache.iterdir()):
        DAMAGED[case](path)
    capsys.readouterr()
    again = load("pictures", tmp_path, validation_split=0.25)
    out, err = capsys.readouterr()
    assert (err, out.count("is damaged")) == ("", 2), out
    assert not has_control(out)
    assert again.fingerprint() == fresh.fingerprint()


def test_a_cache_folder_that_is_gone_is_made_again(tmp_path):
    make_pictures(tmp_path / "pictures")
    fresh = load("pictures", tmp_path, validation_split=0.25)
    shutil.rmtree(tmp_path / "cache")
    assert load("pictures", tmp_path, validation_split=0.25).fingerprint() == fresh.fingerprint()
