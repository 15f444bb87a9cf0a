"""After training: score test once, write the results and the model, draw what every run has."""

import math
from dataclasses import dataclass, field

from common import devices, files
from common.cli import tell
from common.data.dataset import Dataset, fingerprint
from common.figures import curves, galleries
from common.results import predictions as predicting
from common.results import run_page, summary, tables
from common.training.run import Experiment

NUM_PIPELINE = 4


@dataclass(frozen=True)
class Trained:
    """A trained, compiled model that is ready to be scored and saved.

    `phases` are its rows in history.csv. `inputs` are the `Inputs` that a head was trained on: on features the head is scored
    alone, as it was trained. `extra` goes into results.json as it is.
    """

    experiment: Experiment
    model: object
    dataset: Dataset
    phases: tuple
    inputs: object = None
    extra: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Scored:
    """A model that was scored: its results.json, its `Predictions` for test, and the points of its `feature_maps`."""

    results: dict
    predictions: predicting.Predictions
    points: dict


def finish(run, model, dataset, phases, *, inputs=None, extra=None, h5=None):
    """Collective: end a run of one compiled model: scores, files, figures, report.html, summary. Returns the results.

    The arguments are those of `Trained`. `h5` is a second model and its file's name, for `save_h5`.
    """
    if run.status == "finished" and run.stopped_early(*phases):
        run.status = "early-stopped"
    extra = run.resources() | (extra or {})
    results = _finish_model(run, Trained(run.experiment, model, dataset, phases, inputs, extra)).results
    if h5:
        save_h5(run, *h5)
    return _end(run, results, [results])


def finish_models(run, trained_models, compare):
    """Collective: end a run of several models, each in a subfolder. Returns the main model's results and the names of all.

    `trained_models` gives a `Trained` as soon as it is trained; its experiment's `folder` names it. `compare(scored)` draws
    what compares the models, a dict of `Scored` by name, and returns the name of the main one and further results; it is called
    in the main process alone. Ctrl-C ends the run with the models that are there.
    """
    scored = {}
    try:
        for trained in trained_models:
            scored[trained.experiment.folder] = _finish_model(run, trained)
            if run.status == "interrupted":
                break
    except KeyboardInterrupt:
        run.interrupt(scored)
    results_by_name = {name: one.results for name, one in scored.items()}
    if not run.writes:
        return results_by_name
    name, extra = compare(scored)
    results = results_by_name[name] | run.resources() | {"models": [*scored], "main_model": name} | extra
    files.write_json(run.folder / "results.json", results)
    return _end(run, results, [*results_by_name.values()])


def _finish_model(run, trained):
    """Score a model and write what its folder holds. Returns the `Scored`."""
    model, dataset, inputs = trained.model, trained.dataset, trained.inputs
    scored, seen, batch_size = inputs.for_scoring(model) if inputs else (model, dataset.test.images, predicting.BATCH_SIZE)
    predictions = predicting.score(scored, seen, dataset.test, dataset.class_names, batch_size)
    extraction = inputs.extraction if inputs else {}
    results = _results(run, trained) | predictions.results() | extraction | trained.extra
    _write(run, trained, predictions, results)
    points = predicting.feature_maps(scored, seen, batch_size)
    if run.writes:
        predictions.draw_maps(points, run.folder / trained.experiment.folder / "plots", trained.experiment.title)
    return Scored(results, predictions, points)


def _write(run, trained, predictions, results):
    """Write a model's results.json, tables, figures and model.keras to its folder, in the main process alone."""
    model, title = trained.model, trained.experiment.title
    model.optimizer.build(model.trainable_variables)  # so that the saved model can be trained further
    if not run.writes:
        return
    accuracy = tables.accuracy(
        results["test_accuracy"], results["test_accuracy_interval"], balanced=results.get("test_balanced_accuracy")
    )
    tell(f"{title}: test accuracy {accuracy}")  # now, since the disk may be full

    folder, rows = run.folder / trained.experiment.folder, run.history.rows(*trained.phases)
    plots = folder / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / "results.json", results)
    predictions.write_tables(folder)
    parts = ["train"] * ("accuracy" in rows[0]) + ["test" if "test_accuracy" in rows[0] else "val"]
    curves.learning_curves(rows, plots / "curves.png", title, parts)
    if "learning_rate" in rows[0]:  # a logistic head has none
        curves.learning_rate(rows, plots / "learning_rate.png", title)
    predictions.draw(plots, title, run.args.seed)
    with devices.undistributed(), files.atomic_write(folder / "model.keras") as part:
        model.save(part)


def _end(run, results, models):
    """Write report.html of a run whose other files are there, and print its summary. Returns the `results`."""
    if run.writes:
        run_page.write(run.folder, results, run.experiment)
        summary.show(run, models)
    return results


def save_h5(run, model, name):
    """Collective: save a compiled model as an .h5 file in the run folder, whole or not at all, without its optimizer's state.

    Keras builds the optimizer of a loaded .h5 without variables, so `fit` would fail on the stored ones.
    """
    import h5py

    model.optimizer.build(model.trainable_variables)
    if not run.writes:
        return
    with devices.undistributed(), files.atomic_write(run.folder / name) as part:
        model.save(part)
        with h5py.File(part, "a") as file:
            del file["optimizer_weights"]


def draw_pipeline(run, extractor, images, augmentation=None):
    """Collective: draw pipeline.png, what each stage makes of a few images, uint8 `(n, h, w, 3)`, up to the backbone.

    `augmentation` is a function of `common.data.augment`, or None.
    """
    from common.data.augment import augment
    from common.models import backbones

    images = images[:NUM_PIPELINE]
    stages = {f"original\n{images.shape[2]}x{images.shape[1]}": images}
    if augmentation:
        stages |= {f"augmented,\ncopy {copy}": augment(images, augmentation, [run.args.seed, copy]) for copy in (1, 2)}
    stages |= backbones.stages(extractor, list(stages.values())[-1])
    if not run.writes:
        return
    galleries.pipeline(stages, run.folder / "plots" / "pipeline.png")


def _results(run, trained):
    """What results.json says before the scores."""
    model, dataset, experiment = trained.model, trained.dataset, trained.experiment
    return {
        "experiment": run.experiment.name,
        "model": experiment.title,
        "status": run.status,
        "data": dataset.name,
        "weights": experiment.weights,
        "seed": run.args.seed,
        "train_size": len(dataset.train),
        "val_size": len(dataset.val),
        "test_size": len(dataset.test),
        "class_names": dataset.class_names,
        "test_images": fingerprint(dataset.class_names, dataset.test),
        "all_images": dataset.all_images,
        "holds_out_test": dataset.holds_out_test,
        "image_size": dataset.test.images.shape[1],
        "resize": run.args.resize,
        "skip_damaged": run.args.skip_damaged,
        **run.summary(*trained.phases, monitor=experiment.monitor),
        "trained_weights": _count(model.trainable_weights),
        "frozen_weights": _count(model.non_trainable_weights),
        "documented_accuracy": experiment.documented,
        "comparable": experiment.comparable,
        "trained": experiment.trained,
        "dry_run": run.args.dry_run,
    }


def _count(weights):
    return sum(math.prod(weight.shape) for weight in weights)
