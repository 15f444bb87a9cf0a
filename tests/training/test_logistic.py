"""Logistic regression on made features, against scikit-learn's own pipelines."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from support import make_run

import train_linear_probe
from common import cli
from common.data.dataset import Dataset, Samples
from common.training import logistic

GRID = (1e-3, 1e-1, 10.0, 1000.0)


def made(num_classes, seed=0):
    """A data set of 12 features that are not standardised: far from 0, of other scales, one constant; labels with noise."""
    random = np.random.default_rng(seed)
    mixture, scales = random.normal(size=(12, 12)), 10 ** random.uniform(-1, 1, 12)
    parts = []
    for count in (150, 60, 20):
        labels = np.arange(count) % num_classes
        features = (random.normal(size=(count, 12)) + 1.5 * np.eye(12)[labels]) @ mixture * scales + 3 * scales
        features[:, 5] = 7
        parts.append(Samples(features.astype(np.float32), labels))
    return Dataset("made", tuple(map(str, range(num_classes))), *parts)


def scaling(features):
    """What the head's features are made of: centred, over the deviation with a floor of a tenth of the typical one."""
    mean, variance = features.mean(axis=0), features.var(axis=0)
    return FunctionTransformer(lambda rows: (rows - mean) / np.sqrt(variance + 0.1**2 * variance.mean()))


def pipeline(dataset, C):  # noqa: N803
    exact, features = LogisticRegression(C=C, tol=1e-9, max_iter=100_000), dataset.train.images.astype(np.float64)
    return make_pipeline(scaling(features), exact).fit(features, dataset.train.labels)


def test_balanced_classes_are_scikit_learns():
    dataset = made(4)
    rare = dataset.train.take(np.r_[: len(dataset.train) : 4, 1:40:4, 2:20:4, 3:8:4])
    exact = LogisticRegression(C=0.1, tol=1e-9, max_iter=100_000, class_weight="balanced")
    expected = make_pipeline(scaling(rare.images.astype(np.float64)), exact).fit(rare.images, rare.labels)
    ((_, weights),) = logistic.fits(rare, dataset.val, 4, [0.1], "balanced")
    head = train_linear_probe.build_head(12, 4)
    head.set_weights(weights)
    probabilities = expected.predict_proba(dataset.test.images.astype(np.float64))
    np.testing.assert_allclose(head.predict(dataset.test.images, verbose=0), probabilities, atol=5e-3)
    ((_, plain),) = logistic.fits(rare, dataset.val, 4, [0.1])
    assert abs(plain[1] - weights[1]).max() > 0.1


def fit(tmp_path, dataset, monkeypatch, grid=GRID):
    monkeypatch.setattr(logistic, "GRID", grid)
    monkeypatch.setattr(logistic, "CHUNK", 64)
    run, head = make_run(tmp_path), train_linear_probe.build_head(12, len(dataset.class_names))
    return run, head, logistic.fit(run, head, dataset, len(dataset.class_names))


@pytest.mark.parametrize("num_classes", [2, 4])
def test_each_c_is_its_exact_optimum_and_val_chooses(tmp_path, monkeypatch, capsys, num_classes):
    dataset = made(num_classes)
    run, head, chosen = fit(tmp_path, dataset, monkeypatch)
    rows, by_hand = run.history.rows("logistic"), []
    for number, (C, row) in enumerate(zip(GRID, rows, strict=True), start=1):  # noqa: N806
        fitted = pipeline(dataset, C)
        scores = {}
        for name, part in (("", dataset.train), ("val_", dataset.val)):
            probabilities = fitted.predict_proba(part.images.astype(np.float64))
            scores |= {f"{name}accuracy": (probabilities.argmax(1) == part.labels).mean()}
            scores |= {f"{name}loss": log_loss(part.labels, probabilities)}
        assert {name: row[name] for name in scores} == pytest.approx(scores, abs=2e-3)
        assert (row["epoch"], row["C"]) == (number, C) and row["iterations"] > 0
        by_hand.append((-round(scores["val_accuracy"], 9), scores["val_loss"], C))
    best = sorted(by_hand)[0][2]
    assert chosen == {"C": best} and best != GRID[0]
    expected = pipeline(dataset, best).predict_proba(dataset.test.images.astype(np.float64))
    np.testing.assert_allclose(head.predict(dataset.test.images, verbose=0), expected, atol=5e-3)
    summary = run.summary("logistic")
    assert summary["epochs"] == 4 and summary["best_epoch"] == GRID.index(best) + 1 and not run.stopped_early("logistic")
    told = capsys.readouterr().out
    assert told.count("iterations") == 4 and "not converged" not in told


def test_the_grid_ends_when_neither_val_loss_nor_val_accuracy_gets_better(tmp_path, monkeypatch):
    dataset, grid = made(4), (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0)
    dataset = replace(dataset, train=dataset.train.take(np.arange(20)))  # few enough to overfit
    scores = []
    for C in grid:  # noqa: N806
        probabilities = pipeline(dataset, C).predict_proba(dataset.val.images)
        scores.append((log_loss(dataset.val.labels, probabilities), -(probabilities.argmax(1) == dataset.val.labels).mean()))
    worse = (n for n in range(1, len(grid)) if all(scores[n][k] >= min(score[k] for score in scores[:n]) for k in (0, 1)))
    expected = 1 + next(worse)
    run, _, chosen = fit(tmp_path, dataset, monkeypatch, grid)
    assert len(run.history.rows("logistic")) == expected < len(grid) and not run.stopped_early("logistic")
    assert chosen["C"] in grid[:expected]


def test_a_feature_that_hardly_varies_in_train_does_not_decide_in_val():
    """A unit that is nearly dead in train but not for one val image: scaled to deviation 1 it would be 1,000,000 there."""
    dataset = made(4)
    for part in (dataset.train, dataset.val, dataset.test):
        part.images[:, 5] = 1e-6 * np.resize((-1, 1), len(part))
    plain = [row for row, _ in logistic.fits(dataset.train, dataset.val, 4, GRID)]
    dataset.val.images[0, 5] = 1
    rows = [row for row, _ in logistic.fits(dataset.train, dataset.val, 4, GRID)]
    assert [row["val_loss"] for row in rows] == pytest.approx([row["val_loss"] for row in plain], abs=1e-2)


def interrupted_in(monkeypatch, number):
    calls, fit_one = [], LogisticRegression.fit

    def fit(self, *args):
        calls.append(args)
        if len(calls) == number:
            raise KeyboardInterrupt
        return fit_one(self, *args)

    monkeypatch.setattr(LogisticRegression, "fit", fit)


def test_ctrl_c_leaves_the_best_so_far(tmp_path, monkeypatch):
    dataset = made(4)
    _, whole, _ = fit(tmp_path / "whole", dataset, monkeypatch, GRID[:2])
    interrupted_in(monkeypatch, 3)
    run, head, _ = fit(tmp_path / "interrupted", dataset, monkeypatch)
    assert run.status == "interrupted" and len(run.history.rows("logistic")) == 2
    assert all(map(np.array_equal, head.get_weights(), whole.get_weights()))


def test_a_fit_that_does_not_converge_is_said_in_its_line(tmp_path, monkeypatch, capsys, recwarn):
    monkeypatch.setattr(logistic, "MAX_ITERATIONS", 2)
    fit(tmp_path, made(4), monkeypatch)
    assert capsys.readouterr().out.count("not converged\n") == 4 and not recwarn.list


def test_what_cannot_be_fitted_is_one_line(tmp_path, monkeypatch):
    dataset = made(4)
    dataset.train.images[3, 2] = np.inf
    with pytest.raises(cli.TrainingError, match="not all finite"):
        fit(tmp_path, dataset, monkeypatch)
    dataset = made(4)
    without = dataset.train.take(np.flatnonzero(dataset.train.labels != 2))
    with pytest.raises(cli.InputError, match="train images of each"):
        fit(tmp_path, Dataset("three", dataset.class_names, without, dataset.val, dataset.test), monkeypatch)
