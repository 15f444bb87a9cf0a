"""Paths of images: what the arguments of a command line mean, and lists of paths from another program."""

import glob
import os

from common import files
from common.cli import InputError, shortened
from common.data.images import EXTENSIONS

BLOCK = 2**16  # bytes; no system allows as long a path
# What Windows, macOS and network storage (Synology, QNAP) put into folders, in small letters.
BY_SYSTEMS = ("@eadir", "@recycle", "#recycle", "$recycle.bin", "__macosx", "desktop.ini", "lost+found", "thumbs.db")


def find(argument, complain, left_out):
    """Paths, as text, of the images that an argument means: a file, all images under a folder, a glob; sorted.

    Hidden files and folders are passed over. Other files of a folder, and links to folders, which aren't followed, are left out
    and counted in `left_out`, a Counter, by their ending. `complain` is called with a line for an argument that means no image,
    and for a folder that can't be listed.
    """
    try:
        kind = files.kind(argument, "IMAGE")
    except InputError as error:
        complain(str(error))
        return []
    if kind == "folder":
        paths = _under(argument, complain, left_out)
    else:
        paths = [argument] if kind else sorted(glob.glob(argument, recursive=True))  # noqa: PTH207  takes absolute ones
    if not paths:
        complain(f"{argument}: no such image, or no {', '.join(EXTENSIONS)} file in that folder")
    return paths


def is_hidden(name):
    """Whether a file or folder of this name is passed over: hidden, or put there by a system."""
    return name.startswith(".") or name.lower() in BY_SYSTEMS


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


def _under(folder, complain, left_out):
    found = []
    for parent, folders, names in os.walk(folder, onerror=lambda error: complain(_unlisted(error))):
        folders[:] = [name for name in folders if not is_hidden(name)]
        left_out["linked folders"] += sum(os.path.islink(os.path.join(parent, name)) for name in folders)  # noqa: PTH114, PTH118
        for name in names:
            if is_hidden(name):
                continue
            if name.lower().endswith(EXTENSIONS):
                found.append(os.path.join(parent, name))  # noqa: PTH118
            else:
                left_out[shortened(os.path.splitext(name)[1].lower()) or "without ending"] += 1  # noqa: PTH122
    return sorted(found, key=lambda path: path.split(os.sep))  # noqa: PTH206  Path.parts takes three times as long


def _unlisted(error):
    return f"{error.filename} can't be read: {error.strerror}; give a folder that can"
