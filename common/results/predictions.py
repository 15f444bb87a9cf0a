"""What a model predicts for labelled images, a run's test part or any other: its scores, tables and figures."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from threadpoolctl import threadpool_limits

from common import devices, files, hosts
from common.cli import TrainingError
from common.data.dataset import Samples
from common.data.rows import Rows
from common.figures import galleries, scores
from common.results import metrics, tables

BATCH_SIZE = 256
NUM_EXAMPLES = 25
MANY_CLASSES = 10  # with more of them, the top-5 accuracy is of interest too
MAX_MAPPED = 2000  # images in a map: t-SNE of as many takes four seconds on one core
MIN_MAPPED = 10
TSNE_STEPS = 500


def predict(model, images, batch_size=BATCH_SIZE):
    """Class probabilities `(n, num_classes)` float32 of images `(n, h, w, 3)`, or of features for a head."""
    from common.models.inference import ForwardPass  # imports Keras

    return ForwardPass(model, min(batch_size, devices.round_up(len(images)) // devices.num_replicas()))(images)


def score(model, inputs, samples, class_names, batch_size=BATCH_SIZE, paths=None):
    """Collective: the `Predictions` of a model for labelled image `samples`, which it sees as `inputs`.

    These are the images themselves, or features for a head. Raises TrainingError where a probability is not a finite number.
    """
    probabilities = predict(model, inputs, batch_size)
    if not np.isfinite(probabilities).all():
        raise TrainingError("the trained model predicts nan: try a lower learning rate")
    scored = {"on": "features" if inputs.ndim == 2 else "images", "batch_size": batch_size}
    return Predictions(samples, class_names, probabilities, paths, scored)


def as_scored(model, images, results, cache_dir):
    """What `score` needs to repeat a run's numbers with its loaded model: the model or its head, its inputs, the batch size.

    A head was scored on features: these come from the cache, or are computed as for training. `results` is the run's
    results.json, or None.
    """
    from common.models import features, inference

    scored = (results or {}).get("scored") or {"on": "images", "batch_size": features.batch_size(model)}
    if scored["on"] == "features":
        extractor, model = inference.split_model(model)
        images = features.FeatureCache(extractor, cache_dir).extract(Rows([images]), "features")[0][:]
    return model, images, scored["batch_size"]


@dataclass(frozen=True)
class Predictions:
    """Class `probabilities` `(n, num_classes)` float32 for labelled image `samples`; `paths` of their files, where known.

    `scored` says what it takes to repeat them to the last digit: whether the model saw images or features, and the batch size.
    """

    samples: Samples
    class_names: tuple
    probabilities: np.ndarray
    paths: tuple | None = None
    scored: dict | None = None

    @cached_property
    def predicted(self):
        """The most probable class of each image `(n,)`."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def confidence(self):
        """The probability of the predicted class `(n,)`."""
        return self.probabilities.max(axis=1)

    @cached_property
    def matrix(self):
        """The confusion matrix, counts `(num_classes, num_classes)`."""
        return metrics.confusion_matrix(self.samples.labels, self.predicted, len(self.class_names))

    def calibration(self):
        """The bins of a reliability diagram, see `metrics.calibration`."""
        return metrics.calibration(self.confidence, self.predicted == self.samples.labels)

    def results(self):
        """For results.json: accuracy, its interval, loss, scores by class, most confused pairs, calibration error, top 5.

        Balanced accuracy is there where the classes' numbers of images differ.
        """
        low, high = metrics.accuracy_interval(np.trace(self.matrix), self.matrix.sum())
        shares, names = metrics.per_class_accuracy(self.matrix), self.class_names
        results = {
            "test_accuracy": float(np.mean(self.predicted == self.samples.labels)),
            "test_loss": metrics.cross_entropy(self.samples.labels, self.probabilities),
            "scored": self.scored,
            "test_accuracy_interval": [low, high],
            "per_class_accuracy": [None if math.isnan(share) else share for share in shares],
            "per_class_interval": metrics.per_class_intervals(self.matrix),
            "most_confused": [
                {"true": names[true], "predicted": names[predicted], "images": count}
                for true, predicted, count in metrics.most_confused(self.matrix)
            ],
            "calibration_error": metrics.calibration_error(self.calibration()),
        }
        if (balanced := metrics.balanced_accuracy(self.matrix)) is not None:
            results["test_balanced_accuracy"] = balanced
        if len(names) > MANY_CLASSES:
            results["test_top5_accuracy"] = metrics.top_k_accuracy(self.samples.labels, self.probabilities, 5)
        return results

    def write_tables(self, folder):
        """Write predictions.csv and confusion_matrix.csv, safe for spreadsheets."""
        names, columns = list(map(tables.for_spreadsheets, self.class_names)), ["index", "true", "predicted", "probability"]
        rows = [
            {"index": index, "true": names[true], "predicted": names[guess], "probability": f"{probability:.6f}"}
            for index, (true, guess, probability) in enumerate(
                zip(self.samples.labels, self.predicted, self.confidence, strict=True)
            )
        ]
        if self.paths:
            columns.append("path")
            rows = [row | {"path": tables.path_for_spreadsheets(path)} for row, path in zip(rows, self.paths, strict=True)]
        files.write_csv(folder / "predictions.csv", rows, columns)
        corner = "true/predicted"  # no folder, and so no class, can have this name
        counts = [
            {corner: name, **dict(zip(names, row, strict=True))} for name, row in zip(names, self.matrix.tolist(), strict=True)
        ]
        files.write_csv(folder / "confusion_matrix.csv", counts, (corner, *names))

    def draw(self, folder, title, seed=0):
        """Draw the confusion matrix, random examples, the surest mistakes, if there are any, and the reliability diagram."""
        labels, names = self.samples.labels, self.class_names
        scores.confusion_matrix(self.matrix, names, folder / "confusion_matrix.png", title)
        chosen = np.random.default_rng(seed).permutation(len(labels))[:NUM_EXAMPLES]
        self._gallery(chosen, folder / "examples.png", title)
        wrong = np.flatnonzero(self.predicted != labels)
        surest = wrong[np.argsort(-self.confidence[wrong], kind="stable")][:NUM_EXAMPLES]
        (folder / "mistakes.png").unlink(missing_ok=True)  # of an earlier model
        if len(surest):
            self._gallery(surest, folder / "mistakes.png", f"{title}: the mistakes it was surest of")
        scores.reliability(self.calibration(), folder / "reliability.png", title)

    def draw_maps(self, points, folder, title):
        """Draw the maps of the features, `points` as `feature_maps` has them; nothing where that made none."""
        path = folder / "feature_map.png"
        path.unlink(missing_ok=True)  # of an earlier model
        if points:
            labels = self.samples.labels[map_indices(len(self.samples))]
            scores.feature_maps([[*points.items()]], labels, self.class_names, path, f"{title}: what its last layer sees")

    def draw_maps_of_models(self, points_by_model, path):
        """Draw the maps of several models for these images side by side, a row for each method."""
        points_by_model = {model: points for model, points in points_by_model.items() if points}
        methods = next(iter(points_by_model.values()), ())
        rows = [[(f"{model}: {method}", points_by_model[model][method]) for model in points_by_model] for method in methods]
        if rows:
            labels = self.samples.labels[map_indices(len(self.samples))]
            title = "What the last layer of each model sees; where only that layer was trained, A's own features"
            scores.feature_maps(rows, labels, self.class_names, path, title)

    def _gallery(self, chosen, path, title):
        labelled = self.samples.take(chosen)
        galleries.examples(labelled, self.predicted[chosen], self.confidence[chosen], self.class_names, path, title)


def map_indices(num_samples):
    """Indices of the samples in a map: all, or `MAX_MAPPED` drawn at random, in their order."""
    return np.sort(np.random.default_rng(0).permutation(num_samples)[:MAX_MAPPED])


def feature_maps(model, images, batch_size=BATCH_SIZE):
    """Where the features that the last layer sees lie in the plane, of the images of `map_indices`, or of features for a head.

    A dict of points `(n, 2)` by method: the first two principal components (scikit-learn's `PCA`), and t-SNE of the first 50
    (`TSNE`, perplexity 30; van der Maaten and Hinton 2008). Empty in all processes but the main one, for fewer than
    `MIN_MAPPED` images, where all features are equal, and for a model without such a layer.
    """
    from common.models import inference

    try:
        extractor = inference.before_last_layer(model)
    except ValueError:  # a foreign model
        return {}
    features = predict(extractor, images[map_indices(len(images))], batch_size)
    features = features.reshape(len(features), -1).astype(np.float64)
    is_flat = not np.isfinite(features).all() or np.ptp(features, axis=0).max() == 0
    if len(features) < MIN_MAPPED or is_flat or not hosts.is_main():
        return {}
    return _embed(features)


def _embed(features):
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    count, width = features.shape
    with threadpool_limits(1):  # several threads wait for each other longer than they compute
        components = PCA(min(50, count, width), random_state=0).fit_transform(features)
        if components.shape[1] < 2:
            components = np.pad(components, ((0, 0), (0, 1)))
        perplexity = min(30, (count - 1) / 3)
        tsne = TSNE(perplexity=perplexity, max_iter=TSNE_STEPS, init="pca", random_state=0).fit_transform(components)
    return {"PCA": components[:, :2], "t-SNE": tsne}
