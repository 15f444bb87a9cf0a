"""The model of a finished run: found by its folder or by the model file alone, checked, loaded."""

import contextlib
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from common import backend, cli, files, runs
from common.results import finished_runs

SUFFIXES = (".keras", ".h5")


@dataclass(frozen=True)
class TrainedModel:
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

    @property
    def resize(self):
        """How its training images became squares, one of `flags.RESIZES`; None for a model file alone."""
        return self.results and self.results.get("resize", "squeeze")  # earlier versions squeezed

    @property
    def skips_damaged(self):
        """Whether it was trained with --skip-damaged."""
        return bool(self.results) and self.results.get("skip_damaged", False)

    def recorded(self, name, key):
        """The text under `key` in the run's args.json or environment.json, `name`, or None."""
        for folder in self.path.absolute().parents[:2] if self.results else ():  # the run's, or that of one of several models
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                value = files.read_json(folder / name)[key]
                return value if isinstance(value, str) else None
        return None

    def load(self):
        """The uncompiled model: raw images `(n, size, size, 3)`, 0 to 255, to probabilities `(n, num_classes)`.

        Imports Keras. Raises InputError for a file that is damaged, foreign, or not what results.json says.
        """
        backend.import_keras()
        from common.models import inference

        with self.blamed("loaded"):
            model = inference.load_model(self.path)
            if model is None:
                raise ValueError("it holds weights without a model")
            shapes = tuple(model.input_shape[1:]), tuple(model.output_shape[1:])
        self._check_shapes(*shapes)
        return model

    @contextlib.contextmanager
    def blamed(self, verb="run"):
        """Inside, whatever Keras raises of the model, which may be anyone's, is an InputError, and its warnings are dropped."""
        try:
            with warnings.catch_warnings(action="ignore"):
                yield
        except Exception as error:
            is_ours = isinstance(error, (cli.InputError, cli.TrainingError, cli.ExportError))
            if is_ours or cli.is_out_of_memory(error) or getattr(error, "errno", None):  # HDF5's OSErrors have no number
                raise
            message = f"{self.path} can't be {verb} ({cli.reason(error)}): it is damaged, or not of this collection"
            raise cli.InputError(message) from error

    def _check_shapes(self, shape, output_shape):
        """Raise InputError unless a model takes square RGB images and has an output for each class, as results.json says."""
        size = self.results["image_size"] if self.results else next(iter(shape), None)
        is_flat = len(output_shape) == 1 and isinstance(output_shape[0], int)
        if shape != (size, size, 3) or not size or not is_flat:
            wanted = f"{size}x{size}" if self.results else "square"
            raise cli.InputError(
                f"{self.path} turns {shape} into {output_shape}: {wanted} RGB images and probabilities are wanted"
            )
        if self.class_names and output_shape != (len(self.class_names),):
            said_by = "results.json" if self.results else "--classes"
            raise cli.InputError(
                f"{self.path} has {output_shape[0]:,} outputs, and {said_by} names {len(self.class_names):,} classes"
            )


def find_model(path, class_names=None, needs_classes=True):
    """The TrainedModel that a RUN_DIR of the command line means.

    That is a run folder, wherever it was moved to, `RUN_DIR/MODEL` for one of several models, `latest` for the newest run under
    runs/, or a model file alone (.keras or .h5), for which `class_names` are needed. Raises InputError for anything else.
    """
    path = runs.resolve(path, "runs", "RUN_DIR", "model.keras")
    if files.path_kind(path, "RUN_DIR") == "file" and path.suffix in SUFFIXES:
        if not class_names and needs_classes:
            raise cli.InputError(f"{path} is a model alone: name its classes, in their order, with --classes")
        if twice := [name for name, count in Counter(class_names or ()).items() if count > 1]:
            raise cli.InputError(f"--classes: {twice[0]} is given twice")
        return TrainedModel(path, tuple(class_names or ()), None)
    if class_names:
        raise cli.InputError(
            f"--classes is for a .keras or .h5 file, which {path} is not; a run's results.json names its classes"
        )
    try:
        folder = _model_folder(path)
        results = finished_runs.read_results(folder)
    except cli.InputError as error:
        raise cli.InputError(f"{path}: {error}; give the folder of a finished run") from error
    return TrainedModel(folder / "model.keras", tuple(results["class_names"]), results)


def _model_folder(path):
    """The folder that holds a model: the run's own or, for a run of several models, its main model's. Raises InputError."""
    folder = path
    if files.path_kind(path / "results.json", "RUN_DIR") == "file":
        folder /= finished_runs.read_results(path).get("main_model", "")
    if not all(runs.has_file(folder, name) for name in ("results.json", "model.keras")):
        others = sorted(str(file.parent) for file in path.glob("*/model.keras"))
        hint = f"; there are models in {', '.join(others)}" if others else ""
        if not others and runs.has_file(folder, "results.json"):
            hint = "; a published run has no weights, which stay in the folder that it was published from"
        raise cli.InputError(f"it holds no results.json with a model.keras{hint}")
    return folder
