import argparse
import hashlib
import io
import os
import pickle
import shutil
import tarfile
from collections import Counter

import cv2
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from common import cli
from common.data import cifar10, folders
from common.data import dataset as data


def load(source, tmp_path, **changes):
    flags = {"image_size": 32, "validation_split": 0.1, "max_train_samples": None, "seed": 0, "cache_dir": tmp_path / "cache"}
    return data.load(argparse.Namespace(data=str(source), dry_run=False, **flags | changes))


def in_order(part):
    """The images of a part as a sorted list of bytes: equal for equal sets of images."""
    return sorted((int(label), image.tobytes()) for image, label in zip(part.images, part.labels, strict=True))


def test_digits_are_scikit_learns_scans(tmp_path):
    digits = load(source="digits", tmp_path=tmp_path)
    parts = (digits.train, digits.val, digits.test)
    assert sum(map(len, parts)) == 1797
    images = np.concatenate([part.images for part in parts])
    assert images.shape == (1797, 32, 32, 3) and images.dtype == np.uint8
    scans = load_digits()
    expected = [
        cv2.resize(np.rint(scan * 255 / 16).astype(np.uint8), (32, 32), interpolation=cv2.INTER_CUBIC) for scan in scans.images
    ]
    assert sorted(image[..., 1].tobytes() for image in images) == sorted(image.tobytes() for image in expected)


def test_splits_are_disjoint_stratified_and_seeded(tmp_path):
    first, again, other = (load("digits", tmp_path, seed=seed) for seed in (0, 0, 1))
    whole = Counter(load_digits().target.tolist())
    for part, share in ((first.test, 0.2), (first.val, 0.8 * 0.1)):
        for label, count in Counter(part.labels.tolist()).items():
            assert abs(count - whole[label] * share) <= 1.5
    assert np.array_equal(first.train.images, again.train.images)
    assert not np.array_equal(first.val.images, other.val.images)
    assert np.array_equal(first.test.images, other.test.images)  # whatever the seed, test stays the same


def test_choose_is_stratified_and_nested():
    labels = np.repeat([0, 1, 2], [600, 300, 3])
    small, large = data.choose_samples(labels, 90, 0, "--n"), data.choose_samples(labels, 300, 0, "--n")
    assert set(small) <= set(large) and len(set(large)) == 300
    counts = np.bincount(labels[small])
    assert abs(counts[0] - 60) <= 1 and abs(counts[1] - 30) <= 1 and counts[2] == 1
    assert not np.array_equal(small, data.choose_samples(labels, 90, 1, "--n"))
    assert sorted(data.choose_samples(labels, 903, 0, "--n")) == list(range(903))
    for number in (2, 904):
        with pytest.raises(cli.InputError, match="--n"):
            data.choose_samples(labels, number, 0, "--n")


def test_max_train_samples_counts_train_and_val(tmp_path):
    digits = load("digits", tmp_path, max_train_samples=200)
    assert len(digits.train) + len(digits.val) == 200 and len(digits.test) == 360


def test_only_classes_relabels_in_order(tmp_path):
    digits = load("digits", tmp_path)
    some = data.only_classes(digits, [7, 2], "--classes-b")
    assert some.class_names == ("7", "2") and set(some.train.labels) == {0, 1}
    sevens = some.train.images[some.train.labels == 0]
    assert np.array_equal(sevens, digits.train.images[digits.train.labels == 7])


def test_classes_are_found_by_number_or_name():
    names = cifar10.CLASS_NAMES
    assert data.find_classes(["horse", "0", "CAT"], names, "--classes-b") == (7, 0, 3)
    assert data.find_classes(["7"], tuple("9876543210"), "--classes-b") == (2,)  # a name comes before a number
    for wrong in (["10"], ["tiger"], ["-1"], ["0", "airplane"], ["1.0"]):
        with pytest.raises(cli.InputError, match="--classes-b"):
            data.find_classes(wrong, names, "--classes-b")


def test_folder_reads_as_pillow_does(tmp_path, cifar10_subset):
    subset = load(cifar10_subset, tmp_path)
    assert subset.class_names == cifar10.CLASS_NAMES and not subset.is_cifar10
    assert (len(subset.train), len(subset.val), len(subset.test)) == (2250, 250, 500)
    expected = sorted(
        (label, np.asarray(Image.open(file).convert("RGB")).tobytes())
        for label, name in enumerate(cifar10.CLASS_NAMES)
        for file in (cifar10_subset / "test" / name).iterdir()
    )
    assert in_order(subset.test) == expected


def test_every_format_grey_and_alpha_come_as_rgb(tmp_path, capsys):
    red = np.zeros((20, 30, 3), np.uint8)
    red[..., 0] = 200
    folder = tmp_path / "own"
    for name in ("train/red", "train/grey", "test/red", "test/grey"):
        (folder / name).mkdir(parents=True)
    for part in ("train", "test"):
        for extension in ("png", "jpg", "webp", "bmp"):
            Image.fromarray(red).save(folder / part / "red" / f"1.{extension}")
        Image.fromarray(np.dstack([red, np.full((20, 30), 255, np.uint8)])).save(folder / part / "red" / "alpha.PNG")
        for number in range(4):
            Image.fromarray(np.full((32, 32), 40 * number, np.uint8)).save(folder / part / "grey" / f"{number}.png")
        (folder / part / "grey" / ".DS_Store").write_text("left by a desktop")
    own = load(folder, tmp_path, validation_split=0.3)
    assert own.class_names == ("grey", "red")
    reds = own.test.images[own.test.labels == 1]
    assert len(reds) == 5 and reds.shape[1:] == (32, 32, 3)
    assert np.abs(reds.astype(int) - [200, 0, 0]).max() <= 3  # JPEG and WebP lose a little
    greys = own.test.images[own.test.labels == 0]
    assert sorted(greys[:, 5, 5].tolist()) == [[0] * 3, [40] * 3, [80] * 3, [120] * 3]
    assert "10 images were resized to 32x32" in capsys.readouterr().out


def test_decoded_images_are_kept_until_a_file_changes(tmp_path, image_folder, capsys, monkeypatch):
    folder = image_folder({"cat": 20, "dog": 20})
    first = load(folder, tmp_path)
    read = folders.read_image
    monkeypatch.setattr(folders, "read_image", lambda path: pytest.fail("read again"))
    assert in_order(load(folder, tmp_path).train) == in_order(first.train)

    monkeypatch.setattr(folders, "read_image", read)
    kept = sorted((tmp_path / "cache" / "pictures").iterdir())
    kept[0].write_bytes(kept[0].read_bytes()[:500])
    kept[1].write_bytes(b"not a cache file")
    assert in_order(load(folder, tmp_path).train) == in_order(first.train)
    assert capsys.readouterr().out.count("is damaged: reading the images again") == 2

    changed = folder / "train" / "cat" / "000.png"
    Image.fromarray(np.full((32, 32, 3), 77, np.uint8)).save(changed)
    os.utime(changed, ns=(1, 1))
    after = load(folder, tmp_path)
    images = np.concatenate([after.train.images, after.val.images])
    assert (images == 77).all(axis=(1, 2, 3)).sum() == 1


def test_a_cache_that_cant_be_written_costs_only_time(tmp_path, image_folder, capsys):
    folder = image_folder({"cat": 20, "dog": 20})
    (tmp_path / "cache").touch()
    assert len(load(folder, tmp_path).test) == 40
    assert "could not be cached" in capsys.readouterr().out


def test_odd_names_of_folders_and_files(tmp_path, image_folder):
    folder = image_folder({"Katze ä": 20, "true": 20}, root="photos_archive")
    os.rename(folder / "train" / "true" / "000.png", os.fsencode(folder / "train" / "true") + b"/\xff.png")  # noqa: PTH104
    shutil.rmtree(folder / "test" / "true")  # a class may be missing from test, not from train
    own = load(folder, tmp_path)
    assert own.class_names == ("Katze ä", "true") and len(own.train) + len(own.val) == 40
    with pytest.raises(cli.InputError, match="--classes-b: test has no image of true"):
        data.only_classes(own, [1], "--classes-b")
    (folder / "test" / "true").mkdir()
    assert len(load(folder, tmp_path).test) == 20
    with pytest.raises(cli.InputError, match="no images"):  # as training images a folder called test is like any other
        load(folder / "test", tmp_path)


def test_a_folder_without_test_part_holds_out_a_fifth(tmp_path, image_folder, capsys):
    folder = image_folder({"cat": 50, "dog": 50}, parts=("train",))
    told = load(folder, tmp_path)
    assert len(told.test) == 20 and np.bincount(told.test.labels).tolist() == [10, 10]
    assert "no test part: 20 images" in capsys.readouterr().out
    assert len(load(folder / "train", tmp_path).test) == 20  # <class>/* without train/ as well


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
        (images, numbers), (test_images, _) = cifar10.read(source)
        assert np.array_equal(images, images) and numbers.tolist() == labels and len(test_images) == 20
        loaded = load(source, tmp_path)
        assert len(loaded.train) == 90 and loaded.class_names == cifar10.CLASS_NAMES


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


def test_damaged_archive_and_missing_batch(tmp_path):
    python_version(tmp_path / "batches")
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "batches", "batches")
    archive.write_bytes(archive.read_bytes()[:-3000])
    with pytest.raises(cli.InputError, match="damaged"):
        load(archive, tmp_path)
    (tmp_path / "batches" / "data_batch_4").unlink()
    with pytest.raises(cli.InputError, match="data_batch_4 is missing"):
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


def test_a_image_that_is_cut_off_or_none_is_named(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for extension in ("png", "jpg", "webp", "bmp"):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, {"jpg": "jpeg"}.get(extension, extension))
        path = tmp_path / f"image.{extension}"
        path.write_bytes(buffer.getvalue())
        assert folders.read_image(path).shape == (64, 64, 3)
        for share in (0, 0.01, 0.5, 0.95):
            path.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * share)])
            with pytest.raises(cli.InputError, match=f"image.{extension}"):
                folders.read_image(path)
    for extension in ("png", "jpg"):  # a telephone appends a film, a camera embeds a thumbnail
        buffer, thumbnail = io.BytesIO(), io.BytesIO()
        Image.fromarray(image[::8, ::8]).save(thumbnail, "jpeg")
        extra = {"comment": thumbnail.getvalue()} if extension == "jpg" else {}
        Image.fromarray(image).save(buffer, {"jpg": "jpeg"}.get(extension, extension), **extra)
        path = tmp_path / f"image.{extension}"
        path.write_bytes(buffer.getvalue() + bytes(20_000))
        assert folders.read_image(path).shape == (64, 64, 3)
        path.write_bytes(buffer.getvalue()[:-20])
        with pytest.raises(cli.InputError, match="cut off"):
            folders.read_image(path)
    (tmp_path / "text.png").write_text("hello")
    for name in ("text.png", "absent.png"):
        with pytest.raises(cli.InputError, match=name):
            folders.read_image(tmp_path / name)
