import gzip
import json
import os
import time
import tracemalloc
from pathlib import Path

import pytest

from common import cli, files


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path):
    path = tmp_path / "results.json"
    files.write_json(path, {"accuracy": 0.5})
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path, {"accuracy": float("nan")})
    with pytest.raises(ZeroDivisionError), files.atomic_write(path) as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert json.loads(path.read_text()) == {"accuracy": 0.5}
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_a_folder_that_fails_half_way_is_removed(tmp_path):
    with pytest.raises(ZeroDivisionError), files.atomic_write(tmp_path / "saved_model") as part:
        (part / "variables").mkdir(parents=True)
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_is_named_with_the_file_for_hdf5_too(tmp_path):
    path = tmp_path / "model.keras"
    of_hdf5 = RuntimeError("Can't write data (file write failed: errno = 28, error message = 'No space left on device')")
    for error in (of_hdf5, OSError(28, "No space left on device")):
        with pytest.raises(OSError, match="No space left on device") as failed, files.atomic_write(path) as part:
            part.touch()
            raise error
        assert (failed.value.errno, failed.value.filename, [*tmp_path.iterdir()]) == (28, str(path), [])
    with pytest.raises(RuntimeError, match="of another kind"), files.atomic_write(path):
        raise RuntimeError("of another kind")


def test_csv_comes_back_by_column_name(tmp_path):
    rows = [{"b": 1.5, "a": "x"}, {"b": None, "a": "y"}]
    files.write_csv(tmp_path / "t.csv", rows, ("a", "b"))
    assert (tmp_path / "t.csv").read_text() == "a,b\nx,1.5\ny,\n"
    assert files.read_csv(tmp_path / "t.csv") == rows


def test_a_packed_table_is_read_and_is_the_same_bytes_at_any_time(tmp_path, monkeypatch):
    content = b"true,predicted\n01,1\n" + b"cat,dog\n" * 100
    packed = files.packed(content)
    assert gzip.decompress(packed) == files.unpacked(packed) == content
    monkeypatch.setattr(time, "time", lambda: 2e9)
    assert files.packed(content) == packed and packed[3:8] == bytes(5)  # RFC 1952: no name, no time
    (tmp_path / "t.csv.gz").write_bytes(packed)
    assert files.read_csv(tmp_path / "t.csv.gz", convert=False)[0] == {"true": "01", "predicted": "1"}
    for damaged in (packed[:-9], packed[:10] + bytes(len(packed) - 10), content, packed[:-8] + bytes(8)):
        (tmp_path / "t.csv.gz").write_bytes(damaged)
        with pytest.raises(ValueError):
            files.read_csv(tmp_path / "t.csv.gz")


def test_a_bomb_is_unpacked_only_as_far_as_the_bound():
    bomb = files.packed(bytes(2**27))  # 128 MiB in 128 KiB
    assert len(bomb) < 2**18
    tracemalloc.start()
    with pytest.raises(ValueError, match="it holds over 17 MB"):
        files.unpacked(bomb)
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()
    assert len(files.unpacked(files.packed(bytes(files.MAX_UNPACKED)))) == files.MAX_UNPACKED


@pytest.mark.parametrize("content", ["[" * 100_000, "9" * 400, "NaN", "-Infinity", "1e999", "\0", ""], ids=ascii)
def test_json_that_no_run_writes_is_a_value_error(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError):
        files.read_json(tmp_path / "x.json")


@pytest.mark.parametrize("content", [b"a,b\n1\n", b"a,b\n1,2,3\n", b"a\n\xff\n", b"a\n" + b"x" * 200_000 + b"\n"])
def test_csv_that_no_run_writes_is_a_value_error(tmp_path, content):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(ValueError):
        files.read_csv(tmp_path / "x.csv")


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match="not a regular file"):
            files.read(path)
    (tmp_path / "long").write_bytes(bytes(11))
    with pytest.raises(OSError, match="too large"):
        files.read(tmp_path / "long", max_bytes=10)
    assert files.path_kind(tmp_path / "pipe", "--data") == "other"
    assert files.path_kind(tmp_path / "long" / "x", "--data") is None
    with pytest.raises(cli.InputError, match="--data .*File name too long"):
        files.path_kind("x" * 300, "--data")


def test_a_class_may_be_called_anything(tmp_path):
    rows = [{"true": text, "predicted": "x"} for text in ("1", "01", "nan", "a\nb", 'a"b', "a,b", "", " ")]
    files.write_csv(tmp_path / "t.csv", rows, ("true", "predicted"))
    assert files.read_csv(tmp_path / "t.csv", convert=False) == rows
