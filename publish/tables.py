"""The tables and commands of README.md and docs/, made from the published results.

They stand between two markers, `<!-- name -->` and `<!-- /name -->`.
"""

import re
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path

from common import files
from common.results import finished_runs, metrics
from common.results.tables import accuracy, documented, markdown

FILES = ("README.md", "docs/experiments.md")  # those with markers


@dataclass(frozen=True)
class Row:
    """A row of a table: a published run, or the A/B split's four models; what was trained; a key of literature.csv.

    The same with other seeds is published beside the run as <run>-1, <run>-2 ... and is part of the row.
    """

    run: str
    what: str = ""  # after the names that the A/B split's models have of their own
    external: str = ""


def with_seeds(run):
    """The folder of a published run, and those of the same with other seeds: <run>-1, <run>-2 ..."""
    return [run, *takewhile(Path.is_dir, (run.with_name(f"{run.name}-{number}") for number in count(1)))]


RESULTS = (
    Row("efficientnetb7/lite0-finetuned", "Lite0, ImageNet, fine-tuned at 224: 5 epochs", "efficientnetb0-finetuned"),
    Row("efficientnetb7/lite0-plain", "Lite0 frozen at 224: document's head", "resnet50-frozen"),
    Row("efficientnetb7/lite0-logistic", "the same, logistic regression", "resnet50-linear"),
    Row("efficientnetb7/lite0", "document's head, augmented"),
    Row("efficientnetb7/lite0-32", "document's head, not resized: 32x32"),
    Row("ab_split/default", "Adam"),
    Row("ab_split/document", "SGD as documented"),
    Row("vgg19_finetune/scratch", "from scratch, 70 epochs"),
    Row("vgg19_finetune/scratch-longer", "from scratch, 140 epochs", "vgg19-scratch"),
    Row("vgg19_finetune/cifar100", "on CIFAR-100, 70 epochs"),
    Row("vgg19_finetune/transfer", "from there: head 5 epochs, all layers 70", "vgg16-finetuned"),
    Row("vgg19_finetune/frozen", "from there, frozen: head 50 epochs", "vgg16-frozen"),
)
CONTROLS = (  # random weights in a frozen backbone
    Row("resnet152v2/control", "head, 200x200, augmented"),
    Row("resnet152v2/scenes", "head, 200x200, the document's scenes"),
    Row("vgg19/control", "softmax, 224x224"),
    Row("vgg19/lr-03", "the same, `--lr .03`, best of 5 on val"),
    Row("efficientnetb7/control", "head, 224x224, augmented, best of 8 on val"),
    Row("efficientnetb7/no-resize", "head, 32x32, augmented, not resized"),
)
TITLES = {  # of the experiments, short: the table is as wide as GitHub shows it
    "ab_split": "A/B split",
    "efficientnetb7": "EfficientNet",
    "resnet152v2": "ResNet152V2",
    "linear_probe": "Linear probe",
    "vgg19": "VGG19 at 224",
    "vgg19_finetune": "VGG19 at 32",
}
TRANSFER = {  # models of the transfer study
    "lite0-finetuned": "EfficientNet-Lite0, ImageNet weights, fine-tuned",
    "lite0-frozen": "EfficientNet-Lite0, ImageNet weights, frozen",
    "cnn-scratch": "CNN from scratch",
}
COLUMNS = ("experiment", "what was trained", "test accuracy", "documented", "elsewhere", "time, device")
NO_BREAK = "\N{NO-BREAK SPACE}"  # keeps an experiment, an interval, a time or a device on one line of its cell
MAX_LINE = 100  # characters of a command; the rest goes to a line of its own


def update(text, published):
    """`text` with its tables and commands as the files under `published`, plots/results/, have them."""
    for name, make_lines in PARTS.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, marker, rest = text.partition(begin)
        if end in rest:
            text = "\n".join([before + marker, *make_lines(published), end + rest.partition(end)[2]])
    return text


def results(published):
    """The README's table: a line for each of `RESULTS`, four for the models of the A/B split."""
    return _table(RESULTS, published, "plots/results")


def controls(published):
    """The same table of `CONTROLS`, for docs/."""
    return _table(CONTROLS, published, "../plots/results")


def literature():
    """Accuracies on CIFAR-10's test images that others have published, each read in the source that its address leads to.

    They are rows of literature.csv by key. Source and protocol are Markdown, `link` is the accuracy, which leads to the source.
    """
    rows = files.read_csv(Path(__file__).with_name("literature.csv"), convert=False)
    return {row["key"]: row | {"link": f"[{row['accuracy']}]({row['address']})"} for row in rows}


def elsewhere(published):
    """The table of literature.csv."""
    rows = [(row["link"], row["source"], row["protocol"]) for row in literature().values()]
    return markdown(rows, ("accuracy", "source", "how it was measured"))


def commands(published):
    """A block of the commands of all these rows, in the same order; of several seeds the first."""
    lines = ["```sh"]
    for row in (*RESULTS, *CONTROLS):
        command = files.read_json(published / row.run / "environment.json")["command"]
        lines += wrap(f".venv/bin/python {command}")
    return [*lines, "```"]


def wrap(command):
    """The lines of a command, broken before a flag where it is longer than `MAX_LINE`."""
    first, *flags = command.split(" --")
    lines = [first]
    for flag in flags:
        if len(lines[-1]) + len(f" --{flag} \\") <= MAX_LINE:
            lines[-1] += f" --{flag}"
        else:
            lines[-1] += " \\"
            lines.append(f"    --{flag}")
    return lines


def spread(points):
    """A dict for each model and number of images in the rows of a study's points.csv, as `metrics.spread_by` has it."""
    return metrics.spread_by(points, ("model", "samples"), "test_accuracy")


def sizes(published):
    """The table of the A/B split's study: a row for each number of B's images, a column for each way to train B."""
    columns = {"b-scratch": "B from scratch", "b-last-fc": "B, last FC layer", "b-both-fc": "B, both FC layers"}
    return _by_size(spread(files.read_csv(published / "ab" / "points.csv")), "training images of B", columns)


def transfer(published):
    """The table of the transfer study: a row for each number of training images, a column for each model in `TRANSFER`."""
    rows = spread(files.read_csv(published / "transfer" / "points.csv"))
    columns = {model: title for model, title in TRANSFER.items() if any(row["model"] == model for row in rows)}
    return _by_size(rows, "training images", columns)


def settings(published):
    """The table of VGG19's settings that val chose from: a row for each, with the flags in which they differ."""
    rows = files.read_csv(published / "vgg19_settings" / "points.csv")
    rows = [(setting(row["command"]), f"{row['val accuracy']:.4f}") for row in rows]
    cells = [(f"`{flags}`" if flags else "none", val_accuracy) for flags, val_accuracy in rows]
    return markdown(cells, ("flags", "val accuracy"))


def setting(command):
    """The flags of a command of VGG19 in which its settings differ."""
    return re.search(r" -b \d+(?: --seed 0)?(.*) --amp ", command)[1].strip()


# What makes the lines between two markers, by their name.
PARTS = {part.__name__: part for part in (results, controls, elsewhere, commands, sizes, transfer, settings)}


def _by_size(spread, first, columns):
    """Lines of a table of what `metrics.spread_by` has made; `columns` maps models to their titles.

    A cell of fewer seeds than most says how many.
    """
    most, by_size = max(row["runs"] for row in spread), {}
    for row in spread:
        if row["model"] in columns:
            cell = f"{row['mean']:.4f}" + (f" ± {row['deviation']:.4f}" if row["runs"] > 1 else "")
            cell += f" ({row['runs']} {'seed' if row['runs'] == 1 else 'seeds'})" if row["runs"] < most else ""
            by_size.setdefault(row["samples"], {})[row["model"]] = cell
    rows = [[f"{size:,.0f}", *(by_size[size].get(model, "-") for model in columns)] for size in sorted(by_size)]
    return markdown(rows, (first, *columns.values()))


def _table(rows, published, folder):
    """Lines of a table, with links to the runs in `folder`."""
    cells, others = [], literature()
    for row in rows:
        by_seed = [finished_runs.read_run(run) for run in with_seeds(published / row.run)]
        title = TITLES[row.run.split("/")[0]].replace(" ", NO_BREAK)
        for records in zip(*by_seed, strict=True):
            first = records[0]
            seconds, device = first.seconds, first.environment["devices"][0]
            time = f"{seconds / 60:.0f} min" if seconds >= 100 else f"{seconds:.0f} s"
            cells.append((
                f"[{title}]({folder}/{row.run})",
                ", ".join(filter(None, (first.model and first.results["model"], row.what))),
                _accuracy([record.results for record in records]),
                documented(first.results),
                others[row.external]["link"] if row.external else "-",
                f"{time.replace(' ', NO_BREAK)}, {_device(device)}",
            ))  # fmt: skip
    return markdown(cells, COLUMNS)


def _accuracy(by_seed):
    """A cell: the accuracy of one seed with its interval, or the mean of several with their deviation."""
    if len(by_seed) == 1:
        text = accuracy(by_seed[0]["test_accuracy"], by_seed[0]["test_accuracy_interval"])
        return text.replace(", ", f",{NO_BREAK}")
    mean, deviation = metrics.spread([results["test_accuracy"] for results in by_seed])
    return f"{mean:.4f} ± {deviation:.4f} ({len(by_seed)} seeds)".replace(" ", NO_BREAK)


def _device(name):
    """`2 cores` for `CPU (2 cores)`, and a GPU without its maker: the table is narrow."""
    if name.startswith("CPU ("):
        name = name.removeprefix("CPU (").removesuffix(")")
    return name.removeprefix("NVIDIA ").replace(" ", NO_BREAK)
