"""Paths of images: what the arguments of a command line mean, and lists of paths from another program.

Standard library only.
"""

import glob
import os

from common import files
from common.cli import InputError

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
BLOCK = 2**16  # bytes; no system allows as long a path


def find(argument, complain):
    """Paths, as text, of the images that an argument means: a file, all images under a folder, a glob; sorted.

    Hidden files and folders are left out, links to folders aren't followed. `complain` is called with a line for an argument
    that means none, and for a folder that can't be listed.
    """
    try:
        kind = files.kind(argument, "IMAGE")
    except InputError as error:
        complain(str(error))
        return []
    if kind == "folder":
        paths = _under(argument, complain)
    else:
        paths = [argument] if kind else sorted(glob.glob(argument, recursive=True))  # noqa: PTH207  takes absolute ones
    if not paths:
        complain(f"{argument}: no such image, or no {', '.join(EXTENSIONS)} file in that folder")
    return paths


def listed(stream):
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
            raise InputError(f"-: a path on stdin has over {BLOCK:,} bytes; give one path a line, or NULs between them")
        yield from _decoded(paths, separator)
    yield from _decoded([rest], separator)


def _decoded(paths, separator):
    for path in paths:
        path = path if separator == b"\0" else path.removesuffix(b"\r")  # a list made on Windows
        if path:
            yield os.fsdecode(path)


def _under(folder, complain):
    found = []
    for parent, folders, names in os.walk(folder, onerror=lambda error: complain(_unlisted(error))):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [os.path.join(parent, name) for name in names if not name.startswith(".") and _is_image(name)]  # noqa: PTH118
    return sorted(found, key=lambda path: path.split(os.sep))  # noqa: PTH206  Path.parts takes three times as long


def _is_image(name):
    return name.lower().endswith(EXTENSIONS)


def _unlisted(error):
    return f"{error.filename} can't be read: {error.strerror}; give a folder that can"
