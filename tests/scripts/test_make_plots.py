"""Publishing a run; tables and checks are for test_publish.py."""

import errno
import shutil
from pathlib import Path

import pytest

import make_plots
from common import cli, files
from publish import figures, runs, tables

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "plots" / "results"


@pytest.fixture
def run_dir(tmp_path):
    """A run folder with all that a run leaves, made from the published control."""
    folder = tmp_path / "runs" / "resnet152v2" / "20261123-120000-control"
    shutil.copytree(PUBLISHED / "resnet152v2" / "control", folder)
    for name in ("model.keras", "plots/curves.png", "checkpoint/head.npz", "checkpoint/finished.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("large, or of this machine")
    (folder / "plots" / "pipeline.png").write_text("a figure with images")
    (folder / "report.html").write_text("a page with images")
    return folder


def test_only_small_texts_and_copied_figures_of_a_run_are_published_in_place_of_the_old(tmp_path, monkeypatch, run_dir):
    monkeypatch.setattr(make_plots, "PLOTS", tmp_path / "plots")
    monkeypatch.setattr(figures, "DRAW", {"resnet152v2": figures.draw_resnet152v2})
    shutil.copytree(PUBLISHED / "resnet152v2", tmp_path / "plots" / "results" / "resnet152v2")
    target = tmp_path / "plots" / "results" / "resnet152v2" / "control"
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    (target / "old.csv").touch()
    (run_dir / "a").mkdir()
    (run_dir / "a" / "confusion_matrix.csv").write_text("of a model in a subfolder")
    make_plots.main([str(run_dir), "--output-dir", str(tmp_path / "figures")])
    assert {path.name: path.read_bytes() for path in target.iterdir() if path.is_file()} == before
    assert [path.name for path in (target / "a").iterdir()] == ["confusion_matrix.csv"]
    assert (tmp_path / "figures" / "resnet152v2" / "curves.png").is_file()
    assert (tmp_path / "plots" / "resnet152v2" / "pipeline.png").read_text() == "a figure with images"
    make_plots.main([str(target), "--output-dir", str(tmp_path / "figures")])  # what is published already
    assert (tmp_path / "plots" / "resnet152v2" / "pipeline.png").read_text() == "a figure with images"
    assert {path.name: path.read_bytes() for path in target.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    "file, changes, complaint",
    [
        ("results.json", None, "unfinished, it holds no results.json"),
        ("results.json", {"status": "interrupted"}, "unfinished, it was interrupted"),
        ("results.json", {"dry_run": True}, "a dry run, its numbers mean nothing"),
        ("predictions.csv", "true,predicted\ncat,cat\n", "has 1 right of 1, which is not what results.json says"),
        ("predictions.csv.gz", "true,predicted\ncat,cat\n", "damaged, predictions.csv.gz can't be read"),
    ],
)
def test_what_is_no_finished_run_with_a_name_is_refused_and_replaces_nothing(run_dir, monkeypatch, file, changes, complaint):
    monkeypatch.setattr(shutil, "rmtree", lambda *args, **kwargs: pytest.fail("something was removed"))
    if isinstance(changes, dict):
        files.write_json(run_dir / file, files.read_json(run_dir / file) | changes)
    elif changes:
        (run_dir / file).write_text(changes)
    else:
        (run_dir / file).unlink()
    with pytest.raises(cli.InputError, match=complaint):
        make_plots.main([str(PUBLISHED / "resnet152v2" / "control"), str(run_dir)])


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("word, number", [("mkdir", 1), ("write_bytes", 1), ("write_bytes", 9)])
def test_publishing_that_fails_changes_nothing(tmp_path, monkeypatch, run_dir, word, number):
    plots = tmp_path / "plots"
    shutil.copytree(PUBLISHED, plots / "results")
    (run_dir / "sweep.csv").write_text("new")
    before = contents(plots)
    function, calls = getattr(Path, word), []

    def fail_once(path, *args, **options):
        calls.append(path)
        if len(calls) == number:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        return function(path, *args, **options)

    run_dirs = [run_dir, PUBLISHED / "ab_split" / "default"]
    with monkeypatch.context() as full:
        full.setattr(Path, word, fail_once)
        with pytest.raises(OSError, match="No space left"):
            runs.publish(run_dirs, plots, make_plots.EXPERIMENTS)
    assert contents(plots) == before
    with pytest.raises(cli.InputError, match="published as resnet152v2/control"):
        runs.publish([run_dir, plots / "results" / "resnet152v2" / "control"], plots, make_plots.EXPERIMENTS)
    assert contents(plots) == before
    runs.publish(run_dirs, plots, make_plots.EXPERIMENTS)
    new = ("results/resnet152v2/control/sweep.csv", "resnet152v2/pipeline.png")
    assert contents(plots).keys() - before.keys() == {plots / name for name in new}


@pytest.mark.parametrize("place, is_ours", [("plots", True), ("link", True), ("figures", False)])
def test_the_readme_is_rewritten_with_its_figures_wherever_they_are_called(tmp_path, monkeypatch, place, is_ours):
    monkeypatch.setattr(make_plots, "PLOTS", tmp_path / "plots")
    monkeypatch.setattr(figures, "DRAW", {})
    monkeypatch.setattr(tables, "FILES", ("README.md",))
    monkeypatch.setattr(tables, "update", lambda text, results: "new")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plots").mkdir()
    (tmp_path / "link").symlink_to("plots")
    (tmp_path / "README.md").write_text("old")
    make_plots.main(["--output-dir", place])
    assert (tmp_path / "README.md").read_text() == ("new" if is_ours else "old")
