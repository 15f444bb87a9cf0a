"""The feature cache with a small convolution in place of a base: what is kept, what is computed again, and when."""

import errno
import itertools
import os
from pathlib import Path
from unittest.mock import Mock

import keras
import numpy as np
import pytest
from keras import layers

from common import backend, cli
from common.data import dataset as data
from common.data.augment import flip_and_shift
from common.data.rows import Rows
from common.models import features
from common.models.inference import ForwardPass
from common.models.upscale import upscale

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(backend, "BACKBONE_BATCH_SIZE", {"cpu": 1, "gpu": 1})  # at 224x224: 4 of these small images


def make_extractor(seed=0, interpolation="bicubic"):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, strides=2, activation="relu")(upscale(inputs, 12, interpolation))
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x))


def make_images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), np.uint8)


def extract(extractor, parts, folder):
    rows, extraction = features.FeatureCache(extractor, folder).extract(Rows(parts), "features")
    ends = np.cumsum([0, *map(len, parts)])
    return [rows[start:end] for start, end in itertools.pairwise(ends)], extraction


def stored(folder):
    (path,) = (folder / "features").iterdir()
    return path


def test_other_splits_and_orders_share_what_is_there_and_equal_images_are_computed_once(tmp_path):
    extractor, images = make_extractor(), make_images(20)
    (whole,), _ = extract(extractor, [images], tmp_path)
    order = np.random.default_rng(0).permutation(20)
    (one, other), extraction = extract(extractor, [images[order[:13]], images[order[13:]]], tmp_path)
    assert extraction["computed"] == 0
    np.testing.assert_array_equal(np.concatenate([one, other]), whole[order])
    (twice,), extraction = extract(extractor, [np.concatenate([images, images[:9]])], tmp_path)
    assert extraction["computed"] == 0
    np.testing.assert_array_equal(twice[20:], whole[:9])


def test_the_name_depends_on_images_weights_layers_and_precision(tmp_path):
    images = make_images(5)
    names = set()
    for number, (extractor, part) in enumerate(
        [
            (make_extractor(), images),
            (make_extractor(interpolation="bilinear"), images),  # the same layers with other constants
            (make_extractor(seed=1), images),
            (make_extractor(), make_images(5, seed=1)),
            (keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(6)]), images),
        ]
    ):
        _, extraction = extract(extractor, [part], tmp_path)
        assert extraction["computed"] == 5
        names |= {path.name for path in (tmp_path / "features").glob("*.npy")}
        assert len(names) == number + 1
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        _, extraction = extract(make_extractor(), [images], tmp_path)
    finally:
        keras.config.set_dtype_policy("float32")
    assert extraction["computed"] == 5


def test_a_broken_off_extraction_goes_on_and_ends_bit_identical(tmp_path, monkeypatch, capsys):
    extractor, images = make_extractor(), make_images(37)
    (unbroken,), _ = extract(extractor, [images], tmp_path / "unbroken")
    over = ForwardPass.over

    def interrupted(forward, batches):
        for number, outputs in enumerate(over(forward, batches)):
            if number == 5:
                raise KeyboardInterrupt
            yield outputs

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(ForwardPass, "over", interrupted)
        extract(extractor, [images], tmp_path / "broken")
    (resumed,), extraction = extract(extractor, [images], tmp_path / "broken")
    assert extraction["computed"] == 37 - 20 and "20 of 37 images done" in capsys.readouterr().out
    np.testing.assert_array_equal(resumed, unbroken)
    assert stored(tmp_path / "broken").read_bytes() == stored(tmp_path / "unbroken").read_bytes()


def test_cut_off_within_a_batch_it_computes_that_whole_batch_again(tmp_path):
    extractor, images = make_extractor(), make_images(37)
    (before,), _ = extract(extractor, [images], tmp_path)
    os.truncate(stored(tmp_path), 128 + 4 * 6 * 23)
    (after,), extraction = extract(extractor, [images], tmp_path)
    assert extraction["computed"] == 37 - 20
    np.testing.assert_array_equal(after, before)


def test_without_a_terminal_a_line_a_minute_tells_the_time_left(monkeypatch, capsys):
    now = 0
    monkeypatch.setattr("tqdm.std.time", lambda: now)
    shown = features._with_progress(([0] * 100 for _ in range(5)), "features", 2000, 1000)
    for now in (0, 30, 40, 61, 90, 122):  # noqa: B007
        next(shown, None)
    # 300 in 61 s are 4.92 a second, the 700 left take 142 s; then 200 in 61 s make it 3.95, of which 500 take 126 s.
    assert capsys.readouterr().out.splitlines() == [
        "features: 1,000 of 2,000 images done in an earlier run",
        "features: 1,300 of 2,000 images,  4.92 images/s, 02:22 left",
        "features: 1,500 of 2,000 images,  3.95 images/s, 02:06 left",
    ]


def test_a_data_set_keeps_labels_and_gets_views(tmp_path):
    labels = np.arange(12) % 3
    parts = [data.Samples(make_images(12, seed), labels) for seed in range(3)]
    dataset = data.Dataset("random", ("a", "b", "c"), *parts)

    extractor = make_extractor()
    fed = features.Inputs(extractor, dataset, tmp_path, flip_and_shift, views=3)
    assert fed.extraction["extraction"]["computed"] == 12 * 5  # train, val and test, and two copies of train
    assert fed.extraction["extraction"]["images"] == 12 * 5 and fed.are_features and fed.augmentation is None
    plain, *copies = fed.train.images
    np.testing.assert_allclose(plain[:], extractor.predict(parts[0].images, verbose=0), rtol=1e-5)
    assert len(copies) == 2 and not any(np.allclose(copy[:], plain[:]) for copy in copies)
    np.testing.assert_allclose(fed.test.images, extractor.predict(parts[2].images, verbose=0), rtol=1e-5)
    assert (fed.val.labels == labels).all()
    again = features.Inputs(extractor, dataset, tmp_path, flip_and_shift, views=3)
    assert again.extraction["extraction"]["computed"] == 0
    alone = features.Inputs(extractor, dataset, tmp_path, None, views=3)
    assert alone.extraction["extraction"]["computed"] == 0  # the first view is the images themselves
    np.testing.assert_array_equal(alone.train.images[:], plain[:])
    images = features.Inputs(extractor, dataset, None, flip_and_shift, views=3)
    assert images.train is dataset.train and images.augmentation is flip_and_shift
    assert not images.extraction and not images.are_features


@pytest.mark.parametrize("module, name, number", [(Path, "open", errno.EACCES), (np, "load", errno.EMFILE)])
def test_an_error_that_is_no_damage_ends_in_one_line_and_deletes_nothing(tmp_path, monkeypatch, module, name, number):
    extractor, images = make_extractor(), make_images(5)
    extract(extractor, [images], tmp_path)
    with monkeypatch.context() as patch, pytest.raises(cli.InputError, match=f"read from .*{os.strerror(number)}"):
        patch.setattr(module, name, Mock(side_effect=OSError(number, os.strerror(number))))
        extract(extractor, [images], tmp_path)
    assert extract(extractor, [images], tmp_path)[1]["computed"] == 0


def test_a_complete_cache_serves_where_nothing_can_be_written(tmp_path, monkeypatch):
    extractor, images = make_extractor(), make_images(5)
    extract(extractor, [images], tmp_path)
    for name in ("mkdir", "touch", "unlink"):
        monkeypatch.setattr(Path, name, Mock(side_effect=OSError(errno.EROFS, "Read-only file system")))
    assert extract(extractor, [images], tmp_path)[1]["computed"] == 0
    with pytest.raises(cli.InputError, match="Read-only file system"):
        extract(extractor, [images[:3]], tmp_path)
