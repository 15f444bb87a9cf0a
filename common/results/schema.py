"""What the files of a finished run must hold before anything is done with them: a folder may come from anywhere.

A table of this module gives a function for each name, which says whether a value can be used.
"""

from common.cli import InputError

MOST = 1e15  # of any number
LONGEST = 4096  # of any text: that of a path


def _number(low=0, high=MOST):
    return lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def _count(low=0, high=MOST):
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _text(value):
    return isinstance(value, str) and len(value) <= LONGEST


def _texts(value):
    return isinstance(value, list) and bool(value) and all(map(_text, value))


def _bool(value):
    return isinstance(value, bool)


def _or_none(is_usable):
    return lambda value: value is None or is_usable(value)


def _is_folder(name):
    """Whether a model's name can only be that of a folder in the run's."""
    return bool(name.strip(".")) and not {"/", "\\"} & set(name)


def _is_way_of_scoring(value):
    return isinstance(value, dict) and value.get("on") in ("features", "images") and _count(1, 10**6)(value.get("batch_size"))


RESULTS = {
    "experiment": lambda value: _text(value) and value != "", "model": _text, "data": _text, "weights": _text,
    "seed": _count(0, 2**31 - 1), "class_names": _texts, "train_size": _count(), "val_size": _count(), "test_size": _count(1),
    "image_size": _count(1), "test_accuracy": _number(0, 1), "epochs": _count(), "best_epoch": _count(), "seconds": _number(),
    "trained_weights": _count(), "frozen_weights": _count(), "documented_accuracy": _or_none(_number(0, 1)),
    "comparable": _bool, "dry_run": _bool, "status": _text,
}  # fmt: skip
IF_THERE = {  # of results.json
    "total_seconds": _number(), "val_accuracy": _or_none(_number(0, 1)), "val_loss": _or_none(_number(0, 1e38)),
    "learning_rate": _number(), "dropout": _number(0, 1), "calibration_error": _number(0, 1),
    "test_top5_accuracy": _number(0, 1), "test_images": _text, "all_images": _text, "holds_out_test": _bool, "trained": _text,
    "scored": _is_way_of_scoring, "C": _number(),
    "models": lambda value: isinstance(value, dict) and bool(value) and all(map(_is_folder, value)),
}  # fmt: skip
ENVIRONMENT = {"devices": _texts, "backend": _text, "precision": _text}
HISTORY = {"epoch": _number(1), "phase": _text, "val_loss": _or_none(_number(0, 1e38)), "val_accuracy": _or_none(_number(0, 1))}
POINTS = {"model": _text, "samples": _number(1), "seed": _number(), "test_accuracy": _number(0, 1), "seconds": _number()}
PREDICTIONS = {"true": _text, "predicted": _text}


def check(content, usable, name):
    """Raise InputError unless `content`, of the file `name`, is a dict with values that are `usable`."""
    if not isinstance(content, dict):
        raise InputError(f"damaged or not of this collection, {name} holds something else")
    for key, is_usable in usable.items():
        if key not in content or not is_usable(content[key]):
            raise InputError(f"damaged or not of this collection, {name} has no {key} that can be used")


def check_results(results):
    """Raise InputError unless `results` are what results.json says of a run or of one of its models."""
    check(results, RESULTS, "results.json")
    check(results, {key: is_usable for key, is_usable in IF_THERE.items() if key in results}, "results.json")
    if len(set(results["class_names"])) < len(results["class_names"]):
        raise InputError("damaged or not of this collection, results.json has a class twice")


def check_args(args):
    """Raise InputError unless the values of `args`, the content of args.json, are what flags can give."""
    check(args, {"name": _or_none(_text)} if "name" in args else {}, "args.json")
    for name, value in args.items():
        items = value if isinstance(value, list) else [value]
        if not all(item is None or isinstance(item, (bool, int, float)) or _text(item) for item in items):
            raise InputError(f"damaged or not of this collection, args.json has no {name} that can be used")
