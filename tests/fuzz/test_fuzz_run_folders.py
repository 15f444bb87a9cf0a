"""Run folders with damaged JSON and CSV files before compare.py: a row, or one line that says why not."""

import csv
import io
import json
import shutil
import sys
from pathlib import Path

import pytest
from contract import has_control
from hypothesis import given
from hypothesis import strategies as st
from makers import PUBLISHED
from mutations import as_json, changed, contained, damaged, documents, is_plain_line

import compare
from common import files
from common.cli import InputError
from common.results import comparison, finished_runs

RUNS = {"one": PUBLISHED / "resnet152v2" / "control", "several": PUBLISHED / "ab_split" / "default"}
NUM_EPOCHS = 3


def small(name):
    """The text files of a run, with few epochs and four test images, by name."""
    folder = RUNS[name]
    content = {f"{part}.json": files.read_json(folder / f"{part}.json") for part in ("results", "args", "environment")}
    rows = [row for row in files.read_csv(folder / "history.csv") if row["epoch"] <= NUM_EPOCHS]
    models = [f"{model}/" for model in content["results.json"].get("models", [])][:2]
    content |= {f"{model}results.json": files.read_json(folder / model / "results.json") for model in models}
    for one in (content[f"{model}results.json"] for model in ("", *models)):
        one |= {"epochs": NUM_EPOCHS if models else len(rows), "best_epoch": 2}
        one |= {"test_size": 4, "test_accuracy": 0.75, "class_names": ["cat", "dog"]}
    if models:
        content["results.json"]["models"] = content["results.json"]["models"][:2]
    content["history.csv"] = table(rows)
    predictions = b"true,predicted\ncat,cat\ndog,dog\ncat,cat\ndog,cat\n"
    return content | {f"{model}predictions.csv": predictions for model in models or [""]}


def table(rows):
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


ORIGINALS = {name: small(name) for name in RUNS}


def write(folder, content):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, value in content.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(value if isinstance(value, bytes) else as_json(value))


CELLS = st.one_of(
    st.sampled_from(("", "nan", "-1", "0", "1e300", "1e-320", "٣", "a\x1b[2Jb", "=1", "2.5", "None")), st.text(max_size=5)
)


@st.composite
def tables(draw, content):
    """A CSV file with other cells, whose form is right, or with damaged bytes."""
    if draw(st.booleans()):
        return draw(damaged([content]))
    rows = list(csv.reader(io.StringIO(content.decode())))
    for _ in range(draw(st.integers(1, 4))):
        row = draw(st.sampled_from(rows))
        row[draw(st.integers(0, len(row) - 1))] = draw(CELLS)
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode(errors="replace")


@pytest.mark.parametrize("name", RUNS)
def test_what_is_damaged_here_can_be_read(name):
    write(Path("run"), ORIGINALS[name])
    assert len(finished_runs.read_run(Path("run"))) == len(ORIGINALS[name]["results.json"].get("models", "1"))


def damaged_run(content, names):
    """The files of a run, one to all of `names` damaged."""
    parts = {name: documents(value) if name.endswith(".json") else tables(value) for name, value in content.items()}
    return st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True).flatmap(
        lambda chosen: st.fixed_dictionaries(
            {name: parts[name] if name in chosen else st.just(content[name]) for name in content}
        )
    )


@pytest.mark.parametrize("name", RUNS)
@given(form=st.sampled_from((["--csv"], ["--markdown"], [])), data=st.data())
def test_compare_shows_a_run_or_skips_it(name, form, data):
    content = data.draw(damaged_run(ORIGINALS[name], list(ORIGINALS[name])))
    write(Path("runs/good/1"), ORIGINALS["one"])
    write(Path("runs/bad/1"), content)
    with contained() as out, pytest.MonkeyPatch.context() as patch:
        err = io.StringIO()
        patch.setattr(sys, "stderr", err)
        summaries = compare.main(["--no-figure", "runs", *form])
    assert summaries and not has_control(err.getvalue()), ascii(err.getvalue())
    assert all(is_plain_line(line) for line in out.getvalue().split("\n"))
    out.getvalue().encode()
    err.getvalue().encode()
    if form == ["--csv"]:
        rows = list(csv.DictReader(io.StringIO(out.getvalue())))
        assert len(rows) == len(summaries) and not any(None in row or None in row.values() for row in rows)
        assert not any(cell.startswith(("=", "@", "\t")) for row in rows for cell in row.values())
    if form == ["--markdown"]:
        assert len({line.replace("\\|", "").count("|") for line in out.getvalue().strip().split("\n")}) == 1
    json.dumps(summaries, default=str)


def of_a_usable_kind(document):
    """Changes that keep the kind of each value: most get past the checks."""
    return st.one_of(changed(document, st.one_of(st.integers(0, 10), st.text(max_size=8), st.floats(0, 1), st.none())))


@pytest.mark.parametrize("name", RUNS)
@given(data=st.data())
def test_records_are_grouped_and_named(name, data):
    """Several runs beside each other, each with other arguments and results."""
    all_records = []
    for number in range(3):
        original = ORIGINALS[name]
        json_files = {file: data.draw(of_a_usable_kind(original[file])) for file in ("args.json", "results.json")}
        folder = Path(f"runs/{number}")
        write(folder, original | {file: content for file, content in json_files.items() if data.draw(st.booleans())})
        with contained():
            try:
                found = finished_runs.read_run(folder)
            except InputError as error:
                assert is_plain_line(error)
                continue
            all_records += found
    with contained():
        rows, replaced = comparison.group(all_records)
        comparison.name(rows)
        summaries = [row.summary() for row in rows]
        assert len({summary["name"] for summary in summaries}) == len(rows)
        assert sum(len(row.records) for row in rows) + len(replaced) >= len({record.folder for record in all_records})
        for record in all_records:
            try:
                true, predicted = record.predictions()
                assert len(true) == len(predicted) == record.results["test_size"]
            except InputError as error:
                assert is_plain_line(error)
