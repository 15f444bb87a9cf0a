"""After training: score test once, write the results and the model, draw what every run has."""

import math

from common import devices, files
from common.cli import tell
from common.data.dataset import fingerprint
from common.figures import curves, galleries
from common.results import closing, run_page, tables
from common.results import predictions as predicting

NUM_PIPELINE = 4


def finish(run, model, dataset, phases, *, inputs=None, extra=None, h5=None):
    """Collective: end a run of one compiled model: scores, files, figures, report.html, closing block. Returns the results.

    `phases` are the model's in history.csv. `inputs` are the `Inputs` that a head was trained on: on features the head is
    scored alone, as it was trained. `extra` goes into results.json as it is. `h5` is a second model and its file's name, for
    `save_h5`.
    """
    from common.models import features

    if run.status == "finished" and run.stopped_early(*phases):
        run.status = "early-stopped"
    scored, seen, batch_size = model, dataset.test.images, predicting.BATCH_SIZE
    if inputs:
        scored, seen = model.layers[-1] if inputs.are_features else model, inputs.test.images
        batch_size, extra = features.batch_size(inputs.extractor), inputs.extraction | (extra or {})
    predictions = predicting.score(scored, seen, dataset.test, dataset.class_names, batch_size)
    results = _results(run, model, dataset, phases, run.experiment) | predictions.results() | run.ending() | (extra or {})
    _write(run, run.experiment, model, predictions, results, phases)
    if h5:
        save_h5(run, *h5)
    _draw_maps(run, run.experiment, predictions, scored, seen)
    return _end(run, results, [results])


def finish_models(run, trained_models):
    """Collective: end a run of several models, each in a subfolder. Returns the last model's results and the names of all.

    `trained_models` gives, for each as it is trained, its `Experiment`, whose `folder` names it and its phase; the compiled
    model; its Dataset. Ctrl-C ends the run with the models that are there.
    """
    models, maps_by_data = {}, {}
    try:
        for experiment, model, dataset in trained_models:
            name = experiment.folder
            predictions = predicting.score(model, dataset.test.images, dataset.test, dataset.class_names)
            results = _results(run, model, dataset, [name], experiment) | predictions.results()
            _write(run, experiment, model, predictions, results, [name])
            points = _draw_maps(run, experiment, predictions, model, dataset.test.images)
            maps_by_data.setdefault(dataset.class_names, {})[results["model"]] = points
            models[name] = results
            if run.status == "interrupted":
                break
    except KeyboardInterrupt:
        run.interrupt(models)
    last = models[name := [*models][-1]]
    summary = last | run.ending() | {"models": [*models], "main_model": name}
    if run.writes:
        files.write_json(run.folder / "results.json", summary)
        rows = {results["model"]: run.history.rows(name) for name, results in models.items()}
        curves.overview_of_all(rows, run.folder / "plots" / "overview.png")
        predictions.draw_maps_of_models(maps_by_data[dataset.class_names], run.folder / "plots" / "features_of_b.png")
    return _end(run, summary, [*models.values()])


def _write(run, experiment, model, predictions, results, phases):
    """Write a model's results.json, tables, figures and model.keras to its folder, in the main process alone."""
    model.optimizer.build(model.trainable_variables)  # so that the saved model can be trained further
    if not run.writes:
        return
    accuracy = tables.accuracy(
        results["test_accuracy"], results["test_accuracy_interval"], balanced=results.get("test_balanced_accuracy")
    )
    tell(f"{experiment.title}: test accuracy {accuracy}")  # now, since the disk may be full

    folder, rows = run.folder / experiment.folder, run.history.rows(*phases)
    plots = folder / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / "results.json", results)
    predictions.write_tables(folder)
    parts = ("train", "test") if "test_accuracy" in rows[0] else ("train", "val")
    curves.learning_curves(rows, plots / "curves.png", experiment.title, parts)
    if "learning_rate" in rows[0]:  # a logistic head has none
        curves.learning_rate(rows, plots / "learning_rate.png", experiment.title)
    predictions.draw(plots, experiment.title, run.args.seed)
    _save(model, folder / "model.keras")


def _draw_maps(run, experiment, predictions, model, seen):
    """Collective: draw the maps of a model's features, which take seconds. Returns their points, see `feature_maps`."""
    points = predicting.feature_maps(model, seen, predictions.scored["batch_size"])
    if run.writes:
        predictions.draw_maps(points, run.folder / experiment.folder / "plots", experiment.title)
    return points


def _end(run, results, models):
    """Write report.html of a run whose other files are there, and print the closing block. Returns the `results`."""
    if run.writes:
        run_page.write(run.folder, results, run.experiment)
        closing.show(run, models)
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


def _save(model, path):
    with devices.undistributed(), files.atomic_write(path) as part:
        model.save(part)


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


def _results(run, model, dataset, phases, experiment):
    """What results.json says before the scores."""
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
        **run.summary(*phases, monitor=experiment.monitor),
        "trained_weights": _count(model.trainable_weights),
        "frozen_weights": _count(model.non_trainable_weights),
        "documented_accuracy": experiment.documented,
        "comparable": experiment.comparable,
        "trained": experiment.trained,
        "dry_run": run.args.dry_run,
    }


def _count(weights):
    return sum(math.prod(weight.shape) for weight in weights)
