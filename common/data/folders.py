"""Folders of images, `train/<class>/*` and `test/<class>/*` or just `<class>/*`, as torchvision's ImageFolder has them.

The decoded images are cached in one file, whose name is a hash of every image's path, size and modification time.
"""

import hashlib
import os
import stat
from pathlib import Path

import numpy as np

from common import files
from common.cli import InputError, reason, tell
from common.data import images

DESKTOP_FILES = ("thumbs.db", "desktop.ini")
CACHE_VERSION = 1


def parts(root):
    """The folder with the training classes and the one with the test classes, or None where there is no `test/`."""
    if files.kind(root / "train", "--data") != "folder":
        return root, None
    return root / "train", root / "test" if files.kind(root / "test", "--data") == "folder" else None


def class_names(root):
    """Names of the class folders, sorted, which gives each class its number. Raises InputError for fewer than two."""
    train, test = parts(root)
    names, names_of_test = _subfolders(train), _subfolders(test) if test else []
    if len(names) < 2:
        content = f"one class only, {names[0]}" if names else "no class folders"
        raise InputError(f"--data {root}: {train} holds {content}; two or more are needed, as in train/<class>/*.png")
    if strange := [name for name in names if name.encode(errors="replace").decode() != name]:
        raise InputError(f"--data {root}: the name of {train / strange[0]} is not UTF-8; rename it")
    unknown = sorted(set(names_of_test) - set(names))
    if unknown:
        raise InputError(f"--data {root}: test/ has classes that train/ lacks: {', '.join(unknown)}")
    return tuple(names)


def read_part(folder, class_names, image_size, cache_dir, may_lack_classes=False):
    """Read all images of one part, `train` or `test`. Every class needs some, except in a test part, which `may_lack_classes`.

    Returns images `(n, image_size, image_size, 3)` uint8 RGB in the order of class and file name, labels `(n,)` int64 and
    the number of images that were resized. Raises InputError, naming the first file that can't be read.
    """
    paths, labels, fingerprint = _list_files(folder, class_names, may_lack_classes)
    cache = Path(cache_dir) / "pictures" / f"{fingerprint}-{image_size}-v{CACHE_VERSION}.npz"
    if os.path.lexists(cache):
        try:
            stored, counts = files.read_arrays(cache), range(len(paths) + 1)
            pixels, num_resized = stored["images"], int(stored["num_resized"])
            if (
                pixels.shape == (*labels.shape, image_size, image_size, 3)
                and pixels.dtype == np.uint8
                and num_resized in counts
            ):
                return pixels, labels, num_resized
        except (OSError, ValueError, KeyError, TypeError):
            pass
        tell(f"{cache} is damaged: reading the images again")
    pixels, num_resized = images.read_images(paths, image_size, f"reading {folder}")
    _store(cache, images=pixels, num_resized=np.int64(num_resized))
    return pixels, labels, num_resized


def first_size(folder, class_names):
    """Height and width of the first image of one part."""
    return images.read_image(_list_files(folder, class_names[:1], False)[0][0]).shape[:2]


def _subfolders(folder):
    names = [entry.name for entry in _scan(folder) if not entry.name.startswith(".")]
    return [name for name in names if files.kind(folder / name, "--data") == "folder"]


def _scan(folder):
    """The entries of a folder, by name. Raises InputError where it can't be listed."""
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"--data: {folder} can't be read: {reason(error)}; give a folder that can") from error


def _list_files(folder, class_names, may_lack_classes):
    """Paths and labels of one part, and a hash of every image's path, size and modification time."""
    paths, labels, fingerprint = [], [], hashlib.sha256(os.fsencode(Path(folder).resolve()))
    for label, name in enumerate(class_names):
        before = len(paths)
        entries = _scan(folder / name) if files.kind(folder / name, "--data") == "folder" else ()
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower() in DESKTOP_FILES:
                continue
            try:
                status = entry.stat()
            except OSError as error:  # a link to nothing or to itself, a folder that may be listed but not entered
                raise InputError(f"{entry.path} can't be read: {reason(error)}; move it away") from error
            if not entry.name.lower().endswith(images.EXTENSIONS) or not stat.S_ISREG(status.st_mode):
                allowed = ", ".join(images.EXTENSIONS)
                raise InputError(f"{entry.path} is not an image; a class folder holds only {allowed} files: move it away")
            fingerprint.update(os.fsencode(f"{name}/{entry.name}\0{status.st_size}\0{status.st_mtime_ns}\n"))
            paths.append(entry.path)
            labels.append(label)
        if len(paths) == before and not may_lack_classes:
            raise InputError(f"{folder / name} holds no images; add some, or remove the folder")
    return paths, np.array(labels, np.int64), fingerprint.hexdigest()[:20]


def _store(path, **arrays):
    """Write the cache file. A cache directory that can't be written to costs only time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.whole(path) as part:
            np.savez(part, **arrays)
    except OSError as error:
        tell(f"the decoded images could not be cached in {path.parent} ({reason(error)}): the next run reads them again")
