"""`--data` and `--weights` that can't be used, seen before anything is trained."""

import os
import shutil

import pytest
from makers import ESCAPE, command, encoded, in_turn, make_batches, make_finished, make_pictures, picture

import compare
import make_plots
import predict


def write(path, content=b"text"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


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
    "a file": (lambda root: (shutil.rmtree(root), root.touch()), "--data pictures"),
    "one class": (leave_one, "dog"),
    "an unknown test class": (lambda root: (root / "test" / "wolf").mkdir(), "wolf"),
    "an empty class": (lambda root: (root / "train" / "wolf").mkdir(), "wolf"),
    "an empty test part": (lambda root: [path.unlink() for path in root.glob("test/*/*")], "test/"),
    "an empty val without test": (lambda root: (shutil.rmtree(root / "test"), (root / "val").mkdir()), "val/"),
    "val and validation": (lambda root: [(root / name).mkdir() for name in ("val", "validation")], "pictures/validation"),
    "test links to nothing": (lambda root: (shutil.rmtree(root / "test"), (root / "test").symlink_to("x")), "pictures/test"),
    "a text file": (lambda root: write(root / "train/cat/notes.txt"), "notes.txt"),
    "a damaged image with an escape": (lambda root: write(root / f"train/cat/{ESCAPE}.png"), "[2Jb"),
    "a folder in a class": (lambda root: (root / OF_CAT).mkdir(), OF_CAT),
    "a FIFO": (lambda root: os.mkfifo(root / OF_CAT), OF_CAT),
    "a link to nothing": (lambda root: (root / OF_CAT).symlink_to("nothing.png"), OF_CAT),
    "the whole links to itself": (lambda root: (shutil.rmtree(root), root.symlink_to("pictures")), "--data pictures"),
    "one image a class": (lambda root: [path.unlink() for path in root.glob("train/*/[1-9].png")], "--validation-split"),
    "many other files": (lambda root: [write(root / f"train/{n}/x.txt") for n in ("cat", "dog", "fox")], "fox/x.txt is not"),
}  # fmt: skip


@pytest.mark.parametrize("script, case", in_turn(CHANGES))
def test_a_data_set_that_can_not_be_used(refused, tmp_path, script, case):
    change, name = CHANGES[case]
    change(make_pictures(tmp_path / "pictures"))
    refused(*command(script, "pictures"), names=[name])


BATCHES = {  # what becomes of CIFAR-10's python version
    "a batch is missing": lambda folder: (folder / "data_batch_4").unlink(),
    "a batch is a folder": lambda folder: ((folder / "data_batch_4").unlink(), (folder / "data_batch_4").mkdir()),
    "a batch of 100 GB of holes": lambda folder: os.truncate(folder / "data_batch_4", 10**11),
    "another archive": lambda folder: write(folder.with_name("batches.tar.gz"), b"\x1f\x8b\x08" + bytes(1000)),
    "an archive that is a FIFO": lambda folder: os.mkfifo(folder.with_name("batches.tar.gz")),
}


@pytest.mark.parametrize("script, case", in_turn(BATCHES))
def test_batches_that_can_not_be_used(refused, tmp_path, script, case):
    BATCHES[case](make_batches(tmp_path / "batches"))
    refused(*command(script, "batches.tar.gz" if "archive" in case else "batches"), names=["batches"])


def make_everything(folder):
    """A data set, weights, a run and an image, and a folder `closed` that holds them too."""
    closed = folder / "closed"
    for place in (folder, closed):
        make_pictures(place / "pictures", parts=("train", "val", "test"))
        make_batches(place / "batches")
        write(place / "model.h5", b"\x89HDF\r\n\x1a\n" + bytes(100))
        write(place / "x.png", encoded("png", picture(32)))
        write(make_finished(place / "run") / "model.keras")
        make_finished(place / "runs" / "vgg19" / "20261123-120000")
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


MAY_NOT = {  # what is closed, to which rights, and the arguments that lead there
    "data in a closed folder": ("pictures", 0o000, command("resnet152v2", "pictures"), "pictures"),
    "a closed class": ("pictures/train/cat", 0o000, command("ab_split", "pictures"), "train/cat"),
    "an image that may not be read": ("pictures/train/cat/0.png", 0o000, command("vgg19", "pictures"), "train/cat/0.png"),
    "batches in a closed folder": ("batches", 0o000, command("ab_split", "batches"), "batches"),
    "weights that may not be read": ("model.h5", 0o000, command("resnet152v2", weights="model.h5"), "--weights"),
    "a run to resume under a closed folder": ("closed", 0o000, [*command("vgg19")[:1], "--resume", "closed/run"], "--resume"),
    "predict under a closed folder": ("closed", 0o000, [predict.main, "closed/run", "x.png"], "closed/run"),
    "latest under a closed folder": ("runs", 0o000, [compare.main, "latest", "--no-figure"], "latest"),
    "predict an image that may not be read": ("x.png", 0o000, [predict.main, "run", "x.png"], "x.png"),
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


PAGE = b"<!DOCTYPE html><html><body>404</body></html>"
HDF5 = b"\x89HDF\r\n\x1a\n"


def named(name, content=b""):
    return lambda folder: (folder / name).write_bytes(content)


WEIGHTS = {
    "missing": ("nowhere.h5", lambda folder: None),
    "missing, with an escape": (f"{ESCAPE}.h5", lambda folder: None),
    "a name with a NUL": ("a\0b.h5", lambda folder: None),
    "no name": ("", lambda folder: None),
    "a folder without model.keras": ("run", lambda folder: (folder / "run").mkdir()),
    "a folder whose model.keras is a folder": ("run", lambda folder: (folder / "run" / "model.keras").mkdir(parents=True)),
    "an image": ("photo.png", named("photo.png", encoded("png"))),
    "a wrong extension": ("weights.pkl", named("weights.pkl", HDF5)),
    "a FIFO": ("x.h5", lambda folder: os.mkfifo("x.h5")),
    "a link to itself": ("x.h5", lambda folder: (folder / "x.h5").symlink_to("x.h5")),
    "empty": ("x.h5", named("x.h5")),
    "a web page": ("x.h5", named("x.h5", PAGE)),
    "a web page called a model": ("x.keras", named("x.keras", PAGE)),
    "a run with an empty model": ("run", lambda folder: ((folder / "run").mkdir(), (folder / "run" / "model.keras").touch())),
}  # fmt: skip


@pytest.mark.parametrize("script, case", [pair for pair in in_turn(list(WEIGHTS)) if pair[0] != "ab_split"])
def test_weights_that_are_none(refused, tmp_path, script, case):
    name, make = WEIGHTS[case]
    make(tmp_path)
    refused(*command(script, weights=name), names=["--weights"])
