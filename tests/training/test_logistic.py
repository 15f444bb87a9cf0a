"""Logistic regression on made features, against scikit-learn's own pipelines, put together by hand."""

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support import make_run

import train_linear_probe
from common import cli
from common.training import logistic


def made(num_classes, count=150, seed=0):
    """Features `(n, 12)` far from 0, of other scales, one of them constant, and labels with noise."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % num_classes
    features = random.normal(size=(count, 12)) + 1.5 * np.eye(12)[labels]
    features = features * 10 ** random.uniform(-1, 1, 12) + 7
    features[:, 5] = 7
    return features.astype(np.float32), labels


def test_c_and_the_out_of_fold_probabilities_are_those_of_a_cross_validation_by_hand(tmp_path):
    features, labels = made(3)
    features = features.astype(float)
    pipeline, probabilities, rows = logistic.fit(features, labels)
    losses = {}
    for C in logistic.GRID:  # noqa: N806
        by_hand = np.empty((150, 3))
        for train, held_out in StratifiedKFold(5, shuffle=True, random_state=0).split(features, labels):
            exact = make_pipeline(StandardScaler(), LogisticRegression(C=C, tol=1e-8, max_iter=10_000))
            by_hand[held_out] = exact.fit(features[train], labels[train]).predict_proba(features[held_out])
        losses[C] = log_loss(labels, by_hand)
        if C == pipeline[-1].C:
            np.testing.assert_allclose(probabilities, by_hand, atol=5e-3)
    assert min(losses, key=losses.get) == pipeline[-1].C
    assert [row["val_loss"] for row in rows] == pytest.approx([*losses.values()][: len(rows)], abs=1e-3)
    run = make_run(tmp_path)
    logistic.record(run, "base", rows, 150)
    assert run.summary("base", monitor="val_loss")["best_epoch"] == logistic.GRID.index(pipeline[-1].C) + 1 < len(rows)


@pytest.mark.parametrize(("num_classes", "class_weight"), [(2, None), (4, "balanced")])
def test_a_softmax_layer_on_raw_features_does_what_the_pipeline_does(num_classes, class_weight):
    features, labels = made(num_classes)
    rare = labels != 1
    rare[: num_classes * 10] = True
    features, labels = features[rare], labels[rare]
    pipeline, *_ = logistic.fit(features, labels, class_weight=class_weight or "none")
    head = train_linear_probe.build_head(12, num_classes)
    head.set_weights(logistic.folded(pipeline))
    exact = LogisticRegression(C=pipeline[-1].C, tol=1e-8, max_iter=10_000, class_weight=class_weight)
    expected = make_pipeline(StandardScaler(), exact).fit(features, labels).predict_proba(features)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(head(features)), expected, atol=5e-3)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda features, labels: labels.__setitem__(slice(None), [1, *[0] * 149]), cli.InputError),
        (lambda features, labels: labels.__setitem__(slice(None), 0), cli.InputError),
        (lambda features, labels: features.__setitem__(3, np.nan), cli.TrainingError),
    ],
)
def test_what_has_no_cross_validation_is_one_line(change, error):
    features, labels = made(2)
    change(features, labels)
    with pytest.raises(error):
        logistic.fit(features, labels)
