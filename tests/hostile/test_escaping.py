"""Words of a foreign run in compare.py's four forms: they reach no terminal, no spreadsheet and no page as commands."""

import csv
import io
import re
from pathlib import Path

import pytest
from makers import change_json, make_finished

import compare
from common.results import comparison

WORDS = {
    "escape": "a\x1b[2Jb",
    "newline": "a\nb",
    "C1 escape": "a\x9b2Jb",
    "right to left": "a\u202eb",
    "formula": "=1+cmd",
    "minus": "-1+cmd",
    "tab and formula": "\t=1+cmd",
    "script": "<script>alert(1)</script>",
    "link": "[x](javascript:alert(1))",
    "pipe": "|x|",
    "backslash and pipe": "\\|x|",
    "code": "`x`",
}
PLACES = {
    "experiment": lambda run, word: change_json(run / "results.json", experiment=word),
    "data": lambda run, word: change_json(run / "results.json", data=word),
    "classes": lambda run, word: change_json(run / "results.json", class_names=[word, "dog"]),
    "device": lambda run, word: change_json(run / "environment.json", devices=[word]),
    "commit": lambda run, word: change_json(run / "environment.json", git_commit=word),
    "name": lambda run, word: change_json(run / "args.json", name=word),
    "flag": lambda run, word: change_json(run / "args.json", interpolation=word),
}
# Control characters, those that turn the direction of writing, and those that end a line.
UNSHOWABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture
def compared(call, tmp_path, monkeypatch):
    """`compared(place, words, *flags)`: what compare.py prints of a good run and one for each word, which it has there."""

    monkeypatch.chdir(tmp_path)

    def run(place, words, *flags):
        for number, word in enumerate([None, *words] if words else ()):  # without words of the same runs again
            folder = make_finished(tmp_path / "runs" / f"{number}", "vgg19")
            change_json(folder / "args.json", lr=number + 0.5, name="control" if word or place != "name" else "good")
            if word:
                PLACES[place](folder, word)
        code, out, err = call(compare.main, *flags, "--no-figure")
        assert code == 0 and not UNSHOWABLE.search(out) and not UNSHOWABLE.search(err)
        return out

    return run


@pytest.mark.parametrize("place", PLACES)
def test_text_and_csv_and_markdown(compared, place):
    num_rows = len(WORDS) + 1
    table = compared(place, WORDS.values()).split("\n\n")[0]
    assert len(table.splitlines()) == num_rows + 2  # headings, a rule

    out = compared(place, (), "--csv")
    rows = list(csv.reader(io.StringIO(out)))
    assert len(rows) == out.count("\n") == num_rows + 1
    cells = [cell for row in rows for cell in row]
    for cell in cells:
        assert not cell.startswith(("=", "+", "-", "@", "\t")) or re.fullmatch(r"-?[\d.e-]+", cell), cell
    for word in WORDS.values():
        if word[0] in "=+-@" and place in ("data", "device", "commit"):
            assert "'" + word in cells

    lines = compared(place, (), "--markdown").splitlines()
    assert len(lines) == num_rows + 2
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines} == {len(comparison.COLUMNS) + 1}
    for line in lines[2:]:
        assert not re.search(r"(?<!\\)(?:\\\\)*<", line), line
        without_intervals = re.sub(r"\\?\[\d\.\d+, \d\.\d+\\?\]", "", line)
        assert not re.search(r"(?<!\\)(?:\\\\)*[\[`]", without_intervals), line


@pytest.mark.parametrize("place", PLACES)
def test_html(compared, place):
    """What is escaped in a page does not depend on what stands beside it: all words at once."""
    compared(place, ["".join(WORDS.values())], "--html", "page.html")
    text = Path("page.html").read_text(encoding="utf-8")
    assert not UNSHOWABLE.search(text)
    assert not re.search(r"<script|<x|href=\"(?!runs/)|src=", text)
    is_shown = place not in ("classes", "commit")
    assert (WORDS["code"] in text) == is_shown  # the last word: of a path its last part is shown
