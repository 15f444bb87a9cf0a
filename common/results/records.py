"""Finished runs, read from their folders: a record for each model. Imports nothing heavy.

A run folder holds args.json, environment.json, history.csv and results.json (see common/training/run.py). A folder that can't
be used raises InputError with the reason, without the folder's name.
"""

import csv
import os
from dataclasses import dataclass
from pathlib import Path

from common import files
from common.cli import InputError
from common.training.job import phase_name

DEPTH = 2  # runs/<experiment>/<run>
NUMBER = (int, float)
RESULTS = {
    "experiment": str, "model": str, "data": str, "weights": str, "seed": int, "class_names": list, "train_size": int,
    "val_size": int, "test_size": int, "image_size": int, "test_accuracy": NUMBER, "epochs": int, "best_epoch": int,
    "seconds": NUMBER, "trained_weights": int, "frozen_weights": int, "documented_accuracy": (*NUMBER, type(None)),
    "comparable": bool, "dry_run": bool, "status": str,
}  # fmt: skip
ENVIRONMENT = {"devices": list, "backend": str, "precision": str}
HISTORY = {"epoch": float, "phase": str, "val_loss": (float, type(None)), "val_accuracy": (float, type(None))}
POINTS = {"model": str, "samples": float, "seed": float, "test_accuracy": float, "seconds": float}
PREDICTIONS = {"true": str, "predicted": str}
# Batch norm's means and variances count as frozen even where the layer is trained: under one weight in a hundred.
BATCH_NORM_SHARE = 0.02


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
    several. `phases` are the model's in history.csv.
    """

    folder: Path
    model: str | None
    args: dict
    environment: dict
    results: dict
    phases: tuple
    scores: dict

    @property
    def trained(self):
        """What was trained, in the order of the phases: `head`, `head, then all layers`, `all layers` ...

        Where some layers are trained and the script has no backbone, the phase's name says which.
        """
        trained, frozen = self.results["trained_weights"], self.results["frozen_weights"]
        if frozen <= BATCH_NORM_SHARE * (trained + frozen):
            last = "all layers"
        elif self.args.get("unfreeze_last"):
            last = f"head and last {self.args['unfreeze_last']} layers"
        else:
            last = "head" if "weights" in self.args else self.phases[-1]
        return ", then ".join([*self.phases[:-1], last])

    def predictions(self):
        """The true and the predicted class names of the test images, two lists. Raises InputError."""
        subfolder = self.folder / (self.model or "")
        path = (subfolder if subfolder.is_dir() else self.folder) / "predictions.csv"  # one of several models lies at the top
        if not path.is_file():
            raise InputError(f"{path} is missing")
        rows = _read_csv(path, PREDICTIONS, convert=False)
        true, predicted = ([row[column] for row in rows] for column in PREDICTIONS)
        right = sum(row["true"] == row["predicted"] for row in rows)
        if len(true) != self.results["test_size"] or abs(right / len(true) - self.results["test_accuracy"]) > 1e-6:
            raise InputError(f"damaged, {path} has {right:,} right of {len(true):,}, which is not what results.json says")
        return true, predicted


def find(folder):
    """Run folders at or under a folder, as deep as runs/<experiment>/<run>, and folders without any: two lists of paths.

    `RUN_DIR/MODEL` stands for one model of a run.
    """
    folder = Path(folder)
    if _is_run(folder) or (folder.name not in ("", "..") and _is_run(folder.parent)):
        return [folder], []
    return _find(folder, DEPTH)


def read(folder):
    """The records of a run folder, or the one of `RUN_DIR/MODEL`. Raises InputError, the reason, if it is no finished run."""
    if not _is_run(folder) and _is_run(folder.parent):
        by_model = {record.model: record for record in read(folder.parent)}
        if folder.name not in by_model:
            known = "" if None in by_model else f", it has {', '.join(by_model)}"
            raise InputError(f"the run {folder.parent.name} has no such model{known}")
        return [by_model[folder.name]]
    if not os.path.isdir(folder):  # noqa: PTH112  Path.is_dir raises where the user may not look
        raise InputError("no such folder")
    if not _is_run(folder):
        raise InputError("not a run of this collection, and none inside (no args.json)")
    if not _is_file(folder / "results.json"):
        raise InputError("unfinished, it holds no results.json")
    args = _read_json(folder / "args.json", {})
    environment = _read_json(folder / "environment.json", ENVIRONMENT)
    run_results = _read_json(folder / "results.json", RESULTS)
    if run_results["dry_run"]:
        raise InputError("a dry run, its numbers mean nothing")
    if run_results["status"] not in ("finished", "early-stopped"):
        raise InputError(f"unfinished, it was {run_results['status']}")
    checkpoint = folder / "checkpoint"
    if _is_file(checkpoint / "made_of.json") and not _is_file(checkpoint / "finished.json"):
        raise InputError("unfinished, it was resumed and has not ended yet")
    history = _read_csv(folder / "history.csv", HISTORY)
    points = folder / "points.csv"
    points = _read_csv(points, POINTS) if points.is_file() else []
    models = run_results.get("models") or {None: run_results}
    _check({"models": models}, {"models": dict}, "results.json")
    records = []
    for model, results in models.items():
        _check(results, RESULTS, "results.json")
        phases = _phases(model, results, history)
        scores = _scores(model, results, [row for row in history if row["phase"] in phases], history, points)
        records.append(Record(folder, model, args, environment, results, phases, scores))
    return records


def _is_run(folder):
    return _is_file(folder / "args.json")


def _find(folder, depth):
    if _is_run(folder):
        return [folder], []
    try:
        inner = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".") if depth else []
    except OSError:  # not a folder, or not readable
        inner = []
    runs, others = [], []
    for path in inner:
        more_runs, more_others = _find(path, depth - 1)
        runs += more_runs
        others += more_others
    return (runs, others) if runs else ([], [folder])


def _phases(model, results, history):
    """A model's phases, in order: its own, all of the run, or, in a sweep, that of the chosen combination."""
    rows_by_phase = {}
    for row in history:
        rows_by_phase.setdefault(row["phase"], []).append(row)
    if model is None and len(history) == results["epochs"]:
        return tuple(rows_by_phase)
    for phase, rows in rows_by_phase.items():
        best = {row["epoch"]: row["val_accuracy"] for row in rows}.get(results["best_epoch"])
        if len(rows) == results["epochs"] and (phase == model if model else best == results.get("val_accuracy")):
            return (phase,)
    raise InputError(f"damaged, history.csv lacks the {results['epochs']} epochs of results.json")


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


def _is_file(path):
    return os.path.isfile(path)  # noqa: PTH113  Path.is_file raises where the user may not look


def _read_json(path, types):
    content = _read(path, files.read_json)
    _check(content, types, path.name)
    return content


def _read_csv(path, types, **options):
    rows = _read(path, files.read_csv, **options)
    if not rows:
        raise InputError(f"damaged, {path.name} has no rows")
    for row in rows:
        _check(row, types, path.name)
    return rows


def _read(path, reader, **options):
    try:
        return reader(path, **options)
    except (OSError, ValueError, TypeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(f"damaged, {path.name} can't be read ({reason})") from error


def _check(content, types, name):
    """Raise InputError unless `content` is a dict with values of these types, and an accuracy from 0 to 1."""
    if not isinstance(content, dict):
        raise InputError(f"damaged or not of this collection, {name} holds something else")
    for key, kind in types.items():
        is_usable = key in content and isinstance(content[key], kind)
        if not is_usable or (key == "test_accuracy" and not 0 <= content[key] <= 1):
            raise InputError(f"damaged or not of this collection, {name} has no {key} that can be used")
