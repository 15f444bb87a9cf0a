from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from common.data.dataset import Samples
from common.figures import curves, galleries, scores, style
from common.results import metrics
from publish import comparisons

ROOT = Path(__file__).parents[2]
ROWS = [
    {"epoch": 1.0, "learning_rate": 0.1, "loss": 2.0, "accuracy": 0.2, "val_loss": 2.1, "val_accuracy": 0.15},
    {"epoch": 2.0, "learning_rate": 0.01, "loss": 1.0, "accuracy": 0.6, "val_loss": 1.4, "val_accuracy": 0.45},
]
WITH_TEST = [row | {"test_accuracy": row["val_accuracy"] + 0.01, "test_loss": row["val_loss"] + 0.01} for row in ROWS]


@pytest.fixture
def figure(monkeypatch):
    """The figure that a function draws, still open."""
    for module in (comparisons, curves, galleries, scores):
        monkeypatch.setattr(module, "save", lambda figure, path: figure)
    yield lambda function, *args, **kwargs: function(*args, path=None, **kwargs)
    plt.close("all")


def lines(axis):
    return {line.get_label(): line.get_ydata() for line in axis.get_lines()}


def test_confusion_matrix_has_true_rows_and_predicted_columns(figure):
    matrix = np.array([[5, 3], [0, 7]])  # three cats taken for dogs, no dog for a cat
    drawn = figure(scores.confusion_matrix, matrix, ["cat", "dog"], title="t")
    axis = drawn.axes[0]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("predicted", "true")
    at = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in axis.texts}  # (row, column)
    assert at == {(0.5, 0.5): "5", (0.5, 1.5): "3", (1.5, 0.5): "0", (1.5, 1.5): "7"}
    assert axis.get_ylim() == (2, 0)  # row 0 is on top
    assert [label.get_text() for label in axis.get_xticklabels()] == ["cat", "dog"]
    np.testing.assert_allclose(axis.collections[0].get_array(), [[5 / 8, 3 / 8], [0, 1]])


@pytest.mark.parametrize("count", [2, 40])
@pytest.mark.parametrize("name", ["cat {}", "a long name of a class, number {}"])
def test_nothing_runs_over_the_title_of_a_confusion_matrix_and_no_label_over_the_next(figure, count, name):
    drawn = figure(scores.confusion_matrix, np.eye(count, dtype=int), list(map(name.format, range(count))), title="x " * 60)
    drawn.canvas.draw()
    axis, bar = drawn.axes
    assert axis.title.get_window_extent().x1 < bar.get_tightbbox().x0
    labels = axis.get_xticklabels()
    assert len(labels) == count and 0.7 * axis.bbox.width / count > labels[0].get_fontsize() * drawn.dpi / 72  # at 45 degrees


@pytest.mark.parametrize("count, block", [(41, 1), (250, 3)])
def test_of_many_classes_blocks_and_the_most_confused_pairs_are_drawn(figure, count, block):
    matrix = 10 * np.eye(count, dtype=int)
    matrix[40, 2], matrix[3, 4], matrix[0, 39] = 7, 5, 5
    axis, pairs, _ = figure(scores.confusion_matrix, matrix, list(map(str, range(count))), title="t").axes
    assert [label.get_text() for label in pairs.get_yticklabels()] == ["40 taken for 2", "0 taken for 39", "3 taken for 4"]
    assert [bar.get_width() for bar in pairs.patches] == [7, 5, 5] and pairs.get_ylim()[0] > pairs.get_ylim()[1]
    shares, side, row = axis.images[0].get_array(), -(-count // block), matrix[40 // block * block :][:block]
    assert shares.shape == (side, side) and shares[40 // block, 2 // block] == pytest.approx(7 / row.sum())
    end = side * block - 0.5
    assert not axis.texts and axis.images[0].get_extent() == [-0.5, end, end, -0.5]
    assert not figure(scores.confusion_matrix, 0 * matrix, list(map(str, range(count))), title="t").axes[1].patches


def test_letters_that_a_font_lacks_come_from_the_fonts_of_the_system_without_a_warning(tmp_path, monkeypatch):
    fonts = sorted(map(str, Path(matplotlib.get_data_path(), "fonts", "ttf").glob("*.ttf")))
    monkeypatch.setattr(style.font_manager, "findSystemFonts", lambda: fonts)
    assert style._families_with(frozenset("é→✗")) == []  # matplotlib's own font has them
    assert style._families_with(frozenset("\ue000猫")) == ["STIXNonUnicode"]
    monkeypatch.setattr(style, "_families_with", lambda letters: ["STIXGeneral"] * ("→" in letters))
    drawn = plt.figure()
    texts = [drawn.suptitle("→"), drawn.text(0, 0, "cat")]
    style.save(drawn, tmp_path / "x.png")
    assert all(text.get_fontfamily() == ["sans-serif", "STIXGeneral"] for text in texts)


def test_learning_curves_read_columns_by_name(figure):
    shuffled = [dict(reversed(row.items())) for row in ROWS]
    accuracy, loss = figure(curves.learning_curves, shuffled, title="t").axes
    np.testing.assert_array_equal(lines(accuracy)["train"], [0.2, 0.6])
    np.testing.assert_array_equal(lines(accuracy)["val"], [0.15, 0.45])
    np.testing.assert_array_equal(lines(loss)["train"], [2.0, 1.0])
    np.testing.assert_array_equal(accuracy.get_lines()[0].get_xdata(), [1, 2])


def test_overlay_has_a_colour_for_each_name_and_thin_lines_for_several_curves(figure):
    without_val = [row | {"val_loss": None, "val_accuracy": None} for row in ROWS]
    drawn = figure(curves.overlay, {"group": {"one": [ROWS], "two": [ROWS[:1], ROWS], "three": [without_val]}})
    for axis, column in zip(drawn.axes, ("val_accuracy", "val_loss"), strict=True):
        one, two, also_two = axis.get_lines()
        values = [row[column] for row in ROWS]
        assert [line.get_ydata().tolist() for line in (one, two, also_two)] == [values, values[:1], values]
        assert two.get_color() == also_two.get_color() != one.get_color()
        assert two.get_linewidth() == also_two.get_linewidth() < one.get_linewidth()
        assert axis.get_ylabel() == column.replace("_", " ")
    assert [text.get_text() for text in drawn.axes[0].get_legend().get_texts()] == ["one", "two"]
    assert drawn.axes[0].get_title(loc="left") == "group"
    assert curves.overlay({"group": {"three": [without_val]}}, "never.png") is None


def test_overlay_has_a_row_for_each_group_and_only_as_many_curves_as_can_be_told_apart(figure, tmp_path, monkeypatch):
    def rows(best):
        return [{"epoch": epoch, "val_accuracy": best * epoch / 30, "val_loss": 1 / epoch} for epoch in range(1, 31)]

    groups = {
        "vgg19": {f"--interpolation bicubic --dropout 0.{number}": [rows(number / 20)] for number in range(12)},
        "resnet152v2": {"control": [rows(0.5)]},
    }
    drawn = figure(curves.overlay, groups)
    assert len(drawn.axes) == 4
    vgg19, _, resnet152v2, _ = drawn.axes
    assert len({(line.get_color(), line.get_marker()) for line in vgg19.get_lines()}) == len(vgg19.get_lines()) == 6
    best = [text.get_text() for text in vgg19.get_legend().get_texts()]
    assert best == [f"--interpolation bicubic --dropout 0.{number}" for number in range(6, 12)]
    assert vgg19.get_title(loc="left") == "vgg19: the best 6 of 12 by val accuracy"
    assert resnet152v2.get_title(loc="left") == "resnet152v2" and len(resnet152v2.get_lines()) == 1
    monkeypatch.undo()
    assert curves.overlay(groups, tmp_path / "overlay.png").stat().st_size < 200_000


def test_wrong_examples_are_marked_by_more_than_colour(figure):
    samples = Samples(np.zeros((3, 8, 8, 3), np.uint8), np.array([0, 1, 1]))
    drawn = figure(galleries.examples, samples, [0, 1, 0], [0.9, 1, 0.504], ["cat", "dog"], title="t")
    titles = [axis.get_title() for axis in drawn.axes if axis.images]
    assert titles == ["cat, 90%", "dog, 100%", "✗ cat, 50%\n(is dog)"]
    assert [axis.spines["left"].get_visible() for axis in drawn.axes if axis.images] == [False, False, True]


def test_figures_are_files_of_readable_size(tmp_path):
    path = curves.learning_curves(WITH_TEST, tmp_path / "test.png", "t", ("train", "test"))
    matrix = np.arange(100).reshape(10, 10)
    big = scores.confusion_matrix(matrix, [f"class {number}" for number in range(10)], tmp_path / "matrix.png", "t")
    for file in (path, big):
        assert file.read_bytes().startswith(b"\x89PNG") and file.stat().st_size < 200_000
    assert sorted(file.name for file in tmp_path.iterdir()) == ["matrix.png", "test.png"]
    assert not plt.get_fignums()


def test_reliability_shows_accuracy_against_confidence(figure):
    bins = metrics.calibration(np.array([0.95, 0.99, 0.97, 0.99, 0.55, 0.55]), np.array([1, 1, 1, 0, 0, 1], bool))
    axis, below = figure(scores.reliability, bins, title="a model").axes
    np.testing.assert_allclose(axis.collections[1].get_offsets(), [[0.55, 0.5], [0.975, 0.75]])
    assert axis.get_title() == "a model\ncalibration error 0.1667"  # (2 * .05 + 4 * .225) / 6
    np.testing.assert_allclose([bar.get_height() for bar in below.patches if bar.get_height()], [2 / 6, 4 / 6])


def test_feature_maps_tell_classes_apart_by_more_than_colour(figure):
    points, labels = np.arange(24.0).reshape(12, 2), np.arange(12)
    rows = [[("one", points), ("two", -points)], [("three", points), ("four", points)]]
    axes = figure(scores.feature_maps, rows, labels, [f"class {label}" for label in labels]).axes
    assert [axis.get_title() for axis in axes] == ["one", "two", "three", "four"]
    np.testing.assert_array_equal(axes[1].collections[3].get_offsets(), [[-6, -7]])
    styles = {(tuple(dots.get_facecolor()[0]), dots.get_paths()[0].vertices.tobytes()) for dots in axes[0].collections}
    assert len(styles) == 12 and [text.get_text() for text in axes[0].texts] == [f"class {label}" for label in labels]
