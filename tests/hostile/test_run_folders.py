"""Run folders of others, half written, damaged or meant to do harm, before compare.py, make_plots.py and predict.py."""

import csv
import io
import json
import os
from pathlib import Path

import pytest
from contract import check_line, has_control
from makers import ESCAPE, change_json, encoded, holds, in_place, make_finished, picture

import compare
import make_plots
import predict
from common import files
from common.results import finished_runs
from publish import figures

RESULTS, HISTORY, ARGS, ENVIRONMENT = "results.json", "history.csv", "args.json", "environment.json"
COLUMNS = "epoch,phase,val_loss,val_accuracy\n"


def has(file=RESULTS, **changes):
    return lambda run: change_json(run / file, **changes)


WRONG = {key: [{}] for key in (*finished_runs.RESULTS, *finished_runs.OPTIONAL_RESULTS)} | {
    "seed": ["0", 0.5, -1, True],
    "class_names": [{}, "cat", [], [None, "cat"], [["cat"], "dog"]],
    "test_size": [{}, 0],
    "image_size": [{}, 0, -1, "32", None, float("nan")],
    "test_accuracy": [{}, -0.1, 1.1, None, True, float("inf")],
    "documented_accuracy": [{}, 2],
    "comparable": ["yes", 1],
    "models": [{}, {"a": {}}, [], [5], ["a/b"]],
    "scored": [{}, "features", {"on": "features", "batch_size": 0}],
}
BAD_RESULTS = {  # results.json can't be read
    **{f"{key} {value!r}": has(**{key: value}) for key, values in WRONG.items() for value in values},
    "results nested 100,000 deep": holds(RESULTS, "[" * 100_000),
    "results half written": lambda run: os.truncate(run / RESULTS, 200),
    "results a FIFO": in_place(RESULTS, os.mkfifo),
    "results a folder": in_place(RESULTS, os.mkdir),
    "results a link to itself": in_place(RESULTS, lambda path: path.symlink_to(path.name)),
}
FEW = {  # what else a run can't be compared or published with
    "an odd status": has(status=ESCAPE),
    "a best epoch that is none": has(best_epoch=0),
    "arguments a list": holds(ARGS, "[]"),
    "a value nested 900 deep": has(ARGS, lr=json.loads("[" * 900 + "]" * 900)),
    "environment of another program": holds(ENVIRONMENT, "{}"),
    "devices a number": has(ENVIRONMENT, devices=5),
    "devices none": has(ENVIRONMENT, devices=[]),
    "history half written": lambda run: os.truncate(run / HISTORY, 900),
    "history in no encoding": holds(HISTORY, bytes(range(256)) * 20),
    "history of another program": holds(HISTORY, "a,b\n1,2\n"),
    "history with epochs that are words": holds(HISTORY, f"{COLUMNS}one,head,1,0.1\n"),
    "history a FIFO": in_place(HISTORY, os.mkfifo),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_RESULTS | FEW)
def test_compare_skips_a_bad_run_in_one_line(watched, tmp_path, case):
    make_finished(tmp_path / "runs" / "good", "vgg19")
    (BAD_RESULTS | FEW)[case](make_finished(tmp_path / "runs" / "bad"))
    code, out, err = watched(compare.main, "--csv", "--no-figure")
    check_line(err, "runs/bad")
    assert code == 0 and not has_control(out)
    assert [row["experiment"] for row in csv.DictReader(io.StringIO(out))] == ["vgg19"]


@pytest.fixture
def plots(tmp_path, monkeypatch):
    """Where make_plots.py publishes; it draws nothing here."""
    monkeypatch.setattr(make_plots, "PLOTS", tmp_path / "plots")
    monkeypatch.setattr(figures, "DRAW", {})
    make_finished(tmp_path / "plots" / "results" / "resnet152v2" / "control")
    return tmp_path / "plots"


OUT = "../../../outside"
UNPUBLISHED = {
    **FEW,
    "results half written": BAD_RESULTS["results half written"],
    "no name": has(ARGS, name=None),
    "a name that leads out": has(ARGS, name=OUT),
    "a name of two dots": has(ARGS, name=".."),
    "a name that is a list": has(ARGS, name=["control"]),
    "a name with an escape": has(ARGS, name=ESCAPE),
    "an experiment that leads out": has(experiment=OUT),
    "an unknown experiment": has(experiment="other"),
    "predictions packed in a bomb": holds("predictions.csv.gz", files.packed(bytes(2**28))),
    "packed predictions of another kind": holds("predictions.csv.gz", b"PK\x03\x04"),
    "packed predictions without rows": holds("predictions.csv.gz", b""),
    "predictions of other classes": holds("predictions.csv", f"true,predicted\n{ESCAPE},{ESCAPE}\n"),
    "a sweep that is a FIFO": lambda run: os.mkfifo(run / "sweep.csv"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNPUBLISHED)
def test_a_run_that_can_not_be_published(refused, tmp_path, plots, case):
    UNPUBLISHED[case](make_finished(tmp_path / "run"))
    refused(make_plots.main, "run", "--output-dir", "figures", names=["run"])


@pytest.mark.parametrize("place", [RESULTS, ENVIRONMENT, "a/sweep.csv", "predictions.csv", "plots", "plots/pipeline.png", "a"])
def test_no_link_out_of_a_run_is_published(refused, tmp_path, plots, place):
    run, outside = make_finished(tmp_path / "run"), tmp_path / "outside"
    (run / place).parent.mkdir(exist_ok=True)
    if (run / place).exists():
        (run / place).rename(outside)
    elif Path(place).suffix:
        outside.write_text("secret")
    else:
        outside.mkdir()
        (outside / "sweep.csv").write_text("secret")
    (run / place).symlink_to(outside)
    refused(make_plots.main, "run", "--output-dir", "figures", names=[place])


def make_model(folder):
    folder.mkdir()
    (folder / "model.keras").touch()


NO_MODEL = {
    "a FIFO": lambda run: os.mkfifo(run / "model.keras"),
    "a folder": lambda run: (run / "model.keras").mkdir(),
    "a device": lambda run: (run / "model.keras").symlink_to("/dev/zero"),
    "a thousand models with escapes": lambda run: [make_model(run / f"{ESCAPE}{number}") for number in range(1000)],
}


@pytest.mark.parametrize("case", [case for case in (*BAD_RESULTS, *NO_MODEL) if case != "models ['a']"])
def test_predict_from_a_bad_run(refused, tmp_path, case):
    run = make_finished(tmp_path / "run")
    (tmp_path / "x.png").write_bytes(encoded("png", picture(32)))
    if case in BAD_RESULTS:
        (run / "model.keras").write_text("a model")
    (BAD_RESULTS | NO_MODEL)[case](run)
    refused(predict.main, "run", "x.png", names=["run"])
