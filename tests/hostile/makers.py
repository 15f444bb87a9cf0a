"""What the hostile tests are made of: images, damaged in many ways; data sets, archives and run folders of a few bytes."""

import hashlib
import io
import json
import os
import pickle
import shutil
import stat
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

import train_ab_split
import train_efficientnetb7
import train_resnet152v2
import train_vgg19
import train_vgg19_finetune
from common import files
from common.data import cifar
from common.training import resume
from common.training.folder import script_version

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "plots" / "results"


SCRIPTS = {
    "ab_split": train_ab_split,
    "vgg19": train_vgg19,
    "vgg19_finetune": train_vgg19_finetune,
    "resnet152v2": train_resnet152v2,
    "efficientnetb7": train_efficientnetb7,
}
ESCAPE = "a\x1b[2Jb"  # clears a terminal


def command(script, data="absent", weights="none"):
    """A script's main and the flags it needs to get as far as its data."""
    own = ["--weights", str(weights)] if script != "ab_split" else ["--classes-b", "dog"] if data != "digits" else []
    return [SCRIPTS[script].main, "--data", str(data), *own, "--output-dir", "runs", "--cache-dir", "cache"]


def in_turn(cases):
    """`(script, case)` for each case: the scripts take turns."""
    names = list(SCRIPTS)
    return [(names[number % len(names)], case) for number, case in enumerate(cases)]


def state(folder):
    """What lies under a folder, without following links: by path its type, rights, and content or target."""
    found = {}
    for parent, folders, names in os.walk(folder):
        for path in (Path(parent) / name for name in (*folders, *names)):
            mode = path.lstat().st_mode
            content = path.readlink() if stat.S_ISLNK(mode) else path.lstat().st_size
            if stat.S_ISREG(mode) and content < 2**20:
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            found[path.relative_to(folder)] = (mode, content)
    return {path: value for path, value in found.items() if path.parts[0] != "cache"}


def picture(size=96, seed=0):
    """A photograph's likeness `(size, size, 3)`: a gradient with noise."""
    y, x = np.mgrid[:size, :size]
    noise = np.random.default_rng(seed).integers(0, 100, (size, size, 3))
    return (np.stack([x * 2, y * 2, x * y // 36], -1) % 156 + noise).astype(np.uint8)


def encoded(file_format, image=None, **options):
    """An image file's content, written by Pillow."""
    image = picture() if image is None else image
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, file_format, **options)
    return buffer.getvalue()


def zeroed(content, start, count=40):
    """The content with some bytes set to zero."""
    return content[:start] + bytes(count) + content[start + count :]


def png_of_size(width, height):
    """A PNG that declares this size, and holds the pixels of a small one."""
    content = encoded("png", picture(8))
    header = b"IHDR" + struct.pack(">II", width, height) + content[24:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


def make_pictures(root, classes=("cat", "dog", "fox"), count=12, parts=("train", "test")):
    """A data set of small PNG files, all of them different."""
    for seed, folder in enumerate(root / part / name for part in parts for name in classes):
        folder.mkdir(parents=True)
        for number in range(count):
            (folder / f"{number}.png").write_bytes(encoded("png", picture(32, [seed, number])))
    return root


class _Python2(pickle._Pickler):
    """Writes bytes as Python 2, which made CIFAR-10's files, wrote its strings."""

    def _save_bytes(self, content):
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)

    dispatch = pickle._Pickler.dispatch | {bytes: _save_bytes}


def batch(labels=(0, 1, 2, 3), data=None, **others):
    """A batch of CIFAR-10's python version, pickled."""
    data, file = np.zeros((4, 3072), np.uint8) if data is None else data, io.BytesIO()
    named = {"data": data, "labels": list(labels), **others}
    _Python2(file, protocol=2).dump({name.encode(): value for name, value in named.items()})
    return file.getvalue().replace(b"numpy._core", b"numpy.core")  # as NumPy 1 called it


def batches(**changes):
    """The six batches by name; `changes` replace some, or leave them out where they are None."""
    whole = dict.fromkeys(cifar.VERSIONS["cifar10"].files, batch()) | changes
    return {name: content for name, content in whole.items() if content is not None}


def make_batches(folder, **changes):
    """The python version's folder."""
    folder.mkdir(parents=True)
    for name, content in batches(**changes).items():
        (folder / name).write_bytes(content)
    return folder


def make_finished(folder, experiment="resnet152v2", name="control", **changes):
    """A copy of a published run; `changes` are of its results.json."""
    shutil.copytree(PUBLISHED / experiment / name, folder)
    if changes:
        change_json(folder / "results.json", **changes)
    return folder


def make_unfinished(folder, script="ab_split", **changes):
    """A run folder that `--resume` takes, as far as it is looked at before the data is read; `changes` are of args.json."""
    parsed = SCRIPTS[script].parse_args(command(script, "digits")[1:])
    (folder / "checkpoint").mkdir(parents=True)
    files.write_json(folder / "args.json", resume.stored_form(parsed) | changes)
    files.write_json(folder / "environment.json", {"packages": {}, "git_commit": None})
    made_of = {"experiment": script, "script": script_version(script), "data": "", "weights": None, "backend": "jax"}
    files.write_json(folder / "checkpoint" / "made_of.json", made_of)
    return folder


def change_json(path, **changes):
    """Change entries of a JSON file; NaN may be among them."""
    path.write_text(json.dumps(files.read_json(path) | changes))


def holds(name, content):
    """Damage to a run folder: a file of it holds this, text or bytes."""
    return lambda run: (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def in_place(name, make):
    """Damage to a run folder: something else is in the place of a file."""
    return lambda run: ((run / name).unlink(), make(run / name))
