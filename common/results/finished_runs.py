"""Finished runs, read from their folders, which may come from anyone: a record for each model. Imports nothing heavy.

A run folder holds args.json, environment.json, history.csv and results.json (see common/training/run.py). A folder that can't
be used raises InputError with the reason, without the folder's name.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path

from common import files, runs
from common.cli import InputError, reason
from common.results import tables
from common.training.job import phase_name

PACKED_PREDICTIONS = "predictions.csv.gz"  # of a published run
NUMBER, NUMBER_OR_NONE = (int, float), (int, float, type(None))
# Kinds of the values that are used. Lists are of texts; lists and dicts are not empty, numbers not negative, accuracies not
# above 1.
RESULTS = {
    **dict.fromkeys(("experiment", "model", "data", "weights", "trained", "status"), str), "class_names": list,
    **dict.fromkeys(("seed", "train_size", "val_size", "test_size", "image_size", "epochs", "best_epoch"), int),
    **dict.fromkeys(("trained_weights", "frozen_weights"), int), **dict.fromkeys(("comparable", "dry_run"), bool),
    **dict.fromkeys(("test_accuracy", "seconds"), NUMBER), "documented_accuracy": NUMBER_OR_NONE,
}  # fmt: skip
OPTIONAL_RESULTS = {
    **dict.fromkeys(("total_seconds", "learning_rate", "dropout", "C"), NUMBER), "models": dict, "scored": dict,
}  # fmt: skip
SCORED = {"on": str, "batch_size": int}
ARGS = {"name": (str, type(None))}
ENVIRONMENT = {"devices": list, "backend": str, "precision": str}
HISTORY = {"epoch": NUMBER, "phase": str, "val_loss": NUMBER_OR_NONE, "val_accuracy": NUMBER_OR_NONE}
POINTS = {"model": str, "samples": NUMBER, "seed": NUMBER, "test_accuracy": NUMBER, "seconds": NUMBER}
PREDICTIONS = {"true": str, "predicted": str}
AT_LEAST_ONE = ("test_size", "image_size", "batch_size")


@dataclass(frozen=True)
class Score:
    """One model with one seed: test accuracy, seconds, rows of history.csv."""

    test_accuracy: float
    seconds: float
    curve: list


@dataclass(frozen=True)
class Record:
    """A model of a finished run: the run's only one, or the one named `model` of several.

    `results` is what results.json says of it. `scores` are by seed, that of `results` first; an A/B split with --seeds has
    several. `model_folder` holds its predictions.
    """

    folder: Path
    model: str | None
    model_folder: Path
    args: dict
    environment: dict
    results: dict
    scores: dict

    @property
    def predictions_file(self):
        """The path of its predictions.csv, or of the predictions.csv.gz of a published run; None where there is neither."""
        names = ("predictions.csv", PACKED_PREDICTIONS)
        return next((self.model_folder / name for name in names if runs.has_file(self.model_folder, name)), None)

    def predictions(self):
        """The true and the predicted class names of the test images, two lists. Raises InputError."""
        path = self.predictions_file
        if not path:
            raise InputError(f"{self.model_folder}/predictions.csv is missing")
        rows = _read(path, PREDICTIONS, convert=False)
        true, predicted = ([tables.from_spreadsheets(row[column]) for row in rows] for column in PREDICTIONS)
        right = sum(row["true"] == row["predicted"] for row in rows)
        if len(true) != self.results["test_size"] or abs(right / len(true) - self.results["test_accuracy"]) > 1e-6:
            raise InputError(f"damaged, {path} has {right:,} right of {len(true):,}, which is not what results.json says")
        return true, predicted


def read_run(path):
    """The records of a run folder, or the one of `RUN_DIR/MODEL`. Raises InputError, the reason, if it is no finished run."""
    folder, model = split_model(path)
    if not os.path.isdir(folder):  # noqa: PTH112  Path.is_dir raises where the user may not look
        raise InputError("no such folder")
    if not runs.has_file(folder, "args.json"):
        raise InputError("not a run of this collection, and none inside (no args.json)")
    if not runs.has_file(folder, "results.json"):
        raise InputError("unfinished, it holds no results.json")
    run_results = read_results(folder)
    if run_results["dry_run"]:
        raise InputError("a dry run, its numbers mean nothing")
    if run_results["status"] not in ("finished", "early-stopped"):
        raise InputError(f"unfinished, it was {run_results['status']}")
    checkpoint = folder / "checkpoint"
    if runs.has_file(checkpoint, "made_of.json") and not runs.has_file(checkpoint, "finished.json"):
        raise InputError(f"unfinished, train_{run_results['experiment']}.py --resume brings it to its end")
    results_by_model = run_results.get("models", {None: run_results})
    if model and model not in results_by_model:
        known = f", it has {', '.join(results_by_model)}" if "models" in run_results else ""
        raise InputError(f"the run {folder.name} has no such model{known}")
    records = _records(folder, run_results, results_by_model)
    return [record for record in records if model in (None, record.model)]


def split_model(path):
    """Run folder and model of `RUN_DIR/MODEL`; of any other path itself and None."""
    is_model = path.name not in ("", "..") and not runs.has_file(path, "args.json") and runs.has_file(path.parent, "args.json")
    return (path.parent, path.name) if is_model else (path, None)


def read_results(folder):
    """What results.json says of a run, or of one of its models. Raises InputError."""
    results = _read(folder / "results.json", {})
    _check_results(results)
    for name, results_of_model in results.get("models", {}).items():
        _check_results(results_of_model)
        if not name.strip(".") or {"/", "\\"} & set(name):
            raise InputError("damaged or not of this collection, results.json has a model that is no folder's name")
    return results


def top_model(run_results):
    """Of several models the one that lies in the run folder itself, not in a subfolder of its name; None of a single one."""
    models = run_results.get("models", {})
    return next((name for name, results in models.items() if results["model"] == run_results["model"]), None)


def _records(folder, run_results, results_by_model):
    args = _read(folder / "args.json", ARGS)
    if any(
        isinstance(item, (dict, list)) for value in args.values() for item in (value if isinstance(value, list) else [value])
    ):
        raise InputError("damaged or not of this collection, args.json holds what no flag gives")
    environment = _read(folder / "environment.json", ENVIRONMENT)
    history = _read(folder / "history.csv", HISTORY)
    points = _read(folder / "points.csv", POINTS) if os.path.lexists(folder / "points.csv") else []
    for model, results in results_by_model.items():
        curve = _curve(model, results, history)
        model_folder = folder if model == top_model(run_results) else folder / model
        scores = _scores(model, results, curve, history, points)
        yield Record(folder, model, model_folder, args, environment, results, scores)


def _curve(model, results, history):
    """A model's rows of history.csv: its own phase's, all, or, in a sweep, those of the chosen combination."""
    curve = history
    if model or len(history) != results["epochs"]:
        phase = model or f"lr={results.get('learning_rate')} dropout={results.get('dropout')}"
        curve = [row for row in history if row["phase"] == phase]
    if len(curve) != results["epochs"] or results["best_epoch"] not in [row["epoch"] for row in curve]:
        raise InputError(f"damaged, history.csv lacks the {results['epochs']} epochs of results.json, or the best of them")
    return curve


def _scores(model, results, curve, history, points):
    """Scores by seed: that of results.json, and of points.csv's other seeds with the same number of images."""
    seconds = results["seconds"] if model else results.get("total_seconds", results["seconds"])
    scores = {results["seed"]: Score(results["test_accuracy"], seconds, curve)}
    for point in points:
        seed = point["seed"]
        if (point["model"], point["samples"]) == (model, results["train_size"]) and seed not in scores:
            phase = phase_name(model, results["train_size"], int(seed))
            rows = [row for row in history if row["phase"] == phase]
            scores[int(seed)] = Score(point["test_accuracy"], point["seconds"], rows)
    return scores


def _read(path, kinds, **options):
    """The content of a JSON file, or the rows of a CSV file, with values of these kinds. Raises InputError."""
    is_table = path.suffix != ".json"
    try:
        content = files.read_csv(path, **options) if is_table else files.read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"damaged, {path.name} can't be read ({reason(error)})") from error
    if is_table and not content:
        raise InputError(f"damaged, {path.name} has no rows")
    for row in content if is_table else [content]:
        _check_kinds(row, kinds, path.name)
    return content


def _check_kinds(content, kinds, name):
    """Raise InputError unless `content`, of the file `name`, is a dict with values of these kinds."""
    if not isinstance(content, dict):
        raise InputError(f"damaged or not of this collection, {name} holds something else")
    for key, kind in kinds.items():
        if key not in content or not _is_usable(key, content[key], kind):
            raise InputError(f"damaged or not of this collection, {name} has no {key} that can be used")


def _check_results(results):
    _check_kinds(results, RESULTS, "results.json")
    _check_kinds(results, {key: kind for key, kind in OPTIONAL_RESULTS.items() if key in results}, "results.json")
    if "scored" in results:
        _check_kinds(results["scored"], SCORED, "results.json")


def _is_usable(key, value, kind):
    if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
        return False
    if isinstance(value, (list, dict)):
        return bool(value) and all(isinstance(item, str) for item in value)
    low, high = key in AT_LEAST_ONE, 1 if key.endswith("accuracy") else math.inf
    return not isinstance(value, NUMBER) or low <= value <= high
