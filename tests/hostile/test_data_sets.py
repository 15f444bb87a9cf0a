"""Folders of images, and what lies in them, that can't be used."""

import os
import shutil
import socket

import pytest
from makers import ESCAPE, command, encoded, in_turn, make_batches, make_finished, make_pictures, picture

import compare
import make_plots
import predict

ENDLESS = "/dev/zero"


def write(path, content=b"text"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def listen(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)


def leave_one(root, name="dog"):
    shutil.rmtree(root / "train" / "cat")
    shutil.rmtree(root / "train" / "fox")
    move(root / "train" / "dog", name)


def move(path, other):
    shutil.move(path, path.with_name(other))


CAT, OF_CAT = "train/cat", "train/cat/x.png"
CHANGES = {  # of a data set in `pictures`, and a word of the line
    "missing": (shutil.rmtree, "--data pictures"),
    "empty": (lambda root: (shutil.rmtree(root), root.mkdir()), "--data pictures"),
    "empty train": (lambda root: (shutil.rmtree(root / "train"), (root / "train").mkdir()), "--data pictures"),
    "a file": (lambda root: (shutil.rmtree(root), root.touch()), "--data pictures"),
    "one class": (leave_one, "dog"),
    "one class and a hidden one": (lambda root: (leave_one(root), (root / "train/.cat").mkdir()), "dog"),
    "an unknown test class": (lambda root: (root / "test" / "wolf").mkdir(), "wolf"),
    "5,000 unknown test classes": (lambda root: [(root / "test" / f"{n:05}").mkdir() for n in range(5000)], "00000"),
    "an unknown test class with an escape": (lambda root: (root / "test" / ESCAPE).mkdir(), "[2Jb"),
    "an unknown test class with two lines": (lambda root: (root / "test" / "wolf\n2").mkdir(), "wolf"),
    "one class with an escape": (lambda root: leave_one(root, ESCAPE), "[2Jb"),
    "an empty class": (lambda root: (root / "train" / "wolf").mkdir(), "wolf"),
    "an empty class of 250 letters": (lambda root: (root / "train" / ("x" * 250)).mkdir(), "xxx"),
    "an empty test part": (lambda root: [path.unlink() for path in root.glob("test/*/*")], "test/"),
    "a val that is a file": (lambda root: (root / "val").touch(), "pictures/val"),
    "an empty val": (lambda root: (root / "val").mkdir(), "val/"),
    "an empty val without test": (lambda root: (shutil.rmtree(root / "test"), (root / "val").mkdir()), "val/"),
    "a val without class folders": (lambda root: write(root / "val" / "0.png", encoded("png", picture(32))), "val/"),
    "an unknown val class": (lambda root: (root / "val" / "wolf").mkdir(parents=True), "wolf"),
    "an unknown val class with an escape": (lambda root: (root / "valid" / ESCAPE).mkdir(parents=True), "[2Jb"),
    "a damaged image in val": (lambda root: write(root / "val/cat/x.png"), "val/cat/x.png"),
    "a text file in val": (lambda root: write(root / "validation/cat/notes.txt"), "notes.txt"),
    "val and validation": (lambda root: [(root / name).mkdir() for name in ("val", "validation")], "pictures/validation"),
    "val links to itself": (lambda root: (root / "val").symlink_to("val"), "pictures/val"),
    "val links to nothing": (lambda root: (root / "val").symlink_to("nothing"), "pictures/val"),
    "val a FIFO": (lambda root: os.mkfifo(root / "val"), "pictures/val"),
    "test links to nothing": (lambda root: (shutil.rmtree(root / "test"), (root / "test").symlink_to("x")), "pictures/test"),
    "hidden files only": (lambda root: [move(path, f".{path.name}") for path in (root / CAT).iterdir()], "train/cat"),
    "a text file": (lambda root: write(root / "train/cat/notes.txt"), "notes.txt"),
    "an AVIF": (lambda root: write(root / "train/cat/x.avif", encoded("avif")), "x.avif"),
    "a text file with an escape": (lambda root: write(root / f"train/cat/{ESCAPE}.txt"), "[2Jb"),
    "a damaged image with an escape": (lambda root: write(root / f"train/cat/{ESCAPE}.png"), "[2Jb"),
    "a damaged image with two lines": (lambda root: write(root / "train/cat/one\ntwo.png"), "two.png"),
    "a damaged image with a carriage return": (lambda root: write(root / "train/cat/one\rtwo.png"), "two.png"),
    "a damaged image in no encoding": (lambda root: write(root / os.fsdecode(b"train/cat/\xff.png")), ".png"),
    "a damaged image from right to left": (lambda root: write(root / "train/cat/\u202egnp.png"), "gnp.png"),
    "a damaged image of 250 letters": (lambda root: write(root / f"train/cat/{'x' * 250}.png"), ".png"),
    "a folder in a class": (lambda root: (root / OF_CAT).mkdir(), OF_CAT),
    "a FIFO": (lambda root: os.mkfifo(root / OF_CAT), OF_CAT),
    "a socket": (lambda root: (os.chdir(root / CAT), listen(root / OF_CAT), os.chdir(root.parent)), OF_CAT),
    "a device": (lambda root: (root / OF_CAT).symlink_to(ENDLESS), OF_CAT),
    "a link to a file without an end": (lambda root: (root / OF_CAT).symlink_to("/proc/kmsg"), OF_CAT),
    "a link to itself": (lambda root: (root / OF_CAT).symlink_to("x.png"), OF_CAT),
    "a link to nothing": (lambda root: (root / OF_CAT).symlink_to("nothing.png"), OF_CAT),
    "a link to its folder": (lambda root: (root / OF_CAT).symlink_to("."), OF_CAT),
    "a class that links to itself": (lambda root: (root / "train/wolf").symlink_to("wolf"), "pictures"),
    "a class that is a FIFO": (lambda root: (leave_one(root), os.mkfifo(root / CAT)), "dog"),
    "train links to itself": (lambda root: (shutil.rmtree(root / "train"), (root / "train").symlink_to("train")), "pictures"),
    "the whole links to itself": (lambda root: (shutil.rmtree(root), root.symlink_to("pictures")), "--data pictures"),
    "the whole is a FIFO": (lambda root: (shutil.rmtree(root), os.mkfifo(root)), "--data pictures"),
    "the whole is a device": (lambda root: (shutil.rmtree(root), root.symlink_to(ENDLESS)), "--data pictures"),
    "one image a class": (lambda root: [path.unlink() for path in root.glob("train/*/[1-9].png")], "--validation-split"),
    "many other files": (lambda root: [write(root / f"train/{n}/x.txt") for n in ("cat", "dog", "fox")], "fox/x.txt is not"),
    "train as a class": (lambda root: [shutil.move(path, root) for path in root.glob("train/*")], "as in train/train/*.png"),
}  # fmt: skip


@pytest.mark.parametrize("script, case", in_turn(CHANGES))
def test_a_data_set_that_can_not_be_used(refused, tmp_path, script, case):
    change, name = CHANGES[case]
    change(make_pictures(tmp_path / "pictures"))
    refused(*command(script, "pictures"), names=[name])


def test_a_class_of_many_is_looked_for_in_one_line(refused, tmp_path):
    make_pictures(tmp_path / "pictures", [f"a class of a long name, {number:04}" for number in range(1000)], 1, ["train"])
    refused(*command("ab_split", "pictures"), "--classes-b", "tiger", names=["--classes-b tiger"])


def test_all_classes_of_many_are_left_to_b_in_one_line(refused, tmp_path):
    names = [f"{ESCAPE}{number}" for number in range(500)]
    make_pictures(tmp_path / "pictures", names, 1, ["train"])
    refused(*command("ab_split", "pictures"), "--classes-b", *names, names=["--classes-b"])


def make_everything(folder):
    """A data set, weights, a run and an image, and a folder `closed` that holds them too."""
    closed = folder / "closed"
    for place in (folder, closed):
        make_pictures(place / "pictures", parts=("train", "val", "test"))
        make_batches(place / "batches")
        write(place / "model.h5", b"\x89HDF\r\n\x1a\n" + bytes(100))
        write(place / "x.png", encoded("png", picture(32)))
        write(make_finished(place / "run") / "model.keras")
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


MAY_NOT = {  # what is closed, to which rights, and the arguments that lead there
    "data under a closed folder": ("closed", 0o000, command("vgg19", "closed/pictures"), "--data"),
    "data in a closed folder": ("pictures", 0o000, command("resnet152v2", "pictures"), "--data"),
    "a closed train": ("pictures/train", 0o000, command("ab_split", "pictures"), "pictures"),
    "a closed class": ("pictures/train/cat", 0o000, command("ab_split", "pictures"), "train/cat"),
    "a class that may be listed but not entered": ("pictures/train/cat", 0o444, command("vgg19", "pictures"), "train/cat"),
    "a closed val": ("pictures/val", 0o000, command("resnet152v2", "pictures"), "pictures/val"),
    "a closed class of val": ("pictures/val/cat", 0o000, command("vgg19", "pictures"), "val/cat"),
    "an image of val that may not be read": ("pictures/val/cat/0.png", 0o000, command("ab_split", "pictures"), "val/cat/0.png"),
    "a train that may be listed but not entered": ("pictures/train", 0o444, command("vgg19", "pictures"), "pictures"),
    "an image that may not be read": ("pictures/train/cat/0.png", 0o000, command("vgg19", "pictures"), "train/cat/0.png"),
    "batches in a closed folder": ("batches", 0o000, command("ab_split", "batches"), "--data"),
    "a batch that may not be read": ("batches/data_batch_2", 0o000, command("ab_split", "batches"), "data_batch_2"),
    "weights under a closed folder": ("closed", 0o000, command("vgg19", weights="closed/model.h5"), "--weights"),
    "weights of a run under a closed folder": ("closed", 0o000, command("vgg19", weights="closed/run"), "--weights"),
    "weights that may not be read": ("model.h5", 0o000, command("resnet152v2", weights="model.h5"), "--weights"),
    "a run to resume under a closed folder": ("closed", 0o000, [*command("vgg19")[:1], "--resume", "closed/run"], "--resume"),
    "predict under a closed folder": ("closed", 0o000, [predict.main, "closed/run", "x.png"], "closed/run"),
    "predict an image under a closed folder": ("closed", 0o000, [predict.main, "run", "closed/x.png"], "closed/x.png"),
    "predict an image that may not be read": ("x.png", 0o000, [predict.main, "run", "x.png"], "x.png"),
    "predict with scores that may not be read": ("run/results.json", 0o000, [predict.main, "run", "x.png"], "results.json"),
    "compare under a closed folder": ("closed", 0o000, [compare.main, "closed/run", "--no-figure"], "closed/run"),
    "compare with scores that may not be read": ("run/results.json", 0o000, [compare.main, "run", "--no-figure"], "run"),
    "compare a run that may be listed but not entered": ("run", 0o444, [compare.main, "run", "--no-figure"], "run"),
    "publish under a closed folder": ("closed", 0o000, [make_plots.main, "closed/run"], "closed/run"),
    "publish a history that may not be read": ("run/history.csv", 0o000, [make_plots.main, "run"], "history.csv"),
}  # fmt: skip


@pytest.mark.parametrize("case", MAY_NOT)
def test_what_one_may_not_enter_or_read(refused, common_folder, as_nobody, monkeypatch, case):
    place, rights, (main, *arguments), name = MAY_NOT[case]
    make_everything(common_folder)
    monkeypatch.chdir(common_folder)
    (common_folder / place).chmod(rights)
    refused(as_nobody(main), *arguments, names=[name], folder=common_folder)
    (common_folder / place).chmod(0o755)
