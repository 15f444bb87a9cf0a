"""Publishing a run: its small text files, without weights and images, copied to plots/results/<experiment>/<name>/."""

import argparse
import contextlib
from pathlib import Path

from common import cli, files, flags
from common.results import finished_runs

TEXTS = ("args.json", "environment.json", "history.csv", "results.json", "confusion_matrix.csv", "sweep.csv")
COPIED = {  # figures that show images can't be redrawn from text: they come with the run of this name
    "ab_split/features_of_b.png": "default",
    "resnet152v2/pipeline.png": "control",
    "vgg19_finetune/examples.png": "scratch",
}


def publish(run_dirs, plots, experiments):
    """Copy the files of finished runs of these experiments, and their figures in `COPIED`, to the folder `plots`.

    Predictions are packed. Each folder takes the place of what was published under its name. Returns the folders. Raises
    InputError, before anything is written, for a run that can't be published and for two of one name. Where the disk is full
    nothing has changed; who is killed while folders are replaced has the old ones in git.
    """
    contents, figures = {}, {}
    for run_dir in run_dirs:
        experiment, name, content = _content(run_dir, experiments)
        target = plots / "results" / experiment / name
        if target in contents:
            raise cli.InputError(f"{run_dir}: two of these runs would be published as {experiment}/{name}; give one of them")
        contents[target] = content
        for figure, run_name in COPIED.items():
            source = run_dir / "plots" / Path(figure).name
            if (Path(figure).parent.name, run_name) == (experiment, name) and source.is_file():
                figures[plots / figure] = source.read_bytes()
    with contextlib.ExitStack() as stack:
        for path, figure in figures.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(files.atomic_write(path)).write_bytes(figure)
        for target, content in contents.items():
            part = stack.enter_context(files.atomic_write(target))
            for path, text in content.items():
                (part / path).parent.mkdir(parents=True, exist_ok=True)
                (part / path).write_bytes(text)
        for target in filter(Path.exists, contents):  # a folder is renamed to no other
            files.remove(target)
    return list(contents)


def _content(run_dir, experiments):
    """A run's experiment, its name, and what is published of it: bytes by path in its folder. Raises InputError."""
    try:
        all_records = finished_runs.read_run(run_dir)
        predictions_files = {
            record.predictions_file for record in all_records if record.predictions_file and record.predictions()
        }
    except cli.InputError as error:
        raise cli.InputError(f"{run_dir}: {error}; give the folder of a finished run") from error
    record = all_records[0]
    experiment, name = record.results["experiment"], record.args.get("name")
    if record.folder != run_dir:
        raise cli.InputError(f"{run_dir} is one model of a run: a run is published whole, give {record.folder}")
    if not name:
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

    paths = [path for text in TEXTS for path in (*run_dir.glob(text), *run_dir.glob(f"*/{text}"))]
    content = {path.relative_to(run_dir): files.read(path, files.MAX_TEXT) for path in paths}
    for path in predictions_files:
        text = files.read(path, files.MAX_UNPACKED)
        packed = text if path.suffix == ".gz" else files.packed(text)
        content[path.relative_to(run_dir).with_name(finished_runs.PACKED_PREDICTIONS)] = packed
    return experiment, name, content
