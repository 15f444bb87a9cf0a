import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from common.results import metrics


def test_confusion_matrix_has_true_rows_and_predicted_columns():
    # Two of class 0, one of them taken for class 2; nothing is ever taken for class 0 wrongly.
    matrix = metrics.confusion_matrix([0, 0, 1, 2], [0, 2, 1, 2], 4)
    assert matrix.tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert metrics.most_confused(matrix) == [(0, 2, 1)]
    assert metrics.most_confused(np.arange(9).reshape(3, 3)) == [(2, 1, 7), (2, 0, 6), (1, 2, 5)]  # three, largest first
    np.testing.assert_equal(metrics.per_class_accuracy(matrix), [0.5, 1, 1, np.nan])


def test_balanced_accuracy_is_scikit_learns_and_none_for_equal_classes():
    labels, predicted = np.array([0, 0, 0, 2, 2, 3]), np.array([0, 1, 0, 2, 0, 3])  # none of class 1
    matrix = metrics.confusion_matrix(labels, predicted, 4)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert metrics.balanced_accuracy(matrix) == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert metrics.balanced_accuracy(metrics.confusion_matrix([0, 0, 2, 2], [0, 1, 1, 2], 3)) is None
    assert metrics.per_class_intervals(matrix) == [
        metrics.accuracy_interval(*counts) if counts else None for counts in ((2, 3), None, (1, 2), (1, 1))
    ]


@pytest.mark.parametrize("correct, total", [(8, 10), (0, 5), (7, 7)])
def test_wilson_interval_by_its_formula(correct, total):
    z, p = 1.959963984540054, correct / total  # Wilson 1927, equation as in Brown, Cai and DasGupta 2001
    centre = (p + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * np.sqrt(p * (1 - p) / total + z**2 / (4 * total**2))
    assert metrics.accuracy_interval(correct, total) == pytest.approx((centre - half, centre + half), abs=1e-9)


def test_cross_entropy_worked_by_hand():
    probabilities = np.array([[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]], np.float32)
    by_hand = (np.log(2) - np.log(0.75) - np.log(1e-7)) / 3  # the third is sure and wrong
    assert metrics.cross_entropy(np.array([0, 1, 1]), probabilities) == pytest.approx(by_hand, rel=1e-6)


def test_spread_by_groups_rows():
    rows = [{"m": "x", "n": 2, "v": 0.5}, {"m": "x", "n": 2, "v": 0.7}, {"m": "y", "n": 2, "v": 1.0}]
    first, second = metrics.spread_by(rows, ("m", "n"), "v")
    assert first["mean"] == pytest.approx(0.6)
    assert first["deviation"] == pytest.approx(np.sqrt(0.02)) and first["runs"] == 2
    assert second == {"m": "y", "n": 2, "mean": 1.0, "deviation": None, "runs": 1}


def test_t_interval_of_a_mean_worked_by_hand():
    # 0.70, 0.72, 0.77: mean 0.73, squared deviations 0.0009 + 0.0001 + 0.0016, so s = sqrt(0.0013) = 0.0360555; a table of
    # the t distribution has 4.303 for 2 degrees of freedom: 4.303 * 0.0360555 / sqrt(3) = 0.08957.
    assert metrics.mean_interval([0.70, 0.72, 0.77]) == pytest.approx((0.73 - 0.08957, 0.73 + 0.08957), abs=2e-5)
    assert metrics.mean_interval([0.5, 0.5]) == (0.5, 0.5)


def test_holm_rejects_what_the_step_down_procedure_rejects():
    assert metrics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # p.adjust of R
    assert metrics.holm([]).shape == (0,) and metrics.holm([0.9, 0.8]).tolist() == [1, 1]
    random = np.random.default_rng(0)
    for p_values in random.random((50, 6)) ** 4:
        for level in (0.01, 0.05, 0.2):
            rejected = np.zeros(6, bool)
            for step, place in enumerate(np.argsort(p_values)):  # from the smallest on, until one is not rejected
                if p_values[place] > level / (6 - step):
                    break
                rejected[place] = True
            assert (metrics.holm(p_values) <= level).tolist() == rejected.tolist()


def test_mcnemar_worked_by_hand():
    # 10 images that only the first gets right, 2 that only the second does, 3 both, 4 neither. Of 2**12 ways to share out
    # the 12, 1 + 12 + 66 give one of them two or fewer, and as many the other.
    first = [True] * 10 + [False] * 2 + [True] * 3 + [False] * 4
    second = [False] * 10 + [True] * 2 + [True] * 3 + [False] * 4
    assert metrics.mcnemar(first, second) == (10, 2, pytest.approx(2 * 79 / 4096, rel=1e-9))
    assert metrics.mcnemar(second, first)[:2] == (2, 10)
    assert metrics.mcnemar([True, False], [True, False]) == (0, 0, 1.0)  # nothing to tell them apart by
    assert metrics.mcnemar([True, False], [False, True])[2] == 1.0


def test_calibration_by_hand():
    confidence = np.array([0.95, 0.99, 0.97, 0.55, 0.58, 1.0])  # 15 bins: 8 is .5333 to .6, 14 is .9333 to 1
    is_right = np.array([True, True, False, False, True, True])
    bins = metrics.calibration(confidence, is_right)
    assert bins["images"].tolist() == [0] * 8 + [2] + [0] * 5 + [4]
    np.testing.assert_allclose(bins["confidence"][[8, 14]], [0.565, 0.9775])
    np.testing.assert_allclose(bins["accuracy"][[8, 14]], [0.5, 0.75])
    assert np.isnan(bins["accuracy"][0])
    assert metrics.calibration_error(bins) == pytest.approx(2 / 6 * 0.065 + 4 / 6 * 0.2275)


def test_a_probability_above_1_by_rounding_is_in_the_last_bin():
    bins = metrics.calibration(np.array([np.nextafter(np.float32(1), np.float32(2)), 0.5], np.float32), np.array([True, True]))
    assert bins["images"].sum() == 2 and bins["images"][-1] == 1
    assert metrics.calibration_error(bins) == pytest.approx(0.25)


def test_top_k_accuracy():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.1, 0.8, 0.1]])
    assert metrics.top_k_accuracy([1, 0, 1], probabilities, 2) == pytest.approx(2 / 3)  # 0 is the third choice of the second
    assert metrics.top_k_accuracy([1, 1, 1], probabilities, 2) == 1  # the other classes have no images


def test_scores_by_class_by_hand():
    rows = metrics.by_class([0, 0, 0, 1], [0, 1, 0, 1], ["cat", "dog", "bird"])
    assert [row["class"] for row in rows] == ["cat", "dog", "bird"]
    cat, dog, bird = rows
    assert (cat["precision"], cat["recall"], cat["support"]) == (1, pytest.approx(2 / 3), 3)
    assert cat["f1"] == pytest.approx(0.8) and dog["precision"] == 0.5 and dog["recall"] == 1
    assert (bird["precision"], bird["recall"], bird["f1"], bird["support"]) == (None, None, None, 0)
    assert (cat["recall_low"], cat["recall_high"]) == metrics.accuracy_interval(2, 3) and bird["recall_low"] is None
    assert metrics.macro_average(rows) == {
        "precision": pytest.approx(0.75), "recall": pytest.approx(5 / 6), "f1": pytest.approx((0.8 + 2 / 3) / 2),
    }  # fmt: skip
