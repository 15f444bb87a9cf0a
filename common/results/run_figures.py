"""The figures of report.html, in its order: those that a run folder holds, with captions."""

from common.results import page

# Of a model, in the page's order: file, title, how to read it.
CURVES = (  # of one of several models a_curves.png, at the top
    "curves.png", "Learning curves", "Accuracy and loss by epoch; a dashed line where the phase changes.",
)  # fmt: skip
CURVES_BY_C = ("curves.png", "Curves by C", "Accuracy and loss by C, the inverse of the L2 penalty.")
MATRIX = ("confusion_matrix.png", "Confusion matrix", "Rows are the true classes, columns the predicted ones, on test.")
FIGURES = (
    ("mistakes.png", "Mistakes", "The wrong predictions that the model was surest of."),
    ("examples.png", "Examples", "Test images drawn at random; a wrong prediction has a frame and a cross."),
    (
        "reliability.png",
        "Reliability",
        "How often the model is right, by how sure it is: on the diagonal it is right as often as it says.",
    ),
    ("learning_rate.png", "Learning rate", "By epoch, on a logarithmic axis."),
    ("pipeline.png", "Pipeline", "What each stage makes of a few training images, up to the backbone."),
    ("feature_map.png", "Feature map", "Test images as the last layer sees them, on two axes."),
)
FIGURES_OF_ALL = (  # those of each model are left out here, and what the overview shows as well
    ("overview.png", "All curves", "Accuracy and loss by epoch, a line for each model."),
    (
        "accuracy_by_samples.png",
        "Accuracy by number of images",
        "Mean over the seeds, and the standard deviation as a band.",
    ),
    (
        "features_of_b.png",
        "Features of B",
        "B's test images as the last layer of each model sees them: A's own features where only that layer was trained.",
    ),
    (
        "sweep.png",
        "Curves of all combinations",
        "A colour for each learning rate, a line style for each dropout rate.",
    ),
)


def of_model(folder, name, results, matrix_file):
    """A model's `curves`, confusion `matrix` and other `figures`, lists by name; `name` is empty for a run's only model."""
    has_folder = bool(name) and (folder / name).is_dir()  # one of several lies at the top
    plots = (folder / name if has_folder else folder) / "plots"
    file, *about = CURVES_BY_C if "C" in results else CURVES
    is_spared = name and (plots / "mistakes.png").is_file()  # examples of four models would make a page too large to send
    figures = [figure for figure in FIGURES if not (is_spared and figure[0] == "examples.png")]
    return {
        "curves": _pictures(folder / "plots", [(f"{name}_{file}" if name else file, *about)]),
        "matrix": _pictures(plots, [(matrix_file, *MATRIX[1:])]),
        "figures": _pictures(plots, figures),
    }


def of_all(folder):
    """The figures of a run of several models, or of a sweep."""
    return _pictures(folder / "plots", FIGURES_OF_ALL)


def _pictures(plots, figures):
    """The figures that are there."""
    made = (page.picture(plots / name, title, caption) for name, title, caption in figures)
    return [picture for picture in made if picture]
