"""Scores of a model, and the map of what its last layer sees."""

import csv
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from common.cli import TrainingError
from common.data.dataset import Samples
from common.results import predictions
from common.results.finished_runs import Record

RANDOM = np.random.default_rng(0)


def test_a_map_keeps_apart_what_the_model_keeps_apart():
    labels = np.arange(60) % 3
    features = RANDOM.normal(size=(60, 4)).astype(np.float32) + 8 * np.eye(4)[labels]
    head = keras.Sequential([keras.Input((4,)), layers.Dense(4, kernel_initializer="identity"), layers.Dense(3)])
    for points in predictions.feature_maps(head, features).values():
        assert points.shape == (60, 2)
        distances = np.linalg.norm(points[:, None] - points, axis=-1) + np.diag(np.full(60, np.inf))
        assert (labels[distances.argmin(axis=1)] == labels).all()  # everyone's neighbour is of its class


def test_the_first_map_is_scikit_learns_pca_of_the_last_layers_input():
    from sklearn.decomposition import PCA

    images = RANDOM.integers(0, 256, (12, 4, 4, 3), np.uint8)
    model = keras.Sequential([keras.Input((4, 4, 3)), layers.Flatten(), layers.Dense(2, activation="softmax")])
    expected = PCA(2).fit_transform(images.reshape(12, -1).astype(float))
    ours = predictions.feature_maps(model, images)["PCA"]
    np.testing.assert_allclose(abs(ours), abs(expected), rtol=1e-6, atol=1e-6)  # a component's sign is free


def test_a_single_feature_has_a_map_too():
    model = keras.Sequential([keras.Input((1,)), layers.Dense(2, activation="softmax")])
    features = RANDOM.normal(size=(12, 1)).astype(np.float32)
    maps = predictions.feature_maps(model, features)
    np.testing.assert_allclose(abs(maps["PCA"][:, 0]), abs(features[:, 0] - features.mean()), rtol=1e-5)
    assert not maps["PCA"][:, 1].any() and maps["t-SNE"].shape == (12, 2)


def test_there_is_no_map_of_few_images_or_of_equal_ones():
    model = keras.Sequential([keras.Input((4, 4, 3)), layers.Flatten(), layers.Dense(2, activation="softmax")])
    assert predictions.feature_maps(model, np.zeros((20, 4, 4, 3), np.uint8)) == {}
    assert predictions.feature_maps(model, RANDOM.integers(0, 256, (9, 4, 4, 3), np.uint8)) == {}


def test_a_map_shows_2000_images_at_most():
    chosen = predictions.map_indices(5000)
    assert len(chosen) == len(set(chosen)) == 2000 and (np.diff(chosen) > 0).all() and chosen[-1] > 4000
    np.testing.assert_array_equal(predictions.map_indices(7), range(7))


def test_nan_is_refused():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, kernel_initializer=keras.initializers.Constant(np.nan))])
    with pytest.raises(TrainingError, match="nan"):
        predictions.score(model, np.ones((3, 2), np.float32), Samples(None, np.zeros(3, int)), ("cat", "dog"))


def test_the_mistakes_drawn_are_the_surest(tmp_path, monkeypatch):
    drawn = {}
    gallery = lambda self, chosen, path, title: drawn.update({path.name: chosen.tolist()})  # noqa: E731
    monkeypatch.setattr(predictions.Predictions, "_gallery", gallery)
    samples = Samples(RANDOM.integers(0, 256, (4, 4, 4, 3), np.uint8), np.array([0, 0, 1, 1]))
    probabilities = np.array([[0.4, 0.6], [0.1, 0.9], [0.1, 0.9], [0.7, 0.3]])  # wrong but for the third
    predictions.Predictions(samples, ("cat", "dog"), probabilities).draw(tmp_path, "t")
    assert drawn["mistakes.png"] == [1, 3, 0]
    assert sorted(drawn["examples.png"]) == [0, 1, 2, 3]
    assert {path.name for path in tmp_path.iterdir()} == {"confusion_matrix.png", "reliability.png"}


def test_top_5_is_told_where_it_says_something():
    labels = np.arange(12)
    probabilities = np.eye(12)[::-1] * 0.5 + np.eye(12) * 0.4 + 0.01
    many = predictions.Predictions(Samples(np.zeros((12, 4, 4, 3), np.uint8), labels), tuple("abcdefghijkl"), probabilities)
    assert many.results()["test_top5_accuracy"] == 1
    few = predictions.Predictions(Samples(np.zeros((2, 4, 4, 3), np.uint8), labels[:2]), tuple("ab"), np.eye(2))
    assert "test_top5_accuracy" not in few.results()


def test_the_tables_hold_no_formula_and_lead_to_their_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ("=cmd|' /C calc'!A0", "-1", "'-1", "@a", "plain")
    paths = ("=x.png", "-x/+y.png", "@x.png", str(tmp_path / "=x.png"), "x.png")
    for path in map(Path, paths):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    labels = np.arange(5)
    probabilities = np.eye(5, dtype=np.float32)[[0, 1, 2, 4, 3]]
    predictions.Predictions(Samples(np.zeros((5, 2)), labels), names, probabilities, paths).write_tables(tmp_path)
    for name in ("predictions.csv", "confusion_matrix.csv"):
        with Path(name).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        cells = [cell for row in rows for cell in (*row, *row.values())]
        assert not [cell for cell in cells if cell[0] in "=+-@\t\r"] and len(rows) == len(set(map(str, rows))) == 5, name
        assert all(Path(row["path"]).samefile(path) for row, path in zip(rows, paths, strict=True) if "path" in row)
    record = Record(tmp_path, None, {}, {}, {"test_size": 5, "test_accuracy": 0.6}, [])
    assert record.predictions() == ([*names], [names[index] for index in (0, 1, 2, 4, 3)])
    Path("predictions.csv").write_text("true,predicted\n" + "-1,-1\n" * 3 + "-1,=a\n" * 2)  # of an earlier version
    assert record.predictions() == (["-1"] * 5, ["-1"] * 3 + ["=a"] * 2)
