"""Rows of a comparison: records that differ only in seed are one row, named by what tells it from the others."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from common import runs
from common.results import tables

# Flags that don't change the recipe. --data and --amp are compared by their effect, the data set and the precision.
NOT_OF_THE_RECIPE = (
    "amp", "cache_dir", "data", "devices", "dry_run", "name", "output_dir", "resume", "seed", "skip_damaged", "tensorboard",
)  # fmt: skip
OF_RESULTS = ("experiment", "weights", "class_names", "train_size", "val_size", "test_size")
OF_ENVIRONMENT = ("backend", "precision")
ACCURACY = "test accuracy [95 % interval]"
COLUMNS = (
    "experiment", "data, images", "weights", "trained, weights", "seeds", ACCURACY, "documented",
    "epochs", "time", "device",
)  # fmt: skip
LEGEND = """
Test accuracy: of one seed with its Wilson interval, of several the mean ± sample standard deviation with the t-interval of the
mean. A documented number in brackets can't be compared with ours. Time is a run's, the mean over seeds; where a run trains
several models, it is that of the model's own training."""


@dataclass
class Row:
    """Records that differ only in seed, in the order of their seeds; the row's name."""

    records: list
    name: str = ""

    @property
    def first(self):
        """The record of the lowest seed, which stands for the row where only one record can."""
        return self.records[0]

    def summary(self):
        """The row's numbers by name, unrounded.

        `low` and `high` are the Wilson interval of the test accuracy of one seed, or the t-interval of the mean of several,
        within 0 and 1. Epochs and seconds are means over the seeds.
        """
        from common.results import metrics  # SciPy is slow to import

        results, accuracies = self.first.results, [record.results["test_accuracy"] for record in self.records]
        balanced = [record.results.get("test_balanced_accuracy") for record in self.records]  # equal classes have none
        mean, deviation = metrics.spread(accuracies)
        if deviation is None:
            low, high = metrics.accuracy_interval(round(mean * results["test_size"]), results["test_size"])
        else:
            low, high = metrics.mean_interval(accuracies)
        environments = [record.environment for record in self.records]
        return {
            "name": self.name,
            "experiment": results["experiment"],
            "model": self.first.model,
            **{key: results[key] for key in ("data", "train_size", "val_size", "test_size", "weights")},
            "trained": results["trained"],
            **{key: results[key] for key in ("trained_weights", "frozen_weights")},
            "seeds": " ".join(str(record.seed) for record in self.records),
            "test_accuracy": mean,
            "balanced_accuracy": metrics.spread(balanced)[0] if None not in balanced else None,
            "deviation": deviation,
            "low": max(low, 0),
            "high": min(high, 1),
            "interval": "Wilson" if deviation is None else "t",
            **{key: results[key] for key in ("documented_accuracy", "comparable", "class_names")},
            "epochs": None if "C" in results else metrics.spread([record.results["epochs"] for record in self.records])[0],
            "seconds": metrics.spread([record.seconds for record in self.records])[0],
            "device": " / ".join(dict.fromkeys(tables.devices(environment["devices"]) for environment in environments)),
            **{key: environments[0][key] for key in OF_ENVIRONMENT},
            "git_commit": " ".join(dict.fromkeys(str(environment.get("git_commit")) for environment in environments)),
            "folders": " ".join(str(record.folder) for record in self.records),
        }


def cells(summary):
    """The cells of a row of the table, from its `summary`."""
    epochs = summary["epochs"]
    return (
        summary["name"],
        f"{summary['data']}, {summary['train_size']:,}",
        Path(summary["weights"]).name,
        f"{summary['trained']}, {summary['trained_weights']:,}",
        len(summary["seeds"].split()),
        tables.accuracy(
            summary["test_accuracy"], (summary["low"], summary["high"]), summary["deviation"], summary["balanced_accuracy"]
        ),
        tables.documented(summary),
        "-" if epochs is None else f"{epochs:.0f}" if epochs == round(epochs) else f"{epochs:.1f}",
        tables.duration(summary["seconds"]),
        f"{summary['device']}, {summary['precision']}",
    )


def group(records):
    """Unnamed rows of records that share a recipe, and the records that newer ones with the same seed replace.

    The latter are a dict from a record's folder to the newer one's.
    """
    by_recipe, rows, replaced = {}, [], {}
    for record in records:
        by_recipe.setdefault(json.dumps(recipe(record), sort_keys=True), []).append(record)
    for same_recipe in by_recipe.values():
        by_seed = {}
        for record in sorted(same_recipe, key=_age, reverse=True):
            newest = by_seed.setdefault(record.seed, record)
            if newest is not record:
                replaced[record.folder] = newest.folder
        rows.append(Row([by_seed[seed] for seed in sorted(by_seed)]))
    return rows, replaced


def _age(record):
    """The sort key of a record by age: when its run was started, then the folder's name."""
    return runs.started(record.folder), record.folder.resolve().name


def recipe(record):
    """Everything by name that records share when they differ only in seed: arguments, data, weights, backend, precision."""
    return {
        **{key: value for key, value in record.args.items() if key not in NOT_OF_THE_RECIPE and value is not None},
        **{key: record.results[key] for key in OF_RESULTS},
        "data": record.results.get("all_images") or record.results["data"],  # earlier versions lack the former
        **{key: record.environment[key] for key in OF_ENVIRONMENT},
        "input_size": record.results["image_size"],
        "model_name": record.model,
    }


def name(rows):
    """Name each row by its experiment, a base that isn't the document's, its model of several, what tells it from its siblings.

    That is its `--name` where each sibling has its own, else the settings in which they differ, and the folder if that is
    not enough. A sweep's name says what was chosen.
    """
    siblings = {}
    for row in rows:
        siblings.setdefault((row.first.results["experiment"], row.first.model), []).append(row)
    for (experiment, model), group_rows in siblings.items():
        recipes = [recipe(row.first) for row in group_rows]
        run_names = [{record.args.get("name") for record in row.records} for row in group_rows]
        have_names = all(len(names) == 1 for names in run_names) and len(set.union(*run_names) - {None}) == len(group_rows) > 1
        for row, settings, names in zip(group_rows, recipes, run_names, strict=True):
            keys = [key for key in (*row.first.args, "data", *OF_ENVIRONMENT) if key in settings and key != "base"]
            differing = [key for key in dict.fromkeys(keys) if any(other.get(key) != settings[key] for other in recipes)]
            title, documents = experiment, "vgg19-fc2" if experiment == "vgg19" else experiment
            if isinstance(base := settings.get("base"), str) and base != documents:  # models of the linear probe are called so
                title += f" on {base}"
            title += f": {row.first.results['model']}" if model else ""
            shown = settings | {"data": row.first.results["data"]}
            details = names if have_names else (_setting(key, shown[key]) for key in differing)
            row.name = " ".join(filter(None, [title, *details, _chosen(row)]))
        times = Counter(row.name for row in group_rows)
        for row in group_rows:
            row.name += f" ({row.first.folder})" * (times[row.name] > 1)


def _setting(key, value):
    """A setting as it is typed, paths by their last part; empty for a flag that is not given."""
    flag = key.replace("_", "-")
    if key in OF_ENVIRONMENT:
        return value
    if value is None or (value is False and flag.startswith("no-")):
        return ""
    if isinstance(value, bool):
        return f"--{flag}" if value else "--no-augment" if key == "augment" else ""
    return f"--{flag} {' '.join(Path(str(item)).name for item in (value if isinstance(value, list) else [value]))}"


def _chosen(row):
    """The combination that a sweep has chosen, or the C of a logistic head, for each seed."""
    chosen = []
    for results in (record.results for record in row.records):
        if {"learning_rate", "dropout"} <= results.keys():
            chosen.append("[lr {learning_rate:g}, dropout {dropout:g}]".format(**results))
        elif "C" in results:
            chosen.append(f"[C {results['C']:g}]")
    return " / ".join(dict.fromkeys(chosen))
