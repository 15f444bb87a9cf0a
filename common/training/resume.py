"""The arguments of a run: what the user typed or, with `--resume RUN_DIR`, what the run has stored; which go together."""

import argparse
import sys
from pathlib import Path

from common import files, runs
from common.cli import reason

PLATEAU = ("lr_factor", "lr_patience", "min_lr")
TRAINING = (*PLATEAU, "patience", "schedule")


def parse_args(parser, argv, experiment, may_grow=()):
    """The arguments of a script or, with `--resume`, those of that run; `latest` is the newest run of the `experiment`.

    Beside `--resume` only `--devices`, `--data` (where the same images are now) and larger numbers for the flags in `may_grow`
    may be given: a list of argparse names, or a function that makes this list from the run's own arguments, a dict. Ends the
    process with one line, as argparse does, for any other flag and for a folder that is not a run. Raises InputError for
    `latest` without a run.
    """
    argv = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(argv)
    own_runs = args.output_dir / experiment
    if args.resume is None:
        weights = Path(getattr(args, "weights", "none"))
        if (found := runs.resolve(weights, own_runs, "--weights", "model.keras")) != weights:
            args.weights = str(found)  # which the next run's `latest` is not
        _check_combinations(parser, args)
        return args
    folder = runs.resolve(args.resume, own_runs, "--resume")
    stored, words = _stored_args(parser, folder)
    output_dir = ["--output-dir", stored["output_dir"]] if folder != args.resume else []  # it said where `latest` lies
    args = parser.parse_args([*words, *argv, *output_dir, f"--resume={folder}"])
    growing = may_grow(stored) if callable(may_grow) else may_grow
    for name, value in stored_form(args).items():
        old = stored[name]
        if value != old and name not in ("devices", "data") and (name not in growing or value < old):
            allowed = " or ".join([*(f"a larger {_flag(name)}" for name in growing), "--devices, --data (moved images)"])
            shown = " ".join(map(str, old)) if isinstance(old, list) else old
            parser.error(f"{_flag(name)}: --resume uses the run's own arguments (here {shown}); allowed beside it: {allowed}")
    return args


def stored_form(args):
    """The arguments as args.json holds them."""
    return {name: _as_stored(value) for name, value in vars(args).items() if name != "resume"}


def _as_stored(value):
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value


def _stored_args(parser, folder):
    """The arguments in a run's args.json, a dict, and the words of a command line that the parser makes the same ones of."""
    path = folder / "args.json"
    actions = {action.dest: action for action in parser._actions if action.dest not in ("help", "resume")}
    parser.exit_on_error = False
    try:
        stored = files.read_json(path)
        if stored.keys() != actions.keys():
            raise ValueError("it is of another script, or of another version")
        words = [word for name, value in stored.items() for word in _as_typed(actions[name], value)]
        typed = stored_form(parser.parse_known_args(words)[0])
        for name in (name for name, value in stored.items() if typed[name] != value):
            raise ValueError(f"{_flag(name)} is {stored[name]!r}")
    except (OSError, ValueError, AttributeError, TypeError, argparse.ArgumentError) as error:
        parser.error(f"--resume {folder}: not a run folder of {parser.prog}, {path.name} can't be read ({reason(error)})")
    parser.exit_on_error = True
    return stored, words


def _as_typed(action, value):
    """The words of a command line that give a flag this value, none for its default."""
    if value == _as_stored(action.default):
        return []
    if action.nargs == 0:
        return [_flag(action.dest if value else f"no_{action.dest}")]
    return [_flag(action.dest), *map(str, value)] if action.nargs else [f"{_flag(action.dest)}={value}"]


def _flag(name):
    return f"--{name.replace('_', '-')}"


def _check_combinations(parser, args):
    """End with one line where flags exclude each other, or one that is not the default has no effect beside the others."""
    given = vars(args).get
    draws_anew, asks_for_views = given("no_cache") or given("unfreeze_last"), given("views") != 1
    has_head = given("weights") != "none" if given("head_epochs") is None else given("head_epochs")
    without_effect = {
        "with --schedule cosine": given("schedule") == "cosine" and PLATEAU,
        "without --schedule cosine": given("schedule") != "cosine" and ["warmup_epochs"],
        "without --optimizer sgd": given("optimizer") != "sgd" and ["momentum"],
        "without --augment": not given("augment") and ["crop_padding", "cutout", *["views"] * asks_for_views],
        "with --no-cache or --unfreeze-last": draws_anew and asks_for_views and ["views"],
        "with --no-resize": given("no_resize") and ["interpolation"],
        "with --finetune-epochs 0": given("finetune_epochs") == 0 and [*TRAINING, "crop_padding", "cutout", "finetune_lr"],
        "without --head-epochs": not has_head and ["head_lr"],
        "without --examples-per-class": not given("examples_per_class") and ["draws"],
    }
    for beside, names in without_effect.items():
        for name in names or ():
            if given(name) and given(name) != parser.get_default(name):
                parser.error(f"{_flag(name)} has no effect {beside}: leave it out")
    if given("warmup_epochs") and given("warmup_epochs") >= given("epochs"):
        parser.error(f"--warmup-epochs {given('warmup_epochs')} needs more --epochs than that")
    if given("augment") and not asks_for_views and not draws_anew:
        parser.error("--views 1 with --augment keeps the original images only: give 2 or more, or --no-augment")
    if given("finetune_epochs") == 0 and not has_head:
        parser.error("--head-epochs 0 with --finetune-epochs 0 trains nothing: give one of them 1 or more")
    for name in ("crop_padding", "cutout"):
        if given(name) and given(name) >= given("image_size"):
            parser.error(f"{_flag(name)} {given(name)} needs a larger --image-size")
