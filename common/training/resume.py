"""`--resume RUN_DIR`: the run's own arguments, and whether this script, this data and these weights are those of the run.

Standard library only, so that a mistake is answered before anything heavy is imported.
"""

import argparse
import hashlib
import os
from pathlib import Path

from common import files
from common.cli import Finished, InputError

ROOT = Path(__file__).parents[2]
NOT_GIVEN = object()


def parse_args(parser, argv, may_grow=()):
    """The arguments of a script; with `--resume` those of that run.

    Beside `--resume` nothing else may be given but larger numbers for the flags `may_grow`, by the names that argparse has
    for them: a list, or a function that makes it of the run's own arguments, a dict. Ends the process with one line, as
    argparse does, for anything else and for a folder that is no run.
    """
    args = parser.parse_args(argv)
    if args.resume is None:
        return args
    path = args.resume / "args.json"
    try:
        stored = files.read_json(path)
        actions = {action.dest: action for action in parser._actions if hasattr(args, action.dest) and action.dest != "resume"}
        if stored.keys() != actions.keys():
            parser.error(f"--resume {args.resume}: it was made by another version of {parser.prog}, or by another script")
        own = {name: _converted(action, stored[name]) for name, action in actions.items()}
    except (OSError, ValueError, AttributeError, argparse.ArgumentTypeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        parser.error(f"--resume {args.resume}: no run folder of {parser.prog}, {path.name} can't be read ({reason})")
    given = vars(parser.parse_args(argv, argparse.Namespace(**dict.fromkeys(vars(args), NOT_GIVEN))))
    grows = may_grow(own) if callable(may_grow) else may_grow
    for name in actions:
        value = given[name]
        if value is NOT_GIVEN or _shown(value) == _shown(own[name]):
            continue
        if name not in grows or value < own[name]:
            flags = " or ".join(f"a larger --{name.replace('_', '-')}" for name in grows) or "no other flag"
            parser.error(
                f"--{name.replace('_', '-')}: --resume goes on with the run's own arguments (here {_shown(own[name])}); "
                f"beside it goes {flags}"
            )
        own[name] = value
    return argparse.Namespace(**own, resume=args.resume)


def check(args):
    """Before anything is read: raises Finished if the run is finished, and InputError if it can't be resumed."""
    folder = args.resume
    try:
        if files.read_json(folder / "checkpoint" / "finished.json") == stored_form(args):
            results = files.read_json(folder / "results.json")
            raise Finished(f"{folder} is finished: test accuracy {results['test_accuracy']:.4f}, {results['epochs']} epochs")
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not finished, or damaged since: it is brought to its end again
    parts = [part for part in (folder, folder / "checkpoint") if part.is_dir()]
    if not all(os.access(part, os.W_OK | os.X_OK) for part in parts):
        raise InputError(f"--resume {folder}: you may not write into it")
    made_of, environment = read_notes(folder)
    if made_of["script"] != script_version(made_of["experiment"]):
        commit = f", at commit {environment['git_commit']}" if environment.get("git_commit") else ""
        raise InputError(
            f"--resume {folder}: train_{made_of['experiment']}.py or common/ has changed since the run was started{commit}: "
            "bring that back to resume it, or start a new run"
        )


def read_notes(folder):
    """What the run in a folder was made of, and its environment. Raises InputError if these can't be read."""
    path = folder / "checkpoint" / "made_of.json"
    try:
        made_of = files.read_json(path)
        if not made_of.keys() >= {"experiment", "script", "data", "weights", "backend"}:
            raise ValueError("something is missing in it")
        path = folder / "environment.json"
        environment = files.read_json(path)
        if not isinstance(environment, dict):
            raise ValueError("it holds something else")
        return made_of, environment
    except (OSError, ValueError, AttributeError, TypeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(f"--resume {folder}: it can't be resumed, {path} can't be read ({reason}); start a new run") from error


def stored_form(args):
    """The arguments as args.json holds them."""
    stored = {name: value for name, value in vars(args).items() if name != "resume"}
    return {
        name: str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
        for name, value in stored.items()
    }


def script_version(experiment):
    """A hash of the experiment's script and of all that it shares with the others."""
    digest = hashlib.sha256()
    for path in (ROOT / f"train_{experiment}.py", *sorted((ROOT / "common").rglob("*.py"))):
        digest.update(path.read_bytes() if path.exists() else b"")
    return digest.hexdigest()


def _converted(action, value):
    """A value of args.json as the parser would have given it. Raises ValueError for one that it could not have given."""
    if isinstance(value, list) != bool(action.nargs) and value is not None and action.nargs != 0:
        raise ValueError(f"{action.dest} is {value!r}")
    if isinstance(value, list):
        return [_single(action, each) for each in value]
    return _single(action, value)


def _single(action, value):
    is_switch = action.nargs == 0
    if value is None and (is_switch or action.default is not None):
        raise ValueError(f"{action.dest} is empty")
    if (is_switch and not isinstance(value, bool)) or (action.choices and value not in action.choices):
        raise ValueError(f"{action.dest} is {value!r}")
    return value if value is None or action.type is None else action.type(str(value))


def _shown(value):
    return " ".join(map(str, value)) if isinstance(value, list) else value
