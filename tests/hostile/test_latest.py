"""Which run `latest` is, where there are several, none, or only odd ones; in a folder of its own."""

import os
from pathlib import Path

import pytest
from contract import check_line, has_control
from makers import ESCAPE, SCRIPTS, command, make_finished, make_unfinished

import compare
import evaluate
import export
import make_plots
import predict
from common import cli, files, runs


def make(path, started=None, holds=("args.json",)):
    folder = Path(path)
    folder.mkdir(parents=True)
    for name in holds:
        (folder / name).touch()
    if started:
        files.write_json(folder / "environment.json", {"started": started})
    return folder


def test_latest_was_started_last_whatever_it_is_called(capsys):
    make("runs/vgg19/20261123-120000", "20261123-120000")
    make("runs/vgg19/renamed", "20261125-090000")
    make("runs/ab_split/20261124-120000-zzz", "20261124-120000")
    make("runs/ab_split/of a time that nobody knows")
    make("runs/.trash/20261201-120000", "20261201-120000")
    make("runs/ab_split/20261130-120000", "20261120-000000")  # a copy's name, not the time of its run
    make("runs/ab_split/no run", holds=["results.json"])
    assert runs.resolve("latest", "runs", "RUN_DIR") == Path("runs/vgg19/renamed")
    assert runs.resolve("latest/b-scratch", "runs/ab_split", "RUN_DIR") == Path("runs/ab_split/20261124-120000-zzz/b-scratch")
    told = capsys.readouterr()
    assert told.out == ""  # which may be CSV
    assert told.err.splitlines() == ["latest: runs/vgg19/renamed", "latest: runs/ab_split/20261124-120000-zzz"]


def test_latest_holds_what_it_is_wanted_for():
    make("runs/vgg19/20261123-120000", holds=["args.json", "model.keras"])
    make("runs/vgg19/20261124-120000", holds=["args.json", "results.json"])
    make("runs/vgg19/20261125-120000")
    (make("runs/vgg19/20261126-120000") / "model.keras").mkdir()
    found = {name: runs.resolve("latest", "runs", "RUN_DIR", name).name for name in ("model.keras", "results.json")}
    assert found == {"model.keras": "20261123-120000", "results.json": "20261124-120000"}
    several = make("runs/ab_split/20261127-120000", holds=["args.json"])
    make(several / "a", holds=["model.keras"])
    assert runs.resolve("latest", "runs", "RUN_DIR", "model.keras").name == "20261123-120000"
    (several / "results.json").touch()  # it is finished
    assert runs.resolve("latest", "runs", "RUN_DIR", "model.keras") == several


@pytest.mark.parametrize("path", ["other", "runs/latest", "latest.h5", "..", "/latest", "imagenet"])
def test_any_other_path_stays_what_it_is(path, capsys):
    make("runs/vgg19/20261123-120000")
    assert runs.resolve(path, "runs", "RUN_DIR") == Path(path) and capsys.readouterr() == ("", "")


@pytest.mark.parametrize("make_it", [os.mkdir, Path.touch, lambda path: path.symlink_to("nothing")])
def test_what_is_called_latest_comes_first(make_it):
    make("runs/vgg19/20261123-120000")
    make_it(Path("latest"))
    assert runs.resolve("latest/a", "runs", "RUN_DIR") == Path("latest/a")


def test_latest_was_started_last_in_whatever_time_zone():
    make("runs/vgg19/20261123-140000", "2026-11-23T14:00:00+02:00")  # a host's
    make("runs/vgg19/20261123-123000", "2026-11-23T12:30:00+00:00")  # a container's, half an hour later
    assert runs.resolve("latest", "runs", "RUN_DIR") == Path("runs/vgg19/20261123-123000")


def test_latest_is_no_dry_run():
    files.write_json(make("runs/vgg19/20261124-120000-dry-run") / "args.json", {"dry_run": True})
    files.write_json(make("runs/vgg19/20261123-120000") / "args.json", {"dry_run": False})
    assert runs.resolve("latest", "runs", "RUN_DIR") == Path("runs/vgg19/20261123-120000")


@pytest.mark.parametrize("script", ["vgg19", "ab_split"])
def test_every_script_finds_its_own_latest_run(script):
    parse = SCRIPTS[script].parse_args
    other = next(name for name in SCRIPTS if name != script)
    for path in (f"runs/{script}/20261123-120000", f"elsewhere/{script}/20261122-120000"):
        make_unfinished(Path(path), script)
    make_unfinished(Path(f"runs/{other}/20261124-120000"), other)
    assert parse(["--resume", "latest"]).resume == Path(f"runs/{script}/20261123-120000")
    args = parse(["--resume", "latest", "--output-dir", "elsewhere"])  # where the run was moved, though it began in runs/
    assert args.resume == Path(f"elsewhere/{script}/20261122-120000") and args.output_dir == Path("runs")
    if "weights" in args:
        for name in ("20261120-120000", "20261121-120000"):
            make(f"runs/{script}/{name}", holds=["args.json", "model.keras"])
        args = parse(["--weights", "latest"])
        assert args.weights == f"runs/{script}/20261121-120000"  # as args.json will hold it
        for path in ("imagenet", "none", "somewhere/", "./latest.h5"):
            assert parse(["--weights", path]).weights == path
        with pytest.raises(cli.InputError, match="--weights latest: no run under elsewhere/"):
            parse(["--weights", "latest", "--output-dir", "elsewhere"])


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


def test_latest_is_shown_without_its_escapes(watched, tmp_path):
    make_finished(tmp_path / "runs" / "vgg19" / f"{ESCAPE}\n")
    code, out, err = watched(compare.main, "latest", "--no-figure")
    check_line(err, "latest: runs/vgg19/a\\x1b[2Jb\\n")
    assert code == 0 and not has_control(out)
