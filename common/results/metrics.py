"""Scores from labels and predictions, with scikit-learn and SciPy; no Keras, no matplotlib."""

import numpy as np
from scipy import stats
from sklearn import metrics

BY_CLASS = ("class", "precision", "recall", "f1", "support")


def confusion_matrix(labels, predicted, num_classes):
    """Counts `(num_classes, num_classes)`: rows true, columns predicted, as scikit-learn has them."""
    return metrics.confusion_matrix(labels, predicted, labels=range(num_classes))


def per_class_accuracy(matrix):
    """Recall: the share of each class's images that is recognised, `(num_classes,)`; NaN for a class without images."""
    totals = matrix.sum(axis=1)
    return np.divide(np.diag(matrix), totals, out=np.full(len(matrix), np.nan), where=totals > 0)


def per_class_intervals(matrix):
    """The `accuracy_interval` of each class's accuracy, which few images make wide; None for a class without images."""
    totals = matrix.sum(axis=1)
    return [accuracy_interval(*counts) if counts[1] else None for counts in zip(np.diag(matrix), totals, strict=True)]


def balanced_accuracy(matrix):
    """The mean recall of the classes that have images (scikit-learn's `balanced_accuracy_score`); None for equal numbers."""
    totals = matrix.sum(axis=1)
    return float(np.nanmean(per_class_accuracy(matrix))) if len(np.unique(totals[totals > 0])) > 1 else None


def most_confused(matrix, count=3):
    """The largest counts off the diagonal as `(true, predicted, images)`, largest first, zeros left out."""
    mistakes = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:count]
    pairs = [(int(row), int(column)) for row, column in zip(*np.unravel_index(order, matrix.shape), strict=True)]
    return [(row, column, int(mistakes[row, column])) for row, column in pairs if mistakes[row, column]]


def accuracy_interval(num_correct, num_images):
    """The 95 % Wilson interval `(low, high)` of an accuracy (`scipy.stats.binomtest`)."""
    interval = stats.binomtest(int(num_correct), int(num_images)).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def mean_interval(values):
    """The 95 % t-interval `(low, high)` of the mean of two values or more (`scipy.stats.t`, as for normal values)."""
    values = np.asarray(values, float)
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return float(values.mean() - half), float(values.mean() + half)


def mcnemar(first_right, second_right):
    """McNemar's exact test of two models on the same images; `first_right`, `second_right` are bool `(n,)`.

    Returns how many images only the first got right, how many only the second, and the two-sided p-value: the probability of a
    split at least as uneven if both models are equally good (`scipy.stats.binomtest`). McNemar 1947; images on which both are
    right, or both wrong, carry no information.
    """
    first_right, second_right = np.asarray(first_right, bool), np.asarray(second_right, bool)
    only_first, only_second = int((first_right & ~second_right).sum()), int((second_right & ~first_right).sum())
    differ = only_first + only_second
    return only_first, only_second, float(stats.binomtest(only_first, differ).pvalue) if differ else 1.0


def holm(p_values):
    """P-values `(n,)` of n tests, corrected by Holm's step-down method (Holm 1979): what is below a level is so in all n.

    The smallest is multiplied by n, the next by n - 1, and so on; none gets smaller than one before it, or larger than 1.
    """
    p_values = np.asarray(p_values, float)
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(p_values))
    corrected[order] = np.maximum.accumulate(np.minimum(p_values[order] * np.arange(len(p_values), 0, -1), 1))
    return corrected


def cross_entropy(labels, probabilities):
    """Mean cross-entropy, the loss that Keras trains on; probabilities are clipped at 1e-7, as Keras does."""
    return float(-np.log(np.clip(probabilities[np.arange(len(labels)), labels], 1e-7, 1)).mean())


def top_k_accuracy(labels, probabilities, k):
    """The share of images whose true class is among the `k` most probable (scikit-learn's `top_k_accuracy_score`)."""
    return float(metrics.top_k_accuracy_score(labels, probabilities, k=k, labels=range(probabilities.shape[1])))


def calibration(confidence, is_right):
    """How often a model is right when it is as sure as this: a dict of arrays `(15,)` over bins of equal width from 0 to 1.

    `confidence` `(n,)` is the probability of the predicted class, `is_right` bool `(n,)` whether that is the true one. `images`
    counts those of each bin, whose means are `confidence` and `accuracy`, NaN for an empty bin (`scipy.stats.binned_statistic`;
    Guo et al. 2017, "On Calibration of Modern Neural Networks").
    """
    confidence = np.clip(confidence, 0, 1)  # rounding may take a sum of 1 above it
    columns = (np.ones_like(confidence), confidence, is_right)
    sums = stats.binned_statistic(confidence, columns, "sum", bins=15, range=(0, 1)).statistic
    images, *totals = sums
    means = (np.divide(total, images, out=np.full(len(images), np.nan), where=images > 0) for total in totals)
    return {"images": images.astype(int), **dict(zip(("confidence", "accuracy"), means, strict=True))}


def calibration_error(bins):
    """The expected calibration error of `calibration`'s bins: their mean gap between confidence and accuracy, by images."""
    return float(np.nansum(bins["images"] * abs(bins["confidence"] - bins["accuracy"])) / bins["images"].sum())


def by_class(labels, predicted, class_names):
    """Precision, recall, F1 and support of each class, a dict for each (scikit-learn's `precision_recall_fscore_support`).

    `recall_low` and `recall_high` are the `accuracy_interval` of recall. A value is None where it is not defined: the recall of
    a class without images, the precision of one never predicted.
    """
    numbers = range(len(class_names))
    columns = metrics.precision_recall_fscore_support(labels, predicted, labels=numbers, zero_division=np.nan)
    rows = zip(class_names, *(column.tolist() for column in columns), strict=True)
    rows = [{name: None if value != value else value for name, value in zip(BY_CLASS, row, strict=True)} for row in rows]
    for row in rows:
        counts = round((row["recall"] or 0) * row["support"]), row["support"]
        row["recall_low"], row["recall_high"] = accuracy_interval(*counts) if row["support"] else (None, None)
    return rows


def macro_average(rows):
    """The unweighted means of precision, recall and F1 over the rows of `by_class`, without those that are None."""
    values = {name: [row[name] for row in rows if row[name] is not None] for name in BY_CLASS[1:-1]}
    return {name: float(np.mean(column)) if column else None for name, column in values.items()}


def spread(values):
    """Mean and sample standard deviation; the deviation of a single value is None."""
    values = np.asarray(values, float)
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None


def spread_by(rows, keys, value):
    """Group rows, dicts, by `keys`: for each group the keys, `mean` and `deviation` of `value`, and `runs`, its number of rows.

    `deviation` is the sample standard deviation, None for a single row. Groups come in the order of their first rows.
    """
    groups = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row[value])
    summaries = []
    for group, values in groups.items():
        mean, deviation = spread(values)
        summaries.append(dict(zip(keys, group, strict=True)) | {"mean": mean, "deviation": deviation, "runs": len(values)})
    return summaries
