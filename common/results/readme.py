"""The README's tables and commands, made of the published results: what stands between two of its markers, `<!-- name -->`
and `<!-- /name -->`.
"""

import re
from pathlib import Path

from common import files
from common.results import metrics, tables

RUNS = {  # in the README's order; the A/B split's four models have names of their own
    "ab_split/default": "",
    "vgg19_finetune/scratch": "VGG19 at 32x32, all layers, 5 epochs",
    "vgg19_finetune/cifar100": "the same on CIFAR-100",
    "vgg19_finetune/transfer": "1 epoch of the head, then 4 of all layers",
    "vgg19_finetune/frozen": "5 epochs of the head on the frozen base",
    "resnet152v2/control": "**control**: head on frozen ResNet152V2, 200x200, augmented",
    "vgg19/control": "**control**: head on frozen VGG19, 224x224",
    "vgg19/lr-03": "**control**: the same, `--lr .03`, the best of five on val",
    "efficientnetb7/control": "**control**: head on frozen EfficientNetB7, 224x224, augmented, the best of eight on val",
    "efficientnetb7/no-resize": "**control**: head on frozen EfficientNetB7, 32x32, augmented, not resized",
}
PRECISIONS = {"float32": "float32", "mixed_bfloat16": "bfloat16"}


def update(text, published):
    """The README's `text` with its tables and commands as the files under `published`, plots/results/, have them."""
    parts = {"results": results(published), "commands": commands(published), "sizes": sizes(published)}
    for name, lines in parts.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, rest = text.split(begin)
        text = "\n".join([before + begin, *lines, end + rest.split(end)[1]])
    return text


def results(published):
    """The table of results: a row for every published run, four for the A/B split's models."""
    columns = ("run", "what was trained", "pictures", "weights", "test accuracy [95 % interval]", "documented", "time")
    rows = []
    for run, what in RUNS.items():
        whole, environment = (files.read_json(published / run / name) for name in ("results.json", "environment.json"))
        for of in whole.get("models", {"": whole}).values():
            seconds = of["total_seconds"] if what else of["seconds"]
            time = f"{seconds / 60:.0f} min" if seconds >= 100 else f"{seconds:.0f} s"
            rows.append((
                f"[{run}](plots/results/{run})",
                what or of["model"],
                f"{of['data']}: {of['train_size']:,} + {of['val_size']:,} + {of['test_size']:,}",
                re.sub(r"^\d{8}-\d{6}-", "", Path(of["weights"]).name),
                tables.accuracy(of["test_accuracy"], of["test_accuracy_interval"]),
                tables.documented(of) if of["data"] == "cifar10" else "-",
                f"{time}, {environment['devices'][0]}, {PRECISIONS[environment['precision']]}",
            ))  # fmt: skip
    return tables.markdown(rows, columns)


def commands(published):
    """A block of the commands of these runs, in the same order."""
    environments = [files.read_json(published / run / "environment.json") for run in RUNS]
    return ["```sh", *(f".venv/bin/python {of['command']}" for of in environments), "```"]


def study(published):
    """A dict for each model and number of B's images in the A/B split's study, as `metrics.spread_by` has it."""
    points = files.read_csv(published / "ab_split" / "study" / "points.csv")
    return metrics.spread_by(points, ("model", "samples"), "test_accuracy")


def sizes(published):
    """The table of the study: a row for each number of B's images, a column for each way to train B."""
    columns = {"b-scratch": "B from scratch", "b-last-fc": "B, last FC layer", "b-both-fc": "B, both FC layers"}
    by_size = {}
    for row in study(published):
        if row["model"] in columns:
            by_size.setdefault(row["samples"], {})[row["model"]] = f"{row['mean']:.4f} ± {row['deviation']:.4f}"
    rows = [[f"{size:,.0f}", *(by_size[size][model] for model in columns)] for size in sorted(by_size)]
    return tables.markdown(rows, ("training images of B", *columns.values()))
