"""The feature cache with a small convolution in place of a base: what is kept, what is computed again, and when."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import keras
import numpy as np
import pytest
from keras import layers

import evaluate
import train_vgg19
from common import backend, cli, files
from common.data import dataset as data
from common.data.augment import flip_and_shift
from common.models import feature_file, features
from common.models.inference import ForwardPass
from common.models.upscale import upscale

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(backend, "BATCH_SIZE", {"cpu": 1, "gpu": 1})  # at 224x224: 4 of these small images
    monkeypatch.setattr(feature_file, "BATCHES_PER_CHUNK", 2)


def make_extractor(seed=0, interpolation="bicubic"):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, strides=2, activation="relu")(upscale(inputs, 12, interpolation))
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x))


def make_images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), np.uint8)


def extract(extractor, parts, folder):
    rows, extraction = features.FeatureCache(extractor, folder).extract(features.Images(parts), "features")
    return [part[:] for part in rows], extraction


def stored(folder, end=".npy"):
    (path,) = [path for path in (folder / "features").glob(f"*{end}") if end != ".npy" or not path.name.endswith(".part.npy")]
    return path


def test_equals_predict_part_by_part(tmp_path):
    extractor, parts = make_extractor(), [make_images(21), make_images(10, seed=1)]
    (one, other), extraction = extract(extractor, parts, tmp_path)
    assert one.dtype == np.float32 and (extraction["pictures"], extraction["computed"]) == (31, 31)
    for ours, images in ((one, parts[0]), (other, parts[1])):
        np.testing.assert_allclose(ours, extractor.predict(images, verbose=0), rtol=1e-5)
    assert not list((tmp_path / "features").glob("*.part.npy"))


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
            if number == 5:  # in the middle of the third chunk of 8
                raise KeyboardInterrupt
            yield outputs

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(ForwardPass, "over", interrupted)
        extract(extractor, [images], tmp_path / "broken")
    assert not list((tmp_path / "broken").rglob("*[!t].npy"))  # nothing under its own name before it is whole
    (resumed,), extraction = extract(extractor, [images], tmp_path / "broken")
    assert extraction["computed"] == 37 - 16 and "16 of 37 images done" in capsys.readouterr().out
    np.testing.assert_array_equal(resumed, unbroken)
    assert stored(tmp_path / "broken").read_bytes() == stored(tmp_path / "unbroken").read_bytes()


KILLED = """
import os, signal, sys
sys.path[:0] = [{root!r}, {tests!r}]
from test_features import backend, feature_file, features, make_extractor, make_images
backend.BATCH_SIZE, feature_file.BATCHES_PER_CHUNK = {{"cpu": 1, "gpu": 1}}, 2
write = feature_file.files.write_json
def killed_at_the_third(path, content):
    if sum(c is not None for c in content["checksums"]) == 3:
        os.kill(os.getpid(), signal.SIGKILL)  # the chunk is written, its checksum is not
    write(path, content)
feature_file.files.write_json = killed_at_the_third
features.FeatureCache(make_extractor(), sys.argv[1]).extract(features.Images([make_images(37)]), "features")
"""


def test_killed_in_earnest_it_goes_on_where_it_stopped(tmp_path):
    program = KILLED.format(root=str(ROOT), tests=str(ROOT / "tests" / "models"))
    ended = subprocess.run([sys.executable, "-c", program, tmp_path / "killed"], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    (resumed,), extraction = extract(make_extractor(), [make_images(37)], tmp_path / "killed")
    (unbroken,), _ = extract(make_extractor(), [make_images(37)], tmp_path / "unbroken")
    assert extraction["computed"] == 37 - 16
    np.testing.assert_array_equal(resumed, unbroken)


def overwrite(path, offset, content):
    with path.open("r+b") as file:
        file.seek(offset, os.SEEK_END if offset < 0 else os.SEEK_SET)
        file.write(content)


def test_killed_between_the_last_chunk_and_the_name_it_needs_no_second_pass(tmp_path):
    extractor, images = make_extractor(), make_images(37)
    (before,), _ = extract(extractor, [images], tmp_path)
    whole = stored(tmp_path)
    whole.rename(whole.with_name(whole.stem + ".part.npy"))
    (after,), extraction = extract(extractor, [images], tmp_path)
    assert extraction["computed"] == 0 and whole.exists()
    np.testing.assert_array_equal(after, before)


def test_broken_off_in_the_first_chunk_is_no_damage(tmp_path, monkeypatch, capsys):
    extractor, images = make_extractor(), make_images(37)
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(ForwardPass, "over", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        extract(extractor, [images], tmp_path)
    assert extract(extractor, [images], tmp_path)[1]["computed"] == 37
    assert "can't be used" not in capsys.readouterr().out


def test_larger_images_go_in_smaller_batches(monkeypatch):
    monkeypatch.setattr(backend, "BATCH_SIZE", {"cpu": 32, "gpu": 32})

    def batch_size(size):
        inputs = keras.Input((32, 32, 3))
        base = keras.Sequential([keras.Input((size, size, 3)), layers.GlobalAveragePooling2D()])
        return features.batch_size(keras.Model(inputs, base(upscale(inputs, size))))

    assert [batch_size(size) for size in (32, 112, 224, 448, 4000)] == [128, 128, 32, 8, 1]


DAMAGES = {
    "a few bytes": (lambda array, note: overwrite(array, -8, b"\1\2\3\4"), 5),  # the last chunk: 37 = 4 * 8 + 5
    "cut off": (lambda array, note: os.truncate(array, array.stat().st_size - 100), 37),
    "empty": (lambda array, note: array.write_bytes(b""), 37),
    "not an array": (lambda array, note: array.write_text("hello"), 37),
    "header of another kind": (lambda array, note: overwrite(array, 20, b"(((("), 37),  # Python's tokenizer gives up
    "columns first": (lambda array, note: overwrite(array, array.read_bytes().index(b"False"), b"True "), 37),
    "another array": (lambda array, note: np.save(array, np.zeros((3, 6), np.float32)), 37),
    "note gone": (lambda array, note: note.unlink(), 37),
    "note broken": (lambda array, note: note.write_text("{"), 37),
    "note of another kind": (lambda array, note: note.write_text("[]"), 37),
    "foreign note": (lambda array, note: note.write_text(note.read_text().replace("float32", "float16")), 37),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_foreign_file_is_noticed_and_computed_again(tmp_path, capsys, damage):
    extractor, images = make_extractor(), make_images(37)
    (before,), _ = extract(extractor, [images], tmp_path)
    do, expected = DAMAGES[damage]
    do(stored(tmp_path), stored(tmp_path, ".json"))
    (after,), extraction = extract(extractor, [images], tmp_path)
    assert extraction["computed"] == expected
    assert "can't be used as it is" in capsys.readouterr().out
    np.testing.assert_array_equal(after, before)
    assert extract(extractor, [images], tmp_path)[1]["computed"] == 0


def test_without_a_terminal_a_line_a_minute_tells_the_time_left(monkeypatch, capsys):
    clock = iter([0, 30, 60, 61, 90, 122])
    monkeypatch.setattr(feature_file, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with feature_file._Progress("features", 2000, 1000) as progress:
        for _ in range(5):
            progress.update(100)
    # 300 in 61 s are 4.9 a second, the 700 left take 142 s; then 500 in 122 s are 4.1, and 500 take 122 s.
    assert capsys.readouterr().out.splitlines() == [
        "features: 1,000 of 2,000 images done in an earlier run",
        "features: 1,300 of 2,000 images, 4.9 images/s, 02:22 left",
        "features: 1,500 of 2,000 images, 4.1 images/s, 02:02 left",
    ]


def test_two_at_once_compute_it_once(tmp_path):
    images, results = make_images(60), []

    def work(extractor):
        results.append(extract(extractor, [images], tmp_path))

    threads = [threading.Thread(target=work, args=(make_extractor(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(extraction["computed"] for _, extraction in results) == [0, 60]
    np.testing.assert_array_equal(results[0][0][0], results[1][0][0])


def test_no_room_and_no_right_to_write_are_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for program, advice in ((train_vgg19, "give another folder, or --no-cache"), (evaluate, "give another folder")):
        program.parse_args(["a run"] if program is evaluate else [])
        with pytest.raises(cli.InputError, match=f"--cache-dir: .* {advice}$") as failed:
            extract(make_extractor(), [make_images(5)], tmp_path / "file")
        assert "\n" not in str(failed.value)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(cli.InputError, match=r"\(0\.00 MB are needed, 0\.00 MB are free\)"):
        extract(make_extractor(), [make_images(5)], tmp_path)


def test_a_data_set_keeps_labels_and_gets_views(tmp_path):
    labels = np.arange(12) % 3
    parts = [data.Samples(make_images(12, seed), labels) for seed in range(3)]
    dataset = data.Dataset("random", ("a", "b", "c"), *parts)

    class Arguments:
        cache_dir, seed, views, no_cache = tmp_path, 0, 3, False

    extractor = make_extractor()
    inputs, extraction = features.of_dataset(extractor, dataset, Arguments, flip_and_shift)
    assert extraction["extraction"]["computed"] == 12 * 5  # train, val and test, and two copies of train
    plain, *copies = inputs.train.images
    np.testing.assert_allclose(plain[:], extractor.predict(parts[0].images, verbose=0), rtol=1e-5)
    assert len(copies) == 2 and not any(np.allclose(copy[:], plain[:]) for copy in copies)
    np.testing.assert_allclose(inputs.test.images, extractor.predict(parts[2].images, verbose=0), rtol=1e-5)
    assert (inputs.val.labels == labels).all()
    assert features.of_dataset(extractor, dataset, Arguments, flip_and_shift)[1]["extraction"]["computed"] == 0
    alone, extraction = features.of_dataset(extractor, dataset, Arguments, None)
    assert extraction["extraction"]["computed"] == 0  # the first view is the images themselves
    np.testing.assert_array_equal(alone.train.images[:], plain[:])


def test_two_runs_that_fill_one_cache_compute_it_once(tmp_path, capsys):
    digests, right = np.arange(40), np.arange(80, dtype=np.float32).reshape(40, 2)
    computed, is_waiting = [], threading.Event()

    def compute(batches):
        is_waiting.wait(20)
        for rows in batches:
            computed.extend(rows)
            yield right[rows]

    def run():
        file = feature_file.FeatureFile(tmp_path, digests, 2, {"batch_size": 4})
        return file.complete(compute, "features")

    with ThreadPoolExecutor(2) as threads:
        runs = [threads.submit(run) for _ in range(2)]
        told = ""
        while "another run is computing these features; waiting for it" not in told:
            told += capsys.readouterr().out
            time.sleep(0.01)
        is_waiting.set()
        results = [run.result(20) for run in runs]
    assert sorted(computed) == list(range(40)) and sorted(count for _, count in results) == [0, 40]
    assert all((array == right).all() for array, _ in results)


NO_DAMAGE = [(files, "read_json", errno.EACCES), (files, "read_json", errno.ESTALE), (np, "load", errno.EMFILE)]


@pytest.mark.parametrize("module, name, number", NO_DAMAGE)
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
    monkeypatch.setattr(feature_file.FileLock, "acquire", Mock(side_effect=OSError(errno.EROFS, "Read-only file system")))
    assert extract(extractor, [images], tmp_path)[1]["computed"] == 0
    with pytest.raises(cli.InputError, match="Read-only file system"):
        extract(extractor, [images[:3]], tmp_path)
