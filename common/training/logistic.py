"""The exact head: multinomial logistic regression on cached features, the linear probe of the literature.

Its loss is convex and has one optimum, which says what training a softmax layer by gradient descent leaves on the table.
scikit-learn fits it (L-BFGS, float64) to the scaled features of the train images themselves, once for each `C`, the inverse of
the L2 penalty; val chooses one, as in Kornblith et al., "Do Better ImageNet Models Transfer Better?", 2019.
"""

import time
import warnings

import numpy as np

from common.cli import InputError, TrainingError, tell
from common.training.history import rank

PHASE = "logistic"
GRID = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0)  # of C; a fit starts from the one before
FLOOR = 0.1  # of the features' typical deviation: one that hardly varies in train is not blown up, nor its outliers in val
TOLERANCE = 1e-5  # the largest component of the gradient of the mean loss
MAX_ITERATIONS = 2000
CHUNK = 4096  # rows of features that are converted at once


def fit(run, head, inputs, num_classes):
    """Fit a head of one softmax layer to `Inputs` that are features; every C is an epoch of `PHASE` in history.csv.

    Returns what results.json says of the chosen one, the best by `rank`. Ctrl-C after the first C leaves the best so far.
    Raises what `fits` raises.
    """
    train, kept, iterations = inputs.train, [], 0
    grid = GRID[: run.capped(len(GRID))]
    try:
        for row, weights in fits(train, inputs.val, num_classes, grid, run.args.class_weight):
            tell(
                "C={C:g}: {iterations} iterations, loss {loss:.4f}, accuracy {accuracy:.4f}, val loss {val_loss:.4f}, "
                "val accuracy {val_accuracy:.4f}".format(**row)
                + ", not converged" * (row["iterations"] >= MAX_ITERATIONS)
            )
            kept.append(weights)
            iterations += row["iterations"]
            run.samples_per_epoch[PHASE] = len(train) * iterations / len(kept)  # an iteration is a pass over all
            run.history.append({"epoch": len(kept), "phase": PHASE, **row})
    except KeyboardInterrupt:
        run.interrupt(run.history.rows(PHASE))
    run.planned_epochs[PHASE] = len(kept)
    chosen = max(run.history.rows(PHASE), key=rank)
    head.set_weights(kept[chosen["epoch"] - 1])
    return {"C": chosen["C"]}


def fits(train, val, num_classes, grid=GRID, class_weight="none"):
    """Fit features, `Samples`, once for each C of `grid`: yields a row for history.csv and the weights, see `folded`.

    A row has the scores on train and val, C, the number of iterations and the seconds. The grid ends when neither val loss
    nor val accuracy gets better: larger C take longer and overfit more. Raises InputError where a class has no train image,
    and TrainingError for features that are not finite numbers.
    """
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(train.labels)) < max(2, num_classes):
        raise InputError(
            f"a linear probe needs two classes or more, and train images of each: {len(np.unique(train.labels))} of "
            f"{num_classes} have some"
        )
    scaler, features = _scaled(train.images)
    class_weight = None if class_weight == "none" else class_weight
    regression = LogisticRegression(class_weight=class_weight, warm_start=True, tol=TOLERANCE, max_iter=MAX_ITERATIONS)
    lowest, highest = np.inf, -1.0
    for C in grid:  # noqa: N806  scikit-learn's name
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it did not converge is seen from the iterations
            regression.set_params(C=C).fit(features, train.labels)
        weights = folded(regression, scaler)
        loss, accuracy = _score(*weights, train)
        val_loss, val_accuracy = _score(*weights, val)
        row = {"loss": loss, "accuracy": accuracy, "val_loss": val_loss, "val_accuracy": val_accuracy, "C": C}
        yield row | {"iterations": int(regression.n_iter_.max()), "seconds": round(time.perf_counter() - started, 3)}, weights
        if val_loss >= lowest and val_accuracy <= highest:
            return
        lowest, highest = min(lowest, val_loss), max(highest, val_accuracy)


def folded(regression, scaler):
    """The weights of a softmax layer on raw features, for a LogisticRegression on those that a StandardScaler has scaled.

    Kernel `(num_features, num_classes)` and bias `(num_classes,)`, float32.
    """
    coefficients, intercepts = regression.coef_, regression.intercept_
    if len(coefficients) == 1:  # of two classes scikit-learn models the second one against the first
        coefficients, intercepts = (np.concatenate([0 * values, values]) for values in (coefficients, intercepts))
    kernel = (coefficients / scaler.scale_).T.astype(np.float32)
    return kernel, (intercepts - scaler.mean_ @ kernel.astype(np.float64)).astype(np.float32)


def _scaled(rows):
    """A StandardScaler whose scales have a floor, and what it makes of features float32 `(n, width)`, without further copies.

    That is float64 `(x - mean) / sqrt(var + FLOOR**2 * mean of var)`.
    """
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    for chunk in _chunks(len(rows)):
        if not np.isfinite(part := rows[chunk]).all():
            raise TrainingError("the backbone's features are not all finite numbers")
        scaler.partial_fit(part.astype(np.float64))
    scaler.scale_ = np.sqrt(scaler.var_ + FLOOR**2 * scaler.var_.mean() + np.finfo(np.float32).tiny)
    features = np.empty(rows.shape)
    for chunk in _chunks(len(rows)):
        features[chunk] = scaler.transform(rows[chunk].astype(np.float64))
    return scaler, features


def _score(kernel, bias, samples):
    """Cross-entropy and accuracy of a softmax layer on the features of `Samples`."""
    from scipy.special import log_softmax

    loss = right = 0
    for chunk in _chunks(len(samples)):
        labels, logits = samples.labels[chunk], samples.images[chunk] @ kernel + bias
        loss -= log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels].sum()
        right += (logits.argmax(axis=1) == labels).sum()
    return float(loss / len(samples)), float(right / len(samples))


def _chunks(count):
    return [slice(start, start + CHUNK) for start in range(0, count, CHUNK)]
