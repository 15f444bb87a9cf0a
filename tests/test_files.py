import json

import pytest

from common import files


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path):
    path = tmp_path / "results.json"
    files.write_json(path, {"accuracy": 0.5})
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path, {"accuracy": float("nan")})
    with pytest.raises(ZeroDivisionError), files.whole(path) as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert json.loads(path.read_text()) == {"accuracy": 0.5}
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_csv_comes_back_by_column_name(tmp_path):
    rows = [{"b": 1.5, "a": "x"}, {"b": None, "a": "y"}]
    files.write_csv(tmp_path / "t.csv", rows, ("a", "b"))
    assert (tmp_path / "t.csv").read_text() == "a,b\nx,1.5\ny,\n"
    assert files.read_csv(tmp_path / "t.csv") == rows


def test_cells_stay_text_where_classes_are_named_like_numbers(tmp_path):
    files.write_csv(tmp_path / "t.csv", [{"true": "1"}, {"true": "01"}, {"true": "nan"}], ("true",))
    assert [row["true"] for row in files.read_csv(tmp_path / "t.csv", convert=False)] == ["1", "01", "nan"]
