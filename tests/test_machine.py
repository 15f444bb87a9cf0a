"""Machines that lack something: a reader of the output, room for it, letters, HOME, a stdout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.data import downloads

ROOT = Path(__file__).parents[1]
PROGRAM = """
from common import cli, flags

def main():
    flags.build_parser("x").parse_args()
    cli.tell("Größe 猫", *["line"] * 9, r"a\\ud800b".encode().decode("unicode_escape"))

cli.run(main)
"""
COMMAND = [sys.executable, "-c", PROGRAM]


def run(shell="", environment=None):
    """Run the program with redirections of a shell: exit code, stdout, stderr."""
    command = ["bash", "-c", f'"$@" {shell}', "bash", *COMMAND]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, env=environment, timeout=60)
    return ended.returncode, ended.stdout.decode(), ended.stderr.decode()


@pytest.mark.parametrize("words, code", [([], 141), (["--help"], 0)])
def test_a_closed_pipe_is_the_end_without_a_word(words, code):
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run([*COMMAND, *words], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, timeout=60)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (code, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_a_full_disk_behind_stdout_is_one_line():
    assert run("> /dev/full") == (1, "", "-c: error: No space left on device\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(closed):
    code, out, err = run(closed)
    assert code == 0 and err == "" and bool(out) == (closed == "2>&-")


@pytest.mark.parametrize("encoding, shown", [("ascii", r"Gr\xf6\xdfe \u732b"), ("utf-8", "Größe 猫")])
def test_a_terminal_without_the_letters_shows_escapes(encoding, shown):
    code, out, err = run(environment=os.environ | {"PYTHONIOENCODING": encoding})
    assert code == 0 and err == "" and shown in out and "a\\ud800b" in out


@pytest.mark.parametrize("home", [None, ""])
def test_without_home_keras_is_where_it_would_be(monkeypatch, home):
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.delenv("HOME")
    if home is not None:
        monkeypatch.setenv("HOME", home)
    assert str(downloads.place("models", "x")) == f"{os.path.expanduser('~')}/.keras/models/x".replace("//", "/")  # noqa: PTH111
