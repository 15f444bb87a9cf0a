"""CIFAR-10's python version, where it can't be read or is another file."""

import os

import pytest
from makers import command, in_turn, make_batches


def link(path, target):
    path.unlink(missing_ok=True)
    path.symlink_to(target)


FOLDERS = {
    "a batch is missing": lambda folder: (folder / "data_batch_4").unlink(),
    "the test batch is missing": lambda folder: (folder / "test_batch").unlink(),
    "a batch is a folder": lambda folder: ((folder / "data_batch_4").unlink(), (folder / "data_batch_4").mkdir()),
    "a batch is a FIFO": lambda folder: ((folder / "data_batch_4").unlink(), os.mkfifo(folder / "data_batch_4")),
    "a batch links to itself": lambda folder: link(folder / "data_batch_4", "data_batch_4"),
    "a batch links to nothing": lambda folder: link(folder / "data_batch_4", "nothing"),
    "a batch links to a device": lambda folder: link(folder / "data_batch_4", "/dev/zero"),
    "a batch of 100 GB of holes": lambda folder: os.truncate(folder / "data_batch_4", 10**11),
}


@pytest.mark.parametrize("script, case", in_turn(FOLDERS))
def test_a_folder_of_batches_that_can_not_be_used(refused, tmp_path, script, case):
    FOLDERS[case](make_batches(tmp_path / "batches"))
    refused(*command(script, "batches"), names=["--data batches"])


ARCHIVES = {
    "another file": lambda path: path.write_bytes(b"\x1f\x8b\x08" + bytes(1000)),
    "empty": lambda path: path.touch(),
    "a FIFO": os.mkfifo,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("script, case", in_turn(ARCHIVES))
def test_an_archive_that_can_not_be_used(refused, tmp_path, script, case):
    ARCHIVES[case](tmp_path / "x.tar.gz")
    refused(*command(script, "x.tar.gz"), names=["--data x.tar.gz"])
