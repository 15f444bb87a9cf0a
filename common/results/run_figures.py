"""The figures of report.html, in its order: those that a run folder holds, with captions and alternative texts."""

from common.results import page

# Of a model, in the page's order: file, title, how to read it, and what stands in its place where it can't be seen.
CURVES = (
    "curves.png",  # of one of several models a_curves.png, at the top
    "Learning curves",
    "Accuracy and loss by epoch; a dashed line where the phase changes.",
    "Accuracy and loss by epoch, on train and on {part}: {epochs} epochs, of which {best_epoch} is kept{val}.",
)
CURVES_BY_C = (
    "curves.png",
    "Curves by C",
    "Accuracy and loss by C, the inverse of the L2 penalty.",
    "Accuracy and loss by C, on train and on {part}: {epochs} values of C, of which number {best_epoch} is kept{val}.",
)
MATRIX = (
    "confusion_matrix.png",
    "Confusion matrix",
    "Rows are the true classes, columns the predicted ones, on test.",
    "Confusion matrix of {test_size:,} test images, {right:,} of them right. {confused}.",
)
FIGURES = (
    (
        "mistakes.png",
        "Mistakes",
        "The wrong predictions that the model was surest of.",
        "Test images that the model is wrong about, those first of which it was surest; it is wrong about {wrong:,} in all.",
    ),
    (
        "examples.png",
        "Examples",
        "Test images drawn at random; a wrong prediction has a frame and a cross.",
        "Test images drawn at random with their predicted classes; of all {test_size:,} the model is right about {right:,}.",
    ),
    (
        "reliability.png",
        "Reliability",
        "How often the model is right, by how sure it is: on the diagonal it is right as often as it says.",
        "Reliability diagram: share of right predictions by the probability that the model gives them; {accuracy:.4f} in all.",
    ),
    (
        "learning_rate.png",
        "Learning rate",
        "By epoch, on a logarithmic axis.",
        "Learning rate over {epochs} epochs, on a logarithmic axis.",
    ),
    (
        "pipeline.png",
        "Pipeline",
        "What each stage makes of a few training images, up to the backbone.",
        "A few training images after each stage, from the original to what the backbone gets.",
    ),
    (
        "feature_map.png",
        "Feature map",
        "Test images as the last layer sees them, on two axes.",
        "The features of test images on two axes, by PCA and by t-SNE, a colour for each of {num_classes} classes.",
    ),
)
FIGURES_OF_ALL = (  # those of each model are left out here, and what the overview shows as well
    (
        "overview.png",
        "All curves",
        "Accuracy and loss by epoch, a line for each model.",
        "Accuracy and loss by epoch, on train and on test, of {models}.",
    ),
    (
        "accuracy_by_samples.png",
        "Accuracy by number of images",
        "Mean over the seeds, and the standard deviation as a band.",
        "Test accuracy by number of training images, of {models}.",
    ),
    (
        "features_of_b.png",
        "Features of B",
        "B's test images as the last layer of each model sees them: A's own features where only that layer was trained.",
        "The features of B's test images on two axes, as the models see them; {models}.",
    ),
    (
        "sweep.png",
        "Curves of all combinations",
        "A colour for each learning rate, a line style for each dropout rate.",
        "Val accuracy and val loss by epoch, a line for each combination; the chosen one reaches val accuracy {best_val}.",
    ),
)


def of_model(folder, name, results, matrix_file):
    """A model's `curves`, confusion `matrix` and other `figures`, lists by name; `name` is empty for a run's only model."""
    has_folder = bool(name) and (folder / name).is_dir()  # one of several lies at the top
    plots, words = (folder / name if has_folder else folder) / "plots", _words(results)
    file, *about = CURVES_BY_C if "C" in results else CURVES
    curves = (f"{name}_{file}" if name else file, *about)
    is_spared = name and (plots / "mistakes.png").is_file()  # examples of four models would make a page too large to send
    figures = [figure for figure in FIGURES if not (is_spared and figure[0] == "examples.png")]
    return {
        "curves": _pictures(folder / "plots", [curves], words | {"part": "test" if name else "val"}),
        "matrix": _pictures(plots, [(matrix_file, *MATRIX[1:])], words),
        "figures": _pictures(plots, figures, words),
    }


def of_all(folder, results):
    """The figures of a run of several models, or of a sweep."""
    models = (f"{model['model']} ({model['test_accuracy']:.4f})" for model in results.get("models", {}).values())
    val = results["val_accuracy"]
    words = {"models": ", ".join(models), "best_val": "-" if val is None else f"{val:.4f}"}
    return _pictures(folder / "plots", FIGURES_OF_ALL, words)


def _pictures(plots, figures, words):
    """The figures that are there."""
    made = (page.picture(plots / name, title, caption, alt.format(**words)) for name, title, caption, alt in figures)
    return [picture for picture in made if picture]


def _words(results):
    """What the alternative texts of a model's figures say."""
    right = round(results["test_accuracy"] * results["test_size"])
    worst = next(iter(results["most_confused"]), None)
    confused = "Most often {true} is taken for {predicted}, {pictures} times".format(**worst) if worst else "None is wrong"
    val = results["val_accuracy"]
    return {
        **{key: results[key] for key in ("test_size", "epochs", "best_epoch")},
        "right": right,
        "wrong": results["test_size"] - right,
        "accuracy": results["test_accuracy"],
        "num_classes": len(results["class_names"]),
        "confused": confused,
        "val": "" if val is None else f", with val accuracy {val:.4f}",
    }
