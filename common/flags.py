"""Flags that several scripts share, their types and range checks.

Standard library only, so that `--help` and a mistyped flag are answered at once. Defaults that belong to a recipe (epochs,
learning rate, dropout ...) are given by the script.
"""

import argparse
from pathlib import Path

from common import cli

RESIZES = {"squeeze": "squeezed", "crop": "cropped", "pad": "padded"}
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "area", "lanczos4")
MOST = 10**9  # of anything that is counted


def _number(convert, is_allowed, description, word=None):
    """An argparse type: a number that `is_allowed`, or the `word` as it is."""

    def parse(text):
        if word and text == word:
            return text
        try:
            if is_allowed(value := convert(text)):
                return value
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"{cli.shortened(text)!r} is not {description}")

    return parse


def _whole_number(low, high=MOST, word=None):
    or_word = f", or the word {word}" if word else ""
    return _number(int, lambda value: low <= value <= high, f"a whole number from {low} to {high}{or_word}", word)


positive_int = _whole_number(1)
at_least_two = _whole_number(2)
count = _whole_number(0)
positive_int_or_all = _whole_number(1, word="all")
count_or_all = _whole_number(0, word="all")
seed = _whole_number(0, 2**31 - 1)  # what every backend accepts
views = _whole_number(1, 1000)
image_edge = _whole_number(1, 8192)  # pixels; what `upscale` takes
positive_float = _number(float, lambda value: 0 < value <= 1e38, "a number above 0, up to 1e38")  # what float32 holds
open_fraction = _number(float, lambda value: 0 < value < 1, "a number between 0 and 1")
fraction = dropout_rate = _number(float, lambda value: 0 <= value < 1, "a number from 0 to below 1")
share = _number(float, lambda value: 0 <= value <= 1, "a number from 0 to 1")


def run_name(text):
    """Type of `--name`: what every file system allows in a folder's name."""
    if text and len(text) <= 60 and all(char.isalnum() or char in "._-" for char in text) and not text.startswith("."):
        return text
    given = cli.shortened(text)
    raise argparse.ArgumentTypeError(f"{given!r} is not up to 60 letters, digits, '.', '_' and '-', the first not a '.'")


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows each default once, from the parser itself, and keeps the docstring's line breaks."""

    def _get_help_string(self, action):
        if action.default is None or action.default == argparse.SUPPRESS:
            return action.help
        if isinstance(action.default, bool):
            return f"{action.help} (default: {'on' if action.default else 'off'})"
        if isinstance(action.default, (list, tuple)):
            return f"{action.help} (default: {' '.join(map(str, action.default))})"
        return super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    """A parser that complains in one line, without the usage of a script with many flags."""

    def error(self, message):
        self.exit(cli.EXIT_BAD_INPUT, f"{self.prog}: error: {cli.one_line(message)} (see {self.prog} --help)\n")


def build_parser(description):
    """A parser without abbreviated flags, with defaults in `--help` and the script's docstring as description."""
    parser = _Parser(description=description, formatter_class=_HelpFormatter, allow_abbrev=False)
    cli.own_flags = parser._option_string_actions  # those that are added later, too
    return parser


def add_data_arguments(parser, *, image_size, data="cifar10", validation_split=0.1, needs_val=True):
    """`--data --image-size --resize --skip-damaged --validation-split --max-train-samples --cache-dir`.

    A script that `needs_val` refuses `--validation-split 0`; where `validation_split` is None there is no such flag.
    """
    add = parser.add_argument_group("data").add_argument
    sources = (
        "cifar10, cifar100 (downloaded once), digits (bundled with scikit-learn, no network), a folder of images, "
        "train/<class>/* and, if you have them, val/<class>/* and test/<class>/*, or the python-version folder or archive of "
        "CIFAR-10 or CIFAR-100"
    )
    add("--data", default=data, metavar="cifar10|cifar100|digits|PATH", help=sources)
    own = "" if image_size else " (default: the network's own size)"
    add("--image-size", type=image_edge, default=image_size, metavar="N", help=f"images are resized to N x N pixels{own}")
    add_resize(add, "squeeze")
    add_skip_damaged(add)
    split = "share of the training images held out as val where --data has no val part of its own"
    split += "" if needs_val else "; with 0 all are trained on, and the last weights are kept"
    share_type = open_fraction if needs_val else fraction
    if validation_split is not None:
        add("--validation-split", type=share_type, default=validation_split, metavar="F", help=split)
    most = "use N training images at most, stratified, those held out as val included"
    add("--max-train-samples", type=positive_int, metavar="N", help=most)
    cached = "decoded images and features, shared by all runs"
    add("--cache-dir", type=Path, default=Path("cache"), metavar="DIR", help=cached)


def add_resize(add, default=None):
    """`--resize`, by a parser's `add_argument`; without a `default` a run's own is meant."""
    square = "how images become squares: squeezed, cut to the largest centred square, or padded with grey"
    square += "" if default else "; where not given as in training, or squeezed for a model file"
    add("--resize", choices=RESIZES, default=default, help=square)


def add_skip_damaged(add):
    """`--skip-damaged`, by a parser's `add_argument`."""
    add("--skip-damaged", action="store_true", help="leave damaged images out, and name them, instead of refusing the data")


def add_training_arguments(parser, *, batch_size=None, epochs=None, learning_rate=None, dropout=None):
    """`--epochs --monitor -b/--batch-size --lr --dropout --class-weight --seed --amp`; returns the group, for the script's own.

    Where `learning_rate` and `dropout` are lists, their flags take several values. A flag whose default is None is left out:
    a script with several phases has its own.
    """
    several = "+" if isinstance(dropout, list) else None
    group = parser.add_argument_group("training")
    add = group.add_argument
    if epochs:
        add("--epochs", type=positive_int, default=epochs, metavar="N", help="passes over the train part")
        kept = "what chooses the epoch whose weights are kept; balanced: the mean of the classes' accuracies"
        add("--monitor", choices=("val_accuracy", "val_balanced_accuracy"), default="val_accuracy", help=kept)
    if batch_size:
        add("-b", "--batch-size", type=positive_int, default=batch_size, metavar="N", help="images per step")
    if learning_rate:
        add("--lr", type=positive_float, nargs=several, default=learning_rate, metavar="F", help="learning rate")
    if dropout:
        add("--dropout", type=dropout_rate, nargs=several, default=dropout, metavar="F", help="dropout rate")
    weighted = "balanced: training images are weighted inversely to the size of their class, with mean 1"
    add("--class-weight", choices=("none", "balanced"), default="none", help=weighted)
    add("--seed", type=seed, default=0, metavar="N", help="seed of weights, order, dropout and splits")
    add("--amp", action="store_true", help="mixed precision: bfloat16 arithmetic, float32 weights")
    return group


def add_optimizer_arguments(group, *, optimizer, momentum=0.0, weight_decay=0.0):
    """`--optimizer --momentum --weight-decay`, as timm names them."""
    add = group.add_argument
    add("--optimizer", choices=("sgd", "adam"), default=optimizer, help="what changes the weights")
    add("--momentum", type=fraction, default=momentum, metavar="F", help="of --optimizer sgd")
    decay = "decoupled: a step takes away this share of a weight, times the learning rate"
    add("--weight-decay", type=share, default=weight_decay, metavar="F", help=decay)


def add_schedule_arguments(group, *, schedule):
    """`--schedule --warmup-epochs`: the recipe's own `schedule`, or a cosine."""
    falls = "of the learning rate; cosine: it falls along a cosine to zero over all --epochs"
    group.add_argument("--schedule", choices=(schedule, "cosine"), default=schedule, help=falls)
    rises = "of --schedule cosine: epochs in which it first rises, from a tenth"
    group.add_argument("--warmup-epochs", type=count, default=0, metavar="N", help=rises)


def add_smoothing(group):
    """`--smoothing`, as timm names it."""
    smoothing = "label smoothing: this share of a training image's label is spread evenly over all classes"
    group.add_argument("--smoothing", type=fraction, default=0.0, metavar="F", help=smoothing)


def add_base_arguments(parser, base=None, *, augment, upscales=True, unfreeze=False):
    """`--weights --augment --no-cache`, for scripts with a pretrained backbone; returns the group.

    With a `base` also `--base`, of which it is the default; with `upscales` also `--interpolation --views`, for a head on
    upscaled images; with `unfreeze` also `--unfreeze-last`.
    """
    group = add_weights_arguments(parser, base, upscales)
    group.add_argument("--augment", action=argparse.BooleanOptionalAction, default=augment, help="augment the training images")
    if upscales:
        cached = (
            "with --augment: cache features of K versions of each training image, the first one the image itself; "
            "each epoch draws one of them per image"
        )
        group.add_argument("--views", type=views, default=4, metavar="K", help=cached)
    every_epoch = "run the backbone in every epoch, with new augmentation each time, instead of caching its features"
    group.add_argument("--no-cache", action="store_true", help=every_epoch)
    if unfreeze:
        trained = "train the last N layers of the backbone too, or all of them; this runs the backbone in every epoch"
        group.add_argument("--unfreeze-last", type=count_or_all, default=0, metavar="N|all", help=trained)
    return group


def add_weights_arguments(parser, base=None, upscales=True):
    """`--weights`, with a default `base` also `--base`, with `upscales` also `--interpolation`; returns the group."""
    group = parser.add_argument_group("backbone")
    if base:
        which = (
            "the network: any of keras.applications, by its name in lower case, vgg19-fc2 (VGG19 up to its second fully "
            "connected layer), or efficientnet-lite0, -lite1, -lite2"
        )
        several = "+" if isinstance(base, list) else None
        group.add_argument("--base", type=str.lower, nargs=several, default=base, metavar="NAME", help=which)
    weights = (
        "imagenet (downloaded once), none (random: the control), a weights file of the backbone (.h5, .keras), "
        "or the folder of a run, whose backbone is used; latest is this script's newest run"
    )
    group.add_argument("--weights", default="imagenet", metavar="imagenet|none|PATH", help=weights)
    if upscales:
        resized = "how images are resized, as OpenCV does it"
        group.add_argument("--interpolation", choices=INTERPOLATIONS, default="bicubic", help=resized)
    return group


def add_run_arguments(parser):
    """`--devices --resume --output-dir --name --dry-run --tensorboard`."""
    add = parser.add_argument_group("run").add_argument
    devices = "use the first N devices, or all, also of several hosts; --batch-size is that of all together"
    add("--devices", type=positive_int_or_all, default=1, metavar="N|all", help=devices)
    resumed = "finish a run that was killed or interrupted, with its own arguments and the same result; latest is the newest "
    add("--resume", type=Path, metavar="RUN_DIR", help=f"{resumed}run of this script under --output-dir")
    add("--output-dir", type=Path, default=Path("runs"), metavar="DIR", help="parent of the run folders")
    add("--name", type=run_name, metavar="WORD", help="appended to the run folder's name")
    add("--dry-run", action="store_true", help="two batches of every stage, one epoch")
    add("--tensorboard", action="store_true", help="also write TensorBoard logs")
