"""predict.py: three forms, paths on stdin, any number of images, the resizing of training; a tiny model, not trained."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from keras import layers

import predict
from common import cli, files
from common.data import dataset, folders, images
from common.results import predictions

ROOT = Path(__file__).parents[2]
CLASS_NAMES = ("cat", "path", "class", "=1+cmd")
SIZE = 16
SIZES = ((16, 16), (40, 40), (64, 48), (12, 30), (9, 9), (16, 20), (100, 31), (5, 64))
UNSHOWABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    middle = [layers.Rescaling(1 / 255), layers.Conv2D(8, 3, strides=2, activation="relu"), layers.Flatten()]
    return keras.Sequential([keras.Input((SIZE, SIZE, 3)), *middle, layers.Dense(len(CLASS_NAMES), activation="softmax")])


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    """A run folder, as far as predict.py reads it."""
    folder = tmp_path_factory.mktemp("run")
    model.save(folder / "model.keras")
    published = files.read_json(ROOT / "plots" / "results" / "resnet152v2" / "control" / "results.json")
    files.write_json(folder / "results.json", published | {"class_names": CLASS_NAMES, "image_size": SIZE})
    return folder


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def on_stdin(monkeypatch):
    def put(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return put


def picture(seed, height=SIZE, width=SIZE):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def write_picture(path, seed, height=SIZE, width=SIZE):
    """A PNG of any name, also of one that OpenCV can't write."""
    content = cv2.imencode(".png", picture(seed, height, width)[..., ::-1])[1].tobytes()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content)
    return str(path)


def expected(model, seeds):
    return model.predict(np.stack([picture(seed) for seed in seeds]), verbose=0)


def shares(rows):
    return np.array([list(row["probabilities"].values()) for row in rows])


def test_json_and_csv_hold_the_models_probabilities_unrounded(run, model, call):
    paths = [write_picture(f"{number}.png", number) for number in range(70)]  # three batches, the last not full
    code, out, err = call(predict.main, run, *paths, "--json")
    rows = json.loads(out)
    assert (code, err) == (0, "") and [row["path"] for row in rows] == paths
    np.testing.assert_allclose(shares(rows), expected(model, range(70)), atol=1e-6)
    assert all(list(row) == ["path", "class", "probabilities"] for row in rows)
    assert all(row["class"] == max(row["probabilities"], key=row["probabilities"].get) for row in rows)
    code, out, err = call(predict.main, run, *paths, "--csv")
    assert (code, err) == (0, "") and out.count("\n") == 71
    table = list(csv.DictReader(io.StringIO(out)))
    assert list(table[0]) == ["path", "class", "p(cat)", "p(path)", "p(class)", "p(=1+cmd)"]
    for row, cells in zip(rows, table, strict=True):
        assert (cells["path"], cells["class"].lstrip("'")) == (row["path"], row["class"])
        assert [float(cells[f"p({name})"]) for name in CLASS_NAMES] == list(row["probabilities"].values())


def test_text_shows_the_most_probable_first(run, model, call):
    (share,) = expected(model, [0])
    code, out, _ = call(predict.main, run, write_picture("a.png", 0), "--top", "2")
    assert code == 0 and out.splitlines()[1:3] == ["", "a.png"]
    found = [line.split()[:2] for line in out.splitlines()[3:]]
    assert found == [[CLASS_NAMES[number], f"{share[number]:.4f}"] for number in np.argsort(share)[::-1][:2]]


def test_images_of_any_shape_get_the_probabilities_that_training_would_give_them(run, model, call, tmp_path):
    names = ("cat", "dog")
    for number, (height, width) in enumerate(SIZES):
        write_picture(tmp_path / "data" / names[number % 2] / f"{number}.png", number, height, width)
    pixels, *_, num_resized = folders.read_part(tmp_path / "data", names, SIZE, tmp_path / "cache")
    code, out, err = call(predict.main, run, "data", "--json")
    assert code == 0 and num_resized == len(SIZES) - 1
    rows = json.loads(out)
    assert [Path(row["path"]).stem for row in rows] == ["0", "2", "4", "6", "1", "3", "5", "7"]
    np.testing.assert_allclose(shares(rows), predictions.predict(model, pixels), atol=1e-6)
    samples = dataset.Samples(pixels, shares(rows).argmax(axis=1))  # scored as a run scores its test part
    assert predictions.score(model, pixels, samples, tuple(range(samples.labels.max() + 1))).results()["test_accuracy"] == 1
    assert err == "5 of 8 images are not square: squeezed, as in training\n"


def test_paths_on_stdin_in_any_bytes(run, model, call, on_stdin):
    names = [b"=1.png", b"a\nb.png", b"\xff\xfe.png", "Größe 猫.png".encode(), b"a\x1b[2Jb.png", b" x.png", b"a\rb.png"]
    paths = [os.fsdecode(name) for name in names]
    for seed, path in enumerate(paths):
        write_picture(path, seed)
    on_stdin(b"".join(name + b"\0" for name in names))
    code, out, err = call(predict.main, run, "-", "--json")
    rows = json.loads(out)
    assert (code, err) == (0, "") and [row["path"] for row in rows] == paths
    assert [os.fsencode(row["path"]) for row in rows] == names
    np.testing.assert_allclose(shares(rows), expected(model, range(len(names))), atol=1e-6)

    on_stdin(b"\0".join(names))  # none behind the last
    code, out, err = call(predict.main, run, "-", "--csv")
    assert (code, err) == (0, "") and not UNSHOWABLE.search(out)
    cells = [row["path"] for row in csv.DictReader(io.StringIO(out))]
    assert cells == ["./=1.png", r"a\nb.png", r"\udcff\udcfe.png", "Größe 猫.png", r"a\x1b[2Jb.png", " x.png", r"a\rb.png"]
    assert all(row["class"] == "'=1+cmd" or row["class"] in CLASS_NAMES[:3] for row in csv.DictReader(io.StringIO(out)))

    lines = [name for name in names if b"\n" not in name]
    for end in (b"\n", b"\r\n"):
        on_stdin(end.join([*lines, b"", lines[0]]))  # an empty line, and a path twice
        code, out, _ = call(predict.main, run, "-", "--json")
        assert code == 0 and [os.fsencode(row["path"]) for row in json.loads(out)] == [*lines, lines[0]]


class Endless(io.RawIOBase):
    """A list of one path that never ends, and how often it was read."""

    count = 0

    def read1(self, size):
        self.count += 1
        return b"a.png\n" * 10

    @property
    def buffer(self):
        return self


def test_ctrl_c_ends_in_one_line_and_closes_the_array(run, call, monkeypatch):
    class Interrupted(Endless):
        def read1(self, size):
            if self.count == 100:
                raise KeyboardInterrupt
            return super().read1(size)

    write_picture("a.png", 0)
    monkeypatch.setattr(sys, "stdin", Interrupted())
    code, out, err = call(predict.main, run, "-", "--json")
    assert code == cli.EXIT_INTERRUPTED and err == "script.py: error: interrupted\n"
    assert 0 < len(json.loads(out)) < 1000


@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_unreadable_images_are_named_at_once_and_the_others_predicted(run, call, form):
    good = [write_picture(f"photos/{number:03}.png", number) for number in range(0, 80, 2)]
    for number in range(1, 80, 2):
        Path(f"photos/{number:03}.png").write_bytes(b"text")
    code, out, err = call(predict.main, run, "photos", form)
    paths = [row["path"] for row in (json.loads(out) if form == "--json" else csv.DictReader(io.StringIO(out)))]
    assert code == 2 and paths == good
    *named, last = err.splitlines()
    assert [line.split()[1] for line in named] == [f"photos/{number:03}.png" for number in range(1, 80, 2)]
    assert "can't be read: 40;" in last and not UNSHOWABLE.search(err)


def test_the_array_is_closed_where_nothing_could_be_read(run, call, on_stdin, tmp_path):
    for words, stdin in ((["absent.png"], b""), (["-"], b""), (["-"], b"\0\n\0")):
        on_stdin(stdin)
        code, out, err = call(predict.main, run, *words, "--json")
        assert code == 2 and json.loads(out) == [] and "error:" in err
    Path("model.keras").write_text("no model")
    files.write_json("results.json", files.read_json(run / "results.json"))
    code, out, err = call(predict.main, tmp_path, write_picture("a.png", 0), "--json")
    assert code == 2 and json.loads(out) == [] and "can't be loaded" in err and err.count("\n") == 1


def test_a_model_that_predicts_nan_is_named(model, run, call, tmp_path):
    broken = keras.models.clone_model(model)
    broken.layers[-1].bias.assign([np.nan] * len(CLASS_NAMES))
    broken.save("broken.keras")
    code, out, err = call(predict.main, "broken.keras", write_picture("a.png", 0), "--json", "--classes", *CLASS_NAMES)
    assert code == 2 and json.loads(out) == [] and "broken.keras predicts nan" in err


def test_a_model_file_alone_needs_its_classes(run, model, call):
    path = write_picture("a.png", 0)
    code, out, err = call(predict.main, run / "model.keras", "--classes", "a", "b", "c", "d", "--json", "--", path)
    assert (code, err) == (0, "") and list(json.loads(out)[0]["probabilities"]) == ["a", "b", "c", "d"]
    for words, name in (
        (["--classes", "a", "b"], "4 outputs, and --classes names 2"),
        (["--classes", "a", "a"], "twice"),
    ):
        code, _, err = call(predict.main, run / "model.keras", path, *words)
        assert code == 2 and name in err and err.count("\n") == 1


def test_a_folder_holds_the_images_that_training_takes_and_counts_the_others(run, model, call, tmp_path):
    names = [f"photos/cat/{number:02}{ending.upper()}" for number, ending in enumerate(images.EXTENSIONS)]
    for path in [*names, "photos/cat/@eaDir/x.png", "photos/__MACOSX/x.png", "photos/cat/.x.avif", "photos/cat/Thumbs.db"]:
        write_picture(path, 1)
    assert folders.list_files(Path("photos"), ["cat"], False)[0] == names and folders._subfolders(Path("photos")) == ["cat"]
    for path in ("a.avif", "b.AVIF", "notes.txt", "README"):
        write_picture(f"photos/{path}", 2)
    Path("photos/linked").symlink_to(run)
    code, out, err = call(predict.main, run, "photos", "--json")
    assert code == 0 and [row["path"] for row in json.loads(out)] == names
    start, counts = err.rstrip().split(": ")
    assert start == "5 left out of folders, since they are not images"
    assert sorted(counts.split(", ")) == ["1 .txt", "1 linked folders", "1 without ending", "2 .avif"]


def test_folders_and_globs_are_sorted_without_hidden_files_and_each_image_counts_once(run, call):
    for path in ("b/10.png", "b/2.PNG", "b/.hidden.png", "b/.git/x.png", "b/deep/a.png", "b/note.txt", "c.png"):
        write_picture(path, 0)
    code, out, _ = call(predict.main, run, "c.png", "b", "b/10.png", "*.png", "--json")
    assert code == 0
    assert [row["path"] for row in json.loads(out)] == ["c.png", "b/10.png", "b/2.PNG", "b/deep/a.png"]


def test_from_the_shell(run):
    """Descriptor 2 is held back while images are read: what is said meanwhile comes out, as do a squeeze and an error."""
    for seed in range(40):
        write_picture(f"{seed:02}.png", seed, height=20)
    Path("05.png").write_bytes(b"text")
    listed = "".join(f"{seed:02}.png\n" for seed in range(40))
    command = [sys.executable, str(ROOT / "predict.py"), str(run), "-", "--json"]
    ended = subprocess.run(command, input=listed, capture_output=True, text=True)
    assert ended.returncode == 2 and len(json.loads(ended.stdout)) == 39
    skipped, squeezed, last = ended.stderr.splitlines()
    assert skipped.startswith("skipped: 05.png is damaged") and "can't be read: 1;" in last
    assert squeezed == "39 of 39 images are not square: squeezed, as in training"


def test_features_are_what_comes_before_the_head(run, model, call):
    paths = [write_picture(f"photos/{name}/one.png", seed) for seed, name in enumerate(("cat", "dog"))]
    assert call(predict.main, run, "photos", "--features", "features.npz")[0] == 0
    stored, (kernel, bias) = np.load("features.npz"), model.layers[-1].get_weights()
    assert stored["paths"].tolist() == paths and stored["labels"].tolist() == ["cat", "dog"]
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(stored["features"] @ kernel + bias))
    np.testing.assert_allclose(probabilities, expected(model, (0, 1)), atol=1e-5)
    assert call(predict.main, run, "photos", "--features", "features.csv")[0] == 2
