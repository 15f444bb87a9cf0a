"""report.html of a run: what was run, the scores beside the documented ones, the figures that its folders hold."""

import math
from datetime import datetime

from common import files, runs
from common.results import page, tables

# Of a model, in the page's order: file, title, how to read it.
CURVES = ("curves.png", "Learning curves", "Accuracy and loss by epoch; a dashed line where the phase changes.")
CURVES_BY_C = ("curves.png", "Curves by C", "Accuracy and loss by C, the inverse of the L2 penalty.")
MATRIX = ("confusion_matrix.png", "Confusion matrix", "Rows are the true classes, columns the predicted ones, on test.")
FIGURES = (
    ("mistakes.png", "Mistakes", "The wrong predictions that the model was surest of."),
    ("examples.png", "Examples", "Test images drawn at random; a wrong prediction has a frame and a cross."),
    ("reliability.png", "Reliability", "How often it is right, by how sure it is: on the diagonal as often as it says."),
    ("learning_rate.png", "Learning rate", "By epoch, on a logarithmic axis."),
    ("pipeline.png", "Pipeline", "What each stage makes of a few training images, up to the backbone."),
    ("feature_map.png", "Feature map", "Test images as the last layer sees them, on two axes."),
    (
        "label_issues.png",
        "Label issues",
        "Train images for which another class is likelier than their own.",
    ),
    ("duplicates.png", "Near-duplicates", "Test images above the train images that are nearly the same."),
)
FIGURES_OF_ALL = (  # those of each model are left out here, and what the overview shows as well
    ("overview.png", "All curves", "Accuracy and loss by epoch, a line for each model."),
    ("features_of_b.png", "Features of B", "B's test images as the last layer of each model sees them."),
    ("accuracy_by_seconds.png", "Bases", "Test accuracy with its interval, by the time that features take."),
    ("sweep.png", "Curves of all combinations", "A colour for each learning rate, a line style for each dropout rate."),
)
PER_CLASS = ("class_names", "per_class_accuracy", "per_class_interval")
SCORES = {"Calibration error": "calibration_error", "Top-5 accuracy": "test_top5_accuracy"}


def write(folder, results, experiment):
    """Write report.html into a run folder whose other files are there.

    `results` is what results.json says of the run, `experiment` the run's `Experiment`.
    """
    args, environment = (files.read_json(folder / name) for name in ("args.json", "environment.json"))
    several = results.get("models", [])
    by_folder = {name: files.read_json(folder / name / "results.json") for name in several} or {"": results}
    models = [_model(folder, name, scores) for name, scores in by_folder.items()]
    sweep = folder / "sweep.csv"
    page.write(
        folder / "report.html",
        "run.html",
        title=experiment.title,
        folder=f"{experiment.name}/{folder.resolve().name}",
        remark=experiment.remark,
        results=results,
        models=models,
        has_several=bool(several),
        started=_date(runs.started(folder)),
        devices=tables.devices(environment["devices"]),
        command=str(environment.get("command", "")),
        facts=_facts(results, experiment.weights, environment),
        settings=[(name.replace("_", "-"), _text(value)) for name, value in sorted(args.items())],
        sweep=files.read_csv(sweep, convert=False) if sweep.is_file() else [],
        figures=_pictures(folder / "plots", FIGURES_OF_ALL),
    )


def _facts(results, weights, environment):
    """What was run, on what, and for how long: pairs of text, without what is unknown."""
    memory, resumed = results.get("peak_memory_gib"), environment.get("resumed", [])
    facts = {
        "Data": results["data"],
        "Weights": weights,
        "Seed": results["seed"],
        "The model's input": f"{results['image_size']} x {results['image_size']} pixels",
        "Device": tables.devices(environment["devices"]),
        "Processes": environment.get("processes"),
        "Processor": environment.get("processor"),
        "Keras on": f"{environment['backend']}, {environment['precision']}",
        "Commit": environment.get("git_commit"),
        "Memory": memory and f"{memory:.1f} GiB at most",
        "Resumed": [again.get("time") if isinstance(again, dict) else again for again in resumed],
        "Python": environment.get("python"),
        "Platform": environment.get("platform"),
        "Packages": environment.get("packages"),
    }
    return [(name, _text(value)) for name, value in facts.items() if value not in (None, "", [], {})]


def _model(folder, name, results):
    """What the page shows of a model: its results, and what is made of them. Of one model alone the name is empty."""
    plots = folder / name / "plots"
    is_spared = name and (plots / "mistakes.png").is_file()  # examples of four models make a page too large to send
    figures = [figure for figure in FIGURES if not (is_spared and figure[0] == "examples.png")]
    return results | {
        "right": round(results["test_accuracy"] * results["test_size"]),
        "documented": results["documented_accuracy"],
        "facts": _facts_of_model(results, weights=results["weights"] if name else None),
        "per_class": list(zip(*(results[key] for key in PER_CLASS), strict=True)),
        "curves": _pictures(plots, [CURVES_BY_C if "C" in results else CURVES]),
        "matrix": _pictures(plots, [MATRIX]),
        "figures": _pictures(plots, figures),
    }


def _pictures(plots, figures):
    """The figures that are there."""
    made = (page.picture(plots / name, title, caption) for name, title, caption in figures)
    return [picture for picture in made if picture]


def _facts_of_model(results, weights):
    sizes = (f"{results[f'{part}_size']:,} {part}" for part in ("train", "val", "test"))
    extraction = results.get("extraction")
    confused = [f"{pair['true']} taken for {pair['predicted']} ({pair['images']:,})" for pair in results["most_confused"]]
    facts = {
        "Images": " / ".join(sizes),
        "Classes": len(results["class_names"]),
        "Weights": weights,
        "Epochs": None if "C" in results else f"{results['epochs']}, the weights of epoch {results['best_epoch']} are kept",
        "C": f"{results['C']:g}, chosen from {results['epochs']} by cross-validated loss" if "C" in results else None,
        "Weights trained": f"{results['trained_weights']:,}",
        "Weights frozen": f"{results['frozen_weights']:,}",
        "Training": f"{tables.duration(results['seconds'])}, {results['images_per_second']:,.0f} images/s",
        "Features": extraction and "{computed:,} of {images:,} computed, {seconds:.0f} s".format(**extraction),
        **{name: f"{results[key]:.4f}" for name, key in SCORES.items() if key in results},
        "Most confused": ", ".join(confused) or "none",
    }
    return [(name, str(value)) for name, value in facts.items() if value]


def _date(started):
    """Seconds since 1970 for people, as local time; empty if unknown."""
    return f"{datetime.fromtimestamp(started):%Y-%m-%d %H:%M:%S}" if math.isfinite(started) else ""


def _text(value):
    """A value of args.json or environment.json as text."""
    if value is None or isinstance(value, bool):
        return {None: "–", True: "yes", False: "no"}[value]
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
