"""Words of a foreign run in compare.py's four forms: they reach no terminal, no spreadsheet and no page as commands."""

import csv
import io
import re
from pathlib import Path

import pytest
from makers import change_json, make_finished

import compare
from common import files
from common.results import comparison

WORDS = {
    "escape": "a\x1b[2Jb",
    "newline": "a\nb",
    "carriage return": "a\rb",
    "C1 escape": "a\x9b2Jb",
    "right to left": "a\u202eb",
    "line separator": "a\u2028b",
    "formula": "=1+cmd",
    "plus": "+1+cmd",
    "minus": "-1+cmd",
    "at": "@SUM(1)",
    "tab and formula": "\t=1+cmd",
    "script": "<script>alert(1)</script>",
    "link": "[x](javascript:alert(1))",
    "image": "![x](https://example.com/x.png)",
    "pipe": "|x|",
    "backslash and pipe": "\\|x|",
    "code": "`x`",
}
PLACES = {
    "experiment": lambda run, word: change_json(run / "results.json", experiment=word),
    "model": lambda run, word: change_json(run / "results.json", model=word),
    "data": lambda run, word: change_json(run / "results.json", data=word),
    "weights": lambda run, word: change_json(run / "results.json", weights=word),
    "classes": lambda run, word: change_json(run / "results.json", class_names=[word, "dog"]),
    "device": lambda run, word: change_json(run / "environment.json", devices=[word]),
    "backend": lambda run, word: change_json(run / "environment.json", backend=word),
    "commit": lambda run, word: change_json(run / "environment.json", git_commit=word),
    "name": lambda run, word: change_json(run / "args.json", name=word),
    "flag": lambda run, word: change_json(run / "args.json", interpolation=word),
}
# Control characters, those that turn the direction of writing, and those that end a line.
UNSHOWABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture
def compared(call, tmp_path, monkeypatch):
    """`compared(place, word, *flags)`: what compare.py prints of a good run and one that has this word there."""

    monkeypatch.chdir(tmp_path)

    def run(place, word, *flags):
        good = make_finished(tmp_path / "runs" / "good", "vgg19")
        change_json(good / "args.json", lr=0.5, name="good" if place == "name" else "control")  # a row of its own
        PLACES[place](make_finished(tmp_path / "runs" / "foreign", "vgg19"), word)
        code, out, err = call(compare.main, *flags, "--no-figure")
        assert code == 0 and not UNSHOWABLE.search(out) and not UNSHOWABLE.search(err)
        return out

    return run


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", WORDS)
def test_text(compared, place, kind):
    table = compared(place, WORDS[kind]).split("\n\n")[0]
    assert len(table.splitlines()) == 4  # headings, a rule, two runs


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", WORDS)
def test_csv(compared, place, kind):
    out = compared(place, WORDS[kind], "--csv")
    rows = list(csv.reader(io.StringIO(out)))
    assert len(rows) == out.count("\n") == 3
    for cell in (cell for row in rows for cell in row):
        assert not cell.startswith(("=", "+", "-", "@", "\t")) or re.fullmatch(r"-?[\d.e-]+", cell), cell
    if WORDS[kind][0] in "=+-@" and place in ("data", "weights", "device", "backend", "commit"):
        assert any(cell == "'" + WORDS[kind] for row in rows for cell in row)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", WORDS)
def test_markdown(compared, place, kind):
    lines = compared(place, WORDS[kind], "--markdown").splitlines()
    assert len(lines) == 4
    bars = {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines}
    assert bars == {len(comparison.COLUMNS) + 1}
    for line in lines[2:]:
        assert not re.search(r"(?<!\\)(?:\\\\)*<", line), line
        without_intervals = re.sub(r"\\?\[\d\.\d+, \d\.\d+\\?\]", "", line)
        assert not re.search(r"(?<!\\)(?:\\\\)*[\[`]", without_intervals), line


@pytest.mark.parametrize("place", PLACES)
def test_html(compared, place):
    """What is escaped in a page does not depend on what stands beside it: all words at once."""
    compared(place, "".join(WORDS.values()), "--html", "page.html")
    text = Path("page.html").read_text(encoding="utf-8")
    assert not UNSHOWABLE.search(text)
    assert not re.search(r"<script|<x|href=\"(?!runs/)|src=", text)
    is_shown = place not in ("classes", "commit", "model")
    assert (WORDS["code"] in text) == is_shown  # the last word: of a path its last part is shown


def test_class_names_of_a_foreign_run_are_compared_and_not_shown(call, tmp_path):
    """McNemar's sentence names rows and data."""
    for number in (1, 2):
        run = make_finished(tmp_path / "runs" / str(number), experiment="vgg19")
        change_json(
            run / "results.json", class_names=["a\x1b[2Jb", "dog"], data=f"{number}\x1b[2J", test_size=2, test_accuracy=1.0
        )
        change_json(run / "args.json", interpolation=f"{number}\x1b[2J")
        rows = [{"true": "a\x1b[2Jb", "predicted": "a\x1b[2Jb"}, {"true": "dog", "predicted": "dog"}]
        files.write_csv(run / "predictions.csv", rows, rows[0])
    code, out, err = call(compare.main, "--no-figure")
    assert code == 0 and "McNemar" in out
    assert not UNSHOWABLE.search(out) and not UNSHOWABLE.search(err)
