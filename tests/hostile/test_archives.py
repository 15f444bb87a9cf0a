"""CIFAR-10's python version, from people who mean harm or whose download broke."""

import gzip
import os
import pickle
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from makers import ROOT, batch, command, in_turn, make_archive, make_batches, state

from common.data import cifar10

MIB = 2**20
MARKER = "executed"


class Calls:
    """Pickled, it asks for a function to be called."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def of_labels(*labels):
    return batch(labels)


def nested(opcode, depth, start=b"]"):
    """A pickle that nests a list or a tuple in itself, so to say."""
    return b"\x80\x02" + start + opcode * depth + b"."


BATCHES = {  # what data_batch_2 holds instead
    "nothing": b"",
    "text": b"hello",
    "half a pickle": batch()[: len(batch()) // 2],
    "a pickle without its end": batch()[:-1],
    "40 bytes zeroed in the pickle's names": batch()[:20] + bytes(40) + batch()[60:],
    "a number": pickle.dumps(5),
    "a list": pickle.dumps([]),
    "no data": pickle.dumps({"labels": [0]}),
    "no labels": pickle.dumps({"data": np.zeros((4, 3072), np.uint8)}),
    "labels of 100 classes": of_labels(0, 1, 2, 99),
    "negative labels": of_labels(0, 1, 2, -1),
    "labels as strings": of_labels("0", "1", "2", "3"),
    "labels as fractions": of_labels(0.5, 1, 2, 3),
    "labels that are not a number": of_labels(float("nan"), 1, 2, 3),
    "no label": of_labels(None, 1, 2, 3),
    "truths as labels": of_labels(True, False, True, True),
    "nested labels": of_labels([0], [1], [2], [3]),
    "ragged labels": of_labels([0], 1, 2, 3),
    "labels of 400 digits": of_labels(10**399, 1, 2, 3),
    "too few labels": of_labels(0),
    "images as fractions": batch(data=np.zeros((4, 3072))),
    "images of another size": batch(data=np.zeros((4, 1024), np.uint8)),
    "images as objects": batch(data=np.full((4, 3072), None)),
    "images as text": batch(data=["x"] * 4),
    "one image": batch(data=np.zeros(3072, np.uint8)),
    "a call of os.system": pickle.dumps(Calls(os.system, f"touch {MARKER}")),
    "a call of exec": pickle.dumps(Calls(exec, f"open({MARKER!r}, 'w')")),
    "a call of exec, protocol 0": pickle.dumps(Calls(exec, f"open({MARKER!r}, 'w')"), protocol=0),
    "a call of getattr": b"c__builtin__\ngetattr\n.",
    "a call of open": pickle.dumps(Calls(open, MARKER, "w")),
    "a call of numpy.load": b"cnumpy\nload\n(X\x01\x00\x00\x00xtR.",
    "a call hidden in the labels": batch([Calls(exec, f"open({MARKER!r}, 'w')")]),
    "an encoding to look up": b"c_codecs\nencode\n(X\x01\x00\x00\x00xX\x04\x00\x00\x00zlibtR.",
    "an object by its persistent name": b"\x80\x02X\x01\x00\x00\x00xQ.",
    "a registered extension": b"\x80\x02\x82\x01.",
    "lists nested 100,000 deep": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "tuples nested 100,000 deep": nested(b"\x85", 100_000, b")"),
    "labels nested 100,000 deep": batch()[:-1].replace(b"labels", b"others") + b"X\x06\x00\x00\x00labels"
    + b"]" * 100_000 + b"a" * 99_999 + b"s.",
    "a memo of 2 to the 31st": b"\x80\x02]r\xff\xff\xff\x7f.",
    "bytes of a declared 4 EiB": b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"x.",
    "bytes of a declared 4 GiB": b"\x80\x04\x8e" + (2**32).to_bytes(8, "little") + b"x.",
    "a number of 5,000 digits": b"I" + b"9" * 5000 + b"\n.",
    "an array of a declared 4 TiB": pickle.dumps(Calls(np._core.multiarray._reconstruct, np.ndarray, (2**42,), b"B")),
    "a frame of a declared 4 EiB": b"\x80\x04\x95" + (2**62).to_bytes(8, "little") + b"N.",
}  # fmt: skip


@pytest.mark.parametrize("script, case", in_turn(BATCHES))
def test_a_batch_that_is_none(refused, tmp_path, script, case):
    make_batches(tmp_path / "batches", data_batch_2=BATCHES[case])
    refused(*command(script, "batches"), names=["--data batches"])
    assert not (tmp_path / MARKER).exists()


def test_a_key_nested_a_million_deep_ends_no_process(tmp_path):
    """Hashing it recurses in C, without a limit: so in a process of its own."""
    content = b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s."
    make_batches(tmp_path / "batches", data_batch_2=content)
    run = [sys.executable, ROOT / "train_ab_split.py", "--data", "batches"]
    ended = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=15)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)


FOLDERS = {
    "a batch is missing": lambda folder: (folder / "data_batch_4").unlink(),
    "the test batch is missing": lambda folder: (folder / "test_batch").unlink(),
    "a batch is a folder": lambda folder: ((folder / "data_batch_4").unlink(), (folder / "data_batch_4").mkdir()),
    "a batch is a FIFO": lambda folder: ((folder / "data_batch_4").unlink(), os.mkfifo(folder / "data_batch_4")),
    "a batch links to itself": lambda folder: link(folder / "data_batch_4", "data_batch_4"),
    "a batch links to nothing": lambda folder: link(folder / "data_batch_4", "nothing"),
    "a batch links to a device": lambda folder: link(folder / "data_batch_4", "/dev/zero"),
    "a batch of 100 GB of holes": lambda folder: os.truncate(folder / "data_batch_4", 10**11),
    "no images in any batch": lambda folder: [
        path.write_bytes(batch([], np.zeros((0, 3072), np.uint8))) for path in folder.iterdir()
    ],
}


def link(path, target):
    path.unlink(missing_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize("script, case", in_turn(FOLDERS))
def test_a_folder_of_batches_that_can_not_be_used(refused, tmp_path, script, case):
    FOLDERS[case](make_batches(tmp_path / "batches"))
    refused(*command(script, "batches"), names=["--data batches"])


def member(kind, name="data_batch_2", target="", size=0, **headers):
    info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
    info.type, info.linkname, info.size, info.pax_headers = kind, target, size, headers
    return {"data_batch_2": (info, b"")}


def sparse(path):
    """A member with a hole of a TB, which is only declared."""
    info = tarfile.TarInfo("data_batch_2")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "data_batch_2"}
    info.pax_headers["GNU.sparse.realsize"] = str(10**12)
    make_archive(path, {"data_batch_2": (info, b"1\n0\n0\n".ljust(512, b"\0"))})


def huge(path):
    """A member of 40 GB of zeros: 40 MB on disk, and here one MB again and again."""
    info = tarfile.TarInfo("data_batch_2")
    info.size = 40_000 * MIB
    zeros = gzip.compress(bytes(MIB))
    with path.open("wb") as file:
        file.write(gzip.compress(info.tobuf()))
        for _ in range(40_000):
            file.write(zeros)


def truncate(path, share):
    os.truncate(make_archive(path), int(path.stat().st_size * share))


def damage(path, place):
    content = bytearray(make_archive(path).read_bytes())
    content[place] ^= 255
    path.write_bytes(content)


ARCHIVES = {
    "text": lambda path: path.write_text("hello"),
    "a web page": lambda path: path.write_text("<html>404</html>" * 100),
    "empty": lambda path: path.touch(),
    "zeros": lambda path: path.write_bytes(bytes(10_240)),
    "an empty gzip": lambda path: path.write_bytes(gzip.compress(b"")),
    "a gzip of text": lambda path: path.write_bytes(gzip.compress(b"hello" * 1000)),
    "cut off in the middle": lambda path: truncate(path, 0.5),
    "cut off in its gzip header": lambda path: os.truncate(make_archive(path), 5),
    "without its last 4 bytes": lambda path: os.truncate(make_archive(path), path.stat().st_size - 4),
    "damaged in the middle": lambda path: damage(path, 150),
    "damaged in its checksum": lambda path: damage(path, -6),
    "a tar cut off": lambda path: os.truncate(make_archive(path, mode="w:"), 14_000),
    "a FIFO": os.mkfifo,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": lambda path: path.mkdir(),
    "a batch that is a link": lambda path: make_archive(path, member(tarfile.SYMTYPE, target="data_batch_1")),
    "a batch that links out": lambda path: make_archive(path, member(tarfile.SYMTYPE, target="/etc/passwd")),
    "a batch that is a hard link": lambda path: make_archive(path, member(tarfile.LNKTYPE, target="nothing")),
    "a batch that is a FIFO": lambda path: make_archive(path, member(tarfile.FIFOTYPE)),
    "a batch that is a device": lambda path: make_archive(path, member(tarfile.CHRTYPE)),
    "a batch that is a folder": lambda path: make_archive(path, member(tarfile.DIRTYPE)),
    "a batch of a declared TB": lambda path: make_archive(path, member(tarfile.REGTYPE, size=10**12)),
    "a batch of a declared negative size": lambda path: make_archive(path, member(tarfile.REGTYPE, size=-512)),
    "a batch with a hole of a TB": sparse,
    "a batch of 40 GB of zeros": huge,
    "a batch that calls exec": lambda path: make_archive(path, {"data_batch_2": pickle.dumps(Calls(open, MARKER, "w"))}),
}


@pytest.mark.parametrize("script, case", in_turn(ARCHIVES))
def test_an_archive_that_can_not_be_used(refused, tmp_path, script, case):
    ARCHIVES[case](tmp_path / "x.tar.gz")
    refused(*command(script, "x.tar.gz"), names=["--data x.tar.gz"])


@pytest.mark.parametrize("prefix", ["../../", "/", "../x.tar.gz/", "a\x1b[2J\n/"], ids=["out", "root", "itself", "escape"])
def test_paths_in_an_archive_lead_nowhere(tmp_path, prefix):
    path = make_archive(tmp_path / "x.tar.gz", prefix=prefix)
    before = state(tmp_path)
    (images, labels), _ = cifar10.read(path)
    assert images.shape == (20, 32, 32, 3) and labels.tolist() == [0, 1, 2, 3] * 5
    assert state(tmp_path) == before


@pytest.mark.parametrize("mode", ["w:", "w:gz", "w:bz2", "w:xz"])
def test_a_whole_archive_is_read_however_it_is_packed(tmp_path, mode):
    (images, _), (test_images, _) = cifar10.read(make_archive(tmp_path / "x.tar", mode=mode))
    assert len(images) == 20 and len(test_images) == 4
