import re
from collections import Counter

import cv2
import keras
import numpy as np
import pytest
from images import load
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from common import cli
from common.data import cifar10
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


def test_splits_are_disjoint_stratified_and_seeded(tmp_path):
    first, again, other = (load("digits", tmp_path, seed=seed) for seed in (0, 0, 1))
    whole = Counter(load_digits().target.tolist())
    for part, share in ((first.test, 0.2), (first.val, 0.8 * 0.1)):
        for label, count in Counter(part.labels.tolist()).items():
            assert abs(count - whole[label] * share) <= 1.5
    assert np.array_equal(first.train.images, again.train.images)
    assert not np.array_equal(first.val.images, other.val.images)
    assert np.array_equal(first.test.images, other.test.images)  # whatever the seed, test stays the same


def held_out(labels, share, seed):
    """The indices that scikit-learn keeps and those that it holds out."""
    return train_test_split(np.arange(len(labels)), test_size=share, stratify=labels, random_state=seed)


def test_the_digits_held_out_never_change(tmp_path):
    scans = load_digits()
    rest, test = held_out(scans.target, 0.2, 0)
    assert test[:6].tolist() == [1496, 188, 705, 820, 413, 744] and len(test) == 360  # in every run published so far
    train, val = held_out(scans.target[rest], 0.1, 7)
    grey = np.rint(scans.images * 255 / 16)
    digits = load("digits", tmp_path, image_size=8, seed=7)
    for part, indices in ((digits.test, test), (digits.val, rest[val]), (digits.train, rest[train])):
        assert np.array_equal(part.images[..., 0], grey[indices]) and np.array_equal(part.labels, scans.target[indices])
    assert digits.class_names == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")


def test_copies_in_a_test_part_are_told_of_for_every_kind_of_data(tmp_path, monkeypatch, capsys):
    load("digits", tmp_path)
    assert "pixel for pixel" not in capsys.readouterr().out  # all 1,797 differ
    digits = load_digits()
    digits.images[188], digits.images[705] = digits.images[[0, 1]]  # two of test, and two that are not
    monkeypatch.setattr("sklearn.datasets.load_digits", lambda: digits)
    load("digits", tmp_path)
    line = re.search(r"Test images that are also in .*, pixel for pixel. They may make .*", capsys.readouterr().out)[0]
    assert sum(map(int, re.findall(r"(?:train|val): (\d+) of 360", line))) == 2


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


def test_without_a_split_all_are_trained_on_and_val_is_empty(tmp_path, capsys):
    whole, split = load("digits", tmp_path, validation_split=0), load("digits", tmp_path)
    assert len(whole.train) == len(split.train) + len(split.val) and np.array_equal(whole.test.images, split.test.images)
    for dataset in (whole, data.only_classes(whole, (7, 0), "--x"), data.few(whole, 20)):
        assert len(dataset.train) and dataset.val.images.shape == (0, 32, 32, 3) and dataset.val.labels.shape == (0,)
    assert whole.fingerprint() != split.fingerprint()


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
