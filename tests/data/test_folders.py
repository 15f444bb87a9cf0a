import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from support import in_order, load

import train_ab_split
from common import cli, files
from common.data import folders, images

ROOT = Path(__file__).parents[2]


def test_decoded_images_are_kept_until_a_file_changes(tmp_path, image_folder, capsys, monkeypatch):
    folder = image_folder({"cat": 20, "dog": 20})
    first = load(folder, tmp_path)
    read = images.read_images
    monkeypatch.setattr(images, "read_images", lambda *_: pytest.fail("read again"))
    assert in_order(load(folder, tmp_path).train) == in_order(first.train)

    monkeypatch.setattr(images, "read_images", read)
    cut_off, other, *_ = (path for path in sorted((tmp_path / "cache" / "images").iterdir()) if "about" not in path.name)
    os.truncate(cut_off, cut_off.stat().st_size - 3 * 32 * 32 * 10)
    other.write_bytes(b"not a cache file")
    assert in_order(load(folder, tmp_path).train) == in_order(first.train)
    told = capsys.readouterr().out
    assert f"{other} is damaged: computing it again" in told and "30 of 40 images read in an earlier run" in told

    changed = folder / "train" / "cat" / "000.png"
    Image.fromarray(np.full((32, 32, 3), 77, np.uint8)).save(changed)
    os.utime(changed, ns=(1, 1))
    after = load(folder, tmp_path)
    pixels = np.concatenate([after.train.images, after.val.images])
    assert (pixels == 77).all(axis=(1, 2, 3)).sum() == 1


def test_no_stale_image_is_kept_where_size_and_time_stay(tmp_path):
    paths = [tmp_path / "data" / name / "0.bmp" for name in ("cat", "dog")]
    for path, grey in zip(paths, (10, 200), strict=True):
        path.parent.mkdir(parents=True)
        Image.fromarray(np.full((8, 8), grey, np.uint8)).save(path)
        os.utime(path, ns=(1, 1))

    def read():
        return folders.read_part(tmp_path / "data", ("cat", "dog"), 8, tmp_path / "cache")[0][:, 0, 0, 0].tolist()

    assert read() == [10, 200]
    paths[0].rename(tmp_path / "cat.bmp")
    paths[1].rename(paths[0])
    (tmp_path / "cat.bmp").rename(paths[1])
    assert read() == [200, 10]
    time.sleep(0.02)  # the file system's clock may tick every 10 ms
    paths[0].write_bytes(paths[1].read_bytes())
    os.utime(paths[0], ns=(1, 1))
    assert read() == [10, 10]


def test_odd_names_of_folders_and_files(tmp_path, image_folder):
    folder = image_folder({"Katze ä": 20, "true": 20}, root="photos_archive")
    os.rename(folder / "train" / "true" / "000.png", os.fsencode(folder / "train" / "true") + b"/\xff.png")  # noqa: PTH104
    shutil.rmtree(folder / "test" / "true")  # a class may be missing from test, not from train
    own = load(folder, tmp_path)
    assert own.class_names == ("Katze ä", "true") and len(own.train) + len(own.val) == 40
    with pytest.raises(cli.InputError, match="--classes-b: test has no image of true"):
        train_ab_split.only_classes(own, [1])
    (folder / "test" / "true").mkdir()
    assert len(load(folder, tmp_path).test) == 20
    with pytest.raises(cli.InputError, match="no images"):  # as training images a folder called test is like any other
        load(folder / "test", tmp_path)


def test_a_folder_without_test_part_holds_out_a_fifth(tmp_path, image_folder, capsys):
    folder = image_folder({"cat": 50, "dog": 50}, parts=("train",))
    count = len(load(folder, tmp_path).test)
    assert 12 < count < 28 and f"no test part: {count} images, about a fifth" in capsys.readouterr().out
    assert len(load(folder / "train", tmp_path).test) == count  # <class>/* without train/ as well


@pytest.fixture
def shades(tmp_path):
    """`make({"train/cat": range(9), ...})`: a folder of square images, each of one grey."""

    def make(greys, size=8):
        for place, numbers in greys.items():
            folder = tmp_path / "shades" / place
            folder.mkdir(parents=True)
            for number in numbers:
                Image.fromarray(np.full((size, size), number, np.uint8)).save(folder / f"{number:03}.png")
        return tmp_path / "shades"

    return make


def greys(part, class_number):
    """The greys of a class's images, sorted."""
    return sorted(part.images[part.labels == class_number][:, 0, 0, 0].tolist())


TRAIN = {"train/cat": range(20), "train/dog": range(100, 120)}
VAL = {"cat": range(40, 43), "dog": range(140, 142)}


@pytest.mark.parametrize("name", ["validation"])
def test_val_is_val_beside_test_and_the_split_is_not_used(tmp_path, shades, capsys, name):
    folder = shades(TRAIN | {f"{name}/{label}": VAL[label] for label in VAL} | {"test/cat": [60], "test/dog": [160, 161]})
    own = load(folder, tmp_path, image_size=8, validation_split=0.9)
    found = [[greys(part, label) for label in (0, 1)] for part in (own.train, own.val, own.test)]
    assert found == [[[*range(20)], [*range(100, 120)]], [[40, 41, 42], [140, 141]], [[60], [160, 161]]]
    assert capsys.readouterr().out == f"{folder / name} is used as val; none is held out from train/.\n"
    assert load(folder, tmp_path, image_size=8, seed=5, validation_split=0.1).fingerprint() == own.fingerprint()
    few = load(folder, tmp_path, image_size=8, max_train_samples=10, validation_split=0.5)
    assert (len(few.train), len(few.val), len(few.test)) == (10, 5, 3)  # val is not part of those ten


@pytest.mark.parametrize("name", ["valid"])
def test_val_is_test_where_there_is_no_test(tmp_path, shades, capsys, name):
    folder = shades(TRAIN | {f"{name}/{label}": VAL[label] for label in VAL})
    own = load(folder, tmp_path, image_size=8, validation_split=0.2)
    assert [greys(own.test, label) for label in (0, 1)] == [[40, 41, 42], [140, 141]]
    assert sorted(greys(own.train, 0) + greys(own.val, 0)) == list(range(20)) and len(own.val) < 20
    told = capsys.readouterr().out
    assert told == f"{folder} has no test/: {name}/ is used as test, and val is held out from train/.\n"
    (folder / name).rename(tmp_path / "elsewhere")
    before = load(folder, tmp_path, image_size=8)
    assert f"no test part: {len(before.test)} images, about a fifth" in capsys.readouterr().out


def test_val_may_lack_classes_in_everything_that_uses_it(tmp_path, shades):
    folder = shades(TRAIN | {"train/fox": range(200, 206), "val/dog": range(140, 150), "test/cat": [60], "test/dog": [160]})
    own = load(folder, tmp_path, image_size=8, dry_run=True, batch_size=2)
    assert (len(own.train), len(own.val), len(own.test)) == (6, 6, 2) and set(own.val.labels) == {1}
    own = load(folder, tmp_path, image_size=8)
    assert greys(train_ab_split.only_classes(own, [1, 2]).val, 0) == list(range(140, 150))
    with pytest.raises(cli.InputError, match="--classes-b: val has no image of cat"):
        train_ab_split.only_classes(own, [0])


def test_val_is_upscaled_later_or_resized_as_train_is(tmp_path, shades, capsys):
    folder = shades(TRAIN | {"test/cat": [60]})
    Image.fromarray(np.full((20, 30), 140, np.uint8)).save(folder / "test" / "cat" / "large.png")
    (folder / "test").rename(folder / "val")
    own = load(folder, tmp_path, upscaled_later=True, image_size=64)
    assert own.test.images.shape == (2, 8, 8, 3) and own.train.images.shape[1:] == (8, 8, 3)
    assert "1 images were resized to 8x8." in capsys.readouterr().out


def test_test_images_that_are_in_train_or_val_are_counted_by_their_pixels(tmp_path, shades, capsys):
    inside = {"val/cat": [40, 41, 5], "test/cat": [3, 41, 60], "test/dog": [4, 100, 160, 161]}  # 4 is a cat in train
    folder = shades(TRAIN | inside)
    Image.fromarray(np.full((8, 8), 40, np.uint8)).save(folder / "test" / "cat" / "copy.bmp")  # another file, the same pixels
    Image.fromarray(np.full((8, 8), 60, np.uint8)).save(folder / "test" / "cat" / "again.png")  # twice in test
    load(folder, tmp_path, image_size=8)
    line = capsys.readouterr().out.splitlines()[1]
    assert line.startswith("Test images that are also in train: 3 of 9, in val: 2 of 9, pixel for pixel. They may")
    shutil.rmtree(folder / "val")
    load(folder, tmp_path, image_size=8, max_train_samples=38)  # what is not trained on does no harm
    counts = re.findall(r"(\d+) of 9", capsys.readouterr().out)
    assert sum(map(int, counts)) <= 3


@pytest.mark.parametrize("other_side", [1, 100, 300])
def test_a_side_that_shrinks_is_averaged_whatever_the_other_does(other_side):
    columns = np.random.default_rng(0).integers(0, 256, (896, 3), np.uint8)
    image = np.broadcast_to(columns, (other_side, 896, 3)).copy()  # stripes: the other side changes nothing
    expected = np.broadcast_to(columns.reshape(224, 4, 3).mean(axis=1), (224, 224, 3))
    assert np.abs(images.resize(image, 224) - expected).max() <= 0.5
    assert np.abs(images.resize(image.transpose(1, 0, 2), 224) - expected.transpose(1, 0, 2)).max() <= 0.5


PHOTO = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)


def between(image, size):
    """In grey 128, from this row and column on."""
    square = np.full((size, size, 3), 128, np.uint8)
    top, left = (size - image.shape[0]) // 2, (size - image.shape[1]) // 2
    square[top : top + image.shape[0], left : left + image.shape[1]] = image
    return square


@pytest.mark.parametrize("turn", [lambda image: image, lambda image: image.transpose(1, 0, 2)], ids=["wide", "tall"])
def test_photos_become_squares_as_by_hand(turn):
    def shrunk(image, *size):
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)

    def grown(image, *size):
        return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)

    for size, how, expected in (
        (4, "crop", PHOTO[:, 1:5]),
        (8, "crop", grown(PHOTO[:, 1:5], 8, 8)),
        (2, "crop", shrunk(PHOTO[:, 1:5], 2, 2)),
        (6, "pad", between(PHOTO, 6)),
        (9, "pad", between(grown(PHOTO, 9, 6), 9)),
        (3, "pad", between(shrunk(PHOTO, 3, 2), 3)),
        (3, "squeeze", shrunk(PHOTO, 3, 3)),
    ):
        assert np.abs(images.resize(turn(PHOTO), size, how).astype(int) - turn(expected)).max() <= 1, (size, how)
    assert (images.resize(turn(PHOTO[:, :5]), 4, "crop") == turn(PHOTO[:, :4])).all()
    assert (images.resize(turn(np.full((1, 900, 3), 7, np.uint8)), 4, "pad") == turn(between(np.full((1, 4, 3), 7), 4))).all()


def test_what_is_held_out_and_the_cache_go_by_the_file_and_the_resize(tmp_path, shades):
    folder = shades({"cat": range(20), "dog": range(100, 120)}, size=8)
    for path in folder.rglob("*.png"):
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (24, 8)))
    parts = {how: load(folder, tmp_path, image_size=8, resize=how) for how in ("squeeze", "crop", "pad", "squeeze")}
    assert len({part.fingerprint() for part in parts.values()}) == 1  # of the files' own pixels
    edges = {how: [*part.test.images[0, :, 4, 0]].count(128) for how, part in parts.items()}
    assert edges == {"squeeze": 0, "crop": 0, "pad": 5}


def test_damaged_images_are_left_out_if_that_is_asked_for_and_some_are_left(tmp_path, image_folder, capsys):
    folder = image_folder({"cat": 20, "dog": 20})
    for path in (bad := sorted((folder / "test" / "cat").iterdir())):
        path.write_bytes(b"text")
    own = load(folder, tmp_path, skip_damaged=True)
    assert len(own.test) == 20 and [path for path, _ in own.skipped] == [str(path) for path in bad]
    assert f"20 damaged images are left out: {bad[0]} is damaged, or not" in capsys.readouterr().out
    with pytest.raises(cli.InputError, match="and 15 more; replace such files, move them away, or leave them out with --skip"):
        load(folder, tmp_path)
    for path in (folder / "train" / "cat").iterdir():
        path.write_bytes(b"text")
    with pytest.raises(cli.InputError, match="cat holds no image that can be read"):
        load(folder, tmp_path, skip_damaged=True)


def test_an_image_that_could_not_be_read_once_is_read_again(tmp_path, image_folder, monkeypatch):
    folder = image_folder({"cat": 20, "dog": 20})
    with monkeypatch.context() as patch, pytest.raises(cli.InputError, match="007.png can't be read: Input/output error"):
        patch.setattr(files, "read", lambda path: failing(path) if "007" in str(path) else Path(path).read_bytes())
        load(folder, tmp_path)
    assert load(folder, tmp_path).fingerprint() == load(folder, tmp_path / "elsewhere").fingerprint()


def failing(path):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


SLOWLY = """
import sys, time
from pathlib import Path
from common.data import folders, images
decode = images._decode
images._decode = lambda path: (time.sleep(0.01), decode(path))[1]
folders.read_part(Path(sys.argv[1]), ("cat", "dog"), 32, sys.argv[2])
"""


def test_killed_while_images_are_read_it_goes_on_where_it_stopped(tmp_path, image_folder, monkeypatch):
    folder = image_folder({"cat": 150, "dog": 150}, parts=("train",)) / "train"
    expected = folders.read_part(folder, ("cat", "dog"), 32, tmp_path / "unbroken")
    arguments, kept = [sys.executable, "-c", SLOWLY, folder, tmp_path / "cache"], tmp_path / "cache" / "images"
    done, decoded, decode = 0, [], images._decode
    for at_least in (40, 120):
        with subprocess.Popen(arguments, cwd=ROOT) as process:
            while process.poll() is None and sum(path.stat().st_size for path in kept.glob("*")) < at_least * 32 * 32 * 3:
                time.sleep(0.01)
            process.kill()
        assert process.returncode == -signal.SIGKILL
        pixels, about = (path.stat().st_size for path in sorted(kept.iterdir(), key=lambda path: "about" in path.name))
        before, done = done, min((pixels - 128) // (32 * 32 * 3), (about - 128) // images.ABOUT.itemsize)
        assert before < done < 300
    monkeypatch.setattr(images, "_decode", lambda path: decoded.append(path) or decode(path))
    actual = folders.read_part(folder, ("cat", "dog"), 32, tmp_path / "cache")
    assert sorted(decoded) == sorted(expected[3])[done:]
    assert all(map(np.array_equal, actual, expected))
    for path in kept.iterdir():
        assert path.read_bytes() == (tmp_path / "unbroken" / "images" / path.name).read_bytes()


@pytest.mark.parametrize("script, bound", [("predict", "5000"), ("train_vgg19", None)])
def test_an_image_of_too_many_pixels_is_refused_whatever_was_imported_first(tmp_path, script, bound):
    width, height = (90, 60) if bound else (20_000, 6_000)
    Image.new("1", (width, height)).save(tmp_path / "large.png")
    code = f"import {script}; from common.data import images; images.read_image(r'{tmp_path / 'large.png'}')"
    environment = {name: value for name, value in os.environ.items() if name != "OPENCV_IO_MAX_IMAGE_PIXELS"}
    environment |= {"OPENCV_IO_MAX_IMAGE_PIXELS": bound} if bound else {}
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    expected = f"large.png is larger than OPENCV_IO_MAX_IMAGE_PIXELS={bound or 100_000_000} allows"
    assert expected in ended.stderr.splitlines()[-1]
