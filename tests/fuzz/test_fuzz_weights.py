"""Damaged weights files and models: taken or refused before Keras reads them, and no other file is opened."""

import io
import json
import os
import shutil
import sys
import zipfile

import h5py
import keras
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers
from mutations import contained, damaged, documents, values

from common.models import saved

SECRET = "secret.h5"
ENDS = (".weights.h5", ".h5", ".keras")
opened = []


def note_what_is_opened(event, arguments):
    if event == "open":
        opened.append(arguments[0])


sys.addaudithook(note_what_is_opened)  # stays for as long as the process lives


def link(file):
    file["kernel"] = h5py.ExternalLink(SECRET, "kernel")


def lie_outside(file):
    file.create_dataset("kernel", (2,), "f4", external=[(SECRET, 0, 8)])


def view(file):
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource(SECRET, "kernel", (2,))
    file.create_virtual_dataset("kernel", layout)


@pytest.fixture(autouse=True)
def secret(tmp_path):
    """Who opens another file waits for ever: HDF5 opens files past Python."""
    os.mkfifo(tmp_path / SECRET)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """The content of a small model's files, by the end of their names, and its configuration."""
    folder = tmp_path_factory.mktemp("originals")
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, activation="relu"), layers.Dropout(0.5)])
    model.save_weights(folder / "model.weights.h5")
    model.save(folder / "model.h5")
    model.save(folder / "model.keras")
    contents = {end: [(folder / f"model{end}").read_bytes()] for end in ENDS}
    for number, refer in enumerate((link, lie_outside, view)):
        for end in ENDS[:2]:
            path = shutil.copyfile(folder / f"model{end}", folder / f"{number}{end}")
            with h5py.File(path, "a") as file:
                refer(file)
            contents[end].append(path.read_bytes())
    config = json.loads(model.to_json())
    return contents, config


def check(path):
    """What `saved.check` says; it opens only this file."""
    with contained():
        opened.clear()
        try:
            is_model = saved.check(path)
        except ValueError as error:
            assert "\n" not in str(error)
            is_model = None
        names = {os.fsdecode(name) for name in opened if isinstance(name, (str, bytes))}
    assert {name for name in names if not name.endswith(".pyc")} <= {str(path)}, names  # Python may import a codec
    assert is_model in (None, True, False)
    return is_model


@pytest.mark.parametrize("end", ENDS)
@given(data=st.data())
def test_a_damaged_file(tmp_path, originals, end, data):
    path = tmp_path / f"model{end}"
    path.write_bytes(data.draw(damaged(originals[0][end])))
    check(path)


NAMES = st.sampled_from(("Dense", "Lambda", "function", "TFSMLayer", "__lambda__", "keras", "keras.layers", "builtins", "os"))
ODD_VALUES = st.one_of(NAMES, st.fixed_dictionaries({"module": NAMES, "class_name": NAMES, "config": NAMES}), values)


@pytest.mark.parametrize("end", [".h5", ".keras"])
@given(data=st.data())
def test_any_configuration(tmp_path, originals, end, data):
    contents, config = originals
    path = tmp_path / f"model{end}"
    text = data.draw(documents(config, ODD_VALUES))
    path.write_bytes(contents[end][0])
    if end == ".h5":
        if len(text) > 60_000:  # what an attribute may hold
            text = text[:60_000]
        with h5py.File(path, "a") as file:
            file.attrs["model_config"] = text.decode(errors="replace").replace("\0", "")
    else:
        with zipfile.ZipFile(io.BytesIO(contents[end][0])) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in (members | {"config.json": text}).items():
                archive.writestr(name, content)
    check(path)
