"""What a model predicts for labelled images, and the tables and figures of it: of a run's test part, or of any other data."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from common import files
from common.data.dataset import Samples
from common.figures import calibration, confusion, galleries, maps
from common.results import metrics, scoring, tables

NUM_EXAMPLES = 25
MANY_CLASSES = 10  # with more of them, the top-5 accuracy is of interest too


@dataclass(frozen=True)
class Predictions:
    """Class `probabilities` `(n, num_classes)` float32 for labelled image `samples`; `paths` of their files, where known."""

    samples: Samples
    class_names: tuple
    probabilities: np.ndarray
    paths: tuple | None = None

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
        """For results.json: interval of the accuracy, scores by class, most confused pairs, calibration error, top 5."""
        low, high = metrics.accuracy_interval(np.trace(self.matrix), self.matrix.sum())
        shares, names = metrics.per_class_accuracy(self.matrix), self.class_names
        results = {
            "test_accuracy_interval": [low, high],
            "per_class_accuracy": [None if math.isnan(share) else share for share in shares],
            "most_confused": [
                {"true": names[true], "predicted": names[predicted], "pictures": count}
                for true, predicted, count in metrics.most_confused(self.matrix)
            ],
            "calibration_error": metrics.calibration_error(self.calibration()),
        }
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

    def draw(self, folder, title, seed=0, matrix_file="confusion_matrix.png"):
        """Draw the confusion matrix, random examples, the surest mistakes, if there are any, and the reliability diagram."""
        labels, names = self.samples.labels, self.class_names
        confusion.confusion_matrix(self.matrix, names, folder / matrix_file, title)
        chosen = np.random.default_rng(seed).permutation(len(labels))[:NUM_EXAMPLES]
        self._gallery(chosen, folder / "examples.png", title)
        wrong = np.flatnonzero(self.predicted != labels)
        surest = wrong[np.argsort(-self.confidence[wrong], kind="stable")][:NUM_EXAMPLES]
        (folder / "mistakes.png").unlink(missing_ok=True)  # of an earlier model
        if len(surest):
            self._gallery(surest, folder / "mistakes.png", f"{title}: the mistakes it was surest of")
        calibration.reliability(self.calibration(), folder / "reliability.png", title)

    def draw_maps(self, points, folder, title):
        """Draw the maps of the features, `points` as `scoring.feature_maps` has them; nothing where that made none."""
        path = folder / "feature_map.png"
        path.unlink(missing_ok=True)  # of an earlier model
        if points:
            labels = self.samples.labels[scoring.map_indices(len(self.samples))]
            maps.feature_maps([[*points.items()]], labels, self.class_names, path, f"{title}: what its last layer sees")

    def _gallery(self, chosen, path, title):
        labelled = self.samples.take(chosen)
        galleries.examples(labelled, self.predicted[chosen], self.confidence[chosen], self.class_names, path, title)
