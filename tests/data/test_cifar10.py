import hashlib
import pickle
import socket
import tarfile

import numpy as np
import pytest
from images import load

from common import cli
from common.data import cifar10, downloads


def python_version(folder, num_each=20, as_python_2=True):
    """A small CIFAR-10 in its python version; returns its train images and labels in order."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    images, labels = [], []
    for name in cifar10.TRAIN_FILES + cifar10.TEST_FILES:
        some = random.integers(0, 256, (num_each, 32, 32, 3), np.uint8)
        some_labels = [int(label) for label in np.arange(num_each) % 10]
        planes = some.transpose(0, 3, 1, 2).reshape(num_each, -1)
        batch = {"data": planes, "labels": some_labels, "filenames": ["x.png"] * num_each, "batch_label": name}
        if as_python_2:
            batch = {key.encode(): value for key, value in batch.items()}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
        if name in cifar10.TRAIN_FILES:
            images.append(some)
            labels += some_labels
    return np.concatenate(images), labels


@pytest.mark.parametrize("as_python_2", [True, False])
def test_python_version_folder_and_archive(tmp_path, as_python_2):
    folder = tmp_path / "cifar-10-batches-py"
    images, labels = python_version(folder, as_python_2=as_python_2)
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    for source in (folder, archive):
        (pixels, numbers), (test_images, _) = cifar10.read(source)
        assert np.array_equal(pixels, images) and numbers.tolist() == labels and len(test_images) == 20
        loaded = load(source, tmp_path)
        assert len(loaded.train) + len(loaded.val) == 100 and loaded.class_names == cifar10.CLASS_NAMES


def test_classes_are_in_the_order_of_their_labels():
    names = "airplane automobile bird cat deer dog frog horse ship truck"  # batches.meta, and the data set's page
    assert tuple(names.split()) == cifar10.CLASS_NAMES


class Attack:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('executed').touch()",))


NOT_A_BATCH = [
    pickle.dumps(Attack()),
    pickle.dumps({"data": 1, "labels": [0]}),
    pickle.dumps([]),
    pickle.dumps(5),
    b"",
    b"text",
]


@pytest.mark.parametrize("content", NOT_A_BATCH)
def test_python_version_executes_nothing_and_says_what_is_wrong(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    python_version(tmp_path / "batches")
    (tmp_path / "batches" / "data_batch_3").write_bytes(content)
    with pytest.raises(cli.InputError, match="python version"):
        load(tmp_path / "batches", tmp_path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("kind", [set, frozenset])
def test_a_set_is_refused_since_its_items_would_be_hashed(tmp_path, kind):
    python_version(tmp_path / "batches")
    batch = pickle.loads((tmp_path / "batches" / "data_batch_2").read_bytes())
    (tmp_path / "batches" / "data_batch_2").write_bytes(pickle.dumps(batch | {"more": kind([1, 2])}, protocol=4))
    with pytest.raises(cli.InputError, match="asks for builtins.set, which is not data"):
        cifar10.read(tmp_path / "batches")


def test_damaged_archive_and_missing_batch(tmp_path):
    python_version(tmp_path / "batches")
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "batches", "batches")
    archive.write_bytes(archive.read_bytes()[:-3000])
    with pytest.raises(cli.InputError, match="damaged"):
        load(archive, tmp_path)
    (tmp_path / "batches" / "data_batch_5").unlink()
    with pytest.raises(cli.InputError, match="data_batch_5 is missing"):
        load(tmp_path / "batches", tmp_path)


def test_download_goes_through_keras_and_keeps_a_users_file(tmp_path, monkeypatch):
    python_version(tmp_path / "cifar-10-batches-py")
    archive = tmp_path / "upstream.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "cifar-10-batches-py", "cifar-10-batches-py")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(cifar10, "SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    cached = tmp_path / "keras" / "datasets" / cifar10.KERAS_NAME
    cached.parent.mkdir(parents=True)
    cached.write_text("a user's file")

    monkeypatch.setattr(cifar10, "ORIGIN", (tmp_path / "absent.tar.gz").as_uri())
    with pytest.raises(cli.InputError, match="--data digits.*--data PATH") as failed:
        load("cifar10", tmp_path)
    assert str(cached) in str(failed.value) and "\n" not in str(failed.value)
    assert cached.read_text() == "a user's file"

    wrong = tmp_path / "wrong.tar.gz"
    wrong.write_text("not the archive")
    monkeypatch.setattr(cifar10, "ORIGIN", wrong.as_uri())
    with pytest.raises(cli.InputError, match="hash"):
        load("cifar10", tmp_path)
    assert [file.name for file in cached.parent.iterdir()] == [cached.name]

    monkeypatch.setattr(cifar10, "ORIGIN", archive.as_uri())
    assert len(load("cifar10", tmp_path).test) == 20
    assert cached.read_bytes() == archive.read_bytes()
    monkeypatch.setattr(cifar10, "ORIGIN", "file:///nowhere")  # from now on it is there
    assert len(load("cifar10", tmp_path).test) == 20


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
