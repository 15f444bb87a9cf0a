"""What linear probes say beside their scores: labels that may be wrong, test images that train has too, which base is best."""

import time

import numpy as np
from scipy import stats
from sklearn.metrics import pairwise_distances_argmin_min

from common import files
from common.cli import tell
from common.figures import galleries, scores
from common.results import metrics, tables

# From where on two images are near-duplicates. Features alone confuse two cars of one model, pixels alone two skies.
SIMILAR_FEATURES, SIMILAR_PIXELS = 0.6, 0.8
COLUMNS = ("base", "weights", "image size", "features", "s / 1,000 images", "test accuracy", "p against the best")


def seconds_per_1000(extractor, images):
    """How long the features of 1,000 images take on this device, once everything is compiled."""
    from common.models import features, inference

    forward = inference.ForwardPass(extractor, features.batch_size(extractor))
    images = images[: 2 * forward.batch_size]
    forward(images)
    started = time.perf_counter()
    forward(images)
    return (time.perf_counter() - started) * 1000 / len(images)


def report_label_issues(samples, probabilities, class_names, folder):
    """Write label_issues.csv and a gallery: train images for which another class is likelier than their own.

    `probabilities` `(n, num_classes)` are out-of-fold. The image whose given class is least probable comes first: ranked by
    self-confidence (Northcutt et al. 2021, "Confident Learning"). Returns how many there are.
    """
    given, likelier = samples.labels, probabilities.argmax(axis=1)
    confidence, probability = probabilities[np.arange(len(given)), given], probabilities.max(axis=1)
    order = np.argsort(confidence, kind="stable")
    order = order[likelier[order] != given[order]]
    rows = [
        {
            "image": _name(samples, index),
            "given": tables.for_spreadsheets(class_names[given[index]]),
            "self_confidence": f"{confidence[index]:.4g}",
            "likelier": tables.for_spreadsheets(class_names[likelier[index]]),
            "probability": f"{probability[index]:.4f}",
        }
        for index in order
    ]
    tell(f"{len(order):,} of {len(given):,} train images look more like another class: {folder / 'label_issues.csv'}")
    files.write_csv(folder / "label_issues.csv", rows, ("image", "given", "self_confidence", "likelier", "probability"))
    if len(order):
        galleries.examples(
            samples.take(order[:25]), likelier[order], probability[order], class_names, folder / "plots" / "label_issues.png",
            "Train images whose label may be wrong", given="given",
        )  # fmt: skip
    return len(order)


def report_duplicates(train, test, train_features, test_features, folder):
    """Write duplicates.csv and a gallery: test images whose nearest train image is nearly the same.

    The nearest has the highest cosine of the features, less their mean over train; both that and the correlation of the pixels
    must be high. The most similar pair comes first. Returns bool `(n,)`: which test images have one.
    """
    centre = train_features.mean(axis=0)
    nearest, distance = pairwise_distances_argmin_min(test_features - centre, train_features - centre, metric="cosine")
    correlation = np.zeros(len(test))
    for index in np.flatnonzero(1 - distance >= SIMILAR_FEATURES):
        pair = test.images[[index]].ravel(), train.images[[nearest[index]]].ravel()
        correlation[index] = np.corrcoef(pair)[0, 1]
    is_duplicate = correlation >= SIMILAR_PIXELS
    order = np.argsort(-correlation, kind="stable")[: is_duplicate.sum()]
    rows = [
        {
            "test": _name(test, index),
            "train": _name(train, nearest[index]),
            "cosine": f"{1 - distance[index]:.4f}",
            "pixel_correlation": f"{correlation[index]:.4f}",
            "same_label": bool(test.labels[index] == train.labels[nearest[index]]),
        }
        for index in order
    ]
    tell(f"{len(order):,} of {len(test):,} test images are near-duplicates of train images: {folder / 'duplicates.csv'}")
    files.write_csv(folder / "duplicates.csv", rows, ("test", "train", "cosine", "pixel_correlation", "same_label"))
    if len(order):
        pairs = {"test": test.take(order[:12]).images[:], "train": train.take(nearest[order[:12]]).images[:]}
        galleries.pipeline(pairs, folder / "plots" / "duplicates.png")
    return is_duplicate


def compare_bases(run, scored):
    """Print the table of bases and draw accuracy against seconds: for `report.finish_models`.

    `scored` is a dict of `report.Scored` by base. Returns the base with the best cross-validated accuracy, and rows for
    results.json, the base with the best test accuracy first. The p-values are McNemar's exact test, of several draws the paired
    t-test over draws, against that base, corrected by Holm's method.
    """
    right = {base: one.predictions.predicted == one.predictions.samples.labels for base, one in scored.items()}
    results = {base: one.results for base, one in scored.items()}

    def p_value(base):
        if run.args.draws > 1:
            p_value = stats.ttest_rel(results[best]["accuracies"], results[base]["accuracies"]).pvalue
            return np.nan_to_num(p_value, nan=1.0)  # of equal accuracies
        return metrics.mcnemar(right[best], right[base])[-1]

    best, *others = sorted(scored, key=lambda base: -np.mean(results[base]["accuracies"]))
    corrected = dict(zip(others, metrics.holm([p_value(base) for base in others]).tolist(), strict=True))
    rows = []
    for base in (best, *others):
        mean, deviation = metrics.spread(accuracies := results[base]["accuracies"])
        interval = metrics.accuracy_interval(right[base].sum(), len(right[base]))
        rows.append({
            "base": base,
            **{key: results[base][key] for key in ("weights", "input_size", "num_features", "seconds_per_1000", "accuracies")},
            "accuracy": mean,
            "interval": interval if deviation is None else metrics.mean_interval(accuracies),
            "deviation": deviation,
            "p_value": corrected.get(base),
        })  # fmt: skip
    cells = [
        (
            row["base"], row["weights"], row["input_size"], row["num_features"], f"{row['seconds_per_1000']:.1f}",
            tables.accuracy(row["accuracy"], row["interval"], row["deviation"]),
            "-" if row["p_value"] is None else f"{row['p_value']:.3g}",
        )
        for row in rows
    ]  # fmt: skip
    tell("", *tables.text(cells, COLUMNS))
    scores.accuracy_by_seconds(rows, run.folder / "plots" / "accuracy_by_seconds.png")
    return max(results, key=lambda base: results[base]["val_accuracy"]), {"bases": rows}


def _name(samples, index):
    """The path of a sample's file or, where it has none, the hash of its pixels."""
    return tables.path_for_spreadsheets(samples.paths[index]) if samples.paths is not None else samples.digests[index].hex()
