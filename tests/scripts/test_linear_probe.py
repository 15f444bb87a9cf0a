"""train_linear_probe.py on digits at 32x32: a small base, and scikit-learn's own probabilities."""

import keras
import numpy as np
from sklearn.linear_model import LogisticRegression

import compare
from common import files
from common.models.inference import split_model
from common.training.run import load_data


def test_a_probe_goes_the_way_of_every_head(finished, call):
    run = finished("linear_probe").folder
    results, rows = files.read_json(run / "results.json"), files.read_csv(run / "history.csv")
    best = sorted(rows, key=lambda row: (-row["val_accuracy"], row["val_loss"]))[0]
    assert (results["C"], results["best_epoch"], results["trained_weights"]) == (best["C"], best["epoch"], 50)
    assert {row["phase"] for row in rows} == {"logistic"} and {row["learning_rate"] for row in rows} == {None}
    assert results["extraction"]["images"] == 120 + 367  # no augmented views
    page = (run / "report.html").read_text()
    assert f"C {best['C']:g}, of {len(rows)}, is kept" in page and "Curves by C" in page and "weights of epoch" not in page
    code, out, err = call(compare.main, run, "--no-figure")
    assert code == 0, err
    assert f"[C {best['C']:g}]" in out and " - " in out.splitlines()[2]


def test_a_probe_is_sklearns_on_the_features_of_the_images(finished):
    run = finished("linear_probe")
    dataset = load_data(run.script.parse_args([*run.flags]), upscaled_later=True)
    model, results = keras.models.load_model(run.folder / "model.keras"), files.read_json(run.folder / "results.json")
    extractor, _ = split_model(model)
    train_features, test_features = (
        keras.ops.convert_to_numpy(extractor(part.images)).astype(np.float64) for part in (dataset.train, dataset.test)
    )
    deviation = np.sqrt(train_features.var(axis=0) + 0.01 * train_features.var(axis=0).mean())
    oracle = LogisticRegression(C=results["C"], tol=1e-9, max_iter=10_000)
    oracle.fit(train_features / deviation, dataset.train.labels)  # the intercept takes the mean
    expected = oracle.predict_proba(test_features / deviation)
    np.testing.assert_allclose(model.predict(dataset.test.images, verbose=0), expected, atol=2e-3)
