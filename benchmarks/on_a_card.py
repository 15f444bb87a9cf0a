#!/usr/bin/env python3
"""The runs that need a GPU, the most important first, within a time; what is finished is not run again.

    python benchmarks/on_a_card.py --data data/cifar10 --cifar100 data/cifar100 --scenes data/scenes --seconds 570
    python benchmarks/on_a_card.py --only vgg19_finetune efficientnetb7/lite0 --jobs 2      # steps whose names begin so
    python benchmarks/on_a_card.py --small                                                  # all of it in miniature, on a CPU

A step is a run of a training script. It is left out where its estimate, in seconds on an H100 with JAX, is more than what is
left of --seconds. What runs at their end gets SIGTERM; the same command resumes it, and goes on with the steps left out.

VGG19's settings are trained for some epochs each; val accuracy chooses one of them for the longer runs. --setting names one
without these runs. Prints what every step gave, and writes it to on_a_card.csv.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import math
import os
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass

from common import cli, files, flags
from common.cli import tell

ROOT = Path(__file__).parents[1]
COLUMNS = ("step", "val accuracy", "test accuracy", "seconds", "device", "outcome", "command")
SETTINGS = {  # of VGG19: regularization and learning rate
    "plain": (),
    "decay": ("--weight-decay", ".05", "--smoothing", ".1"),
    "crop": ("--weight-decay", ".05", "--smoothing", ".1", "--crop-padding", "4", "--cutout", "8"),
    "fast": ("--weight-decay", ".02", "--smoothing", ".1", "--crop-padding", "4", "--cutout", "8", "--finetune-lr", ".01"),
    "strong": ("--weight-decay", ".1", "--smoothing", ".1", "--crop-padding", "4", "--cutout", "16"),
}
CHOICE = {setting: f"vgg19_finetune/choice-{setting}" for setting in SETTINGS}
GRACE = 30  # seconds for a checkpoint, and for the table
NOT_COLLECTED = ("*.keras", "*.h5", "checkpoint", "tensorboard")  # hundreds of MB


@dataclass(frozen=True)
class Step:
    """A run of train_<script>.py: its `--name`, its flags, its estimated seconds.

    `base` is the label of the step whose run is its `--weights`; with `is_chosen` it has the setting that val has chosen.
    """

    script: str
    name: str
    flags: tuple
    seconds: float
    base: str = ""
    is_chosen: bool = False

    @property
    def label(self):
        """What the step is called: where its run is published under plots/results/."""
        return f"{self.script}/{self.name}"

    def needs(self, args):
        """The labels of the steps that must be finished before."""
        choice = CHOICE.values() if self.is_chosen and not args.setting else ()
        return [*choice, *([self.base] if self.base else [])]


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    parser.add_argument("--data", default="cifar10", metavar="cifar10|PATH", help="CIFAR-10")
    parser.add_argument("--cifar100", metavar="DIR", help="CIFAR-100; without it the steps that begin there are left out")
    parser.add_argument("--scenes", metavar="DIR", help="the ResNet152V2 document's images; without them that step is left out")
    parser.add_argument("--seconds", type=flags.positive_int, metavar="N", help="of time for all (default: no limit)")
    parser.add_argument("--only", nargs="+", metavar="STEP", help="steps whose names begin with one of these")
    parser.add_argument("--epochs", type=flags.positive_int, default=150, metavar="N", help="of each phase of all of VGG19")
    parser.add_argument("--choice-epochs", type=flags.positive_int, default=30, metavar="N", help="of each setting of VGG19")
    parser.add_argument("--batch-size", type=flags.positive_int, default=64, metavar="N", help="of VGG19")
    parser.add_argument("--seeds", type=flags.positive_int, default=3, metavar="N", help="of VGG19 and EfficientNet-Lite0")
    parser.add_argument("--setting", choices=SETTINGS, help="of VGG19, without asking val")
    parser.add_argument("--jobs", type=flags.positive_int, default=1, metavar="N", help="steps at once; they share the GPU")
    parser.add_argument(
        "--output-dir", type=Path, default=Path("runs/on_a_card"), metavar="DIR", help="parent of the run folders"
    )
    parser.add_argument("--cache-dir", type=Path, default=Path("cache"), metavar="DIR", help="as for the scripts")
    parser.add_argument("--collect", type=Path, metavar="DIR", help="copies of the finished runs without their weights")
    parser.add_argument("--small", action="store_true", help="100 digits, 32x32, one epoch, one seed")
    args = parser.parse_args(argv)
    if args.small:
        args.data = args.cifar100 = args.scenes = "digits"
        args.seeds = args.epochs = args.choice_epochs = 1
    return args


def all_steps(args):
    """The steps in the order of their importance."""
    seeds = range(1, args.seeds)
    return [
        *vgg19_choice(args),
        *vgg19(args, 0),
        *lite0(args, 0),
        *(step for seed in seeds for step in lite0(args, seed)),
        vgg19_longer(args, 0),
        *resnet152v2(args),
        *efficientnetb7(args),
        *(step for seed in seeds for step in (*vgg19(args, seed), vgg19_longer(args, seed))),
    ]


def seeded(name, seed):
    """The `--name` of a run, and the flag of its seed: `name`, `name-1`, `name-2`."""
    return f"{name}-{seed}" if seed else name, ("--seed", str(seed))


def cosine(args, epochs):
    """All of VGG19 for so many epochs, none of them left out; and the estimate of the seconds."""
    own = ("--schedule", "cosine", "--finetune-epochs", str(epochs), "--patience", str(epochs), "-b", str(args.batch_size))
    return own, 50 + 1.2 * epochs


def vgg19_choice(args):
    own, seconds = cosine(args, args.choice_epochs)
    own = ("--data", args.data, "--weights", "none", *own)
    return [Step("vgg19_finetune", f"choice-{setting}", (*own, *given), seconds) for setting, given in SETTINGS.items()]


def vgg19(args, seed):
    """From scratch; on CIFAR-100; from there head and all layers, and the head alone."""
    epochs, seconds = cosine(args, args.epochs)
    names = [seeded(name, seed) for name in ("scratch", "cifar100", "transfer", "frozen")]
    (scratch, of_seed), (cifar100, _), (transfer, _), (frozen, _) = names
    head = ("--head-epochs", "5", "--dropout", "0", "--finetune-lr", ".003")
    alone = ("--head-epochs", "50", "--dropout", "0", "--finetune-epochs", "0", "-b", str(args.batch_size), *of_seed)
    base, own = f"vgg19_finetune/{cifar100}", (*epochs, *of_seed)
    yield Step("vgg19_finetune", scratch, ("--data", args.data, "--weights", "none", *own), seconds, is_chosen=True)
    if args.cifar100:
        yield Step("vgg19_finetune", cifar100, ("--data", args.cifar100, "--weights", "none", *own), seconds, is_chosen=True)
        yield Step("vgg19_finetune", transfer, ("--data", args.data, *head, *own), seconds + 10, base, is_chosen=True)
        yield Step("vgg19_finetune", frozen, ("--data", args.data, *alone), 60, base)


def vgg19_longer(args, seed):
    """The control: from scratch for as many steps as pretraining and fine-tuning take together."""
    (own, seconds), (name, of_seed) = cosine(args, 2 * args.epochs), seeded("scratch-longer", seed)
    own = ("--data", args.data, "--weights", "none", *own)
    return Step("vgg19_finetune", name, (*own, *of_seed), seconds, is_chosen=True)


def lite0(args, seed):
    """EfficientNet-Lite0 with ImageNet's weights, frozen and fine-tuned."""
    (frozen, of_seed), (finetuned, _) = seeded("lite0", seed), seeded("lite0-finetuned", seed)
    own = ("--data", args.data, "--base", "efficientnet-lite0", "--weights", "imagenet", *of_seed)
    yield Step("efficientnetb7", frozen, own, 80)
    yield Step("efficientnetb7", finetuned, (*own, *finetuning(epochs=5)), 150)


def finetuning(epochs):
    """Of all layers of a pretrained backbone, whose batch norm stays as it is."""
    learning = ("--lr", "1e-4", "--weight-decay", ".05", "--schedule", "cosine", "--epochs", str(epochs), "-b", "64")
    return ("--unfreeze-last", "all", *learning)


def from_scratch(epochs):
    """Of a backbone with batch norm, at a size at which an epoch takes seconds."""
    learning = ("--weight-decay", ".05", "--smoothing", ".1", "--schedule", "cosine", "--warmup-epochs", "2")
    own = ("--weights", "none", "--unfreeze-last", "all", "--image-size", "64", "--epochs", str(epochs), "-b", "128")
    return (*own, *learning)


def of_own_base(script, args, seconds):
    """A backbone trained on CIFAR-100, then on CIFAR-10: frozen at the size that it knows and at the document's; fine-tuned."""
    if not args.cifar100:
        return
    base, data = f"{script}/cifar100", ("--data", args.data)
    pretraining, frozen, finetuned = seconds
    yield Step(script, "cifar100", ("--data", args.cifar100, *from_scratch(30)), pretraining)
    yield Step(script, "from-cifar100-at-64", (*data, "--image-size", "64"), frozen, base)
    yield Step(script, "from-cifar100", data, frozen, base)
    yield Step(script, "from-cifar100-finetuned", (*data, *finetuning(epochs=3)), finetuned, base)


def resnet152v2(args):
    yield from of_own_base("resnet152v2", args, (330, 120, 260))
    if args.scenes and args.cifar100:
        yield Step("resnet152v2", "scenes", ("--data", args.scenes), 70, "resnet152v2/cifar100")


def efficientnetb7(args):
    yield from of_own_base("efficientnetb7", args, (450, 150, 330))


def run_folder(args, label):
    """The newest run folder of a step, None if there is none."""
    script, name = label.split("/")
    folders = sorted(path.parent for path in (args.output_dir / script).glob(f"*-{name}*/args.json"))
    return next((folder for folder in reversed(folders) if files.read_json(folder / "args.json")["name"] == name), None)


def is_finished(args, label):
    folder = run_folder(args, label)
    return bool(folder) and (folder / "checkpoint" / "finished.json").exists()


def chosen_setting(args):
    """The setting given, or the one with the best val accuracy of its run."""
    if args.setting:
        return args.setting
    return max(CHOICE, key=lambda setting: results(args, CHOICE[setting])["val_accuracy"])


def results(args, label):
    return files.read_json(run_folder(args, label) / "results.json")


def command(step, args):
    """The command of a step, a list: `--resume` where it was cut off."""
    script = [sys.executable, str(ROOT / f"train_{step.script}.py")]
    if folder := run_folder(args, step.label):
        return [*script, "--resume", str(folder)]
    given = [*step.flags, *(SETTINGS[chosen_setting(args)] if step.is_chosen else ()), "--amp", "--name", step.name]
    given += ["--weights", str(run_folder(args, step.base))] if step.base else []
    if args.small:
        given += ["--image-size", "32", "--max-train-samples", "100", "-b", "45"]
        given += ["--finetune-epochs", "1"] if step.script == "vgg19_finetune" else ["--epochs", "1"]
        given += ["--head-epochs", "1"] if "--head-epochs" in given else []
        given += ["--warmup-epochs", "0"] if "--warmup-epochs" in given else []
    return [*script, *given, "--output-dir", str(args.output_dir), "--cache-dir", str(args.cache_dir)]


class Card:
    """Runs steps on the card: `outcomes` says of each, by label, what became of it."""

    def __init__(self, args):
        self.args, self.outcomes, self._running = args, {}, {}
        self._end = time.monotonic() + (args.seconds or math.inf) - GRACE

    def run(self, waiting):
        """Run the steps in their order, as many at once as `--jobs` says, until they are done or the time is over."""
        try:
            while waiting or self._running:
                waiting = [step for step in waiting if not self._take(step, waiting)]
                self._look_at_running()
                if time.monotonic() >= self._end:
                    break
                time.sleep(0.2)
        finally:
            self._stop()

    def _take(self, step, waiting):
        """Start a step, or note why not; False where it has to wait."""
        args, needs = self.args, step.needs(self.args)
        if is_finished(args, step.label):
            self._note(step, "finished before")
        elif missing := [label for label in needs if not is_finished(args, label)]:
            if {*missing} & {other.label for other in (*waiting, *self._running) if other is not step}:
                return False
            self._note(step, f"left out, needs {missing[0]}")
        elif len(self._running) == args.jobs:
            return False
        elif step.seconds > (left := self._end - time.monotonic()) and not run_folder(args, step.label):
            self._note(step, f"left out, {left:.0f} s are left of its {step.seconds:.0f}")
        else:
            self._start(step)
        return True

    def _start(self, step):
        log = self.args.output_dir / f"{step.script}-{step.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        words = command(step, self.args)
        tell(f"{step.label}: {shlex.join(words[1:])}")
        share = {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / self.args.jobs:.2f}"} if self.args.jobs > 1 else {}
        with log.open("w") as file:
            process = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, env=share | os.environ)
        self._running[step] = process, log

    def _look_at_running(self):
        for step, (process, log) in list(self._running.items()):
            if process.poll() is not None:
                del self._running[step]
                last = (log.read_text().splitlines() or [""])[-1]
                self._note(step, "done" if process.returncode == 0 else f"failed with {process.returncode}: {last}")

    def _stop(self):
        """End what runs: with a checkpoint, unless it does not come to it, as in a compilation."""
        self._look_at_running()
        for process, _ in self._running.values():
            process.terminate()
        end = time.monotonic() + GRACE / 2
        for step, (process, _) in self._running.items():
            try:
                process.wait(max(0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._note(step, "done" if is_finished(self.args, step.label) else "cut off, to be resumed")

    def _note(self, step, outcome):
        self.outcomes[step.label] = outcome
        tell(f"{step.label}: {outcome}")
        if self.args.collect and is_finished(self.args, step.label):
            folder = run_folder(self.args, step.label)
            target, ignore = self.args.collect / step.script / folder.name, shutil.ignore_patterns(*NOT_COLLECTED)
            shutil.copytree(folder, target, ignore=ignore, dirs_exist_ok=True)


def row(step, args, outcome):
    """What the table says of a step."""
    cells = dict.fromkeys(COLUMNS) | {"step": step.label, "outcome": outcome}
    if not is_finished(args, step.label):
        return cells
    scores, environment = results(args, step.label), files.read_json(run_folder(args, step.label) / "environment.json")
    cells |= {f"{part} accuracy": round(scores[f"{part}_accuracy"], 4) for part in ("val", "test")}
    return cells | {"seconds": scores["total_seconds"], "device": environment["devices"][0], "command": environment["command"]}


def report(steps, args, outcomes):
    """Print the table, without the commands, and write all of it as CSV."""
    from common.results import tables

    rows = [row(step, args, outcomes.get(step.label, "not begun")) for step in steps]
    for folder in filter(None, (args.output_dir, args.collect)):
        folder.mkdir(parents=True, exist_ok=True)
        files.write_csv(folder / "on_a_card.csv", rows, COLUMNS)
    shown = [["-" if cells[column] is None else cells[column] for column in COLUMNS[:-1]] for cells in rows]
    tell("", *tables.text(shown, COLUMNS[:-1]))
    if not args.setting and all(is_finished(args, label) for label in CHOICE.values()):
        tell(f"VGG19's setting, chosen by val accuracy among {', '.join(SETTINGS)}: {chosen_setting(args)}")


def main(argv=None):
    args = parse_args(argv)
    steps = [step for step in all_steps(args) if not args.only or step.label.startswith(tuple(args.only))]
    if not steps:
        raise cli.InputError(f"--only {' '.join(args.only)} names no step: {', '.join(step.label for step in all_steps(args))}")
    card = Card(args)
    try:
        card.run(steps)
    finally:
        report(steps, args, card.outcomes)
    if failed := [label for label, outcome in card.outcomes.items() if outcome.startswith("failed")]:
        raise cli.TrainingError(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    cli.run(main)
