"""`--resume RUN_DIR`: the run's own arguments, and whether this script, this data and these weights are those of the run."""

import argparse
import hashlib
import os
from datetime import datetime
from pathlib import Path

from common import files, runs
from common.cli import Finished, InputError, reason, tell
from common.training import combinations

ROOT = Path(__file__).parents[2]
NOT_GIVEN = object()


def parse_args(parser, argv, experiment, may_grow=()):
    """The arguments of a script or, with `--resume`, those of that run; `latest` is the newest run of the `experiment`.

    Beside `--resume` only `--devices`, `--data` (where the same images are now) and larger numbers for the flags in `may_grow`
    may be given: a list of argparse names, or a function that makes this list from the run's own arguments, a dict. Ends the
    process with one line, as argparse does, for any other flag and for a folder that is not a run. Raises InputError for
    `latest` without a run.
    """
    args = parser.parse_args(argv)
    own_runs = args.output_dir / experiment
    if args.resume is None:
        weights = Path(getattr(args, "weights", "none"))
        if (found := runs.resolve(weights, own_runs, "--weights", "model.keras")) != weights:
            args.weights = str(found)  # which the next run's `latest` is not
        combinations.check(parser, args)
        return args
    own_runs_given = runs.is_latest(args.resume)
    args.resume = runs.resolve(args.resume, own_runs, "--resume")
    stored = _stored_args(parser, args)
    given = vars(parser.parse_args(argv, argparse.Namespace(**dict.fromkeys(vars(args), NOT_GIVEN))))
    growing = may_grow(stored) if callable(may_grow) else may_grow
    for name, old in stored.items():
        value = given[name]
        if value is NOT_GIVEN or _shown(value) == _shown(old) or (name == "output_dir" and own_runs_given):
            continue
        if name not in ("devices", "data") and (name not in growing or value < old):
            allowed = " or ".join([*(f"a larger {_flag(name)}" for name in growing), "--devices, --data (moved images)"])
            parser.error(
                f"{_flag(name)}: --resume uses the run's own arguments (here {_shown(old)}); allowed beside it: {allowed}"
            )
        stored[name] = value
    return argparse.Namespace(**stored, resume=args.resume)


def check(args):
    """Check a run folder before anything is read.

    Raises Finished if the run is finished, and InputError if it can't be resumed.
    """
    folder = args.resume
    try:
        if files.read_json(folder / "checkpoint" / "finished.json") == finished_form(args):
            results = files.read_json(folder / "results.json")
            raise Finished(f"{folder} is finished: test accuracy {results['test_accuracy']:.4f}, {results['epochs']} epochs")
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not finished, or damaged since: training ends it again
    folders = [path for path in (folder, folder / "checkpoint") if files.kind(path, "--resume") == "folder"]
    if not all(os.access(path, os.W_OK | os.X_OK) for path in folders):
        raise InputError(f"--resume {folder}: you may not write into it")
    made_of, environment = read_notes(folder)
    if made_of["script"] != script_version(made_of["experiment"]):
        commit = f", at commit {environment['git_commit']}" if environment.get("git_commit") else ""
        raise InputError(
            f"--resume {folder}: train_{made_of['experiment']}.py or common/ has changed since the run was started{commit}: "
            "check that version out to resume the run, or start a new one"
        )


def read_notes(folder):
    """What a run was made of, and its environment, two dicts. Raises InputError if they can't be read."""
    path = folder / "checkpoint" / "made_of.json"
    try:
        made_of = files.read_json(path)
        if not made_of.keys() >= {"experiment", "script", "data", "weights", "backend"}:
            raise ValueError("it is incomplete")
        if not str(made_of["experiment"])[:60].isidentifier() or len(made_of["experiment"]) > 60:
            raise ValueError("it names no experiment")
        path = folder / "environment.json"
        environment = files.read_json(path)
        if not isinstance(environment, dict) or not isinstance(environment.get("resumed", []), list):
            raise ValueError("it holds something else")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"--resume {folder}: can't resume, {path} can't be read ({reason(error)}); start a new run") from error
    return made_of, environment


def reopen(args, made_of, lock):
    """Open the folder of a resumed run: check what it was made of, note the resumption, remove what a kill left half written.

    Raises InputError, and releases `lock`, where the run was started with other data, weights or another backend.
    """
    from common.training.environment import environment

    folder = args.resume
    before, first_environment = read_notes(folder)
    differing = [name for name in made_of if before[name] != made_of[name]]
    if differing:
        lock.release()
        cause = f"other {differing[0]}" if differing[0] != "backend" else f"KERAS_BACKEND={before['backend']}"
        raise InputError(
            f"--resume {folder}: the run was started with {cause}, so it would not continue as it began; "
            "restore that, or start a new run"
        )
    now = environment(args.devices)
    changed = [name for name in ("packages", "devices", "processor", "python") if first_environment.get(name) != now[name]]
    if changed == ["devices"]:
        tell("Other devices than at the start: the numbers will differ from those of an unbroken run by rounding.")
    elif changed:
        tell(f"Different {', '.join(changed)} since the start: the numbers will not be those of an unbroken run.")
    if before.get("started_in") != str(Path.cwd()):
        tell(f"Started in {before.get('started_in')}: paths like {args.cache_dir} are now relative to {Path.cwd()}.")
    tell(f"Resuming {folder}")
    for path in sorted(folder.rglob(".[0-9]*-*"), reverse=True):
        files.remove(path)  # what was being written: a file, or the folder of an export
    (folder / "plots").mkdir(exist_ok=True)
    files.write_json(folder / "args.json", stored_form(args))
    (folder / "checkpoint" / "finished.json").unlink(missing_ok=True)
    again = {
        "command": now["command"],
        "devices": now["devices"],
        "processes": now["processes"],
        "time": f"{datetime.now():%Y-%m-%d %H:%M:%S}",
    }
    first_environment["resumed"] = [*first_environment.get("resumed", []), again]
    files.write_json(folder / "environment.json", first_environment)


def stored_form(args):
    """The arguments as args.json holds them."""
    stored = {name: value for name, value in vars(args).items() if name != "resume"}
    return {
        name: str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
        for name, value in stored.items()
    }


def finished_form(args):
    """The arguments that finished.json holds: without where the data were, and on which devices."""
    return stored_form(args) | {"devices": 1, "data": ""}


def script_version(experiment):
    """A hash of the code that a run's numbers depend on: its script, and `common/` without figures, pages and tables."""
    digest = hashlib.sha256()
    modules = [path for path in (ROOT / "common").rglob("*.py") if path.parent.name not in ("figures", "results")]
    scores = [ROOT / "common" / "results" / name for name in ("metrics.py", "scoring.py", "study.py", "sweep.py")]
    for path in (ROOT / f"train_{experiment}.py", *sorted(modules), *scores):
        digest.update(path.read_bytes() if path.exists() else b"")
    return digest.hexdigest()


def _stored_args(parser, args):
    """The arguments in a run's args.json, by argparse name, converted and checked as the parser does."""
    path = args.resume / "args.json"
    try:
        stored = files.read_json(path)
        actions = {action.dest: action for action in parser._actions if hasattr(args, action.dest) and action.dest != "resume"}
        if stored.keys() != actions.keys():
            parser.error(f"--resume {args.resume}: it was made by another version of {parser.prog}, or by another script")
        return {name: _converted(action, stored[name]) for name, action in actions.items()}
    except (OSError, ValueError, AttributeError, argparse.ArgumentTypeError) as error:
        parser.error(f"--resume {args.resume}: not a run folder of {parser.prog}, {path.name} can't be read ({reason(error)})")


def _converted(action, value):
    """A value of args.json as the parser would have given it. Raises ValueError for one that it could not have given."""
    if isinstance(value, list) != bool(action.nargs) and value is not None:
        raise ValueError(f"{_flag(action.dest)} is {value!r}")
    if isinstance(value, list):
        return [_single(action, item) for item in value]
    return _single(action, value)


def _single(action, value):
    is_switch = action.nargs == 0
    if value is None and (is_switch or action.default is not None):
        raise ValueError(f"{_flag(action.dest)} is empty")
    if (is_switch and not isinstance(value, bool)) or (action.choices and value not in action.choices):
        raise ValueError(f"{_flag(action.dest)} is {value!r}")
    allowed = (str, int, type(None)) if action.nargs else (str, type(None))  # a class is given by number or name
    if action.type is None and not is_switch and not isinstance(value, allowed):
        raise ValueError(f"{_flag(action.dest)} is {value!r}")
    if "\0" in str(value):
        raise ValueError(f"{_flag(action.dest)} holds a zero byte")
    return value if value is None or action.type is None else action.type(str(value))


def _shown(value):
    return " ".join(map(str, value)) if isinstance(value, list) else value


def _flag(name):
    return f"--{name.replace('_', '-')}"
