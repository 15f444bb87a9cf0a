"""The exact head: multinomial logistic regression on cached features, the linear probe of the literature.

Its loss is convex and has one optimum, which says what training a head by gradient descent leaves on the table. scikit-learn
fits it (L-BFGS, float64) to the standardised features of the train images themselves, once for each `C`, the inverse of the L2
penalty; val chooses one, as in Kornblith et al., "Do Better ImageNet Models Transfer Better?", 2019.
"""

import time
import warnings

import numpy as np

from common import backend
from common.cli import InputError, TrainingError, tell
from common.training.history import rank

PHASE = "logistic"
GRID = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)  # of C; each fit starts from the one before
TOLERANCE = 1e-5  # the largest component of the gradient of the mean loss
MAX_ITERATIONS = 2000
CHUNK = 4096  # rows of features that are converted at once


def check(args):
    """Raise InputError for flags that `--head logistic` can't be combined with."""
    if args.head != "logistic":
        return
    given = {"--no-cache": args.no_cache, "--unfreeze-last": getattr(args, "unfreeze_last", 0)}
    for name in ("lr", "dropout"):
        values = getattr(args, name)
        given[f"several values for --{name}"] = isinstance(values, list) and len(values) > 1
    for flags, is_given in given.items():
        if is_given:
            raise InputError(f"{flags}: not with --head logistic, which is one exact fit on cached features; leave one out")


def label(args):
    """What a run's title adds for `--head logistic`."""
    return ", logistic head" if args.head == "logistic" else ""


def build_head(num_features, num_classes):
    """Features to class probabilities: one Dense layer, whose weights `fit` sets."""
    from keras import Input, Sequential, layers

    return Sequential([Input((num_features,)), layers.Dense(num_classes, activation="softmax", dtype="float32")], name="head")


def fit(run, inputs, head):
    """Fit a head of `build_head` to a Dataset of features; every C is an epoch of `PHASE` in history.csv.

    Returns what results.json says of the chosen one. Of the same val accuracy the lower val loss is better, then the smaller C.
    Ctrl-C after the first C leaves the best so far. Raises InputError where a class has no train image, and TrainingError for
    features that are not finite numbers.
    """
    from sklearn.linear_model import LogisticRegression

    train, val, names = inputs.train, inputs.val, inputs.class_names
    grid, kept, iterations = GRID[: run.epochs(len(GRID))], {}, 0
    if len(np.unique(train.labels)) < max(2, len(names)):
        raise InputError(f"--head logistic needs two classes or more, and train images of each; here are {len(names)} classes")
    run.planned_epochs[PHASE] = len(grid)
    scaler, features = _standardised(train.images)
    regression = LogisticRegression(warm_start=True, tol=TOLERANCE, max_iter=MAX_ITERATIONS)
    try:
        for number, C in enumerate(grid, start=1):  # noqa: N806  scikit-learn's name
            started = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that it did not converge is said below
                regression.set_params(C=C).fit(features, train.labels)
            kept[number] = folded(regression, scaler)
            loss, accuracy = _score(*kept[number], train)
            val_loss, val_accuracy = _score(*kept[number], val)
            steps = int(regression.n_iter_.max())
            tell(
                f"C={C:g}: {steps} iterations, loss {loss:.4f}, accuracy {accuracy:.4f}, val loss {val_loss:.4f}, "
                f"val accuracy {val_accuracy:.4f}{', not converged' * (steps >= MAX_ITERATIONS)}"
            )
            iterations += steps
            run.samples_per_epoch[PHASE] = len(train) * iterations / number  # an iteration is a pass over all
            scores = {"loss": loss, "accuracy": accuracy, "val_loss": val_loss, "val_accuracy": val_accuracy}
            seconds = round(time.perf_counter() - started, 3)
            run.history.append({"epoch": number, "phase": PHASE, **scores, "C": C, "iterations": steps, "seconds": seconds})
    except KeyboardInterrupt:
        run.interrupt(run.history.rows(PHASE))
    best = max(run.history.rows(PHASE), key=rank)
    head.set_weights(kept[best["epoch"]])
    return {"head": "logistic", "C": best["C"]}


def folded(regression, scaler):
    """The weights of a softmax layer on raw features, for a LogisticRegression on those of a StandardScaler.

    Kernel `(num_features, num_classes)` and bias `(num_classes,)`, float32.
    """
    coefficients, intercepts = regression.coef_, regression.intercept_
    if len(coefficients) == 1:  # of two classes scikit-learn models the second one against the first
        coefficients, intercepts = (np.concatenate([0 * values, values]) for values in (coefficients, intercepts))
    kernel = (coefficients / scaler.scale_).T.astype(np.float32)
    return kernel, (intercepts - scaler.mean_ @ kernel.astype(np.float64)).astype(np.float32)


def _standardised(rows):
    """A fitted StandardScaler, and what it makes of features float32 `(n, width)`, in float64, without further copies."""
    from sklearn.preprocessing import StandardScaler

    backend.need_memory(8 * len(rows) * rows.shape[1], "--head logistic", "the features of the train images in float64")
    scaler = StandardScaler()
    for chunk in _chunks(len(rows)):
        if not np.isfinite(part := rows[chunk]).all():
            raise TrainingError("--head logistic: the backbone's features are not all finite numbers")
        scaler.partial_fit(part.astype(np.float64))
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
