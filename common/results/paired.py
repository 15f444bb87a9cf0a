"""Paired tests of models on the same test images: is one better by more than chance?"""

import contextlib
from dataclasses import dataclass
from itertools import combinations

from common.cli import InputError
from common.results import comparison

LEVEL = 0.05


@dataclass
class Paired:
    """McNemar's exact test of two rows of a comparison, of the models of their lowest seeds.

    `only_first` and `only_second` are the numbers of images that only one of them got right. `p_value` is the test's own,
    `corrected` that of one test among several.
    """

    first: comparison.Row
    second: comparison.Row
    num_images: int
    only_first: int
    only_second: int
    p_value: float
    corrected: float | None = None

    @property
    def better(self):
        """The row that is better by more than chance, or None."""
        if (self.p_value if self.corrected is None else self.corrected) >= LEVEL:
            return None
        return self.first if self.only_first > self.only_second else self.second

    def __str__(self):
        first, second = self.first.name, self.second.name
        one, other = self.first.first.results, self.second.first.results
        verdict = f"{self.better.name} is better, by more than chance" if self.better else "the difference may be chance"
        names = () if _are_known(one, other) else dict.fromkeys((one["data"], other["data"]))
        copies = f" This assumes that {' and '.join(names)} hold the same images." if len(names) > 1 else ""
        has_several = len(self.first.records) > 1 or len(self.second.records) > 1
        seeds = f" Compared: seed {one['seed']} and seed {other['seed']}." if has_several else ""
        return (
            f"Of the same {self.num_images:,} test images, only {first} is right on {self.only_first:,}, only {second} on "
            f"{self.only_second:,}. McNemar's exact test: p = {self.p_value:.3g}; {verdict} ({LEVEL * 100:.0f} % level)."
            f"{seeds}{copies}"
        )


def test(first, second):
    """The `Paired` of two rows. Raises InputError, the reason, where they can't be compared image by image."""
    return _test(first, _outcome(first), second, _outcome(second))


def all_pairs(rows):
    """The `Paired` of all pairs on the same test images, corrected together by Holm's method, and why a row is in none.

    The latter is a dict from the names of rows whose predictions can't be read to the reason.
    """
    from common.results import metrics

    outcomes, reasons, pairs = [], {}, []
    for row in rows:
        try:
            outcomes.append((row, _outcome(row)))
        except InputError as error:
            reasons[row.name] = str(error)
    for (first, outcome), (second, other_outcome) in combinations(outcomes, 2):
        with contextlib.suppress(InputError):  # other test images
            pairs.append(_test(first, outcome, second, other_outcome))
    for pair, corrected in zip(pairs, metrics.holm([pair.p_value for pair in pairs]), strict=True):
        pair.corrected = float(corrected)
    return pairs, reasons


def _outcome(row):
    """The true classes of a row's test images, and whether its model is right on each, two lists. Raises InputError."""
    true, predicted = row.first.predictions()
    return true, [guess == label for guess, label in zip(predicted, true, strict=True)]


def _test(first, outcome, second, other_outcome):
    from common.results import metrics  # SciPy is slow to import

    (true, right), (other_true, other_right) = outcome, other_outcome
    one, other = first.first.results, second.first.results
    differ = _are_known(one, other) and one["test_images"] != other["test_images"]
    if differ or one["class_names"] != other["class_names"] or true != other_true:
        raise InputError("the two were scored on different test images")
    return Paired(first, second, len(true), *metrics.mcnemar(right, other_right))


def _are_known(*results):
    """Whether all of these say which test images they are of, as those of earlier versions don't."""
    return all(one.get("test_images") for one in results)
