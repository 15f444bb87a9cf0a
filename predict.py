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

from common import backend, cli, files, flags
from common.data import images
from common.results import finished

BAR_WIDTH = 30
MAX_COMPLAINTS = 5
BATCH_SIZE = 32  # a backbone at 224x224 takes a GiB for as many


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="run folder, or a model's subfolder of it")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image, folder or quoted glob")
    parser.add_argument("--top", type=flags.positive_int, default=5, metavar="N", help="show the N most probable classes")
    return parser.parse_args(argv)


def find_images(patterns):
    """Paths of the images that the arguments mean, and a complaint for each argument that means none."""
    paths, complaints = [], []
    for pattern in patterns:
        try:
            kind = files.kind(pattern, "IMAGE")
        except cli.InputError as error:
            complaints.append(str(error))
            continue
        if kind == "folder":
            matches = [path for path in sorted(Path(pattern).rglob("[!.]*")) if path.name.lower().endswith(images.EXTENSIONS)]
        elif kind:
            matches = [Path(pattern)]
        else:
            matches = sorted(map(Path, glob.glob(pattern, recursive=True)))  # noqa: PTH207  Path.glob takes no absolute pattern
        paths += matches
        if not matches:
            complaints.append(f"{pattern}: no such image, or no {', '.join(images.EXTENSIONS)} file in that folder")
    return paths, complaints


def read_images(paths, image_size, complaints):
    """Images `(image_size, image_size, 3)` uint8 by path; what can't be read adds to the complaints."""
    pixels = {}
    for path in paths:
        try:
            pixels[str(path)] = images.resize(images.read_image(path), image_size)
        except cli.InputError as error:
            complaints.append(str(error))
    return pixels


def lines(class_names, probabilities, top):
    """A line for each of the `top` most probable classes: name, probability, bar."""
    block = "█" if (sys.stdout.encoding or "").lower().startswith("utf") else "#"
    width = max(map(len, class_names))
    for number in probabilities.argsort()[::-1][:top]:
        bar = block * round(float(probabilities[number]) * BAR_WIDTH)
        yield f"  {class_names[number]:{width}}  {probabilities[number]:.4f}  {bar}".rstrip()


def main(argv=None):
    args = parse_args(argv)
    run = finished.find(args.run_dir)
    class_names, image_size = run.class_names, run.results["image_size"]
    paths, complaints = find_images(args.images)
    what = f"{len(paths):,} images of the model's {image_size}x{image_size}"
    backend.need_memory(len(paths) * image_size**2 * 3, args.run_dir, what)
    pixels = read_images(paths, image_size, complaints)
    predictions = {}
    if pixels:
        model = run.load()
        from common.results import scoring

        cli.tell(run.title)
        for path, probabilities in zip(
            pixels, scoring.predict(model, np.stack(list(pixels.values())), BATCH_SIZE), strict=True
        ):
            cli.tell("", path, *lines(class_names, probabilities, args.top))
            predictions[path] = dict(zip(class_names, probabilities.tolist(), strict=True))
    if complaints:
        more = f"; and {len(complaints) - MAX_COMPLAINTS:,} more" if len(complaints) > MAX_COMPLAINTS else ""
        raise cli.InputError("; ".join(complaints[:MAX_COMPLAINTS]) + more)
    return predictions


if __name__ == "__main__":
    cli.run(main)
