"""Finished runs, read from their folders: a record for each model. Imports nothing heavy.

A run folder holds args.json, environment.json, history.csv and results.json (see common/training/run.py). A folder that can't
be used raises InputError with the reason, without the folder's name.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from common import files
from common.cli import InputError, reason
from common.results import schema, tables
from common.training.job import phase_name

DEPTH = 2  # runs/<experiment>/<run>
PACKED_PREDICTIONS = "predictions.csv.gz"  # of a published run


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
        """What was trained, as the script says: `head`, `head, then all layers`, `all layers` ..."""
        return self.results.get("trained", "-")

    @property
    def predictions_file(self):
        """The path of its predictions.csv, or of the predictions.csv.gz of a published run; the former where there is none."""
        subfolder = self.folder / (self.model or "")
        is_apart = os.path.isdir(subfolder)  # noqa: PTH112  one of several models lies at the top
        path = (subfolder if is_apart else self.folder) / "predictions.csv"
        published = path.with_name(PACKED_PREDICTIONS)
        return published if _is_file(published) and not _is_file(path) else path

    @property
    def has_predictions(self):
        """Whether there is such a file."""
        return _is_file(self.predictions_file)

    def predictions(self):
        """The true and the predicted class names of the test images, two lists. Raises InputError."""
        path = self.predictions_file
        if not self.has_predictions:
            raise InputError(f"{path} is missing")
        rows = _read_csv(path, schema.PREDICTIONS, convert=False)
        true, predicted = ([tables.from_spreadsheets(row[column]) for row in rows] for column in schema.PREDICTIONS)
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
    schema.check_args(args)
    environment = _read_json(folder / "environment.json", schema.ENVIRONMENT)
    run_results = _read_json(folder / "results.json", {})
    schema.check_results(run_results)
    if run_results["dry_run"]:
        raise InputError("a dry run, its numbers mean nothing")
    if run_results["status"] not in ("finished", "early-stopped"):
        raise InputError(f"unfinished, it was {run_results['status']}")
    checkpoint = folder / "checkpoint"
    if _is_file(checkpoint / "made_of.json") and not _is_file(checkpoint / "finished.json"):
        raise InputError(f"unfinished, train_{run_results['experiment']}.py --resume brings it to its end")
    history = _read_csv(folder / "history.csv", schema.HISTORY)
    points = _read_csv(folder / "points.csv", schema.POINTS) if os.path.lexists(folder / "points.csv") else []
    models = run_results.get("models", {None: run_results})
    records = []
    for model, results in models.items():
        schema.check_results(results)
        phases = _phases(model, results, history)
        curve = [row for row in history if row["phase"] in phases]
        if results["best_epoch"] not in [row["epoch"] for row in curve]:
            raise InputError(f"damaged, history.csv lacks the epoch {results['best_epoch']} of results.json")
        scores = _scores(model, results, curve, history, points)
        records.append(Record(folder, model, args, environment, results, phases, scores))
    return records


def _is_run(folder):
    return _is_file(folder / "args.json")


def _find(folder, depth):
    if _is_run(folder):
        return [folder], []
    try:
        inner = sorted(path for path in folder.iterdir() if path.name[0] != "." and path.is_dir()) if depth else []
    except (OSError, ValueError):  # not a folder, or not readable
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
    kept = {name: results[name] for name in ("val_accuracy", "val_loss") if name in results}  # earlier versions had no loss
    for phase, rows in rows_by_phase.items():
        best = {row["epoch"]: row for row in rows}.get(results["best_epoch"], {})
        if len(rows) == results["epochs"] and (phase == model if model else kept.items() <= best.items()):
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


def _read_json(path, valid):
    content = _read(path, files.read_json)
    schema.check(content, valid, path.name)
    return content


def _read_csv(path, valid, **options):
    rows = _read(path, files.read_csv, **options)
    if not rows:
        raise InputError(f"damaged, {path.name} has no rows")
    for row in rows:
        schema.check(row, valid, path.name)
    return rows


def _read(path, reader, **options):
    try:
        return reader(path, **options)
    except (OSError, ValueError) as error:
        raise InputError(f"damaged, {path.name} can't be read ({reason(error)})") from error
