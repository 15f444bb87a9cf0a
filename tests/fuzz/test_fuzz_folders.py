"""Folders of images with any names, links and empty folders in them: a data set or one line."""

import os
import shutil
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from makers import encoded, picture
from mutations import contained, is_plain_line

from common.data import folders

IMAGES = [encoded("png", picture(8)), encoded("jpeg", picture(9))]
ENDS = ("", ".png", ".PNG", ".jpg", ".jpeg", ".txt", ".png.txt", ".npy")
ODD = (".", ".hidden", "Thumbs.db", "desktop.ini", " ", "-", "~", "a\nb", "a\x1b[2Jb", "\u202eb", "e\u0301", "é", "\\", "train")
NAMES = st.one_of(
    st.sampled_from(("cat", "dog", "fox")),
    st.sampled_from(ODD),
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20),
    st.binary(min_size=1, max_size=6).map(lambda name: os.fsdecode(name.replace(b"/", b"_").replace(b"\0", b"_"))),
)
FILES = st.tuples(NAMES, st.sampled_from(ENDS)).map("".join)
LINKS = st.sampled_from(("nothing", ".", "..", "cat", "/dev/zero", "../..", "0.png"))
ENTRIES = st.one_of(st.sampled_from(IMAGES), st.sampled_from(IMAGES), LINKS, st.none(), st.just("FIFO"))
TREES = st.dictionaries(NAMES, st.one_of(st.dictionaries(FILES, ENTRIES, max_size=4), LINKS), max_size=5)


def make(folder, tree):
    """Make a folder: of a dict a folder, of bytes a file, of text a link to it, of None an empty folder, of FIFO one."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in tree.items():
        path = folder / name
        if os.path.lexists(path) or len(os.fsencode(name)) > 255:
            continue
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content == "FIFO":
            os.mkfifo(path)
        elif isinstance(content, str):
            path.symlink_to(content)
        else:
            make(path, content or {})


@given(
    train=TREES,
    test=st.one_of(st.none(), TREES),
    val=st.one_of(st.none(), TREES),
    common=st.lists(st.sampled_from(("cat", "dog", "a\nb")), max_size=3, unique=True),
    may_lack=st.booleans(),
)
def test_a_folder_is_read_or_refused_in_one_line(train, test, val, common, may_lack):
    root = Path("data")
    shutil.rmtree(root, ignore_errors=True)
    good = {name: {"0.png": IMAGES[0]} for name in common}
    make(root / "train", good | train)
    for name, part in (("test", test), ("val", val)):
        if part is not None:
            make(root / name, good | part)
    with contained():
        try:
            names = folders.class_names(root)
            assert len(set(names)) == len(names) >= 2
            for part in filter(None, folders.parts(root)):
                pixels, labels, digests, paths, skipped, num_resized = folders.read_part(part, names, 8, "cache", may_lack)
                assert pixels.shape == (len(labels), 8, 8, 3) and len(paths) == len(labels) and pixels.dtype == np.uint8
                assert not skipped and 0 <= num_resized <= len(labels) and set(labels.tolist()) <= set(range(len(names)))
                again = folders.read_part(part, names, 8, "cache", may_lack)
                assert (again[0] == pixels).all() and (again[1] == labels).all() and (again[2] == digests).all()
        except (OSError, ValueError) as error:
            assert is_plain_line(error)
