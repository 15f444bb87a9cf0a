"""Records as the rows of a comparison: those that differ only in seed together, named by what tells the rows apart."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

# Flags that say where, how often or how exactly a recipe is carried out, and not what it is. --data and --amp are compared by
# what they led to, the data set and the precision; --b-samples and --seeds of the A/B split only add points beside the models.
NOT_OF_THE_RECIPE = (
    "amp", "b_samples", "cache_dir", "data", "devices", "dry_run", "name", "output_dir", "resume", "seed", "seeds",
    "tensorboard",
)  # fmt: skip
OF_RESULTS = ("experiment", "data", "weights", "class_names", "train_size", "val_size", "test_size")
OF_ENVIRONMENT = ("backend", "precision")


@dataclass
class Row:
    """Records that differ only in seed, in the order of their seeds, all their scores by seed, and the row's name."""

    records: list
    scores: dict
    name: str = ""

    @property
    def first(self):
        """The record of the lowest seed, which stands for the row where only one can."""
        return self.records[0]

    def summary(self):
        """The row's numbers by name, unrounded.

        Of one seed `low` and `high` are the Wilson interval of its test accuracy, of several the t-interval of their mean,
        within 0 and 1. Epochs and seconds are means over the seeds.
        """
        from common import metrics  # not above: SciPy takes longer to import than --help may take

        results, accuracies = self.first.results, [score.test_accuracy for score in self.scores.values()]
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
            "trained": self.first.trained,
            **{key: results[key] for key in ("trained_weights", "frozen_weights")},
            "seeds": " ".join(map(str, self.scores)),
            "test_accuracy": mean,
            "deviation": deviation,
            "low": max(low, 0),
            "high": min(high, 1),
            "interval": "Wilson" if deviation is None else "t",
            **{key: results[key] for key in ("documented_accuracy", "comparable")},
            "epochs": metrics.spread([record.results["epochs"] for record in self.records])[0],
            "seconds": metrics.spread([score.seconds for score in self.scores.values()])[0],
            "device": " / ".join(dict.fromkeys(_devices(of["devices"]) for of in environments)),
            **{key: environments[0][key] for key in OF_ENVIRONMENT},
            "git_commit": " ".join(dict.fromkeys(str(of.get("git_commit")) for of in environments)),
            "folders": " ".join(str(record.folder) for record in self.records),
        }


def group(records):
    """Rows, unnamed, of records with one recipe, and the records whose seeds are all there in newer ones.

    The latter are a dict from a record's folder to that of the newer one. Folder names begin with the time.
    """
    by_recipe, rows, replaced = {}, [], {}
    for record in records:
        by_recipe.setdefault(json.dumps(recipe(record), sort_keys=True), []).append(record)
    for alike in by_recipe.values():
        kept, scores = [], {}
        for record in sorted(alike, key=lambda record: record.folder.name, reverse=True):
            if record.scores.keys() <= scores.keys():
                replaced[record.folder] = next(of.folder for of in kept if of.scores.keys() & record.scores.keys())
            else:
                kept.append(record)
                scores = record.scores | scores
        kept.sort(key=lambda record: record.results["seed"])
        rows.append(Row(kept, dict(sorted(scores.items()))))
    return rows, replaced


def recipe(record):
    """By name all that two records share which differ only in seed: arguments, data, weights, backend, precision."""
    return {
        **{key: value for key, value in record.args.items() if key not in NOT_OF_THE_RECIPE},
        **{key: record.results[key] for key in OF_RESULTS},
        **{key: record.environment[key] for key in OF_ENVIRONMENT},
        "picture_size": record.results["image_size"],
        "model_name": record.model,
    }


def name(rows):
    """Name each row by its experiment, its model if it is one of several, and what tells it from others of the same: the word
    of `--name` where each has its own, else the settings in which they differ; where that is not enough, its folder too. A
    sweep's name says what was chosen.
    """
    siblings = {}
    for row in rows:
        siblings.setdefault((row.first.results["experiment"], row.first.model), []).append(row)
    for (experiment, model), alike in siblings.items():
        recipes = [recipe(row.first) for row in alike]
        words = [{record.args.get("name") for record in row.records} for row in alike]
        named = all(len(own) == 1 for own in words) and len(set.union(*words) - {None}) == len(alike) > 1
        for row, own, word in zip(alike, recipes, words, strict=True):
            settings = [key for key in (*row.first.args, "data", *OF_ENVIRONMENT) if key in own]
            differ = [key for key in dict.fromkeys(settings) if any(of.get(key) != own[key] for of in recipes)]
            title = f"{experiment}: {row.first.results['model']}" if model else experiment
            tells = word if named else (_setting(key, own[key]) for key in differ)
            row.name = " ".join(filter(None, [title, *tells, _chosen(row)]))
        times = Counter(row.name for row in alike)
        for row in alike:
            row.name += f" ({row.first.folder})" * (times[row.name] > 1)


def _setting(key, value):
    """A setting as it is typed, a path by its last part; nothing for a flag that is not given."""
    words = key.replace("_", "-")
    if key in OF_ENVIRONMENT:
        return value
    if value is None or (value is False and words.startswith("no-")):
        return ""
    if isinstance(value, bool):
        return f"--{words}" if value else f"--no-{words}"
    return f"--{words} {' '.join(Path(str(each)).name for each in (value if isinstance(value, list) else [value]))}"


def _chosen(row):
    """Which of its combinations a sweep has chosen, or each seed of several."""
    chosen = [of.results for of in row.records if {"learning_rate", "dropout"} <= of.results.keys()]
    return " / ".join(dict.fromkeys(f"[lr {of['learning_rate']:g}, dropout {of['dropout']:g}]" for of in chosen))


def _devices(names):
    return ", ".join(device if count == 1 else f"{count} x {device}" for device, count in Counter(map(str, names)).items())
