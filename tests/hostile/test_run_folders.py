"""Run folders of others, half written or damaged, before compare.py."""

import csv
import io
import os

import pytest
from bad_runs import BAD, RESULTS
from contract import check_line, has_control
from makers import ESCAPE, make_finished

import compare


@pytest.mark.parametrize("case", BAD)
def test_compare_skips_a_bad_run_in_one_line(watched, tmp_path, case):
    make_finished(tmp_path / "runs" / "good", "vgg19")
    BAD[case](make_finished(tmp_path / "runs" / "bad"))
    code, out, err = watched(compare.main, "--csv", "--no-figure")
    check_line(err, "runs/bad")
    assert code == 0 and not has_control(out)
    assert [row["experiment"] for row in csv.DictReader(io.StringIO(out))] == ["vgg19"]


def test_compare_names_many_bad_runs_a_line_each(watched, tmp_path):
    names = [ESCAPE, "one\ntwo", "x" * 250, "\u202egnp", os.fsdecode(b"\xff")]
    for name in names:
        (make_finished(tmp_path / "runs" / name) / RESULTS).write_text("{")
    code, out, err = watched(compare.main, "--no-figure")
    lines = err.splitlines(keepends=True)
    assert (code, out, len(lines)) == (2, "", len(names) + 1)
    for line in lines:
        check_line(line)
