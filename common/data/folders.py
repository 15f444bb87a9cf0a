"""Folders of images: `train/<class>/*`, `val/<class>/*` and `test/<class>/*`, as ImageNet has them, or just `<class>/*`.

The decoded images are kept in one file, whose name is a hash of every image's path, size, times and inode.
"""

import hashlib
import os
import stat
from contextlib import suppress
from itertools import compress
from pathlib import Path

import numpy as np

from common.cli import listed, reason, tell
from common.data import images
from common.data.rows import IN_MEMORY, RowFile, Rows

VAL = ("val", "valid", "validation")  # what the val part is called
CACHE_VERSION = 4
# What Windows, macOS and network storage (Synology, QNAP) put into folders, in small letters.
BY_SYSTEMS = ("@eadir", "@recycle", "#recycle", "$recycle.bin", "__macosx", "desktop.ini", "lost+found", "thumbs.db")


def parts(root):
    """The folders of train, val and test. The latter two are None where there are none; `val/` without `test/` is test.

    Raises ValueError for several of `VAL`, and for a part that is no folder.
    """
    if not os.path.isdir(root / "train"):  # noqa: PTH112  Path.is_dir raises where the user may not look
        return root, None, None
    val, test = ([root / name for name in names if os.path.lexists(root / name)] for names in (VAL, ("test",)))
    if len(val) > 1:
        raise ValueError(f"{val[0]} and {val[1]} would both be val; leave one of them")
    if files := [path for path in (*val, *test) if not path.is_dir()]:
        raise ValueError(f"{files[0]} is no folder; move it away, or put images there, in <class>/*")
    return root / "train", val[0] if val and test else None, (test or val or [None])[0]


def class_names(root, at_least=2):
    """Names of the class folders, sorted, which gives each class its number. Raises ValueError for fewer than `at_least`."""
    train, *others = parts(root)
    names = _subfolders(train)
    if len(names) < at_least:
        content, needed = f"one class only, {names[0]}" if names else "no class folders", ("one", "two")[at_least - 1]
        raise ValueError(f"{train} holds {content}; {needed} or more are needed, as in train/<class>/*.png")
    if strange := [name for name in names if name.encode(errors="replace").decode() != name]:
        raise ValueError(f"the name of {train / strange[0]} is not UTF-8; rename it")
    for part in filter(None, others):
        if unknown := sorted(set(_subfolders(part)) - set(names)):
            raise ValueError(f"{part.name}/ has classes that train/ lacks: {listed(unknown, separator=', ')}")
    return tuple(names)


def read(root, class_names, image_size, cache_dir, upscaled_later=False, **reading):
    """Read all parts: train, val and test, each images, labels, digests and paths, or None where there is no val or test.

    Returns them, a list of notes for the user, and what was skipped, as `read_part` does, which gets `reading`. With
    `upscaled_later` square images of one size, if that is smaller, keep it. Raises ValueError as `read_part` does.
    """
    train_folder, val_folder, test_folder = parts(root)
    smaller = upscaled_later and _first_size(train_folder, class_names)
    for size in (smaller, image_size) if smaller and smaller < image_size else (image_size,):
        *train, skipped, num_resized = read_part(train_folder, class_names, size, cache_dir, **reading)
        if not num_resized:
            break
    read, image_size = [train], size
    for folder in (val_folder, test_folder):
        if not folder:
            read.append(None)
            continue
        *part, more_skipped, more_resized = read_part(folder, class_names, image_size, cache_dir, True, **reading)
        read.append(part)
        skipped, num_resized = skipped + more_skipped, num_resized + more_resized
    notes = [f"{num_resized} images were resized to {image_size}x{image_size}."] * bool(num_resized) + skipped_note(skipped)
    if val_folder:
        notes.append(f"{val_folder} is used as val; none is held out from train/.")
    elif test_folder and test_folder.name != "test":
        notes.append(f"{root} has no test/: {test_folder.name}/ is used as test, and val is held out from train/.")
    return *read, notes, skipped


def skipped_note(skipped):
    """A note, in a list, on the images that were skipped, see `read_part`; empty for none."""
    return [f"{len(skipped):,} damaged images are left out: {_named(skipped)}."] if skipped else []


def read_part(folder, class_names, image_size, cache_dir, may_lack_classes=False, how="squeeze", skip_damaged=False):
    """Read all images of one part. Every class needs some, except in val and test, which `may_lack_classes`.

    Returns images `(n, image_size, image_size, 3)` uint8 RGB, `Rows` or an array, in the order of class and file name, brought
    to squares by `how`, see `images.resize`; labels `(n,)` int64; the `images.digests` of the images before resizing; their
    paths; the path of each image that was skipped, with the reason; and the number of images that were resized. Decoded images
    are kept under `cache_dir`, and a killed reading goes on where it stopped. Raises ValueError for no images, and unless
    `skip_damaged` for images that can't be read, naming them.
    """
    paths, labels, fingerprint = list_files(folder, class_names, may_lack_classes)
    cache, key = Path(cache_dir) / "images", f"{fingerprint}-{image_size}-{how}-v{CACHE_VERSION}"
    pixels = RowFile(cache / f"{key}.npy", (len(paths), image_size, image_size, 3), np.uint8)
    about = RowFile(cache / f"{key}-about.npy", (len(paths),), images.ABOUT)
    try:
        _complete(pixels, about, paths, f"reading {folder}", how)
        squares, facts = pixels.load(), about.load()[:]
    except OSError as error:  # it costs only time, where the images fit into memory
        images.need_memory(len(paths), image_size)
        tell(f"the decoded images can't be kept in {cache} ({reason(error)}): the next run reads them again")
        chunks = images.read_images(paths, image_size, f"reading {folder}", how)
        squares, facts = map(np.concatenate, zip(*chunks, strict=True))
    is_good, skipped = ~facts["is_damaged"], []
    if not is_good.all():
        with images.reading_ahead(compress(paths, ~is_good), 1) as damaged:
            skipped = [(image.path, image.error and image.error.removeprefix(f"{image.path} ")) for image in damaged]
        if not all(why for _, why in skipped):  # the disk was at fault, or a bound that was raised since
            for file in (pixels, about):
                file.path.unlink(missing_ok=True)
            return read_part(folder, class_names, image_size, cache_dir, may_lack_classes, how, skip_damaged)
        if not skip_damaged:
            raise ValueError(f"{_named(skipped)}; replace such files, move them away, or leave them out with --skip-damaged")
        squares = squares.take(is_good) if isinstance(squares, Rows) else squares[is_good]
        paths, labels, facts = [*compress(paths, is_good)], labels[is_good], facts[is_good]
        lacking = [name for label, name in enumerate(class_names) if label not in labels]
        if lacking and not (may_lack_classes and paths):
            raise ValueError(f"{folder / lacking[0]} holds no image that can be read; add some, or remove the folder")
    return squares, labels, facts["digest"], np.array(paths, object), skipped, int(facts["is_resized"].sum())


def _named(skipped):
    return listed([f"{path} {why}" for path, why in skipped])


def _complete(pixels, about, paths, title, how):
    """Read the images that the files of `pixels` and `about` lack."""
    done = min(pixels.num_written(), about.num_written())
    if done == len(paths):
        return
    if pixels.num_bytes > IN_MEMORY:
        tell(f"{title}: {pixels.num_bytes / 1e9:.1f} GB of decoded images are kept in {pixels.path.parent}")
    if done:
        tell(f"{title}: {done:,} of {len(paths):,} images read in an earlier run")

    def read():
        start = done
        for images_of_chunk, about_chunk in images.read_images(paths[done:], pixels.shape[1], title, how):
            about.write(start, [about_chunk])
            start += len(about_chunk)
            yield images_of_chunk

    pixels.write(done, read())


def list_files(folder, class_names, may_lack_classes):
    """Paths and labels of one part, and a hash of every image's path, size, times and inode.

    Raises ValueError, naming what a class folder holds that is no image, and for a class without images, unless a part
    `may_lack_classes`.
    """
    paths, labels, strange, fingerprint = [], [], [], hashlib.sha256(os.fsencode(Path(folder).resolve()))
    for label, name in enumerate(class_names):
        before = len(paths) + len(strange)
        for entry in _scan(folder / name) if (folder / name).is_dir() else ():
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
            raise ValueError(f"{folder / name} holds no images; add some, or remove the folder")
    if strange:
        allowed = ", ".join(images.EXTENSIONS)
        raise ValueError(f"{listed(strange)}; a class folder holds only {allowed} files: move others away")
    if not paths:
        raise ValueError(f"{folder.name}/ holds no images in class folders; fill it, or move it away")
    return paths, np.array(labels, np.int64), fingerprint.hexdigest()[:20]


def _first_size(folder, class_names):
    """The edge of the first image of one part that can be read, where that is a square, else None."""
    with suppress(ValueError):  # which is raised again when all are read
        for path in list_files(folder, class_names[:1], False)[0]:
            with suppress(ValueError):
                height, width = images.read_image(path).shape[:2]
                return height if height == width else None
    return None


def _subfolders(folder):
    return [entry.name for entry in _scan(folder) if entry.is_dir()]


def _scan(folder):
    """The entries of a folder that are not hidden, by name."""
    return sorted((entry for entry in os.scandir(folder) if not is_hidden(entry.name)), key=lambda entry: entry.name)


def is_hidden(name):
    """Whether a file or folder of this name is passed over: hidden, or put there by a system."""
    return name.startswith(".") or name.lower() in BY_SYSTEMS
