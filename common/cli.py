"""Flags that several scripts share, their types and range checks, and the exit codes.

Standard library only, so that `--help` and a mistyped flag are answered before anything heavy is imported. Defaults that
belong to a recipe (epochs, learning rate, dropout ...) are given by the script.
"""

import argparse
import math
import sys
from pathlib import Path

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "area", "lanczos4")
EXIT_DONE, EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 130


class InputError(ValueError):
    """The user's input can't be used. The message is one line: what was given, what is allowed, what to do."""


class TrainingError(RuntimeError):
    """Training can't go on (the loss became NaN). The message is one line and names the phase and the epoch."""


class Finished(Exception):
    """`--resume` names a run that is finished. The message is one line; the exit code is that of a run that went well."""


def positive_int(text):
    """Type of a flag that takes a whole number from 1."""
    return _checked(text, int, lambda value: value >= 1, "a whole number from 1")


def seed(text):
    """Type of `--seed`: what NumPy, Python and every Keras backend take as a seed."""
    return _checked(text, int, lambda value: 0 <= value < 2**31, "a whole number from 0 to 2147483647")


def count(text):
    """Type of a flag that takes a whole number, 0 too."""
    return _checked(text, int, lambda value: value >= 0, "a whole number from 0")


def positive_float(text):
    """Type of a flag that takes a finite number above 0."""
    return _checked(text, float, lambda value: value > 0 and math.isfinite(value), "a finite number above 0")


def dropout_rate(text):
    """Type of `--dropout`: 0 (none) or more and below 1."""
    return _checked(text, float, lambda value: 0 <= value < 1, "a number from 0 to below 1")


def open_fraction(text):
    """Type of a flag that takes a number between 0 and 1, both excluded."""
    return _checked(text, float, lambda value: 0 < value < 1, "a number between 0 and 1")


def sample_count(text):
    """Type of a flag that takes a number of pictures, or the word `all`."""
    if text == "all":
        return text
    return _checked(text, int, lambda value: value >= 1, "a whole number from 1, or the word all")


def layer_count(text):
    """Type of `--unfreeze-last`: a number of layers, or the word `all`."""
    if text == "all":
        return text
    return _checked(text, int, lambda value: value >= 0, "a whole number from 0, or the word all")


def run_name(text):
    """Type of `--name`: what can stand in a folder's name on every file system."""
    if text and len(text) <= 60 and all(c.isalnum() or c in "._-" for c in text) and not text.startswith("."):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is not up to 60 letters, digits, '.', '_' and '-', the first not a '.'")


def _checked(text, convert, is_allowed, allowed):
    try:
        value = convert(text)
    except ValueError:
        value = None
    if value is None or not is_allowed(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {allowed}")
    return value


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows each default once, from the parser itself, and leaves the docstring's line breaks alone."""

    def _get_help_string(self, action):
        if action.default is None or action.default is False:
            return action.help
        if isinstance(action.default, (list, tuple)):
            return f"{action.help} (default: {' '.join(map(str, action.default))})"
        return super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line: the usage of a script with many flags would bury it."""

    def error(self, message):
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def build_parser(description):
    """A parser with the house's habits: no abbreviated flags, defaults shown, the script's docstring as description."""
    return _Parser(description=description, formatter_class=_HelpFormatter, allow_abbrev=False)


def add_data_arguments(parser, *, image_size, data="cifar10", validation_split=0.1):
    """`--data --image-size --validation-split --max-train-samples --cache-dir`."""
    group = parser.add_argument_group("data")
    group.add_argument(
        "--data",
        default=data,
        metavar="cifar10|digits|PATH",
        help="cifar10 (downloaded once), digits (bundled with scikit-learn, no network), a folder "
        "train/<class>/* test/<class>/* of pictures, or CIFAR-10's python-version folder or archive",
    )
    group.add_argument(
        "--image-size", type=positive_int, default=image_size, metavar="N", help="pictures are brought to N x N pixels"
    )
    group.add_argument(
        "--validation-split",
        type=open_fraction,
        default=validation_split,
        metavar="F",
        help="this part of the training pictures becomes val, stratified; the rest is train",
    )
    group.add_argument(
        "--max-train-samples",
        type=positive_int,
        metavar="N",
        help="use N training pictures at most (val comes out of these), stratified",
    )
    group.add_argument(
        "--cache-dir", type=Path, default=Path("cache"), metavar="DIR", help="decoded pictures and features, shared by all runs"
    )


def add_training_arguments(parser, *, batch_size, epochs=None, learning_rate=None, dropout=None):
    """`--epochs -b/--batch-size --lr --dropout --seed --amp`; returns the group, for the script's own flags.

    Where `learning_rate` and `dropout` are lists, the flags take several values. Without `epochs`, `learning_rate` or `dropout`
    that flag is not there: a script of several phases has its own.
    """
    several = "+" if isinstance(dropout, list) else None
    group = parser.add_argument_group("training")
    if epochs:
        group.add_argument("--epochs", type=positive_int, default=epochs, metavar="N", help="passes over the train part")
    group.add_argument("-b", "--batch-size", type=positive_int, default=batch_size, metavar="N", help="pictures a step")
    if learning_rate:
        group.add_argument("--lr", type=positive_float, nargs=several, default=learning_rate, metavar="F", help="learning rate")
    if dropout:
        group.add_argument("--dropout", type=dropout_rate, nargs=several, default=dropout, metavar="F", help="dropout rate")
    group.add_argument("--seed", type=seed, default=0, metavar="N", help="of weights, order, dropout and splits")
    group.add_argument("--amp", action="store_true", help="mixed precision: bfloat16 arithmetic, float32 weights")
    return group


def add_base_arguments(parser, *, augment, upscales=True, unfreeze=False):
    """`--weights --augment --no-cache`, for scripts with a pretrained base; returns the group.

    With `upscales`, for those that train a head on augmented, upscaled pictures, also `--interpolation --views`; with
    `unfreeze` also `--unfreeze-last`.
    """
    group = parser.add_argument_group("base")
    group.add_argument(
        "--weights",
        default="imagenet",
        metavar="imagenet|none|PATH",
        help="imagenet (downloaded once), none (random: the control), a weights file of the base (.h5, .weights.h5, .keras), "
        "or the folder of a run, whose base is taken",
    )
    group.add_argument(
        "--augment", action=argparse.BooleanOptionalAction, default=augment, help="train on randomly changed copies too"
    )
    if upscales:
        group.add_argument(
            "--interpolation", choices=INTERPOLATIONS, default="bicubic", help="how pictures are resized, as OpenCV does it"
        )
        group.add_argument(
            "--views",
            type=positive_int,
            default=4,
            metavar="K",
            help="with --augment: features of K copies of each training picture are kept, the first one the picture itself; "
            "each epoch draws one of them for each picture",
        )
    group.add_argument(
        "--no-cache",
        action="store_true",
        help="train through the base in every epoch, with new augmentation each time, in place of computing features once",
    )
    if unfreeze:
        group.add_argument(
            "--unfreeze-last",
            type=layer_count,
            default=0,
            metavar="N|all",
            help="train the last N layers of the base too, or all of them; this goes through the base in every epoch",
        )
    return group


def add_run_arguments(parser):
    """`--resume --output-dir --name --dry-run --tensorboard`."""
    group = parser.add_argument_group("run")
    group.add_argument(
        "--resume",
        type=Path,
        metavar="RUN_DIR",
        help="go on with a run that was killed or interrupted, with its own arguments and to the same end",
    )
    group.add_argument("--output-dir", type=Path, default=Path("runs"), metavar="DIR", help="run folders are made under it")
    group.add_argument("--name", type=run_name, metavar="WORD", help="appended to the run folder's name")
    group.add_argument("--dry-run", action="store_true", help="two batches of every stage, one epoch, all else real")
    group.add_argument("--tensorboard", action="store_true", help="also write TensorBoard logs into the run folder")


def run(main):
    """Call a script's `main()` and leave the process with the exit code that belongs to how it ended.

    0 done (also where nothing was left to do), 2 the user's input (one line on stderr, no traceback), 130 interrupted, 1
    training broke off.
    """
    program = Path(sys.argv[0]).name
    try:
        results = main()
    except Finished as message:
        print(message)
        sys.exit(EXIT_DONE)
    except InputError as error:
        sys.exit(_complain(program, error, EXIT_BAD_INPUT))
    except TrainingError as error:
        sys.exit(_complain(program, error, EXIT_FAILED))
    except KeyboardInterrupt:
        sys.exit(_complain(program, "interrupted", EXIT_INTERRUPTED))
    interrupted = isinstance(results, dict) and results.get("status") == "interrupted"
    sys.exit(EXIT_INTERRUPTED if interrupted else EXIT_DONE)


def _complain(program, message, code):
    print(f"{program}: error: {message}", file=sys.stderr)
    return code
