"""Publishing a run: its small text files, without weights and images, copied to plots/results/<experiment>/<name>/."""

import argparse
import contextlib
import shutil
from pathlib import Path

from common import cli, files, flags
from common.results import records

TEXTS = (
    "args.json", "environment.json", "history.csv", "results.json", "confusion_matrix.csv", "points.csv",
    "accuracy_by_samples.csv", "sweep.csv",
)  # fmt: skip
COPIED = {  # figures that show images can't be redrawn from text: they come with the run of this name
    "ab_split/features_of_b.png": "default",
    "resnet152v2/pipeline.png": "control",
    "vgg19_finetune/examples.png": "scratch",
}


def check(run_dir, experiments):
    """Raise InputError unless a folder is that of a finished run, of one of these experiments, which can be published whole."""
    try:
        record, *others = records.read(run_dir)
        for one in (record, *others):
            if one.has_predictions:
                one.predictions()
    except cli.InputError as error:
        raise cli.InputError(f"{run_dir}: {error}; give the folder of a finished run") from error
    experiment, name = record.results["experiment"], record.args.get("name")
    if record.folder != run_dir:
        raise cli.InputError(f"{run_dir} is one model of a run: a run is published whole, give {record.folder}")
    if not name or not isinstance(name, str):
        raise cli.InputError(f"{run_dir} has no name to be published under: start such a run with train_{experiment}.py --name")
    try:
        flags.run_name(name)
    except argparse.ArgumentTypeError as error:
        raise cli.InputError(f"{run_dir} can't be published under its name: {error}") from error
    if experiment not in experiments:
        raise cli.InputError(f"{run_dir}: {experiment} is none of the experiments {', '.join(experiments)}")
    for path in run_dir.rglob("*"):
        if path.is_symlink():
            raise cli.InputError(f"{path} is a link: a run is published without links, which may lead out of its folder")


def publish(run_dirs, plots):
    """Copy the files of runs that `check` has let pass, and their figures in `COPIED`, to the folder `plots`.

    Predictions are packed. What was published under their names is replaced when all is whole. Returns the folders.
    """
    targets = []
    with contextlib.ExitStack() as stack:  # at its end everything new takes its place
        for run_dir in run_dirs:
            all_records = records.read(run_dir)
            experiment, name = all_records[0].results["experiment"], all_records[0].args["name"]
            targets.append(plots / "results" / experiment / name)
            if targets[-1] in targets[:-1]:
                raise cli.InputError(f"{run_dir}: two of these runs would be published as {experiment}/{name}; give one")
            for figure, run_name in COPIED.items():
                source = run_dir / "plots" / Path(figure).name
                if (Path(figure).parent.name, run_name) == (experiment, name) and source.is_file():
                    (plots / experiment).mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, stack.enter_context(files.whole(plots / figure)))
            part = stack.enter_context(_replacing(targets[-1]))
            for path, content in _contents(run_dir, all_records):
                (part / path).parent.mkdir(parents=True, exist_ok=True)
                (part / path).write_bytes(content)
    return targets


def _contents(run_dir, all_records):
    """What is published of a run: a path in its folder and the file's content, for each."""
    for path in (path for text in TEXTS for path in (*run_dir.glob(text), *run_dir.glob(f"*/{text}"))):
        yield path.relative_to(run_dir), files.read(path, files.MAX_TEXT)
    for path in {record.predictions_file for record in all_records if record.has_predictions}:
        content = files.read(path, files.MAX_UNPACKED)
        packed = content if path.suffix == ".gz" else files.packed(content)
        yield path.relative_to(run_dir).with_name(records.PACKED_PREDICTIONS), packed


@contextlib.contextmanager
def _replacing(target):
    """Gives a path for a folder that replaces the folder `target` when the block ends; if anything fails, the old one stays."""
    old = target.with_name(f".old-{target.name}")
    try:
        with files.whole(target) as part:
            yield part
            if target.exists():
                shutil.rmtree(old, ignore_errors=True)  # of a process that was killed
                target.rename(old)
    finally:
        if old.exists() and not target.exists():
            old.rename(target)
        shutil.rmtree(old, ignore_errors=True)
