"""Publishing a run: its small text files, without weights and images, copied to plots/results/<experiment>/<name>/."""

import argparse
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
        raise cli.InputError(f"{run_dir} has no name to be published under: start runs for publication with --name")
    try:
        flags.run_name(name)
    except argparse.ArgumentTypeError as error:
        raise cli.InputError(f"{run_dir} can't be published under its name: {error}") from error
    if experiment not in experiments:
        raise cli.InputError(f"{run_dir}: {experiment} is none of the experiments {', '.join(experiments)}")
    for path in run_dir.rglob("*"):
        if path.is_symlink():
            raise cli.InputError(f"{path} is a link: a run is published without links, which may lead out of its folder")


def publish(run_dir, plots):
    """Copy the files of a run that `check` has let pass, and its figures in `COPIED`, to the folder `plots`.

    Its predictions.csv is packed. All of it replaces what was published under its name. Returns the folder.
    """
    all_records = records.read(run_dir)
    experiment, name = all_records[0].results["experiment"], all_records[0].args["name"]
    texts = [path for text in TEXTS for path in (*run_dir.glob(text), *run_dir.glob(f"*/{text}"))]
    contents = {
        path.relative_to(run_dir): files.read(path, files.MAX_TEXT) for path in texts
    }  # run_dir may be the target itself
    for path in {record.predictions_file for record in all_records if record.has_predictions}:
        content = files.read(path, files.MAX_UNPACKED)
        packed = content if path.suffix == ".gz" else files.packed(content)
        contents[path.relative_to(run_dir).with_name(records.PACKED_PREDICTIONS)] = packed
    target = plots / "results" / experiment / name
    part = target.with_name(f".{name}")
    shutil.rmtree(part, ignore_errors=True)
    for path, content in contents.items():
        (part / path).parent.mkdir(parents=True, exist_ok=True)
        (part / path).write_bytes(content)
    shutil.rmtree(target, ignore_errors=True)  # only now, when the new one is whole
    part.rename(target)
    for figure, run_name in COPIED.items():
        source = run_dir / "plots" / Path(figure).name
        if (Path(figure).parent.name, run_name) == (experiment, name) and source.is_file():
            (plots / experiment).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, plots / figure)
    return target
