"""Folders of images, `train/<class>/*` and `test/<class>/*` or just `<class>/*`, as torchvision's ImageFolder has them.

Files are PNG, JPEG, WebP or BMP of any size. OpenCV reads them as RGB, grey images and alpha channels included. The decoded
images are cached in one file, whose name is a hash of every image's path, size and modification time.
"""

import hashlib
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from common.cli import InputError
from common.files import whole

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
DESKTOP_FILES = ("thumbs.db", "desktop.ini")
CACHE_VERSION = 1
CHUNK = 256  # images per task of a thread

# Errors are ours to report. OpenCV 5 has moved the function; 0 is LOG_LEVEL_SILENT in both.
(cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel)(0)


def parts(root):
    """The folder with the training classes and the one with the test classes, or None where there is no `test/`."""
    if not (root / "train").is_dir():
        return root, None
    return root / "train", root / "test" if (root / "test").is_dir() else None


def class_names(root):
    """Names of the class folders, sorted, which gives each class its number. Raises InputError for fewer than two."""
    train, test = parts(root)
    try:
        names, names_of_test = _subfolders(train), _subfolders(test) if test else []
    except OSError as error:
        raise InputError(f"--data {root} can't be read: {error.strerror}") from error
    if len(names) < 2:
        content = f"one class only, {names[0]}" if names else "no class folders"
        raise InputError(f"--data {root}: {train} holds {content}; two or more are needed, as in train/<class>/*.png")
    unknown = sorted(set(names_of_test) - set(names))
    if unknown:
        raise InputError(f"--data {root}: test/ has classes that train/ lacks: {', '.join(unknown)}")
    return tuple(names)


def read_part(folder, class_names, image_size, cache_dir, may_lack_classes=False):
    """Read all images of one part, `train` or `test`. Every class needs some, except in a test part, which `may_lack_classes`.

    Returns images `(n, image_size, image_size, 3)` uint8 RGB in the order of class and file name, labels `(n,)` int64 and
    the number of images that were resized. Raises InputError, naming the first file that can't be read.
    """
    files, labels, fingerprint = _list_files(folder, class_names, may_lack_classes)
    cache = Path(cache_dir) / "pictures" / f"{fingerprint}-{image_size}-v{CACHE_VERSION}.npz"
    if cache.exists():
        try:
            with np.load(cache) as stored:
                images, num_resized = stored["images"], int(stored["num_resized"])
            if images.shape == (len(files), image_size, image_size, 3) and images.dtype == np.uint8:
                return images, labels, num_resized
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            pass
        print(f"{cache} is damaged: reading the images again")

    images = np.empty((len(files), image_size, image_size, 3), np.uint8)

    def read(start):
        num_resized = 0
        for index in range(start, min(start + CHUNK, len(files))):
            image = read_image(files[index])
            num_resized += image.shape[:2] != (image_size, image_size)
            images[index] = resize(image, image_size)
        return num_resized

    bar = tqdm(total=len(files), desc=f"reading {folder}", unit=" images", disable=None, leave=False)
    num_resized = 0
    with bar, ThreadPoolExecutor(os.cpu_count()) as pool:  # OpenCV releases the GIL while it decodes
        try:
            for count in pool.map(read, range(0, len(files), CHUNK)):
                num_resized += count
                bar.update(CHUNK)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    _store(cache, images=images, num_resized=np.int64(num_resized))
    return images, labels, num_resized


def first_size(folder, class_names):
    """Height and width of the first image of one part."""
    return read_image(_list_files(folder, class_names[:1], False)[0][0]).shape[:2]


def read_image(path):
    """An image file as `(h, w, 3)` uint8 RGB, without alpha. Raises InputError, naming the file and what is wrong."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from error
    if _is_cut_off(content):
        raise InputError(f"{path} is cut off: its end is missing")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB) if content else None
    except cv2.error:
        image = None
    if image is None:
        raise InputError(f"{path} is not a readable image ({', '.join(e[1:].upper() for e in EXTENSIONS)})")
    return image


def resize(image, image_size):
    """An image `(h, w, c)` uint8 resized to a square: by `cv2.INTER_AREA` to shrink, by `cv2.INTER_CUBIC` to enlarge."""
    if image.shape[:2] == (image_size, image_size):
        return image
    shrinks = image_size < max(image.shape[:2])
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(image, (image_size, image_size), interpolation=interpolation)


def _subfolders(folder):
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def _is_cut_off(content):
    """Whether a PNG or JPEG lacks its end. OpenCV decodes half a JPEG without an error, and libpng complains on stderr."""
    if content.startswith(b"\x89PNG"):
        return b"IEND\xaeB`\x82" not in content
    if not content.startswith(b"\xff\xd8"):
        return False
    place = 2  # skip the segments, which may hold a thumbnail, up to the start of the scan (FF DA)
    while content[place : place + 1] == b"\xff" and content[place + 1 : place + 2] != b"\xda":
        place += 2 + int.from_bytes(content[place + 2 : place + 4])
    return content.find(b"\xff\xd9", place) < 0


def _list_files(folder, class_names, may_lack_classes):
    """Paths and labels of one part, and a hash of every image's path, size and modification time."""
    files, labels, fingerprint = [], [], hashlib.sha256(os.fsencode(Path(folder).resolve()))
    for label, name in enumerate(class_names):
        before = len(files)
        try:
            entries = list(os.scandir(folder / name)) if (folder / name).is_dir() else ()
        except OSError as error:
            raise InputError(f"{error.filename} can't be read: {error.strerror}") from error
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith(".") or entry.name.lower() in DESKTOP_FILES:
                continue
            if not entry.name.lower().endswith(EXTENSIONS) or not entry.is_file():
                allowed = ", ".join(EXTENSIONS)
                raise InputError(f"{entry.path} is not an image; a class folder holds only {allowed} files: move it away")
            status = entry.stat()
            fingerprint.update(os.fsencode(f"{name}/{entry.name}\0{status.st_size}\0{status.st_mtime_ns}\n"))
            files.append(entry.path)
            labels.append(label)
        if len(files) == before and not may_lack_classes:
            raise InputError(f"{folder / name} holds no images; add some, or remove the folder")
    return files, np.array(labels, np.int64), fingerprint.hexdigest()[:20]


def _store(path, **arrays):
    """Write the cache file. A cache directory that can't be written to costs only time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as part:
            np.savez(part, **arrays)
    except OSError as error:
        print(f"the decoded images could not be cached in {path.parent} ({error.strerror}): the next run reads them again")
