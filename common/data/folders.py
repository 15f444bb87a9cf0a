"""Folders of images: `train/<class>/*`, `val/<class>/*` and `test/<class>/*`, as ImageNet has them, or just `<class>/*`.

The decoded images are kept in one file, whose name is a hash of every image's path, size, times and inode. Images without
classes, for predict.py, come from any folder, glob or list.
"""

import glob
import hashlib
import os
import stat
from pathlib import Path

import numpy as np

from common.cli import InputError, listed, reason, shortened, tell
from common.data import images
from common.data.rows import IN_MEMORY, RowFile

VAL = ("val", "valid", "validation")  # what the val part is called
CACHE_VERSION = 3
# What Windows, macOS and network storage (Synology, QNAP) put into folders, in small letters.
BY_SYSTEMS = ("@eadir", "@recycle", "#recycle", "$recycle.bin", "__macosx", "desktop.ini", "lost+found", "thumbs.db")
BLOCK = 2**16  # bytes; no system allows as long a path


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


def read(root, class_names, image_size, cache_dir, upscaled_later=False):
    """Read all parts: train, val and test, each images, labels and digests, or None where there is no val or test; and notes.

    With `upscaled_later` square images of one size, if that is smaller, keep it. Raises ValueError as `read_part` does.
    """
    train_folder, val_folder, test_folder = parts(root)
    smaller = upscaled_later and _first_size(train_folder, class_names)
    for size in (smaller, image_size) if smaller and smaller < image_size else (image_size,):
        *train, _, num_resized = read_part(train_folder, class_names, size, cache_dir)
        if not num_resized:
            break
    read, image_size = [train], size
    for folder in (val_folder, test_folder):
        *part, _, more_resized = read_part(folder, class_names, image_size, cache_dir, True) if folder else (None, None, 0)
        read.append(part if folder else None)
        num_resized += more_resized
    notes = [f"{num_resized} images were resized to {image_size}x{image_size}."] if num_resized else []
    if val_folder:
        notes.append(f"{val_folder} is used as val; none is held out from train/.")
    elif test_folder and test_folder.name != "test":
        notes.append(f"{root} has no test/: {test_folder.name}/ is used as test, and val is held out from train/.")
    return *read, notes


def read_part(folder, class_names, image_size, cache_dir, may_lack_classes=False):
    """Read all images of one part. Every class needs some, except in val and test, which `may_lack_classes`.

    Returns images `(n, image_size, image_size, 3)` uint8 RGB, `Rows` or an array, in the order of class and file name, labels
    `(n,)` int64, the `images.digests` of the images before resizing, the paths, and the number of images that were resized.
    Decoded images are kept under `cache_dir`, and a killed reading goes on where it stopped. Raises ValueError, naming the
    files that can't be read, and for none.
    """
    paths, labels, fingerprint = list_files(folder, class_names, may_lack_classes)
    cache, key = Path(cache_dir) / "images", f"{fingerprint}-{image_size}-v{CACHE_VERSION}"
    pixels = RowFile(cache / f"{key}.npy", (len(paths), image_size, image_size, 3), np.uint8)
    about = RowFile(cache / f"{key}-about.npy", (len(paths),), images.ABOUT)
    try:
        _complete(pixels, about, paths, f"reading {folder}")
        read = pixels.load(), about.load()[:]
    except OSError as error:  # it costs only time, where the images fit into memory
        images.need_memory(len(paths), image_size)
        tell(f"the decoded images can't be kept in {cache} ({reason(error)}): the next run reads them again")
        chunks = images.read_images(paths, image_size, f"reading {folder}")
        read = tuple(map(np.concatenate, zip(*chunks, strict=True)))
    return read[0], labels, read[1]["digest"], paths, int(read[1]["is_resized"].sum())


def _complete(pixels, about, paths, title):
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
        for images_of_chunk, about_chunk in images.read_images(paths[done:], pixels.shape[1], title):
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


def find_images(argument, complain, left_out):
    """Paths, as text, of the images that an argument means: a file, all images under a folder, a glob; sorted.

    Hidden files and folders are passed over. Other files of a folder, and links to folders, which aren't followed, are left out
    and counted in `left_out`, a Counter, by their ending. `complain` is called with a line for an argument that means no image,
    and for a folder that can't be listed.
    """
    if os.path.isdir(argument):  # noqa: PTH112
        paths = _under(argument, complain, left_out)
    else:
        paths = [argument] if os.path.lexists(argument) else sorted(glob.glob(argument, recursive=True))  # noqa: PTH207
    if not paths:
        complain(f"{argument}: no such image, or no {', '.join(images.EXTENSIONS)} file in that folder")
    return paths


def paths_from(stream):
    """Yield the paths, as text, of a binary stream with one a line, or with NULs between them if it begins so.

    Read as they come: the stream may never end. Raises InputError for what is no list of paths.
    """
    separator, rest = None, b""
    while block := stream.read1(BLOCK):
        rest += block
        if separator is None and (b"\0" in rest or b"\n" in rest):
            separator = b"\0" if b"\0" in rest else b"\n"
        *paths, rest = rest.split(separator) if separator else [rest]
        if len(rest) > BLOCK:
            raise InputError(f"a path on stdin has over {BLOCK:,} bytes; give one path a line, or NULs between them")
        yield from _decoded(paths, separator)
    yield from _decoded([rest], separator)


def _decoded(paths, separator):
    end = b"" if separator == b"\0" else b"\r"  # of a list made on Windows
    return [os.fsdecode(path.removesuffix(end)) for path in paths if path.removesuffix(end)]


def _first_size(folder, class_names):
    """The edge of the first image of one part, where that is a square; None also where it can't be read."""
    try:
        height, width = images.read_image(list_files(folder, class_names[:1], False)[0][0]).shape[:2]
    except ValueError:  # then all such files are named later
        return None
    return height if height == width else None


def _subfolders(folder):
    return [entry.name for entry in _scan(folder) if entry.is_dir()]


def _scan(folder):
    """The entries of a folder that are not hidden, by name."""
    return sorted((entry for entry in os.scandir(folder) if not _is_hidden(entry.name)), key=lambda entry: entry.name)


def _is_hidden(name):
    """Whether a file or folder of this name is passed over: hidden, or put there by a system."""
    return name.startswith(".") or name.lower() in BY_SYSTEMS


def _under(folder, complain, left_out):
    found = []
    for parent, folders, names in os.walk(folder, onerror=lambda error: complain(f"{error.filename}: {reason(error)}")):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        left_out["linked folders"] += sum(os.path.islink(os.path.join(parent, name)) for name in folders)  # noqa: PTH114, PTH118
        for name in names:
            if name.lower().endswith(images.EXTENSIONS) and not _is_hidden(name):
                found.append(os.path.join(parent, name))  # noqa: PTH118
            elif not _is_hidden(name):
                left_out[shortened(os.path.splitext(name)[1].lower()) or "without ending"] += 1  # noqa: PTH122
    return sorted(found, key=lambda path: path.split(os.sep))  # noqa: PTH206  Path.parts takes three times as long
