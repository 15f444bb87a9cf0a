import hashlib
import pickle
import socket
import tarfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from contract import check_line, little_memory
from makers import batch, make_batches
from support import load

from common import cli
from common.data import CIFAR10, CIFAR100, cifar, downloads

MARKER = "executed"


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A small archive whose hash is the one that is asked for."""
    make_batches(tmp_path / "unpacked")
    path = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(tmp_path / "unpacked", "cifar-10-batches-py")
    change(monkeypatch, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def change(monkeypatch, word="cifar10", **changes):
    """Another origin, or another hash."""
    monkeypatch.setitem(cifar.VERSIONS, word, replace(cifar.VERSIONS[word], **changes))


def test_a_folder_is_read_in_the_order_of_its_batches(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 32, 32, 3), np.uint8)
    pickles = [batch([n, 0, 9, n], planes.transpose(0, 3, 1, 2).reshape(4, -1), n=n) for n, planes in enumerate(images)]
    folder = make_batches(tmp_path / "batches", **dict(zip(cifar.VERSIONS["cifar10"].files, pickles, strict=True)))
    (train, labels), (test, test_labels) = cifar.read(folder)
    assert np.array_equal(train, images[:5].reshape(20, 32, 32, 3)) and np.array_equal(test, images[5])
    assert labels.tolist() == [label for n in range(5) for label in (n, 0, 9, n)] and test_labels.tolist() == [5, 0, 9, 5]
    assert train.flags.c_contiguous and (train.dtype, labels.dtype) == (np.uint8, np.int64)


def test_an_archive_is_read_as_its_folder_if_it_has_the_published_hash(tmp_path, archive):
    for folder, packed in zip(cifar.read(tmp_path / "unpacked"), cifar.read(archive), strict=True):
        assert all(map(np.array_equal, folder, packed))
    archive.write_bytes(archive.read_bytes() + b"\0")
    with pytest.raises(cli.InputError, match=f"--data {archive}: it has not the SHA-256.*give its unpacked folder"):
        load(archive, tmp_path)


def test_an_archive_is_hashed_once_until_it_changes(tmp_path, archive, monkeypatch):
    hashed, file_digest = [], hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, name: hashed.append(name) or file_digest(file, name))
    for _ in range(2):
        load(archive, tmp_path, validation_split=0)
    assert hashed == ["sha256"]
    archive.write_bytes(archive.read_bytes() + b"\0")
    with pytest.raises(cli.InputError, match="it has not the SHA-256"):
        load(archive, tmp_path)
    assert hashed == ["sha256"] * 2


def test_photos_beside_a_file_called_train_are_no_cifar100(tmp_path, image_folder):
    folder = image_folder({"cat": 20, "dog": 20}, parts=("",))
    (folder / "train").write_text("a list")
    assert cifar.find(str(folder)) is None and load(folder, tmp_path).class_names == ("cat", "dog")


def test_classes_are_in_the_order_of_their_labels():
    names = "airplane automobile bird cat deer dog frog horse ship truck"  # batches.meta, and the data set's page
    assert tuple(names.split()) == CIFAR10
    assert tuple(sorted(set(CIFAR100))) == CIFAR100 and len(CIFAR100) == 100  # fine labels are in alphabetical order


@pytest.mark.parametrize("word", cifar.VERSIONS)
def test_the_same_images_from_any_source_are_the_same_data(tmp_path, monkeypatch, word):
    """The word, the archive, its folder, and PNGs with names and an order of their own: equal to the bit."""
    version, random = cifar.VERSIONS[word], np.random.default_rng(0)
    folder, photos = tmp_path / "unpacked", tmp_path / "photos"
    folder.mkdir()
    for name in version.files:
        labels = random.permutation(np.arange(300) % len(version.class_names))
        pixels = random.integers(0, 256, (300, 32, 32, 3), np.uint8)
        others = {"coarse_labels": [0] * 300} if word == "cifar100" else {}
        named = {version.labels.decode(): labels.tolist(), **others}
        (folder / name).write_bytes(batch(data=pixels.transpose(0, 3, 1, 2).reshape(300, -1), **named))
        for place in random.permutation(300):
            part = "test" if name == version.files[-1] else "train"
            path = photos / part / version.class_names[labels[place]] / f"{random.integers(2**40)}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), pixels[place][..., ::-1])
    archive = tmp_path / "any.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, version.folder)
    (folder / "meta").touch()  # by which a folder is known for CIFAR-100's
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    change(monkeypatch, word, sha256=sha256, origin=archive.as_uri())
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    first, *others = (load(source, tmp_path) for source in (word, archive, folder, photos))
    for other in others:
        assert (other.all_images, other.fingerprint()) == (first.all_images, first.fingerprint())
        for name in ("train", "val", "test"):
            one, same = getattr(first, name), getattr(other, name)
            assert all(map(np.array_equal, (one.images, one.labels, one.digests), (same.images, same.labels, same.digests)))
    assert first.class_names == tuple(sorted(photo.name for photo in (photos / "train").iterdir()))


class Calls:
    """Pickled, it asks for a function to be called."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


EXEC = Calls(exec, f"open({MARKER!r}, 'w')")
DAMAGED = {  # what data_batch_2 holds instead
    "half a pickle": batch()[: len(batch()) // 2],
    "no labels": pickle.dumps({b"data": np.zeros((4, 3072), np.uint8)}, 3),
    "labels of 100 classes": batch([0, 1, 2, 99]),
    "negative labels": batch([0, 1, 2, -1]),
    "too few labels": batch([0]),
    "images of another size": batch(data=np.zeros((4, 1024), np.uint8)),
    "a call of exec": pickle.dumps(EXEC),
    "a call of numpy.load": b"cnumpy\nload\n(X\x01\x00\x00\x00xtR.",
    "a call hidden in the data": batch(data=EXEC),
    "an object by its persistent name": b"\x80\x02X\x01\x00\x00\x00xQ.",
    "lists nested 100,000 deep": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "bytes of a declared 4 EiB": b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"x.",
    "an array of a declared 4 TiB": pickle.dumps(Calls(np._core.multiarray._reconstruct, np.ndarray, (2**42,), b"B"), 3),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_batch_that_is_none_is_refused_and_nothing_in_it_executed(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    if case == "a call of exec":  # which would have run
        pickle.loads(DAMAGED[case])
        Path(MARKER).unlink()
    folder = make_batches(tmp_path / "batches", data_batch_2=DAMAGED[case])
    with pytest.raises(ValueError) as refused, little_memory():
        cifar.read(folder)
    check_line(f"{cli.one_line(refused.value)}\n", "not CIFAR-10's python version")
    assert not (tmp_path / MARKER).exists()


def test_download_goes_through_keras_and_keeps_a_users_file(tmp_path, archive, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    cached = tmp_path / "keras" / "datasets" / cifar.VERSIONS["cifar10"].keras_name
    cached.parent.mkdir(parents=True)
    cached.write_text("a user's file")

    change(monkeypatch, origin=(tmp_path / "absent.tar.gz").as_uri())
    with pytest.raises(cli.InputError, match="^--data cifar10: the download failed.*digits.*a path") as failed:
        load("cifar10", tmp_path)
    assert str(cached) in str(failed.value) and "\n" not in str(failed.value)

    change(monkeypatch, origin=archive.as_uri())
    assert len(load("cifar10", tmp_path, validation_split=0).test) == 4
    assert cached.read_bytes() == archive.read_bytes()
    change(monkeypatch, origin="file:///nowhere")  # from now on it is there
    assert len(load("cifar10", tmp_path, validation_split=0).test) == 4


def test_a_server_that_never_answers_is_given_up_and_later_connections_are_as_before(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    seen = []

    def get_file(*args, **options):
        seen.append(socket.getdefaulttimeout())
        raise TimeoutError

    monkeypatch.setattr("keras.utils.get_file", get_file)
    with pytest.raises(TimeoutError):
        downloads.fetch("datasets", "x", "https://example.com/x", "0" * 64)
    assert seen == [20] and socket.getdefaulttimeout() is None
