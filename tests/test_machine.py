"""Machines that lack something: a reader of the output, room for it, letters, HOME, a stdout, a source tree to write to."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common import files

ROOT = Path(__file__).parents[1]
RUN = ROOT / "plots" / "results" / "resnet152v2" / "control"
COMMAND = [sys.executable, str(ROOT / "compare.py"), "--no-figure"]


@pytest.fixture
def runs(tmp_path):
    """Run folders with letters that not every terminal has."""
    shutil.copytree(RUN, tmp_path / "run")
    results = files.read_json(RUN / "results.json")
    files.write_json(tmp_path / "run" / "results.json", results | {"data": "Größe 猫", "weights": "a\ud800b"})
    return tmp_path


def compare(runs, shell="", environment=None):
    """Run compare.py with redirections of a shell: exit code, stdout, stderr."""
    command = f'"$@" {shell}'
    ended = subprocess.run(
        ["bash", "-c", command, "bash", *COMMAND, "run"], cwd=runs, capture_output=True, env=environment, timeout=60
    )
    return ended.returncode, ended.stdout.decode(), ended.stderr.decode()


@pytest.mark.parametrize("word, code", [("run", 141), ("--help", 0)])
def test_a_closed_pipe_is_the_end_without_a_word(runs, word, code):
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run([*COMMAND, word], cwd=runs, stdout=writer, stderr=subprocess.PIPE, timeout=60)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (code, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_a_full_disk_behind_stdout_is_one_line(runs):
    assert compare(runs, "> /dev/full") == (1, "", "compare.py: error: No space left on device\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(runs, closed):
    code, out, err = compare(runs, closed)
    assert code == 0 and err == "" and bool(out) == (closed == "2>&-")


def test_a_terminal_without_the_letters_shows_escapes(runs):
    code, out, err = compare(runs, environment=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert code == 0 and err == "" and r"Gr\xf6\xdfe \u732b" in out and "a\\ud800b" in out
    code, out, err = compare(runs, environment=os.environ | {"PYTHONIOENCODING": "utf-8"})
    assert code == 0 and err == "" and "Größe 猫" in out and "a\\ud800b" in out


def test_without_home_keras_is_where_it_would_be(tmp_path):
    program = "from common.data import downloads; print(downloads.place('models', 'x'))"
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "KERAS_HOME")}
    for changed in ({}, {"HOME": ""}, {"HOME": str(tmp_path)}):
        ended = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env=environment | changed, capture_output=True, text=True, timeout=60
        )
        place = subprocess.run(
            [sys.executable, "-c", "import os; print(os.path.expanduser('~'))"], env=environment | changed, capture_output=True
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout.strip() == f"{place.stdout.decode().strip()}/.keras/models/x".replace("//", "/")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_source_tree_that_cant_be_written_to_is_enough(runs):
    tree = runs / "tree"
    shutil.copytree(ROOT / "common", tree / "common", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "compare.py", tree)
    for path in (*tree.rglob("*"), tree):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = sorted(tree.rglob("*"))
    command = [sys.executable, str(tree / "compare.py"), str(runs / "run"), "--no-figure"]
    ended = subprocess.run(command, cwd=runs, capture_output=True, text=True, timeout=60)
    for path in (*tree.rglob("*"), tree):
        path.chmod(0o755)
    assert (ended.returncode, ended.stderr) == (0, "") and "resnet152v2" in ended.stdout
    assert sorted(tree.rglob("*")) == before
