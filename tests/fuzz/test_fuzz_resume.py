"""The notes of a run that `--resume` reads, damaged: arguments that are stored again as they are, or one line."""

import contextlib
import io
from pathlib import Path

import pytest
from contract import check_line
from hypothesis import given
from hypothesis import strategies as st
from makers import SCRIPTS, make_unfinished
from mutations import contained, documents

from common import cli, files
from common.training import folder, resume

NOTES = ("args.json", "environment.json", "checkpoint/made_of.json", "checkpoint/finished.json", "results.json")


def notes_of(run, script):
    """The notes of a script's run as JSON, by name."""
    make_unfinished(run, script)
    content = {name: files.read_json(run / name) for name in NOTES[:3]}
    content["environment.json"] |= {"packages": {"keras": "3"}, "devices": ["CPU"], "git_commit": "0" * 40, "resumed": []}
    content["checkpoint/finished.json"] = content["args.json"] | {"devices": 1}
    content["results.json"] = {"test_accuracy": 0.5, "epochs": 3}
    return content


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {script: notes_of(folder / script, script) for script in SCRIPTS}


@given(script=st.sampled_from(list(SCRIPTS)), data=st.data())
def test_a_run_is_resumed_or_refused_in_one_line(originals, script, data):
    content = originals[script]
    run = Path("run")
    (run / "checkpoint").mkdir(parents=True, exist_ok=True)
    chosen = data.draw(st.lists(st.sampled_from(NOTES), min_size=1, max_size=2, unique=True))
    for name in NOTES:
        files.write_json(run / name, content[name])
        if name in chosen:
            (run / name).write_bytes(data.draw(documents(content[name])))
    if data.draw(st.booleans()):
        (run / "checkpoint/finished.json").unlink()
    argv = ["--resume", "run", *data.draw(st.sampled_from(([], ["--devices", "all"], ["--epochs", "99"])))]
    err = io.StringIO()
    with contained(), contextlib.redirect_stderr(err):
        try:
            args = SCRIPTS[script].parse_args(argv)
            files.write_json(run / "args.json", resume.stored_form(args))
            assert vars(SCRIPTS[script].parse_args(argv)) == vars(args)  # taken arguments are stored as they are
            folder.check_resumed(args)
        except SystemExit as ended:
            assert ended.code == 2
            check_line(err.getvalue())
        except (cli.InputError, cli.Finished) as error:
            check_line(f"{cli.one_line(error)}\n")
        except OSError as error:  # an experiment whose name no file can have
            check_line(f"{cli.one_line(cli.reason(error))}\n")
