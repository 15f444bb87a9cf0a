"""The tables and commands of README.md and docs/, made from the published results.

They stand between two markers, `<!-- name -->` and `<!-- /name -->`.
"""

from common import files
from common.results import metrics, tables

FILES = ("README.md", "docs/experiments.md")  # those with markers
RESULTS = {  # published runs in the table's order; the A/B split's four models have names of their own
    "ab_split/default": "",
    "vgg19_finetune/scratch": "VGG19 from scratch, 5 epochs",
    "vgg19_finetune/cifar100": "the same on CIFAR-100",
    "vgg19_finetune/transfer": "from CIFAR-100: head 1 epoch, all layers 4",
    "vgg19_finetune/frozen": "from CIFAR-100, frozen: head 5 epochs",
}
CONTROLS = {  # random weights in a frozen backbone
    "resnet152v2/control": "head on ResNet152V2, 200x200, augmented",
    "vgg19/control": "softmax on VGG19, 224x224",
    "vgg19/lr-03": "the same, `--lr .03`, best of 5 on val",
    "efficientnetb7/control": "head on EfficientNetB7, 224x224, augmented, best of 8 on val",
    "efficientnetb7/no-resize": "head on EfficientNetB7, 32x32, augmented, not resized",
}
COLUMNS = ("experiment", "what was trained", "test accuracy [95 % interval]", "documented", "time, device")
NO_BREAK = "\N{NO-BREAK SPACE}"  # keeps an interval, a time or a device on one line of its cell
MAX_LINE = 100  # characters of a command; the rest goes to a line of its own


def update(text, published):
    """`text` with its tables and commands as the files under `published`, plots/results/, have them."""
    parts = {"results": results, "controls": controls, "commands": commands, "sizes": sizes}
    for name, make_lines in parts.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if begin in text:
            before, rest = text.split(begin)
            text = "\n".join([before + begin, *make_lines(published), end + rest.split(end)[1]])
    return text


def results(published):
    """The table of results: a row for each published run, four for the models of the A/B split."""
    return _table(RESULTS, published)


def controls(published):
    """The same table for the runs with random weights in a frozen backbone."""
    return _table(CONTROLS, published)


def commands(published):
    """A block of the commands of all these runs, in the same order."""
    lines = ["```sh"]
    for run in (*RESULTS, *CONTROLS):
        command = files.read_json(published / run / "environment.json")["command"]
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


def _table(descriptions, published):
    rows = []
    for run, description in descriptions.items():
        run_results, environment = (files.read_json(published / run / name) for name in ("results.json", "environment.json"))
        for model in run_results.get("models", {"": run_results}).values():
            seconds = model["total_seconds"] if description else model["seconds"]
            time = f"{seconds / 60:.0f} min" if seconds >= 100 else f"{seconds:.0f} s"
            accuracy = tables.accuracy(model["test_accuracy"], model["test_accuracy_interval"])
            rows.append((
                f"[{run}](plots/results/{run})",
                description or model["model"],
                accuracy.replace(", ", f",{NO_BREAK}"),
                tables.documented(model),
                f"{time.replace(' ', NO_BREAK)}, {_device(environment['devices'][0])}",
            ))  # fmt: skip
    return tables.markdown(rows, COLUMNS)


def _device(name):
    """`2 cores` for `CPU (2 cores)`, and a GPU without its maker: the table is narrow."""
    if name.startswith("CPU ("):
        name = name.removeprefix("CPU (").removesuffix(")")
    return name.removeprefix("NVIDIA ").replace(" ", NO_BREAK)
