"""The exact head: multinomial logistic regression on frozen features, the linear probe of the literature.

Its loss is convex, so it has one optimum, which says what training a softmax layer by gradient descent leaves on the table.
scikit-learn fits it (L-BFGS, float64) to standardised features. Stratified cross-validation on all training images chooses C,
the inverse of the L2 penalty (Kornblith et al., "Do Better ImageNet Models Transfer Better?", 2019).
"""

import time
import warnings

import numpy as np
from threadpoolctl import threadpool_limits

from common import backend
from common.cli import InputError, TrainingError, tell

GRID = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0)  # of C, until two are worse than the best
NUM_FOLDS = 5
TOLERANCE = 1e-4  # the largest component of the gradient of the mean loss
MAX_ITERATIONS = 2000


def fit(features, labels, seed=0, class_weight="none", grid=GRID):
    """Fit logistic regression to all of these features `(n, width)`.

    Returns the fitted pipeline, a StandardScaler and a LogisticRegression; the out-of-fold probabilities `(n, num_classes)` at
    its C, which are of each image by a model that was not fitted to it; and a dict of scores for every C that was tried. The
    lowest out-of-fold loss chooses C. Raises InputError for a class with a single image, and TrainingError for features that
    are not finite numbers.
    """
    from joblib import parallel_config
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = np.asarray(features, np.float64)
    if not np.isfinite(features).all():
        raise TrainingError("the backbone's features are not all finite numbers")
    if (fewest := np.bincount(labels).min()) < 2 or labels.max() < 1:
        raise InputError("cross-validation needs two classes or more, and two training images of each: add some")
    folds = StratifiedKFold(min(NUM_FOLDS, fewest), shuffle=True, random_state=seed)
    class_weight = None if class_weight == "none" else class_weight
    rows, best = [], None
    for C in grid:  # noqa: N806  scikit-learn's name
        started = time.perf_counter()
        regression = LogisticRegression(C=C, class_weight=class_weight, tol=TOLERANCE, max_iter=MAX_ITERATIONS)
        pipeline = make_pipeline(StandardScaler(), regression)
        with (
            warnings.catch_warnings(action="ignore"),  # that it did not converge: then a larger C is worse, too
            threadpool_limits(1),  # several threads of one fit wait for each other longer than they compute
            parallel_config("threading", n_jobs=backend.num_cores()),
        ):
            probabilities = cross_val_predict(pipeline, features, labels, cv=folds, method="predict_proba")
        loss, accuracy = log_loss(labels, probabilities), np.mean(probabilities.argmax(axis=1) == labels)
        seconds = round(time.perf_counter() - started, 3)
        rows.append({"C": C, "val_loss": loss, "val_accuracy": accuracy, "seconds": seconds})
        tell(f"C={C:g}: cross-validated loss {loss:.4f}, accuracy {accuracy:.4f}, {seconds:.1f} s")
        if not best or loss < best[0]:
            best = loss, pipeline, probabilities
        elif min(row["val_loss"] for row in rows[-2:]) > best[0]:
            break
    _, pipeline, probabilities = best
    return pipeline.fit(features, labels), probabilities, rows


def record(run, phase, rows, num_samples):
    """Write the scores for every C to history.csv, as an epoch each."""
    for number, row in enumerate(rows, start=1):
        run.history.append({"epoch": number, "phase": phase, **row})
    run.samples_per_epoch[phase], run.planned_epochs[phase] = num_samples, len(rows)


def folded(pipeline):
    """The weights of a softmax layer on raw features that does what a fitted pipeline of `fit` does.

    Kernel `(width, num_classes)` and bias `(num_classes,)`, float32.
    """
    scaler, regression = (step for _, step in pipeline.steps)
    coefficients, intercepts = regression.coef_, regression.intercept_
    if len(coefficients) == 1:  # of two classes scikit-learn models the second one against the first
        coefficients, intercepts = (np.concatenate([0 * values, values]) for values in (coefficients, intercepts))
    kernel = (coefficients / scaler.scale_).T.astype(np.float32)
    return kernel, (intercepts - scaler.mean_ @ kernel.astype(np.float64)).astype(np.float32)
