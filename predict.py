#!/usr/bin/env python3
"""Classes and probabilities for your own images, by the model of a finished run.

    python predict.py runs/ab_split/20261123-020611 my_image.png
    python predict.py runs/ab_split/20261123-020611/a holiday/ "more/*.jpg"

RUN_DIR is a run folder, or the subfolder of one of its models. IMAGE is an image file, a folder (all images under it) or a
quoted glob; PNG, JPEG, WebP or BMP of any size, resized to the model's as in training. An image that can't be read is
named, the others are still predicted, and the exit code is 2.
"""

import glob
import sys
from pathlib import Path

import numpy as np

from common import backend, cli, files
from common.data import folders

BAR_WIDTH = 30
BATCH_SIZE = 32  # a backbone at 224x224 takes a GiB for as many


def parse_args(argv=None):
    parser = cli.build_parser(__doc__)
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="run folder, or a model's subfolder of it")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image, folder or quoted glob")
    parser.add_argument("--top", type=cli.positive_int, default=5, metavar="N", help="show the N most probable classes")
    return parser.parse_args(argv)


def open_run(run_dir):
    """The results of a run and the path of its model. Raises InputError where they are missing."""
    results, model = run_dir / "results.json", run_dir / "model.keras"
    if results.is_file() and model.is_file():
        return files.read_json(results), model
    others = sorted(str(path.parent) for path in run_dir.glob("*/model.keras"))
    hint = f"; there are models in {', '.join(others)}" if others else ""
    raise cli.InputError(f"{run_dir} holds no results.json with a model.keras: give the folder of a finished run{hint}")


def find_images(patterns):
    """Paths of the images that the arguments mean, and a complaint for each argument that means none."""
    paths, complaints = [], []
    for pattern in patterns:
        if Path(pattern).is_dir():
            matches = [path for path in sorted(Path(pattern).rglob("[!.]*")) if path.name.lower().endswith(folders.EXTENSIONS)]
        elif Path(pattern).exists():
            matches = [Path(pattern)]
        else:
            matches = sorted(map(Path, glob.glob(pattern, recursive=True)))  # noqa: PTH207  Path.glob takes no absolute pattern
        paths += matches
        if not matches:
            complaints.append(f"{pattern}: no such image, or no {', '.join(folders.EXTENSIONS)} file in that folder")
    return paths, complaints


def lines(class_names, probabilities, top):
    """A line for each of the `top` most probable classes: name, probability, bar."""
    block = "█" if (sys.stdout.encoding or "").lower().startswith("utf") else "#"
    width = max(map(len, class_names))
    for number in probabilities.argsort()[::-1][:top]:
        bar = block * round(float(probabilities[number]) * BAR_WIDTH)
        yield f"  {class_names[number]:{width}}  {probabilities[number]:.4f}  {bar}".rstrip()


def main(argv=None):
    args = parse_args(argv)
    results, model_path = open_run(args.run_dir)
    class_names, image_size = results["class_names"], results["image_size"]
    paths, complaints = find_images(args.images)
    images = {}
    for path in paths:
        try:
            images[str(path)] = folders.resize(folders.read_image(path), image_size)
        except cli.InputError as error:
            complaints.append(str(error))
    predictions = {}
    if images:
        keras = backend.import_keras()
        from common.models import upscale  # noqa: F401  upscale is a layer in the models
        from common.results import report

        try:
            model = keras.models.load_model(model_path, compile=False)
        except Exception as error:  # Keras raises what the reader of the damaged part raises
            reason = " ".join(str(error).split())[:200]
            raise cli.InputError(
                f"{model_path} can't be loaded ({reason}): it is damaged, or not of this collection"
            ) from error
        print(f"{results['experiment']}: {results['model']}, test accuracy {results['test_accuracy']:.4f}")
        for path, probabilities in zip(images, report.predict(model, np.stack(list(images.values())), BATCH_SIZE), strict=True):
            print(f"\n{path}", *lines(class_names, probabilities, args.top), sep="\n")
            predictions[path] = dict(zip(class_names, probabilities.tolist(), strict=True))
    if complaints:
        raise cli.InputError("; ".join(complaints))
    return predictions


if __name__ == "__main__":
    cli.run(main)
