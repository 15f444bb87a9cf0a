"""Paths of images without classes, for predict.py: from any folder, glob or list."""

import glob
import os

from common.cli import InputError, reason, shortened
from common.data import images
from common.data.folders import is_hidden

BLOCK = 2**16  # bytes; no system allows as long a path


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


def _under(folder, complain, left_out):
    found = []
    for parent, folders, names in os.walk(folder, onerror=lambda error: complain(f"{error.filename}: {reason(error)}")):
        folders[:] = [name for name in folders if not is_hidden(name)]
        left_out["linked folders"] += sum(os.path.islink(os.path.join(parent, name)) for name in folders)  # noqa: PTH114, PTH118
        for name in names:
            if name.lower().endswith(images.EXTENSIONS) and not is_hidden(name):
                found.append(os.path.join(parent, name))  # noqa: PTH118
            elif not is_hidden(name):
                left_out[shortened(os.path.splitext(name)[1].lower()) or "without ending"] += 1  # noqa: PTH122
    return sorted(found, key=lambda path: path.split(os.sep))  # noqa: PTH206  Path.parts takes three times as long
