#!/usr/bin/env python3
"""The model of a finished run in a format for elsewhere, which needs neither Keras nor this repository.

    python export.py latest --format onnx                               # model.onnx, for ONNX Runtime
    python export.py runs/ab_split/20261123-020611/a --format litert    # model.tflite, for phones and small boards
    python export.py latest --format saved_model --output my_model      # a folder, for TensorFlow and TensorFlow Serving

RUN_DIR is a run folder, RUN_DIR/MODEL for one of a run's several models, or a model file alone. The exported model lies beside
the run's, unless --output says otherwise; nothing is overwritten. It takes raw images of the model's size, 0 to 255, any number
of them, returns float32 probabilities, and carries the names of the classes and the run's --resize. It is then run on 32
images, and removed again if its probabilities are not those of Keras to within 1e-3. TensorFlow writes all three formats,
whatever the run was trained on.
"""

import importlib.util
import os
from pathlib import Path

from common import backend, cli, files, flags
from common.results import trained_model

np = backend.lazy("numpy")
cifar = backend.lazy("common.data.cifar")
exports = backend.lazy("common.models.exports")
images = backend.lazy("common.data.images")
predictions = backend.lazy("common.results.predictions")

FORMATS = {  # the file's or the folder's name, and what writes and runs it beside TensorFlow
    "onnx": ("model.onnx", ("onnx", "onnxruntime", "tf2onnx")),
    "saved_model": ("saved_model", ()),
    "litert": ("model.tflite", ("ai_edge_litert",)),
}
MAX_DIFFERENCE = 1e-3  # of a probability
NUM_IMAGES = 32
BATCH_SIZES = (NUM_IMAGES, 3, 1)


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="run folder, RUN_DIR/MODEL, latest, or a model file")
    parser.add_argument("--format", choices=FORMATS, required=True, help="what to write")
    parser.add_argument(
        "--classes", nargs="+", metavar="CLASS", help="classes of a model file, in their order: it then carries them"
    )
    # float32 is what Keras exports, and what the tools around these formats expect; uint8 there means a quantized model.
    parser.add_argument("--input-dtype", choices=("float32", "uint8"), default="float32", help="type of the images, 0 to 255")
    parser.add_argument("--output", type=Path, metavar="PATH", help="file or folder to write, in place of the run folder's")
    return parser.parse_args(argv)


def check_packages(file_format):
    """Raise InputError where a package is missing that this format needs."""
    missing = [name for name in ("tensorflow", *FORMATS[file_format][1]) if not importlib.util.find_spec(name)]
    if missing:
        names = ", ".join(missing).replace("_", "-")
        lists = "requirements.txt" if missing == ["tensorflow"] else "requirements-export.txt"
        raise cli.InputError(f"--format {file_format} needs {names}: pip install -r {lists}")


def find_target(args, model_path):
    """The path to write. Raises InputError where something is there already, or where nothing can be written."""
    name = FORMATS[args.format][0]
    default = model_path.with_suffix(Path(name).suffix) if Path(name).suffix else model_path.with_name(name)
    target = args.output or default
    if target.suffix != default.suffix and default.suffix:
        raise cli.InputError(f"--output {target}: a file of --format {args.format} ends in {default.suffix}")
    if files.path_kind(target, "--output") or target.is_symlink():
        raise cli.InputError(f"{target} is there already and stays as it is: remove it, or give another --output")
    if files.path_kind(target.parent, "--output") != "folder" or not os.access(target.parent, os.W_OK):
        raise cli.InputError(f"{target.parent} is no folder that can be written to: give an --output in one")
    return target


def make_images(image_size):
    """Images `(NUM_IMAGES, image_size, image_size, 3)` uint8: scans of digits, with noise in all channels."""

    scans = images.resize_all(cifar.read_digits()[0][:NUM_IMAGES], image_size)
    noise = np.random.default_rng(0).integers(-64, 65, scans.shape)
    return np.clip(scans + noise, 0, 255).astype(np.uint8)


def largest_difference(run, images, expected):
    """How far an exported model's probabilities are from the expected ones, at most, over several batch sizes.

    NaN where one is NaN. Raises ValueError for outputs of another shape or dtype.
    """
    differences = []
    for size in BATCH_SIZES:
        outputs = run(images[:size])
        if (outputs.shape, outputs.dtype) != (expected[:size].shape, np.float32):
            raise ValueError(f"it returns {outputs.dtype} {outputs.shape} for {size} images")
        differences.append(np.abs(outputs - expected[:size]).max())
    return float(np.max(differences))


def export(model, target, args, found):
    """Write a model and run what was written; returns the largest difference. Raises ExportError, and then leaves no file.

    `found` is the TrainedModel.
    """
    exports.compute_exactly()
    images = make_images(model.input_shape[1])
    if not exports.is_float32(model):
        cli.tell("Trained with --amp: exported in float32, and compared with Keras in float32.")
        model = exports.in_float32(model)
    expected = predictions.predict(model, images, NUM_IMAGES)
    with files.atomic_write(target) as part:
        difference = problem = None
        with backend.held_back_stderr():  # the converters are talkative
            try:
                exports.write(model, part, args.format, args.input_dtype, found.class_names, found.resize)
                run = exports.open_exported(part, args.format)
                difference = largest_difference(run, images.astype(args.input_dtype), expected)
            except Exception as error:  # a converter can raise anything
                if isinstance(error, OSError) or cli.is_out_of_memory(error):
                    raise
                problem = f"{type(error).__name__}: {cli.reason(error)}"
        if problem is None and not difference <= MAX_DIFFERENCE:
            problem = f"its probabilities differ by {difference:.2g} from Keras's, more than {MAX_DIFFERENCE:g}"
        if problem:
            raise cli.ExportError(f"--format {args.format}: the model can't be exported, and nothing was kept: {problem}")
    return difference


def size_on_disk(path):
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def main(argv=None):
    args = parse_args(argv)
    check_packages(args.format)
    found = trained_model.find_model(args.run_dir, args.classes, needs_classes=False)
    target = find_target(args, found.path)
    os.environ["KERAS_BACKEND"] = "tensorflow"  # a model loads on every backend; only this one writes all formats
    model = found.load()
    cli.tell(found.title)
    with found.blamed():
        difference = export(model, target, args, found)
    size, num_bytes = model.input_shape[1], size_on_disk(target)
    cli.tell(
        f"{target}: {num_bytes / 1e6:,.1f} MB",
        f"in: RGB images (n, {size}, {size}, 3) {args.input_dtype}, 0 to 255; out: probabilities (n, {model.output_shape[-1]})",
        f"checked on {NUM_IMAGES} digits with noise, in batches of {', '.join(map(str, BATCH_SIZES))}: "
        f"probabilities differ by {difference:.1e} at most from Keras's",
    )
    return {"path": str(target), "bytes": num_bytes, "difference": difference}


if __name__ == "__main__":
    cli.run(main)
