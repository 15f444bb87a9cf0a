"""Damaged feature files: whatever lies in the cache, the right array comes out."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import contained, damaged, documents

from common.models import feature_file

ROWS, WIDTH = 70, 3
RIGHT = np.arange(ROWS * WIDTH, dtype=np.float32).reshape(ROWS, WIDTH)
IDENTITY = {"layers": [], "weights": "", "versions": {}, "batch_size": 2}


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


def extract(folder):
    """The features, as a class of images asks for them, and how many had to be computed."""
    file = feature_file.FeatureFile(folder, np.arange(ROWS), WIDTH, IDENTITY)
    array, computed = file.complete(lambda batches: (RIGHT[rows] for rows in batches), "features")
    return file, np.array(array), computed


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The names and the content of the files of an extraction."""
    file, array, computed = extract(tmp_path_factory.mktemp("features"))
    assert computed == ROWS and (array == RIGHT).all()
    return file.whole.name, file.note.name, file.whole.read_bytes(), json.loads(file.note.read_text())


@given(data=st.data())
def test_the_right_features_come_out_of_any_file(tmp_path, written, data):
    whole_name, note_name, content, note = written
    folder = tmp_path / "features"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    whole, note_file = folder / whole_name, folder / note_name
    whole.write_bytes(content)
    note_file.write_text(json.dumps(note))
    chosen = data.draw(st.sampled_from(("array", "note", "both")))
    if chosen != "note":
        whole.write_bytes(data.draw(st.one_of(damaged([content]), with_another_header(content))))
    if chosen != "array":
        note_file.write_bytes(data.draw(documents(note)))
    if data.draw(st.booleans()):
        whole.replace(whole.with_suffix(".part.npy"))  # as if it had been broken off
    with contained():
        _, array, _ = extract(folder)
        assert array.dtype == np.float32 and array.shape == (ROWS, WIDTH) and (array == RIGHT).all()
        assert extract(folder)[2] == 0
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".lock", ".npy"]
