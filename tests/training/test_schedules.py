import math

import keras
import pytest

from common.training import schedules


def rates(schedule, steps):
    return [float(keras.ops.convert_to_numpy(schedule(step))) for step in range(steps + 1)]


def test_a_cosine_falls_to_zero():
    expected = [0.02 * (1 + math.cos(math.pi * step / 40)) / 2 for step in range(41)]
    assert rates(schedules.cosine(0.02, 40), 40) == pytest.approx(expected, abs=1e-8)


def test_a_warm_up_rises_from_a_tenth_and_shortens_the_fall():
    rising = [0.002 + 0.018 * step / 10 for step in range(10)]
    falling = [0.02 * (1 + math.cos(math.pi * step / 30)) / 2 for step in range(31)]
    assert rates(schedules.cosine(0.02, 40, 10), 40) == pytest.approx(rising + falling, abs=1e-8)


def test_a_dry_run_is_all_warm_up_but_for_a_step():
    assert rates(schedules.cosine(0.02, 3, 99), 3) == pytest.approx([0.002, 0.011, 0.02, 0], abs=1e-8)
    assert rates(schedules.cosine(0.02, 1, 99), 1) == pytest.approx([0.02, 0], abs=1e-8)
