"""compare.py on run folders that are made here from the published ones, in seconds: no model is trained."""

import csv
import io
import math
import re
import shutil
import statistics
import urllib.parse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

import compare
from common import files
from common.data.dataset import Samples
from common.figures import curves
from common.results import comparison
from common.results.predictions import Predictions
from common.training.history import COLUMNS as HISTORY_COLUMNS

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "plots" / "results"
CLASSES = ("cat", "dog")
TRUE = np.array([0, 1] * 10)
MODELS = ("a", "b-scratch", "b-last-fc", "b-both-fc")  # of the published A/B split


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def history(phase, epochs, first=1):
    same = {"learning_rate": 0.001, "loss": 1.0, "accuracy": 0.5, "seconds": 2.0}
    return [
        same | {"epoch": epoch, "phase": phase, "val_loss": 1 / epoch, "val_accuracy": epoch / 200}
        for epoch in range(first, first + epochs)
    ]


def make_run(path="runs/resnet152v2/20261123-120000", *, rows=None, wrong=(0, 1), environment=None, args=None, **results):
    """A run folder like the published control, with other args, environment and results; `wrong` test images are wrong."""
    control, folder = PUBLISHED / "resnet152v2" / "control", Path(path)
    rows = rows or history("head", 3)
    seed = results.get("seed", 0)
    published = files.read_json(control / "results.json")
    guesses = np.where(np.isin(np.arange(len(TRUE)), wrong), 1 - TRUE, TRUE)
    right = float((guesses == TRUE).mean())
    own = {"class_names": CLASSES, "test_size": len(TRUE), "test_accuracy": right, "epochs": len(rows), "best_epoch": 3}
    own |= {"total_seconds": 5700.0}
    on = files.read_json(control / "environment.json") | {"devices": ["CPU (2 cores)"], "backend": "tensorflow"}
    folder.mkdir(parents=True)
    files.write_json(folder / "results.json", published | own | results)
    files.write_json(folder / "args.json", files.read_json(control / "args.json") | {"seed": seed, "name": None} | (args or {}))
    files.write_json(folder / "environment.json", on | (environment or {}))
    files.write_csv(folder / "history.csv", rows, HISTORY_COLUMNS)
    write_predictions(folder, guesses)
    return folder


def write_predictions(folder, guesses):
    folder.mkdir(exist_ok=True)
    Predictions(Samples(None, TRUE), CLASSES, np.eye(len(CLASSES))[guesses]).write_tables(folder)


def show(call, *words):
    """Run compare.py for its CSV: the exit code, a dict for each row, and stderr."""
    code, out, err = call(compare.main, *words, "--csv", "--no-figure")
    return code, list(csv.DictReader(io.StringIO(out))), err


def test_runs_that_differ_only_in_seed_are_one_row(call):
    accuracies = {0: 0.70, 1: 0.75, 2: 0.80}
    for seed, accuracy in accuracies.items():
        own = {"name": f"word{seed}", "output_dir": f"runs{seed}", "cache_dir": "elsewhere", "tensorboard": bool(seed)}
        scores = {"test_accuracy": accuracy, "test_balanced_accuracy": accuracy / 2}
        make_run(f"runs/r/2026-{seed}", seed=seed, **scores, total_seconds=100.0 + seed, args=own)
    make_run("runs/r/2026-9", seed=0, test_accuracy=0.5, args={"lr": 0.01})
    make_run("runs/r/2026-10", seed=0, test_accuracy=0.4, environment={"precision": "float32"})
    make_run("runs/r/2026-11", seed=0, test_accuracy=0.3, environment={"backend": "jax"})
    make_run("runs/r/2026-12", seed=0, test_accuracy=0.2, weights="imagenet", args={"weights": "imagenet"})
    make_run("runs/r/2026-13", seed=0, test_accuracy=0.1, train_size=200)
    code, rows, err = show(call)
    assert code == 0 and "skipped" not in err
    by_seeds = {row["seeds"]: row for row in rows}
    assert sorted(row["seeds"] for row in rows) == ["0"] * 5 + ["0 1 2"]
    several = by_seeds["0 1 2"]
    assert float(several["test_accuracy"]) == pytest.approx(0.75)
    assert float(several["deviation"]) == pytest.approx(statistics.stdev(accuracies.values()))
    assert float(several["balanced_accuracy"]) == pytest.approx(0.375) and by_seeds["0"]["balanced_accuracy"] == ""
    half = 4.302653 * 0.05 / math.sqrt(3)  # t of a table, 2 degrees of freedom
    assert (float(several["low"]), float(several["high"])) == pytest.approx((0.75 - half, 0.75 + half), abs=1e-6)
    assert several["interval"] == "t" and float(several["seconds"]) == pytest.approx(101)
    for word in ("--lr 0.01", "float32", "jax", "--weights imagenet"):
        assert sum(word in row["name"] for row in rows) == 1, word


def test_rows_are_called_by_their_words_where_each_has_its_own(call):
    for word, rate in (("slow", 0.01), ("fast", 0.02)):
        make_run(f"runs/r/{word}", args={"name": word, "lr": rate})
    assert {row["name"] for row in show(call)[1]} == {"resnet152v2 slow", "resnet152v2 fast"}
    make_run("runs/r/third", args={"name": "fast", "lr": 0.03})  # a word that two rows have tells nothing
    assert {row["name"] for row in show(call)[1]} == {f"resnet152v2 --lr {rate}" for rate in (0.01, 0.02, 0.03)}
    make_run("runs/r/fourth", args={"lr": 0.04})
    assert len({row["name"] for row in show(call)[1]} & {f"resnet152v2 --lr {rate}" for rate in (0.01, 0.04)}) == 2


def test_rows_that_nothing_else_tells_apart_are_called_by_their_folders(call):
    for size in (100, 200):
        make_run(f"runs/r/of{size}", train_size=size)
    make_run("runs/r/other", args={"lr": 0.5}, train_size=300)
    alike = "resnet152v2 --lr 0.001"
    names = sorted(row["name"] for row in show(call)[1])
    assert names == [f"{alike} (runs/r/of100)", f"{alike} (runs/r/of200)", "resnet152v2 --lr 0.5"]


def test_the_newer_run_was_started_later_whatever_the_folders_are_called(call):
    make_run("runs/r/20261124-120000", test_accuracy=0.25, environment={"started": "20261120-120000"})  # a copy's name
    make_run("best", test_accuracy=0.75, environment={"started": "20261123-120000"})
    make_run("runs/r/control", test_accuracy=0.5)  # of an earlier version, renamed: nobody knows when
    code, (row,), err = show(call, "runs", "best")
    assert (code, row["test_accuracy"], row["folders"]) == (0, "0.75", "best")
    assert "skipped runs/r/20261124-120000: best is newer" in err and "skipped runs/r/control: best is newer" in err


def test_one_seed_has_the_wilson_interval_of_its_images(call):
    make_run(wrong=(0, 1))  # 18 of 20
    _, (row,), _ = show(call)
    z, p, n = 1.959963984540054, 0.9, 20
    centre, half = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    expected = ((centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n))
    assert (float(row["low"]), float(row["high"])) == pytest.approx(expected)
    assert (row["interval"], row["deviation"]) == ("Wilson", "")


def make_ab_split():
    return Path(shutil.copytree(PUBLISHED / "ab_split" / "default", "runs/ab_split/20261123-130000"))


def test_a_run_of_several_models_has_a_row_for_each(call):
    folder = make_ab_split()
    code, rows, _ = show(call)
    results = [files.read_json(folder / model / "results.json") for model in MODELS]
    assert code == 0 and [row["name"] for row in rows] == [f"ab_split: {one['model']}" for one in results]
    for row, one in zip(rows, results, strict=True):
        assert (row["trained"], row["weights"], row["trained_weights"]) == (
            one["trained"], one["weights"], str(one["trained_weights"])
        )  # fmt: skip
        assert float(row["test_accuracy"]) == one["test_accuracy"] and float(row["seconds"]) == one["seconds"]  # its own
    assert show(call, folder / "b-last-fc")[1] == [rows[2]]
    code, rows, err = show(call, folder / "a", folder / "c")
    assert (code, len(rows)) == (0, 1) and f"has no such model, it has {', '.join(MODELS)}" in err


def test_data_are_the_same_by_their_images_not_by_their_name(call):
    for number, name in ((1, "pets"), (2, "pets"), (3, "moved")):
        images = {"all_images": f"all {min(number, 2)}", "test_images": f"test {min(number, 2)}"}
        make_run(f"runs/{number}", data=name, seed=number, args={"data": f"v{number}/{name}"}, **images)
    _, rows, err = show(call)
    assert sorted(row["seeds"] for row in rows) == ["1", "2 3"] and "newer" not in err
    assert any(row["name"].endswith("(runs/1)") for row in rows)
    assert "No paired test: the two were scored on different test images." in call(compare.main, "--no-figure")[1]
    make_run("other/1", data="elsewhere", args={"lr": 0.5}, all_images="all 1", test_images="test 1")
    assert "McNemar" in call(compare.main, "runs/1", "other/1", "--no-figure")[1]


def test_a_flag_that_is_not_given_is_not_shown_as_one_that_no_script_has(call):
    for new_fc1 in (True, False):
        make_run(f"runs/{new_fc1}", args={"new_fc1": new_fc1, "augment": not new_fc1})
    assert {row["name"] for row in show(call)[1]} == {"resnet152v2 --no-augment --new-fc1", "resnet152v2 --augment"}


def test_a_sweep_is_shown_by_its_chosen_combination(call, monkeypatch):
    chosen = [row | {"val_accuracy": 0.5 + row["epoch"] / 100} for row in history("lr=0.001 dropout=0.25", 3)]
    rows = history("lr=0.0005 dropout=0.25", 3) + chosen
    make_run(
        rows=rows, epochs=3, best_epoch=3, val_accuracy=0.53, learning_rate=0.001, dropout=0.25, args={"lr": [0.0005, 0.001]}
    )
    drawn = {}
    monkeypatch.setattr(curves, "overlay", lambda curves, path: drawn.update(curves))
    code, out, _ = call(compare.main)
    assert code == 0 and "[lr 0.001, dropout 0.25]" in out
    (((curve,),),) = (group.values() for group in drawn.values())
    assert [row["val_accuracy"] for row in curve] == [0.51, 0.52, 0.53]


def damage(folder, file, content):
    """Remove a file (None), change entries of a JSON file (dict), or write something else (text or bytes)."""
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    if content is None:
        path.unlink()
    elif isinstance(content, dict):
        files.write_json(path, files.read_json(path) | content)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


RESULTS, HISTORY = "results.json", "history.csv"
COLUMNS = "epoch,phase,val_loss,val_accuracy\n"
BAD = {
    "no results": (RESULTS, None, "unfinished, it holds no results.json"),
    "interrupted": (RESULTS, {"status": "interrupted"}, "unfinished, it was interrupted"),
    "made longer": ("checkpoint/made_of.json", "{}", "unfinished, train_resnet152v2.py --resume brings it to its end"),
    "dry run": (RESULTS, {"dry_run": True}, "a dry run, its numbers mean nothing"),
    "an unknown --resize": (RESULTS, {"resize": "fold"}, "results.json has no resize that can be used"),
    "no val columns": (HISTORY, "epoch,phase\n1,head\n", "history.csv has no val_loss that can be used"),
    "half the rows": (HISTORY, f"{COLUMNS}1,head,1,0.1\n", "history.csv lacks the 3 epochs of results.json"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_folder_that_can_not_be_used_is_named_with_its_reason(kind, call):
    file, content, reason = BAD[kind]
    make_run("runs/good/1", experiment="good")
    damage(make_run("runs/bad/1"), file, content)
    code, (row,), err = show(call)
    assert code == 0 and row["name"] == "good"
    (skipped,) = [line for line in err.splitlines() if line.startswith("skipped")]
    assert skipped.startswith("skipped runs/bad/1: ") and reason in skipped
    code, out, err = call(compare.main, "runs/bad/1")
    assert (code, out) == (2, "") and err.count("\n") == 1 and "runs/bad/1" in err and reason in err
    assert not Path("compare.png").exists()


def test_each_run_is_shown_once_and_neither_foreign_folders_nor_hidden_ones(call):
    make_run("runs/good/1", experiment="good")
    make_run("runs/.trash/x", experiment="hidden")
    for foreign in ("runs/photos/train/cat", "runs/good/notes"):
        Path(foreign).mkdir(parents=True)
    Path("runs/compare.png").touch()
    code, (row,), err = show(call, "runs", "runs/good/1", "runs/photos", "runs/nowhere")
    assert code == 0 and row["name"] == "good"
    skipped = [line.split(":")[0] for line in err.splitlines()]
    assert skipped == ["skipped runs/photos", "skipped runs/nowhere"]


def test_with_nothing_to_compare_it_ends_with_2(call):
    code, out, err = call(compare.main)
    assert (code, out, err) == (2, "", "script.py: error: nothing to compare, runs: no such folder; name finished runs\n")
    for number in (1, 2):
        damage(make_run(f"runs/x/{number}"), RESULTS, None)
    code, out, err = call(compare.main)
    assert (code, out) == (2, "") and err.splitlines() == [
        *(f"skipped runs/x/{number}: unfinished, it holds no results.json" for number in (1, 2)),
        "script.py: error: nothing to compare: none of these 2 is a finished run",
    ]


@pytest.mark.parametrize(
    "flag, path", [("--figure", path) for path in ("curves.pdf", "file/curves.png")]
    + [("--html", path) for path in ("page.htm", "nowhere/page.html", "folder.html", f"{'a' * 300}.html")],
)  # fmt: skip
def test_a_file_that_can_not_be_written_is_refused_before_anything_is_read(flag, path, call):
    Path("file").touch()
    Path("folder.html").mkdir()
    code, out, err = call(compare.main, flag, path)
    assert (code, out) == (2, "") and err.count("\n") == 1 and f"{flag} {path[:9]}" in err


def test_the_three_forms_of_the_table_show_the_same(call):
    for seed, accuracy in enumerate((0.7123456789, 0.8, 0.85)):
        make_run(f"runs/r/{seed}", seed=seed, test_accuracy=accuracy, epochs=3, comparable=True, documented_accuracy=0.8736)
    make_run("runs/s/1", experiment="other", environment={"devices": ["NVIDIA H200"] * 2})
    _, text, _ = call(compare.main, "--no-figure")
    _, markdown, err = call(compare.main, "--markdown", "--no-figure")
    assert "Wilson" in err and markdown.count("\n") == 4  # the table and nothing else
    table = [line.replace("\\", "").strip("|").split("|") for line in markdown.splitlines()]
    columns, _, first, second = ([cell.strip() for cell in line] for line in table)
    assert columns == list(comparison.COLUMNS)
    lines = [line for number, line in enumerate(text.split("\n\n")[0].splitlines()) if number != 1]
    for line, cells in zip(lines, (columns, first, second), strict=True):
        assert re.search(".*".join(map(re.escape, cells)), line)
    _, (row, other), _ = show(call)
    accuracy, deviation, low, high = (float(row[key]) for key in ("test_accuracy", "deviation", "low", "high"))
    assert accuracy == pytest.approx((0.7123456789 + 0.8 + 0.85) / 3, abs=1e-15)  # not rounded
    shown = dict(zip(columns, first, strict=True))
    assert shown["test accuracy [95 % interval]"] == f"{accuracy:.4f} ± {deviation:.4f} [{low:.4f}, {high:.4f}]"
    assert [shown[name] for name in ("seeds", "documented", "epochs", "time")] == ["3", "0.8736", "3", "95 min"]
    assert (shown["data, images"], shown["trained, weights"]) == ("cifar10, 37,500", "head, 1,316,874")
    assert "(0.7853)" in second and "2 x NVIDIA H200, mixed_bfloat16" in second
    assert (other["comparable"], other["documented_accuracy"]) == ("False", "0.7853")


def test_an_interval_of_few_seeds_stays_within_what_an_accuracy_can_be(call):
    make_run("runs/r/0", seed=0, test_accuracy=0.99)
    make_run("runs/r/1", seed=1, test_accuracy=0.90)
    _, (row,), _ = show(call)
    assert float(row["high"]) == 1 and 0 < float(row["low"]) < 0.9


def test_two_models_on_the_same_images_are_tested(call):
    """The first alone is right on ten images, the second alone on two: p = 0.0386 (see test_metrics.py)."""
    first = make_run("runs/r/1", wrong=(0, 1))
    second = make_run("runs/r/2", wrong=range(2, 12), args={"lr": 0.01})
    code, out, _ = call(compare.main, first, second, "--no-figure")
    said = " ".join(out.split())
    assert code == 0
    assert "same 20 test images, only resnet152v2 --lr 0.001 is right on 10, only resnet152v2 --lr 0.01 on 2." in said
    assert "p = 0.0386; resnet152v2 --lr 0.001 is better, by more than chance (5 % level)" in said
    third = make_run("runs/r/3", wrong=(2, 3, 4), args={"lr": 0.1})  # 3 against 2: p = 1
    _, out, _ = call(compare.main, first, third, "--no-figure")
    assert "p = 1; the difference may be chance" in out
    _, out, _ = call(compare.main, "--no-figure")  # three
    assert "McNemar" not in out and "give only these two" in out
    _, out, _ = call(compare.main, first, "--no-figure")
    assert "paired" not in out


def test_of_several_seeds_the_lowest_are_tested(call):
    make_run("runs/r/1", seed=3, wrong=range(12))
    make_run("runs/r/2", seed=2, wrong=(0, 1))
    make_run("runs/s/1", seed=5, experiment="s", wrong=range(2, 12))
    _, out, _ = call(compare.main, "--no-figure")
    assert "p = 0.0386" in out and "Compared: seed 2 and seed 5." in out


def test_models_on_other_images_are_not_tested(call):
    first, second = make_run("runs/r/1"), make_run("runs/s/1", experiment="s")

    def said(other):
        return call(compare.main, first, other, "--no-figure")[1]

    rows = files.read_csv(second / "predictions.csv")
    swapped = [
        row | {"true": row["predicted"], "predicted": row["predicted"] if n > 1 else "bird"} for n, row in enumerate(rows)
    ]
    files.write_csv(second / "predictions.csv", swapped, rows[0])
    assert "different test images" in said(second)
    files.write_csv(second / "predictions.csv", rows[1:11], rows[0])  # of the same accuracy
    assert "has 9 right of 10, which is not what results.json says" in said(second)
    write_predictions(second, 1 - TRUE)
    assert "has 0 right of 20, which is not what results.json says" in said(second)
    damage(second, "predictions.csv", None)
    assert "runs/s/1/predictions.csv is missing" in said(second)
    assert "different test images" in said(make_run("runs/t/1", experiment="t", class_names=("cat", "wolf")))
    assert "assumes that cifar10 and copy hold the same" in said(make_run("runs/u/1", experiment="u", data="copy"))


def test_models_of_one_run_are_tested(call):
    folder = make_ab_split()
    one, other = (
        [row["true"] == row["predicted"] for row in files.read_csv(folder / model / "predictions.csv.gz", convert=False)]
        for model in MODELS[1:3]
    )
    ours = sum(mine and not its for mine, its in zip(one, other, strict=True))
    theirs = sum(its and not mine for mine, its in zip(one, other, strict=True))
    _, out, _ = call(compare.main, *(folder / model for model in MODELS[1:3]), "--no-figure")
    assert f"B from scratch is right on {ours}, only ab_split: B, last FC layer on {theirs}" in " ".join(out.split())


def page_of(call, *words):
    """What compare.py prints with --html, and the text of the page's table rows, from the last table."""
    code, out, err = call(compare.main, *words, "--html", "page.html", "--no-figure")
    assert code == 0, err
    text = Path("page.html").read_text()
    rows = [" ".join(re.sub("<.*?>", " ", row).split()) for row in re.findall("<tr>.*?</tr>", text, re.DOTALL)]
    return out, text, rows


def test_all_pairs_are_tested_on_the_page_and_corrected(call):
    """Wrong are 2, 10 and 3 of 20: p = 0.0386 (see test_metrics.py), 1, and of 9 images 8 for the third: 20 / 512."""
    make_run("runs/r/1", wrong=(0, 1))
    make_run("runs/r/2", wrong=range(2, 12), args={"lr": 0.01})
    make_run("runs/r/3", wrong=(2, 3, 12), args={"lr": 0.1})
    other = make_run("runs/r/4", args={"lr": 0.5}, class_names=("cat", "wolf"))
    out, text, rows = page_of(call)
    assert out.splitlines()[-1] == "page.html" and "McNemar" not in out
    first, second, third = (f"resnet152v2 --lr {rate}" for rate in (0.001, 0.01, 0.1))
    assert rows[-3:] == [
        f"{first} {second} 20 10 2 0.0386 0.116 may be chance",
        f"{first} {third} 20 3 2 1 1 may be chance",
        f"{second} {third} 20 1 8 0.0391 0.116 may be chance",
    ]
    assert "Holm" in text and "no paired test" not in text
    for folder in ("runs/r/2", other):  # two models on the same images are left
        damage(Path(folder), "predictions.csv", None)
    out, text, rows = page_of(call)
    assert rows[-1] == f"{first} {third} 20 3 2 1 may be chance" and "Holm" not in text
    assert f"{second} has no paired test: runs/r/2/predictions.csv is missing" in text
    _, text, rows = page_of(call, "runs/r/1")
    assert "McNemar" not in text and len(rows) == 2


def test_the_page_links_reports_from_where_it_lies(call, tmp_path):
    for seed in (0, 1):
        folder = make_run(f"runs/a #{seed} javascript:x/1", seed=seed)
        (folder / "report.html").touch()
    make_run("runs/s/1", experiment="without")
    for path in ("page.html", "runs/page.html"):
        code, _, err = call(compare.main, "runs", "--html", path, "--no-figure")
        assert code == 0, err
        found = re.findall('href="(.*?)">(.*?)<', Path(path).read_text())
        assert [text for _, text in found] == ["report, seed 0", "report, seed 1"]
        for address, _ in found:
            assert (Path(path).parent / urllib.parse.unquote(address)).is_file() and not re.search("[:# ]", address)


def test_the_figure_has_the_rows_of_history(call, monkeypatch):
    folder = make_ab_split()
    make_run("runs/s/1", experiment="s", rows=history("head", 4))
    figures = []
    monkeypatch.setattr(curves, "save", lambda figure, path: figures.append(figure) or path)
    code, out, _ = call(compare.main, "runs")
    assert code == 0 and out.splitlines()[-1] == "compare.png"
    (figure,) = figures
    histories = (folder / "history.csv", "runs/s/1/history.csv")
    phases = (MODELS, ("head",))
    for place, axis in enumerate(figure.axes):  # a row for each experiment
        column, row_number = ("val_accuracy", "val_loss")[place % 2], place // 2
        points = {}
        for row in files.read_csv(histories[row_number]):
            points.setdefault(row["phase"], []).append([row["epoch"], row[column]])
        lines = [line.get_xydata().tolist() for line in axis.get_lines()]
        assert lines == [points[phase] for phase in phases[row_number]]
        assert len({line.get_color() for line in axis.get_lines()}) == (4, 1)[row_number]
    labels = [[text.get_text() for text in axis.get_legend().get_texts()] for axis in figure.axes[::2]]
    assert labels == [[f"ab_split: {files.read_json(folder / model / 'results.json')['model']}" for model in MODELS], ["s"]]
    plt.close(figure)


def test_the_published_results_can_be_compared(call):
    code, rows, err = show(call, PUBLISHED)
    assert code == 0 and "skipped" not in err  # benchmarks and studies are passed over
    scores = {str(path.parent): files.read_json(path) for path in PUBLISHED.glob("*/*/results.json")}
    scores = {folder: results["test_accuracy"] for folder, results in scores.items() if "models" not in results}
    single = {row["folders"]: float(row["test_accuracy"]) for row in rows if row["folders"] in scores and row["seeds"] == "0"}
    assert len(single) > 5 and all(scores[folder] == accuracy for folder, accuracy in single.items())
