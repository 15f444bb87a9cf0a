"""What a benchmark prints is kept whole, with what it ran on, or not at all."""

import pytest

from benchmarks import keep
from common import backend


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Where files are kept; of the two benchmarks one prints its flags, the other fails half way."""
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "quick.py").write_text("import sys\nprint('1.5 ms', sys.argv[1:])\nprint('progress', file=sys.stderr)\n")
    (folder / "broken.py").write_text("print('half')\nraise SystemExit(3)\n")
    monkeypatch.setattr(keep, "BENCHMARKS", folder)
    monkeypatch.setattr(keep, "KEPT", tmp_path / "kept")
    return tmp_path / "kept"


def test_output_is_kept_under_command_date_commit_device_and_versions(kept, call):
    code, out, err = call(keep.main, "quick", "--name", "x", "-n", "2")
    assert (code, err) == (0, "") and "1.5 ms ['--name', 'x', '-n', '2']" in out
    command, day, device, versions, *output = (kept / "quick.txt").read_text().splitlines()
    assert command == "$ python benchmarks/quick.py --name x -n 2"
    assert day[:2] == "20" and ", commit " in day and "2 cores" in device.replace(str(backend.num_cores()), "2")
    assert f"Keras on {backend.name()}" in device and "keras 3." in versions
    assert output == ["", "1.5 ms ['--name', 'x', '-n', '2']"]
    code, _, _ = call(keep.main, "--name", "other", "quick")
    assert code == 0 and {path.name for path in kept.iterdir()} == {"quick.txt", "other.txt"}


def test_nothing_is_kept_of_a_benchmark_that_fails_or_is_not_there(kept, call):
    code, out, err = call(keep.main, "broken")
    assert code == 2 and out == "half\n" and "benchmarks/broken.py ended with exit code 3: nothing is kept" in err
    code, _, err = call(keep.main, "nothing")
    assert code == 2 and "nothing" in err
    assert call(keep.main, "--name", "../x", "quick")[0] == 2
    assert not kept.exists()
