import argparse
import hashlib
from collections import Counter

import cv2
import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits
from support import load

import train_ab_split
from common import cli
from common.data import dataset as data


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


def place(image, word):
    """Where a hash puts an image between 0 and 1, by hand."""
    digest = hashlib.blake2b(image.tobytes(), digest_size=16).digest().rstrip(b"\0")
    return int.from_bytes(hashlib.blake2b(digest, digest_size=8, key=word).digest(), "big") / 2**64


def test_parts_are_drawn_by_the_pixels_and_val_by_the_seed(tmp_path):
    scans = load_digits()
    grey = np.rint(scans.images * 255 / 16).astype(np.uint8)
    images = np.repeat(grey[..., None], 3, axis=-1)
    first, other = (load("digits", tmp_path, image_size=8, seed=seed) for seed in (0, 7))
    test = {image.tobytes() for image in images if place(image, b"test") < 0.2}
    val = {image.tobytes() for image in images if place(image, b"val 7") < 0.1} - test
    assert [{image.tobytes() for image in part.images} for part in (other.test, other.val)] == [test, val]
    assert len(first.test) + len(first.val) + len(first.train) == 1797 and abs(len(first.val) - 143) < 3 * 11.4
    assert np.array_equal(first.test.images, other.test.images)  # whatever the seed, test stays the same
    whole = Counter(scans.target.tolist())
    for label, count in Counter(first.test.labels.tolist()).items():
        assert abs(count - whole[label] * 0.2) <= 3 * (whole[label] * 0.2 * 0.8) ** 0.5
    names = dict(zip((image.tobytes() for image in images), scans.target.tolist(), strict=True))
    assert all(names[image.tobytes()] == label for image, label in zip(first.train.images, first.train.labels, strict=True))


def parts_of(dataset):
    """The part of each image, by its pixels."""
    parts = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    return {image.tobytes(): name for name, part in parts.items() for image in part.images}


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: [file.rename(file.with_name(f"z{file.name}")) for file in sorted((folder / "dog").iterdir())[:9]],
        lambda folder: [cv2.imwrite(str(folder / "dog" / f"new{grey}.png"), np.full((8, 8, 3), grey)) for grey in range(9)],
        lambda folder: [
            file.rename(folder / "dog" / f"was a cat {file.name}") for file in list((folder / "cat").iterdir())[:3]
        ],
    ],
)
def test_an_image_keeps_its_part_whatever_becomes_of_the_others(tmp_path, image_folder, change):
    folder = image_folder({"cat": 60, "dog": 60}, parts=("train",))
    before = load(folder, tmp_path, validation_split=0.3)
    change(folder / "train")
    after = load(folder, tmp_path, validation_split=0.3)
    kept = parts_of(before).keys() & parts_of(after).keys()
    assert len(kept) > 100 and {image: parts_of(before)[image] for image in kept} == {
        image: parts_of(after)[image] for image in kept
    }
    assert before.holds_out_test and len(set(parts_of(before).values())) == 3


def test_the_same_images_are_the_same_data_whatever_their_files_are_called(tmp_path, image_folder):
    folder = image_folder({"cat": 30, "dog": 30}, parts=("train",))
    before = load(folder, tmp_path)
    for number, file in enumerate(sorted(folder.rglob("*.png"), reverse=True)):
        file.rename(file.with_name(f"{number:03}.renamed.png"))
    folder.rename(tmp_path / "elsewhere")
    after = load(tmp_path / "elsewhere", tmp_path)
    for part in ("train", "val", "test"):
        assert np.array_equal(getattr(before, part).images, getattr(after, part).images)
    larger = load(tmp_path / "elsewhere", tmp_path, image_size=48)  # a hash is that of the file's own pixels
    assert before.fingerprint() == after.fingerprint() == larger.fingerprint() and before.all_images == after.all_images
    next((tmp_path / "elsewhere" / "train" / "cat").iterdir()).unlink()
    assert load(tmp_path / "elsewhere", tmp_path).all_images != before.all_images


@pytest.mark.parametrize(
    "counts, flags, words",
    [
        ({"cat": 1, "dog": 40}, {"seed": 0}, ["cat has 1 of 41 images, all drawn as test", "add images"]),
        ({"cat": 2, "dog": 2}, {}, ["none is drawn as val", "--validation-split: of", "put some into val/"]),
    ],
)
def test_what_is_too_little_to_be_split_is_named(tmp_path, image_folder, counts, flags, words, monkeypatch):
    monkeypatch.setattr(data, "held_out", lambda digests, part, share: np.arange(len(digests)) < (part == "test"))
    monkeypatch.setattr(data.Samples, "order", lambda samples: np.arange(len(samples)))
    with pytest.raises(cli.InputError) as refused:
        load(image_folder(counts, parts=("train",)), tmp_path, **flags)
    assert all(word in str(refused.value) for word in words)


def test_copies_are_never_on_both_sides_of_a_split_that_is_drawn(tmp_path, monkeypatch, capsys):
    digits = load_digits()
    digits.images[900:] = digits.images[:897]
    monkeypatch.setattr("sklearn.datasets.load_digits", lambda: digits)
    dataset = load("digits", tmp_path)
    assert "pixel for pixel" not in capsys.readouterr().out
    assert len(parts_of(dataset)) == 900 and sum(map(len, (dataset.train, dataset.val, dataset.test))) == 1797
    assert not {*dataset.test.digests} & {*dataset.train.digests, *dataset.val.digests}


def test_choose_is_stratified_and_nested():
    labels = np.repeat([0, 1, 2], [600, 300, 3])
    small, large = data.choose_samples(labels, 90, 0), data.choose_samples(labels, 300, 0)
    assert set(small) <= set(large) and len(set(large)) == 300
    counts = np.bincount(labels[small])
    assert abs(counts[0] - 60) <= 1 and abs(counts[1] - 30) <= 1 and counts[2] == 1
    assert not np.array_equal(small, data.choose_samples(labels, 90, 1))
    assert sorted(data.choose_samples(labels, 903, 0)) == list(range(903))
    for number in (2, 904):
        with pytest.raises(ValueError, match="one per class"):
            data.choose_samples(labels, number, 0)


def test_val_is_part_of_the_samples_that_are_asked_for_or_empty(tmp_path):
    whole, split = load("digits", tmp_path, validation_split=0), load("digits", tmp_path)
    limited = load("digits", tmp_path, max_train_samples=200)
    assert len(limited.train) + len(limited.val) == 200 and len(limited.test) == len(split.test)
    assert len(whole.train) == len(split.train) + len(split.val) and np.array_equal(whole.test.images, split.test.images)
    for dataset in (whole, train_ab_split.only_classes(whole, [7, 0]), data.few(whole, 20)):
        assert len(dataset.train) and dataset.val.images.shape == (0, 32, 32, 3) and dataset.val.labels.shape == (0,)
    assert whole.fingerprint() != split.fingerprint()


def test_only_classes_relabels_in_order(tmp_path):
    digits = load("digits", tmp_path)
    some = train_ab_split.only_classes(digits, [7, 2])
    assert some.class_names == ("7", "2") and set(some.train.labels) == {0, 1}
    sevens = some.train.images[some.train.labels == 0]
    assert np.array_equal(sevens, digits.train.images[digits.train.labels == 7])


def test_classes_are_found_by_number_or_name():
    for words, expected in ((["horse", "0", "cat"], [0, 3, 7]), (["7", "horse"], [7])):
        classes_a, classes_b = train_ab_split.find_classes(train_ab_split.parse_args(["--classes-b", *words]))
        assert classes_b == expected and sorted([*classes_a, *classes_b]) == list(range(10))
    with pytest.raises(cli.InputError, match="--classes-b"):
        train_ab_split.find_classes(argparse.Namespace(data="cifar10", classes_b=["10"]))


def test_smoothed_labels_have_the_loss_of_keras():
    samples = data.Samples(np.zeros((3, 2, 2, 3), np.uint8), np.array([2, 0, 1]))
    predicted = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1]], "float32")
    assert np.array_equal(samples.one_hot(3).labels, keras.utils.to_categorical([2, 0, 1], 3))
    smoothed = samples.one_hot(3, smoothing=0.3).labels
    np.testing.assert_allclose(smoothed, [[0.1, 0.1, 0.8], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1]], atol=1e-7)
    assert smoothed.dtype == np.float32
    expected = keras.losses.CategoricalCrossentropy(label_smoothing=0.3)(samples.one_hot(3).labels, predicted)
    by_hand = -(smoothed * np.log(predicted)).sum(1).mean()
    assert by_hand == pytest.approx(float(expected), rel=1e-5)
