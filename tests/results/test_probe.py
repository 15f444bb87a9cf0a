"""What probes say of data: labels, near-duplicates and bases that were made up, and checked by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from common import files
from common.data.dataset import Samples
from common.results import probe

NAMES = ("cat", "dog", "fox")


def made(count, seed=0):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, 8, 8, 3), np.uint8)
    digests = np.array([bytes([seed, number]) for number in range(count)])
    return Samples(images, np.arange(count) % 3, digests, np.array([f"{seed}/{number}.png" for number in range(count)]))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "plots").mkdir()
    return tmp_path


def test_the_least_probable_label_comes_first(folder):
    samples = made(4)  # labels 0 1 2 0
    probabilities = np.array([[0.3, 0.6, 0.1], [0.2, 0.7, 0.1], [0.9, 0.08, 0.02], [0.2, 0.3, 0.5]])
    assert probe.report_label_issues(samples, probabilities, NAMES, folder) == 3
    rows = files.read_csv(folder / "label_issues.csv")
    assert [(row["image"], row["given"], row["likelier"]) for row in rows] == [
        ("0/2.png", "fox", "cat"),
        ("0/3.png", "cat", "fox"),
        ("0/0.png", "cat", "dog"),
    ]
    assert [row["self_confidence"] for row in rows] == [0.02, 0.2, 0.3] and rows[0]["probability"] == 0.9
    assert (folder / "plots" / "label_issues.png").is_file()


def test_near_duplicates_have_both_features_and_pixels_alike(folder):
    train, test = made(9), made(4, seed=1)
    random = np.random.default_rng(2)
    train_features, test_features = random.normal(5, 1, (9, 32)), random.normal(5, 1, (4, 32))
    for index, source in ((0, 7), (1, 3)):  # with features alike; only the first with its pixels, too
        test_features[index] = train_features[source] + random.normal(0, 0.05, 32)
    test.images[0] = np.clip(train.images[7].astype(int) + random.integers(-9, 10, (8, 8, 3)), 0, 255)
    test.images[2] = train.images[5]  # and one with pixels alone
    assert probe.report_duplicates(train, test, train_features, test_features, folder).tolist() == [True, False, False, False]
    (row,) = files.read_csv(folder / "duplicates.csv")
    assert (row["test"], row["train"], row["same_label"]) == ("1/0.png", "0/7.png", "False")  # labels 0 and 1
    assert row["cosine"] > 0.99 and row["pixel_correlation"] > 0.99


def scored(accuracies, right, val_accuracy):
    results = {"accuracies": accuracies, "val_accuracy": val_accuracy, "weights": "none", "input_size": 32}
    predictions = SimpleNamespace(predicted=np.array(right), samples=SimpleNamespace(labels=np.ones(len(right), int)))
    return SimpleNamespace(results=results | {"num_features": 4, "seconds_per_1000": 2.0}, predictions=predictions)


def test_bases_are_compared_on_the_same_images_and_the_one_that_val_chooses_stands_for_the_run(folder, capsys):
    run = SimpleNamespace(args=SimpleNamespace(draws=1), folder=folder)
    right = {"a": [1] * 30 + [0] * 10, "b": [1] * 20 + [0] * 20, "c": [1] * 29 + [0] * 11}
    models = {name: scored([np.mean(row)], row, val) for (name, row), val in zip(right.items(), (0.7, 0.6, 0.8), strict=True)}
    main, extra = probe.compare_bases(run, models)
    assert main == "c" and [row["base"] for row in extra["bases"]] == ["a", "c", "b"]
    p_values = [row["p_value"] for row in extra["bases"]]
    assert p_values == pytest.approx([None, 1.0, 2 * 2 / 2**10])  # 1 : 0 and 10 : 0 of McNemar's, the smaller one doubled
    assert "0.7500 [0.5981, 0.8581]" in capsys.readouterr().out  # Wilson's of 30 of 40
    assert (folder / "plots" / "accuracy_by_seconds.png").is_file()


def test_draws_are_compared_pairwise(folder):
    run = SimpleNamespace(args=SimpleNamespace(draws=3), folder=folder)
    first, second = [0.8, 0.7, 0.9], [0.7, 0.65, 0.72]
    rows = probe.compare_bases(run, {"a": scored(first, [1, 0], 0.5), "b": scored(second, [1, 0], 0.4)})[1]["bases"]
    assert rows[1]["p_value"] == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert (rows[0]["accuracy"], rows[0]["deviation"]) == pytest.approx((0.8, 0.1))
