"""`latest` where there is no run, or only odd ones."""

import os
import shutil

import pytest
from contract import check_line, has_control
from makers import (
    ESCAPE,
    SCRIPTS,
    change_json,
    command,
    encoded,
    holds,
    in_place,
    in_turn,
    make_finished,
    make_unfinished,
    picture,
)  # fmt: skip

import compare
import evaluate
import export
import make_plots
import predict

ENVIRONMENT = "environment.json"
TOOLS = {
    "compare": [compare.main, "latest", "--no-figure"],
    "a model to compare": [compare.main, "latest/a", "--no-figure"],
    "publish": [make_plots.main, "latest"],
    "predict": [predict.main, "latest", "x.png"],
    "evaluate": [evaluate.main, "latest"],
    "export": [export.main, "latest", "--format", "saved_model"],
    "--resume": [SCRIPTS["vgg19"].main, "--resume", "latest"],
    "--weights": command("vgg19", weights="latest"),
}
NO_RUNS = {
    "no folder": lambda runs: None,
    "empty": lambda runs: runs.mkdir(),
    "a file": lambda runs: runs.touch(),
    "a FIFO": os.mkfifo,
    "a link to itself": lambda runs: runs.symlink_to(runs.name),
    "unfinished": lambda runs: (runs / "vgg19" / "20261123-120000").mkdir(parents=True),
    "runs in a loop": lambda runs: (runs.mkdir(), (runs / "vgg19").symlink_to(".")),
}


@pytest.mark.parametrize("tool, case", [("evaluate", case) for case in NO_RUNS] + [(tool, "unfinished") for tool in TOOLS])
def test_latest_without_a_run(refused, tmp_path, tool, case):
    NO_RUNS[case](tmp_path / "runs")
    refused(*TOOLS[tool], names=["latest"])


NO_RUN = [(tool, "latest/x") for tool in TOOLS] + [("evaluate", path) for path in ("latest/..", "latest/" + "x" * 300)]


@pytest.mark.parametrize("tool, path", NO_RUN)
def test_latest_and_more_is_no_run(watched, tmp_path, tool, path):
    """The first line says what latest is, the last one what is wrong."""
    for script in SCRIPTS:
        run = make_finished(tmp_path / "runs" / script / "20261123-120000")
        (run / "model.keras").write_text("a model")
    arguments = [path if word in ("latest", "latest/a") else word for word in TOOLS[tool]]
    code, out, err = watched(*arguments)
    first, last = err.splitlines(keepends=True)
    check_line(first, "latest: runs/")
    check_line(last)
    assert code == 2 and not has_control(out)


DAMAGED = {
    "missing": lambda run: (run / ENVIRONMENT).unlink(),
    "a list": holds(ENVIRONMENT, "[]"),
    "a link to itself": in_place(ENVIRONMENT, lambda path: path.symlink_to(path.name)),
    "a time that is a list": lambda run: change_json(run / ENVIRONMENT, started=["2027"]),
    "a time of 400 digits": lambda run: change_json(run / ENVIRONMENT, started="9" * 400),
}


@pytest.mark.parametrize("script, case", in_turn(DAMAGED))
def test_a_damaged_environment_hides_no_other_run(tmp_path, capsys, script, case):
    damaged, good = (make_unfinished(tmp_path / "runs" / script / name, script) for name in ("20261124-120000", "renamed"))
    change_json(good / ENVIRONMENT, started="20261122-120000")
    DAMAGED[case](damaged)
    assert SCRIPTS[script].parse_args(["--resume", "latest"]).resume == good.relative_to(tmp_path)
    shutil.rmtree(good)
    assert SCRIPTS[script].parse_args(["--resume", "latest"]).resume == damaged.relative_to(tmp_path)
    assert not has_control(capsys.readouterr().err)


def test_latest_is_shown_without_its_escapes(watched, tmp_path):
    make_finished(tmp_path / "runs" / "vgg19" / f"{ESCAPE}\n")
    code, out, err = watched(compare.main, "latest", "--no-figure")
    check_line(err, "latest: runs/vgg19/a\\x1b[2Jb\\n")
    assert code == 0 and not has_control(out)


def test_latest_is_not_looked_for_where_one_may_not_look(refused, common_folder, as_nobody, monkeypatch):
    make_finished(common_folder / "runs" / "vgg19" / "20261123-120000")
    (common_folder / "x.png").write_bytes(encoded("png", picture(32)))
    (common_folder / "runs").chmod(0o000)
    monkeypatch.chdir(common_folder)
    refused(as_nobody(compare.main), "latest", "--no-figure", names=["latest"], folder=common_folder)
    (common_folder / "runs").chmod(0o755)
