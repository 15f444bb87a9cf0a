"""train_linear_probe.py on digits at 32x32: a small base, and scikit-learn's own probabilities."""

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from support import check_evaluation, small_backbone

import compare
import train_linear_probe as script
from common import files
from common.models import backbones
from common.models.inference import split_model
from common.training.run import load_data

SMALL = ("--data", "digits", "--base", "efficientnetb7", "--weights", "none", "--image-size", "32")
SMALL += ("--max-train-samples", "120")


def train(folder):
    """Run the script; returns its run folder."""
    before = set((folder / "runs").glob("*/*"))
    script.main([*SMALL, "--output-dir", str(folder / "runs"), "--cache-dir", str(folder / "cache")])
    (run,) = set((folder / "runs").glob("*/*")) - before
    return run


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    return tmp_path_factory.mktemp("probe")


@pytest.fixture(scope="module")
def run(workplace):
    """A finished run on a small base."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(backbones, "build", small_backbone)
        return train(workplace)


def test_a_probe_goes_the_way_of_every_head(run, workplace, call):
    results, rows = files.read_json(run / "results.json"), files.read_csv(run / "history.csv")
    best = sorted(rows, key=lambda row: (-row["val_accuracy"], row["val_loss"]))[0]
    assert (results["C"], results["best_epoch"]) == (best["C"], best["epoch"])
    assert results["val_loss"] == best["val_loss"] and results["status"] == "finished" and results["trained_weights"] == 50
    assert {row["phase"] for row in rows} == {"logistic"} and {row["learning_rate"] for row in rows} == {None}
    assert results["extraction"]["images"] == 120 + 367  # no augmented views
    check_evaluation(run, workplace / "cache")
    names = {path.name for path in run.rglob("*.*")}
    assert {"model.keras", "curves.png", "pipeline.png"} <= names and "learning_rate.png" not in names
    page = (run / "report.html").read_text()
    assert f"C {best['C']:g}, of {len(rows)}, is kept" in page and "Curves by C" in page and "weights of epoch" not in page
    code, out, err = call(compare.main, run, "--no-figure")
    assert code == 0, err
    assert f"[C {best['C']:g}]" in out and " - " in out.splitlines()[2]


def test_a_probe_is_sklearns_on_the_features_of_the_images(run, workplace):
    dataset = load_data(script.parse_args(SMALL), upscaled_later=True)
    model, results = keras.models.load_model(run / "model.keras"), files.read_json(run / "results.json")
    extractor, _ = split_model(model)
    train_features, test_features = (
        keras.ops.convert_to_numpy(extractor(part.images)).astype(np.float64) for part in (dataset.train, dataset.test)
    )
    deviation = np.sqrt(train_features.var(axis=0) + 0.01 * train_features.var(axis=0).mean())
    oracle = LogisticRegression(C=results["C"], tol=1e-9, max_iter=10_000)
    oracle.fit(train_features / deviation, dataset.train.labels)  # the intercept takes the mean
    expected = oracle.predict_proba(test_features / deviation)
    np.testing.assert_allclose(model.predict(dataset.test.images, verbose=0), expected, atol=2e-3)
