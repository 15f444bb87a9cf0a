#!/usr/bin/env python3
"""Classes and probabilities for your own images, by a trained model.

    python predict.py latest my_image.png holiday/ "more/*.jpg"
    python predict.py runs/ab_split/20261123-020611/a holiday/ --csv > holiday.csv
    find photos -name "*.jpg" -print0 | python predict.py latest - --json > photos.json
    python predict.py model.keras my_image.png --classes cat dog
    python predict.py latest holiday/ --features holiday.npz

RUN_DIR is a run folder, the subfolder of one of its models, `latest` for the newest run under runs/, or a model file alone with
the names of its --classes. IMAGE is an image file, a folder (all images under it), a quoted glob, or - for a list of paths on
stdin, one a line or with NULs between them. Images are PNG, JPEG, WebP, BMP, GIF, TIFF or PNM of any size and number, resized
to the model's as in training, or as --resize says. Other files of a folder are left out and counted on stderr. An image that
can't be read is named on stderr, the others are still predicted, and the exit code is 2.

--features writes NumPy arrays for your own scikit-learn: `features` (n, width), `paths` (n,) and `labels` (n,), the names of
the folders that the images are in.
"""

import contextlib
import itertools
import sys
from pathlib import Path

from common import backend, cli, files, flags
from common.data import images, paths
from common.results import printing, trained_model

inference = backend.lazy("common.models.inference")
np = backend.lazy("numpy")
tqdm = backend.lazy("tqdm")

STDIN = "-"
BATCH_SIZE = 32  # takes about 1 GiB with a backbone at 224x224


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="run folder, RUN_DIR/MODEL, latest, or a model file")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image, folder, quoted glob, or - for paths on stdin")
    classes = "of a model file alone, in their order; put them last, or end them with --"
    parser.add_argument("--classes", nargs="+", metavar="NAME", help=classes)
    flags.add_resize(parser.add_argument)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--top", type=flags.positive_int, default=5, metavar="N", help="show the N most probable classes")
    form.add_argument("--csv", action="store_true", help="print CSV with a column a class, everything else on stderr")
    form.add_argument("--json", action="store_true", help="print a JSON array, an object an image, everything else on stderr")
    form.add_argument("--features", type=Path, metavar="FILE.npz", help="write the backbone's features instead of classes")
    args = parser.parse_args(argv)
    if args.images.count(STDIN) > 1:
        parser.error("IMAGE -: stdin can be read once only; give one -")
    if args.features and args.features.suffix != ".npz":
        parser.error(f"--features {args.features}: the name must end in .npz")
    return args


def find_images(arguments, remarks):
    """Paths that the arguments mean, each once, and their number: None where stdin names some, which are read as they come."""

    def find(argument):
        return paths.find_images(argument, remarks.complain, remarks.left_out)

    if STDIN not in arguments:
        found = dict.fromkeys(path for argument in arguments for path in find(argument))
        return found, len(found)
    if sys.stdin is None:
        raise cli.InputError(f"IMAGE {STDIN}: stdin is closed")
    each = (paths.paths_from(sys.stdin.buffer) if word == STDIN else find(word) for word in arguments)
    return itertools.chain.from_iterable(each), None


def batches(pictures, remarks):
    """Yield the paths and the images of up to BATCH_SIZE pictures that could be read."""

    def readable():
        for picture in pictures:
            if picture.error:
                remarks.complain(f"{picture.error}; replace it, or move it away")
            else:
                remarks.num_images += 1
                remarks.num_not_square += picture.size[0] != picture.size[1]
                yield picture

    good = readable()
    while batch := list(itertools.islice(good, BATCH_SIZE)):
        yield [picture.path for picture in batch], np.stack([picture.image for picture in batch])


def predict(run, model, found, total, remarks, how="squeeze", features=False):
    """Yield each image's path with its probabilities, or its `features`, a list of floats. Reads ahead while it computes.

    Where `model` is None it is loaded when an image could be read.
    """
    image_size = run.results["image_size"] if run.results else model.input_shape[1]
    with cli.blaming(run.path):
        images.need_memory(BATCH_SIZE, image_size)
    with (
        images.reading_ahead(found, image_size, how) as pictures,
        tqdm.tqdm(pictures, total=total, unit=" images", leave=False, disable=sys.stdout.isatty() or None) as bar,
    ):
        read = batches(bar, remarks)
        first = next(read, None)
        if first is None:
            return
        model = model or run.load()
        if features:
            model = inference.feature_extractor(model)
        forward = inference.ForwardPass(model, len(first[0]))  # if it is smaller than BATCH_SIZE, there is no other
        named, read = itertools.tee(itertools.chain([first], read))
        with run.blamed():
            for outputs, (names, _) in zip(forward.over(pixels for _, pixels in read), named, strict=False):
                outputs = outputs.astype(np.float32)  # a model may compute in less
                if not np.isfinite(outputs).all():
                    raise cli.InputError(f"{run.path} predicts nan: its training failed; give another model")
                yield from zip(names, outputs.tolist(), strict=True)


def main(argv=None):
    args = parse_args(argv)
    run = trained_model.find_model(args.run_dir, args.classes)
    how = args.resize or run.resize or "squeeze"
    as_trained = ", as in training" if how == run.resize else ""
    remarks = printing.Remarks(at_once=args.csv or args.json, brought=f"{flags.RESIZES[how]}{as_trained}")
    found, total = find_images(args.images, remarks)
    if args.features:
        files.need_writable(args.features.parent, "--features")
        form = printing.as_features(args.features)
    elif args.csv or args.json:
        form = (printing.as_csv if args.csv else printing.as_json)(run.class_names)
    else:
        form = printing.as_text(run.class_names, args.top, run.title)
    with form as write:
        if found:
            model = None if run.results else run.load()  # only the model knows its image size
            with contextlib.closing(predict(run, model, found, total, remarks, how, bool(args.features))) as each:
                for path, outputs in each:
                    write(path, outputs)
        remarks.end()


if __name__ == "__main__":
    cli.run(main)
