"""Finished runs, read from their folders, which may come from anyone: a record for each model. Imports nothing heavy.

A run folder holds args.json, environment.json, history.csv and results.json (see common/training/run.py). A folder that can't
be used raises InputError with the reason, without the folder's name.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path

from common import files, flags, runs
from common.cli import InputError, reason
from common.results import tables

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
    **dict.fromkeys(("total_seconds", "learning_rate", "dropout", "C", "test_balanced_accuracy"), NUMBER),
    "models": list, "main_model": str, "scored": dict, "resize": str, "skip_damaged": bool,
}  # fmt: skip
SCORED = {"on": str, "batch_size": int}
ARGS = {"name": (str, type(None))}
ENVIRONMENT = {"devices": list, "backend": str, "precision": str}
HISTORY = {"epoch": NUMBER, "phase": str, "val_loss": NUMBER_OR_NONE, "val_accuracy": NUMBER_OR_NONE}
PREDICTIONS = {"true": str, "predicted": str}
AT_LEAST_ONE = ("test_size", "image_size", "batch_size")


@dataclass(frozen=True)
class Record:
    """A model of a finished run: the run's only one, or the one named `model` of several, which has a subfolder of its own.

    `results` is what results.json says of it, `curve` its rows of history.csv.
    """

    folder: Path
    model: str | None
    args: dict
    environment: dict
    results: dict
    curve: list

    @property
    def model_folder(self):
        """The folder that holds its predictions."""
        return self.folder / self.model if self.model else self.folder

    @property
    def seed(self):
        """Its `--seed`."""
        return self.results["seed"]

    @property
    def seconds(self):
        """How long the run took, or, of one of several models, its training."""
        return self.results["seconds"] if self.model else self.results.get("total_seconds", self.results["seconds"])

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
    models = run_results.get("models", [None])
    if model and model not in models:
        names = f", it has {', '.join(models)}" if any(models) else ""
        raise InputError(f"the run {folder.name} has no such model{names}")
    args, environment = _read(folder / "args.json", ARGS), _read(folder / "environment.json", ENVIRONMENT)
    values = [item for value in args.values() for item in (value if isinstance(value, list) else [value])]
    if any(isinstance(item, (dict, list)) for item in values):
        raise InputError("damaged or not of this collection, args.json holds what no flag gives")
    history = _read(folder / "history.csv", HISTORY)
    results_by_model = {name: read_results(folder / name) if name else run_results for name in models if model in (None, name)}
    return [
        Record(folder, name, args, environment, results, _curve(name, results, history))
        for name, results in results_by_model.items()
    ]


def split_model(path):
    """Run folder and model of `RUN_DIR/MODEL`; of any other path itself and None."""
    is_model = not runs.has_file(path, "args.json") and runs.has_file(path.parent, "args.json")
    return (path.parent, path.name) if is_model else (path, None)


def read_results(folder):
    """What results.json says of a run, or of one of its models. Raises InputError."""
    results = _read(folder / "results.json", RESULTS)
    _check_kinds(results, {key: kind for key, kind in OPTIONAL_RESULTS.items() if key in results}, "results.json")
    if results.get("resize", "squeeze") not in flags.RESIZES:
        raise InputError("damaged or not of this collection, results.json has no resize that can be used")
    if "scored" in results:
        _check_kinds(results["scored"], SCORED, "results.json")
    if any(Path(name).name != name for name in (*results.get("models", ()), results.get("main_model", ""))):
        raise InputError("damaged or not of this collection, results.json has a model that is no folder's name")
    return results


def _curve(model, results, history):
    """A model's rows of history.csv: its own phase's, all, or, in a sweep, those of the chosen combination."""
    curve = history
    if model or len(history) != results["epochs"]:
        phase = model or f"lr={results.get('learning_rate')} dropout={results.get('dropout')}"
        curve = [row for row in history if row["phase"] == phase]
    if len(curve) != results["epochs"] or results["best_epoch"] not in [row["epoch"] for row in curve]:
        raise InputError(f"damaged, history.csv lacks the {results['epochs']} epochs of results.json, or the best of them")
    return curve


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


def _is_usable(key, value, kind):
    if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
        return False
    if isinstance(value, (list, dict)):
        return bool(value) and all(isinstance(item, str) for item in value)
    low, high = key in AT_LEAST_ONE, 1 if key.endswith("accuracy") else math.inf
    return not isinstance(value, NUMBER) or low <= value <= high
