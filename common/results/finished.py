"""The model of a finished run: found by its folder or by the model file alone, checked, loaded."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from common import backend, cli, files, runs
from common.results import schema

SUFFIXES = (".keras", ".h5")


@dataclass(frozen=True)
class Finished:
    """A trained model on disk: its file, its class names, and what results.json says of it, None for a model file alone."""

    path: Path
    class_names: tuple
    results: dict | None

    @property
    def title(self):
        """A line about it for people."""
        if not self.results:
            return str(self.path)
        return "{experiment}: {model}, test accuracy {test_accuracy:.4f}".format(**self.results)

    def load(self):
        """The uncompiled model: raw images `(n, size, size, 3)`, 0 to 255, to probabilities `(n, num_classes)`.

        Imports Keras. Raises InputError for a file that is damaged, foreign, or not what results.json says.
        """
        backend.import_keras()
        from common.models import saved

        try:
            model = saved.load(self.path)
            if model is None:
                raise ValueError("it holds weights without a model")
            _check_shapes(model, self)
        except Exception as error:  # Keras raises what the reader of the damaged part raises
            if cli.is_out_of_memory(error):
                raise
            message = f"{self.path} can't be loaded ({cli.reason(error)}): it is damaged, or not of this collection"
            raise cli.InputError(message) from error
        return model


def find(path, class_names=None, needs_classes=True):
    """The Finished that a RUN_DIR of the command line means.

    That is a run folder, wherever it was moved to, `RUN_DIR/MODEL` for one of several models, `latest` for the newest run under
    runs/, or a model file alone (.keras or .h5), for which `class_names` are needed. Raises InputError for anything else.
    """
    path = runs.resolve(path, "runs", "RUN_DIR", "model.keras")
    if files.kind(path, "RUN_DIR") == "file" and path.suffix in SUFFIXES:
        if not class_names and needs_classes:
            raise cli.InputError(f"{path} is a model alone: name its classes, in their order, with --classes")
        if twice := [name for name, count in Counter(class_names or ()).items() if count > 1]:
            raise cli.InputError(f"--classes: {twice[0]} is given twice")
        return Finished(path, tuple(class_names or ()), None)
    if class_names:
        raise cli.InputError(f"--classes is for a model file alone; {path} is a folder, whose results.json names the classes")
    folder = _model_folder(path)
    results = folder / "results.json"
    try:
        content = files.read_json(results)
        schema.check_results(content)
    except (OSError, ValueError) as error:
        raise cli.InputError(f"{results} can't be used: {cli.reason(error)}; give the folder of a finished run") from error
    return Finished(folder / "model.keras", tuple(content["class_names"]), content)


def _model_folder(path):
    """The folder with results.json and model.keras. One of several models lies at the top, not in a folder of its name."""
    if _is_complete(path):
        return path
    if files.kind(path, "RUN_DIR") is None and _is_complete(path.parent):
        try:
            models = files.read_json(path.parent / "results.json").get("models")
        except (OSError, ValueError, AttributeError):
            models = None
        if isinstance(models, dict) and path.name in models:
            return path.parent
    others = sorted(str(model.parent) for model in path.glob("*/model.keras"))
    hint = f"; there are models in {', '.join(others)}" if others else ""
    if not others and files.kind(path / "results.json", "RUN_DIR"):
        hint = "; a published run has no weights, which stay in the folder that it was published from"
    raise cli.InputError(f"{path} holds no results.json with a model.keras: give the folder of a finished run{hint}")


def _is_complete(folder):
    return all(files.kind(folder / name, "RUN_DIR") == "file" for name in ("results.json", "model.keras"))


def _check_shapes(model, finished):
    """Raise ValueError unless a model takes square RGB images and has an output for each class, as results.json says."""
    size = finished.results["image_size"] if finished.results else model.input_shape[1]
    count = len(finished.class_names) or model.output_shape[-1]
    shapes = tuple(model.input_shape[1:]), tuple(model.output_shape[1:])
    if shapes != ((size, size, 3), (count,)) or not size:
        source = "results.json says" if finished.results else "is wanted: square RGB images in, a probability a class out"
        raise ValueError(f"it turns {shapes[0]} into {shapes[1]}, which is not what {source}")
