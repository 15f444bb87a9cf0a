"""After training: score test once, write the results and the model, draw what every run has."""

import contextlib
import errno
import functools
import math
import shutil

from common import devices, files
from common.cli import tell
from common.data.splits import fingerprint
from common.figures import curves, galleries
from common.results import closing, run_page, scoring, tables
from common.results.predictions import Predictions

NUM_PIPELINE = 4


def score(model, test, batch_size=scoring.BATCH_SIZE):
    """Collective: the scores of a model on test, see `scoring.score`.

    `maps` makes the maps of its features, by `scoring.feature_maps`: `draw_maps` calls it, since that takes seconds.
    """
    maps = functools.partial(scoring.feature_maps, model, test.images, batch_size)
    return scoring.score(model, test, batch_size) | {"maps": maps}


def finish(run, model, dataset, phases, *, inputs=None, extra=None, h5=None):
    """End a run of one model: score it, what `write` does, its figures, report.html, the closing block. Returns the results.

    `inputs` are the `Inputs` that a head was trained on: on features the head is scored alone, as it was trained. `extra` goes
    into results.json as it is. `h5` is a second model and its file's name, for `save_h5`.
    """
    from common.models import features

    if run.status == "finished" and run.stopped_early(*phases):
        run.status = "early-stopped"
    if inputs:
        scored = model.layers[-1] if inputs.are_features else model
        scores = score(scored, inputs.test, features.batch_size(inputs.extractor))
        extra = inputs.extraction | (extra or {})
    else:
        scores = score(model, dataset.test)
    results = write(run, model, dataset, phases, scores, extra=extra)
    if h5:
        save_h5(run, *h5)
    draw_maps(run, scores, dataset, run.experiment)
    if not run.writes:
        return results
    curves.learning_curves(run.history.rows(*phases), run.folder / "plots" / "curves.png", results["model"])
    summary = results | run.ending()
    files.write_json(run.folder / "results.json", summary)
    run_page.write(run.folder, summary, run.experiment)
    closing.show(run, [results])
    return summary


def write(run, model, dataset, phases, scores, *, experiment=None, extra=None):
    """Write everything that belongs to a compiled model, by its `scores` from `score`. Returns the results, a dict.

    That is results.json, confusion_matrix.csv, predictions.csv, model.keras and, under plots/, the learning rate and what
    `Predictions` draws. `phases` are the model's in history.csv, `experiment` is the run's unless it is one of several models.
    `extra` goes into results.json as it is. Of several processes the main one writes; the others return the scores.
    """
    experiment = experiment or run.experiment
    predictions = Predictions(dataset.test, dataset.class_names, scores["probabilities"])
    scores = {key: value for key, value in scores.items() if key not in ("probabilities", "maps")}
    model.optimizer.build(model.trainable_variables)  # so that the saved model can be trained further
    if not run.writes:
        return scores | {"status": run.status}
    results = _results(run, model, dataset, phases, experiment) | scores | predictions.results()
    results |= {"trained": experiment.trained, "status": run.status} | (extra or {})

    accuracy = tables.accuracy(results["test_accuracy"], results["test_accuracy_interval"])
    tell(f"{experiment.title}: test accuracy {accuracy}")  # now, since the disk may be full

    folder = run.folder / experiment.folder
    plots = folder / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / "results.json", results)
    predictions.write_tables(folder)
    rows = run.history.rows(*phases)
    if "learning_rate" in rows[0]:  # a logistic head has none
        curves.learning_rate(rows, plots / "learning_rate.png", experiment.title)
    predictions.draw(plots, experiment.title, run.args.seed, experiment.matrix_file)
    _save(model, folder / "model.keras")
    return results


def draw_maps(run, scores, dataset, experiment):
    """Collective: draw the maps of a model's features, after `write`. Returns their points, as `scoring.feature_maps` does."""
    points = scores["maps"]()
    if run.writes:
        predictions = Predictions(dataset.test, dataset.class_names, scores["probabilities"])
        predictions.draw_maps(points, run.folder / experiment.folder / "plots", experiment.title)
    return points


def save_h5(run, model, name):
    """Collective: save a compiled model as an .h5 file in the run folder, whole or not at all, without its optimizer's state.

    Keras builds the optimizer of a loaded .h5 without variables, so `fit` would fail on the stored ones.
    """
    import h5py

    model.optimizer.build(model.trainable_variables)
    if not run.writes:
        return
    with devices.undistributed(), _room_for(model, run.folder / name), files.whole(run.folder / name) as part:
        model.save(part)
        with h5py.File(part, "a") as file:
            del file["optimizer_weights"]


def _save(model, path):
    with devices.undistributed(), _room_for(model, path), files.whole(path) as part:
        model.save(part)


@contextlib.contextmanager
def _room_for(model, path):
    """Around saving a model: where the disk has no room, an OSError that says how much the file needs."""
    needed = sum(math.prod(variable.shape) * 4 for variable in (*model.weights, *model.optimizer.variables))
    full = f"the scores are saved, but {path.name} needs {needed / 1e6:,.2f} MB and {{:,.2f}} MB are free; make room there"
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise OSError(errno.ENOSPC, full.format(free / 1e6), str(path))
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(error.errno, full.format(free / 1e6), str(path)) from error


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
        **run.summary(*phases, monitor=experiment.monitor),
        "trained_weights": _count(model.trainable_weights),
        "frozen_weights": _count(model.non_trainable_weights),
        "documented_accuracy": experiment.documented,
        "comparable": experiment.comparable,
        "dry_run": run.args.dry_run,
    }


def _count(weights):
    return sum(math.prod(weight.shape) for weight in weights)
