"""After training: score test once, write the results and the model, draw what every run has, print the closing block."""

import math

import numpy as np

from common import files
from common.cli import TrainingError
from common.figures import galleries, plots
from common.results import metrics, tables

BATCH_SIZE = 256
NUM_EXAMPLES = 25
NUM_PIPELINE = 5


def predict(model, images, batch_size=BATCH_SIZE):
    """Class probabilities `(n, num_classes)` float32 of pictures `(n, h, w, 3)`, or of their features for a head."""
    return np.asarray(model.predict(images, batch_size=batch_size, verbose=0), np.float32)


def score(model, test, batch_size=BATCH_SIZE):
    """`test_accuracy`, `test_loss` and the `probabilities` `(n, num_classes)` of a model on the test part."""
    probabilities = predict(model, test.images, batch_size)
    if not np.isfinite(probabilities).all():
        raise TrainingError("the model's predictions are no numbers after its last epoch: try a lower learning rate")
    return {
        "test_accuracy": float((probabilities.argmax(axis=1) == test.labels).mean()),
        "test_loss": metrics.cross_entropy(test.labels, probabilities),
        "probabilities": probabilities,
    }


def write(
    run,
    folder,
    model,
    dataset,
    *,
    phases,
    title,
    weights,
    documented,
    comparable,
    images_per_epoch=None,
    scores=None,
    also=None,
    heatmap="confusion_matrix.png",
    monitor="val_accuracy",
):
    """Score `model` on test and write into `folder` what belongs to it: the run's own folder or one of its subfolders.

    Writes results.json, confusion_matrix.csv, predictions.csv, model.keras and, under plots/, the learning rate, the confusion
    matrix and examples. `phases` are the model's in history.csv, `title` is for people, `weights` says what it started from,
    `documented` is the document's accuracy and `comparable` whether the two may be compared; `images_per_epoch` is
    the train part's size if it is not given. `scores` is what `score` returned where the head was scored on cached
    features, `also` goes into results.json as it is, `heatmap` is the file name of the confusion matrix, `monitor` the column
    of history.csv by which the epoch was chosen. Returns the results.
    """
    scores = scores or score(model, dataset.test)
    probabilities = scores.pop("probabilities")
    predicted = probabilities.argmax(axis=1)
    matrix = metrics.confusion_matrix(dataset.test.labels, predicted, len(dataset.class_names))
    low, high = metrics.accuracy_interval(np.trace(matrix), matrix.sum())
    results = {
        "experiment": run.experiment,
        "model": title,
        "data": dataset.name,
        "weights": weights,
        "seed": run.args.seed,
        "train_size": len(dataset.train),
        "val_size": len(dataset.val),
        "test_size": len(dataset.test),
        "class_names": dataset.class_names,
        "image_size": dataset.test.images.shape[1],
        **scores,
        "test_accuracy_interval": [low, high],
        "per_class_accuracy": [None if math.isnan(share) else share for share in metrics.per_class_accuracy(matrix)],
        "most_confused": [
            {"true": dataset.class_names[true], "predicted": dataset.class_names[guess], "pictures": count}
            for true, guess, count in metrics.most_confused(matrix)
        ],
        **run.summary(phases, images_per_epoch or len(dataset.train), monitor),
        "trained_weights": _count(model.trainable_weights),
        "frozen_weights": _count(model.non_trainable_weights),
        "documented_accuracy": documented,
        "comparable": comparable,
        "dry_run": run.args.dry_run,
        "status": run.status,
        **(also or {}),
    }
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    _write_predictions(folder, dataset, probabilities, matrix)
    plots.learning_rate(run.rows(*phases), folder / "plots" / "learning_rate.png", title)
    plots.confusion_matrix(matrix, dataset.class_names, folder / "plots" / heatmap, title)
    examples = np.random.default_rng(run.args.seed).permutation(len(dataset.test))[:NUM_EXAMPLES]
    galleries.examples(
        dataset.test.images[examples],
        dataset.test.labels[examples],
        predicted[examples],
        dataset.class_names,
        folder / "plots" / "examples.png",
        title,
    )
    with files.whole(folder / "model.keras") as part:
        model.save(part)
    files.write_json(folder / "results.json", results)
    return results


def draw_pipeline(run, extractor, images, preset):
    """pipeline.png: what every stage makes of a few pictures, uint8 `(n, h, w, 3)`, on their way into the base.

    `preset` is a function of `augment`, or None.
    """
    from common.data import augment
    from common.models import backbones

    images = images[:NUM_PIPELINE]
    shown = {f"original\n{images.shape[2]}x{images.shape[1]}": images}
    if preset:
        shown |= {f"augmented,\ncopy {number}": augment.augmented(images, preset, [run.args.seed, number]) for number in (1, 2)}
    galleries.pipeline(shown | backbones.stages(extractor, list(shown.values())[-1]), run.folder / "plots" / "pipeline.png")


def finish(run, results, phases, remark):
    """The end of a run of one model, after `write`: its learning curves, results.json with how the run ended, the closing
    block. Returns what results.json holds.
    """
    plots.learning_curves(run.rows(*phases), run.folder / "plots" / "curves.png", results["model"])
    summary = results | run.ending()
    files.write_json(run.folder / "results.json", summary)
    print_closing(run, [results], remark)
    return summary


def draw_models(run, titles):
    """Figures of a run of several models, by their phases in history.csv, which has test columns: for each model train
    against test and test alone, for all together accuracy and loss on train and on test. `titles` names the phases.
    """
    figures = run.folder / "plots"
    rows_by_phase = {phase: rows for phase in titles if (rows := run.rows(phase))}
    for phase, rows in rows_by_phase.items():
        plots.learning_curves(rows, figures / f"{phase}_curves.png", titles[phase], parts=("train", "test"))
        plots.accuracy_and_loss(rows, figures / f"{phase}_test.png", titles[phase])
    rows_by_title = {titles[phase]: rows for phase, rows in rows_by_phase.items()}
    for part in ("train", "test"):
        for metric in ("accuracy", "loss"):
            plots.curves_of_all(rows_by_title, figures / f"{part}_{metric}_all.png", part, metric)
    plots.overview_of_all(rows_by_title, figures / "overview.png")


def print_spread(spread, titles):
    """Table of `metrics.spread_by(..., ("model", "samples"), ...)`, the sizes in order; `titles` gives each model's name."""
    order = {name: number for number, name in enumerate(titles)}
    lines = [
        (
            titles[row["model"]],
            f"{row['samples']:,}",
            row["runs"],
            f"{row['mean']:.4f}",
            "-" if row["deviation"] is None else f"{row['deviation']:.4f}",
        )
        for row in sorted(spread, key=lambda row: (row["samples"], order[row["model"]]))
    ]
    print("", *tables.text(lines, ("model", "pictures", "seeds", "mean test accuracy", "deviation")), sep="\n")


def print_closing(run, results, remark):
    """The closing block of a run: its models in a table, what each is weak at, the device, the seconds, the folder.

    `remark` says in a few words what the documented numbers were measured on.
    """
    columns = ("model", "trained weights", "epochs", "test accuracy [95 % interval]", "seconds", "documented")
    lines = [
        (
            of["model"],
            f"{of['trained_weights']:,}",
            of["epochs"],
            tables.accuracy(of["test_accuracy"], of["test_accuracy_interval"]),
            f"{of['seconds']:.1f}",
            tables.documented(of),
        )
        for of in results
    ]
    print("", *tables.text(lines, columns), sep="\n")
    print(f"{remark}; a number in brackets can't be compared with ours", *map(_details, results), "", sep="\n")
    environment = files.read_json(run.folder / "environment.json")
    devices, backend, precision = (environment[key] for key in ("devices", "backend", "precision"))
    print(f"{', '.join(devices)}, Keras on {backend}, {precision}, seed {run.args.seed}")
    memory = run.ending()["peak_memory_gib"]
    used = f", {memory:.1f} GiB of memory at most" if memory else ""
    print(f"{run.status} after {run.seconds:.0f} s{used}" + ": a dry run, the numbers mean nothing" * run.args.dry_run)
    print(run.folder.resolve())


def _details(results):
    shares = zip(results["per_class_accuracy"], results["class_names"], strict=True)
    weakest = sorted((share, name) for share, name in shares if share is not None)[:3]
    confused = [f"{pair['true']} taken for {pair['predicted']} {pair['pictures']}x" for pair in results["most_confused"]]
    val = "" if results["val_accuracy"] is None else f", val accuracy {results['val_accuracy']:.4f}"
    return (
        f"\n{results['model']}: {results['train_size']:,} train / {results['val_size']:,} val / {results['test_size']:,} test, "
        f"{results['trained_weights']:,} weights trained, {results['frozen_weights']:,} frozen\n"
        f"  weights of epoch {results['best_epoch']} of {results['epochs']}{val}, "
        f"{results['images_per_second']:,.0f} pictures/s\n"
        f"{_extraction(results)}"
        f"  weakest: {', '.join(f'{name} {share:.4f}' for share, name in weakest)}\n"
        f"  most confused: {', '.join(confused) or 'none'}"
    )


def _extraction(results):
    took = results.get("extraction")
    if not took:
        return ""
    rate = f", {took['computed'] / took['seconds']:.1f} pictures/s" if took["computed"] else ""
    return (
        f"  features of {took['pictures']:,} pictures, {took['computed']:,} computed, in {took['seconds']:.0f} s{rate}, "
        "all else is the head's\n"
    )


def _write_predictions(folder, dataset, probabilities, matrix):
    names, predicted = dataset.class_names, probabilities.argmax(axis=1)
    rows = [
        {"index": index, "true": names[label], "predicted": names[guess], "probability": f"{probabilities[index, guess]:.6f}"}
        for index, (label, guess) in enumerate(zip(dataset.test.labels, predicted, strict=True))
    ]
    files.write_csv(folder / "predictions.csv", rows, ("index", "true", "predicted", "probability"))
    corner = "true/predicted"  # no folder, and so no class, can be called that
    counts = [{corner: name, **dict(zip(names, row, strict=True))} for name, row in zip(names, matrix.tolist(), strict=True)]
    files.write_csv(folder / "confusion_matrix.csv", counts, (corner, *names))


def _count(weights):
    return sum(math.prod(weight.shape) for weight in weights)
