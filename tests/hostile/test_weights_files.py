"""`--weights` that are none, seen before any image is read."""

import os

import pytest
from makers import ESCAPE, command, encoded, in_turn

PAGE = b"<!DOCTYPE html><html><body>404</body></html>"
HDF5 = b"\x89HDF\r\n\x1a\n"


def named(name, content=b""):
    return lambda folder: (folder / name).write_bytes(content)


CASES = {
    "missing": ("nowhere.h5", lambda folder: None),
    "missing, with an escape": (f"{ESCAPE}.h5", lambda folder: None),
    "a name with a NUL": ("a\0b.h5", lambda folder: None),
    "no name": ("", lambda folder: None),
    "a folder without model.keras": ("run", lambda folder: (folder / "run").mkdir()),
    "a folder whose model.keras is a folder": ("run", lambda folder: (folder / "run" / "model.keras").mkdir(parents=True)),
    "an image": ("photo.png", named("photo.png", encoded("png"))),
    "a wrong extension": ("weights.pkl", named("weights.pkl", HDF5)),
    "a FIFO": ("x.h5", lambda folder: os.mkfifo("x.h5")),
    "a link to itself": ("x.h5", lambda folder: (folder / "x.h5").symlink_to("x.h5")),
    "empty": ("x.h5", named("x.h5")),
    "a web page": ("x.h5", named("x.h5", PAGE)),
    "a web page called a model": ("x.keras", named("x.keras", PAGE)),
    "a run with an empty model": ("run", lambda folder: ((folder / "run").mkdir(), (folder / "run" / "model.keras").touch())),
}  # fmt: skip


@pytest.mark.parametrize("script, case", [pair for pair in in_turn(list(CASES)) if pair[0] != "ab_split"])
def test_weights_that_are_none(refused, tmp_path, script, case):
    name, make = CASES[case]
    make(tmp_path)
    refused(*command(script, weights=name), names=["--weights"])
