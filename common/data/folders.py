"""Folders of images: `train/<class>/*`, `val/<class>/*` and `test/<class>/*`, as ImageNet has them, or just `<class>/*`.

The decoded images are cached in one file, whose name is a hash of every image's path, size, times and inode.
"""

import contextlib
import hashlib
import os
import stat
from pathlib import Path

import numpy as np

from common import files
from common.cli import InputError, listed, reason, tell
from common.data import images
from common.data.paths import is_hidden

VAL = ("val", "valid", "validation")  # what the val part is called
CACHE_VERSION = 2


def parts(root):
    """The folders of train, val and test. The latter two are None where there are none; `val/` without `test/` is test.

    Raises InputError for several of `VAL`, and for a part that is no folder.
    """
    if files.kind(root / "train", "--data") != "folder":
        return root, None, None
    val, test = ([root / name for name in names if os.path.lexists(root / name)] for names in (VAL, ("test",)))
    if len(val) > 1:
        raise InputError(f"--data {root}: {val[0]} and {val[1]} would both be val; leave one of them")
    for folder in (*val, *test):
        if files.kind(folder, "--data") != "folder":
            raise InputError(f"--data {root}: {folder} is no folder; move it away, or put images there, in <class>/*")
    return root / "train", val[0] if val and test else None, (test or val or [None])[0]


def class_names(root, at_least=2):
    """Names of the class folders, sorted, which gives each class its number. Raises InputError for fewer than `at_least`."""
    train, *others = parts(root)
    names = _subfolders(train)
    if len(names) < at_least:
        content, needed = f"one class only, {names[0]}" if names else "no class folders", ("one", "two")[at_least - 1]
        is_class = train != root and set(_subfolders(root)) - {"train", "test", *VAL}
        way_out = "; if train is a class, move all classes into a new train/, as in train/train/*.png" if is_class else ""
        raise InputError(
            f"--data {root}: {train} holds {content}; {needed} or more are needed, as in train/<class>/*.png{way_out}"
        )
    if strange := [name for name in names if name.encode(errors="replace").decode() != name]:
        raise InputError(f"--data {root}: the name of {train / strange[0]} is not UTF-8; rename it")
    for part in filter(None, others):
        if unknown := sorted(set(_subfolders(part)) - set(names)):
            raise InputError(f"--data {root}: {part.name}/ has classes that train/ lacks: {', '.join(unknown)}")
    return tuple(names)


def read(root, class_names, image_size, cache_dir, upscaled_later=False):
    """Read all parts: train, val and test, each images, labels and digests, or None where there is no val or test; and notes.

    With `upscaled_later` square images of one size, if that is smaller, keep it. Raises InputError as `read_part` does.
    """
    train_folder, val_folder, test_folder = parts(root)
    train, height, width = None, image_size, image_size
    if upscaled_later:
        with contextlib.suppress(InputError):  # the first one can't be read: then all such files are named below
            height, width = first_size(train_folder, class_names)
    if height == width < image_size and (train := read_part(train_folder, class_names, height, cache_dir, of_one_size=True)):
        image_size = height
    *train, num_resized = train or read_part(train_folder, class_names, image_size, cache_dir)
    read = [train]
    for folder in (val_folder, test_folder):
        if folder is None:
            read.append(None)
            continue
        *part, more_resized = read_part(folder, class_names, image_size, cache_dir, may_lack_classes=True)
        num_resized += more_resized
        read.append(part)
        if not len(part[1]):
            raise InputError(f"--data {root}: {folder.name}/ holds no images in class folders; fill it, or move it away")
    notes = [f"{num_resized} images were resized to {image_size}x{image_size}."] if num_resized else []
    if val_folder:
        notes.append(f"{val_folder} is used as val; --validation-split is not used.")
    elif test_folder and test_folder.name != "test":
        notes.append(f"{root} has no test/: {test_folder.name}/ is used as test, and val is held out from train/.")
    return *read, notes


def read_part(folder, class_names, image_size, cache_dir, may_lack_classes=False, of_one_size=False):
    """Read all images of one part. Every class needs some, except in val and test, which `may_lack_classes`.

    Returns images `(n, image_size, image_size, 3)` uint8 RGB in the order of class and file name, labels `(n,)` int64, the
    `images.digests` of the images before resizing, and the number of images that were resized; with `of_one_size` None
    where there are any. Raises InputError, naming the files that can't be read.
    """
    paths, labels, fingerprint = list_files(folder, class_names, may_lack_classes)
    cache = Path(cache_dir) / "pictures" / f"{fingerprint}-{image_size}-v{CACHE_VERSION}.npz"
    if os.path.lexists(cache):
        try:
            stored, counts = files.read_arrays(cache), range(len(paths) + 1)
            pixels, digests, num_resized = stored["images"], stored["digests"], int(stored["num_resized"])
            if (
                pixels.shape == (*labels.shape, image_size, image_size, 3)
                and (digests.shape, digests.dtype) == (labels.shape, "S16")
                and pixels.dtype == np.uint8
                and num_resized in counts
            ):
                return None if of_one_size and num_resized else (pixels, labels, digests, num_resized)
        except (OSError, ValueError, KeyError, TypeError):
            pass
        tell(f"{cache} is damaged: reading the images again")
    if (read := images.read_images(paths, image_size, f"reading {folder}", of_one_size)) is None:
        return None
    pixels, digests, num_resized = read
    _store(cache, images=pixels, digests=digests, num_resized=np.int64(num_resized))
    return pixels, labels, digests, num_resized


def first_size(folder, class_names):
    """Height and width of the first image of one part."""
    return images.read_image(list_files(folder, class_names[:1], False)[0][0]).shape[:2]


def _subfolders(folder):
    return [entry.name for entry in _scan(folder) if files.kind(entry.path, "--data") == "folder"]


def _scan(folder):
    """The entries of a folder that are not hidden, by name. Raises InputError where it can't be listed."""
    try:
        return sorted((entry for entry in os.scandir(folder) if not is_hidden(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"--data: {folder} can't be read: {reason(error)}; give a folder that can") from error


def list_files(folder, class_names, may_lack_classes):
    """Paths and labels of one part, and a hash of every image's path, size, times and inode.

    Raises InputError, naming what a class folder holds that is no image, and for a class without images, unless a part
    `may_lack_classes`.
    """
    paths, labels, strange, fingerprint = [], [], [], hashlib.sha256(os.fsencode(Path(folder).resolve()))
    for label, name in enumerate(class_names):
        before = len(paths) + len(strange)
        entries = _scan(folder / name) if files.kind(folder / name, "--data") == "folder" else ()
        for entry in entries:
            try:
                status = entry.stat()
            except OSError as error:  # a link to nothing or to itself, a folder that may be listed but not entered
                strange.append(f"{entry.path} can't be read: {reason(error)}")
                continue
            if not entry.name.lower().endswith(images.EXTENSIONS) or not stat.S_ISREG(status.st_mode):
                strange.append(f"{entry.path} is not an image")
                continue
            state = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
            fingerprint.update(os.fsencode(f"{name}/{entry.name}\0{state}\n"))
            paths.append(entry.path)
            labels.append(label)
        if len(paths) + len(strange) == before and not may_lack_classes:
            raise InputError(f"{folder / name} holds no images; add some, or remove the folder")
    if strange:
        allowed = ", ".join(images.EXTENSIONS)
        raise InputError(f"{listed(strange)}; a class folder holds only {allowed} files: move others away")
    return paths, np.array(labels, np.int64), fingerprint.hexdigest()[:20]


def _store(path, **arrays):
    """Write the cache file. A cache directory that can't be written to costs only time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.whole(path) as part:
            np.savez(part, **arrays)
    except OSError as error:
        tell(f"the decoded images could not be cached in {path.parent} ({reason(error)}): the next run reads them again")
