"""What the fuzz tests draw: damaged bytes, odd JSON values, changed documents; and what every reader is held to meanwhile."""

import contextlib
import copy
import io
import json
import signal

from contract import descriptor_2, has_control, little_memory
from hypothesis import strategies as st

from common.cli import one_line

SECONDS = 20  # of one example
NUMBERS = (0, 1, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1)  # where formats break
ODD_WORDS = (
    "",
    ".",
    "..",
    "/",
    "a/b",
    "\0",
    "a\x1b[2Jb",
    "a\nb",
    "\u202eb",
    "=1+1",
    "|",
    "nan",
    "1e999",
    "1_0",
    "٣",
    "x" * 5000,
)
ODD_NUMBERS = (-1, 0, 1, 0.5, True, 2**31, 2**53, 10**17, -0.0, 1e-320, 1e15, 1e300)


@contextlib.contextmanager
def contained():
    """Inside, a reader has little time and memory, and prints nothing but plain lines on stdout; gives the text, a StringIO."""

    def end(*_):
        raise AssertionError(f"not done after {SECONDS} s")  # no OSError, which the readers catch

    before, out = signal.signal(signal.SIGALRM, end), io.StringIO()
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with little_memory(), descriptor_2() as written, contextlib.redirect_stdout(out):
            yield out
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert "".join(written) == ""
    assert not has_control(out.getvalue()), ascii(out.getvalue())


def is_plain_line(text):
    """Whether text, or an error as `cli.run` shows it, is one line that can be shown and written anywhere."""
    line = one_line(text) if isinstance(text, Exception) else text
    return "\n" not in line and not has_control(line)


@st.composite
def damaged(draw, originals):
    """One of some files' contents after one to four changes: bytes flipped, cut out, put in, copied from elsewhere."""
    content = draw(st.sampled_from(originals))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        match draw(st.sampled_from(("set", "flip", "number", "insert", "remove", "cut", "copy", "zero"))):
            case "set":
                content = _put(content, at, draw(st.binary(min_size=1, max_size=4)))
            case "flip":
                content = _put(content, at, bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in content[at : at + 1]))
            case "number":
                order, size = draw(st.sampled_from(("big", "little"))), draw(st.sampled_from((2, 4, 8)))
                number = draw(st.sampled_from(NUMBERS)) % 256**size
                content = _put(content, at, number.to_bytes(size, order))
            case "insert":
                content = content[:at] + draw(st.binary(min_size=1, max_size=16)) + content[at:]
            case "remove":
                content = content[:at] + content[at + draw(st.integers(1, 64)) :]
            case "cut":
                content = content[:at]
            case "copy":
                source = draw(st.integers(0, len(content)))
                content = _put(content, at, content[source : source + draw(st.integers(1, 64))])
            case "zero":
                content = _put(content, at, bytes(draw(st.integers(1, 64))))
    return content


def _put(content, at, new):
    return content[:at] + new + content[at + len(new) :]


words = st.one_of(st.text(max_size=12), st.sampled_from(ODD_WORDS), st.sampled_from(("\ud800", "a\udcffb")))
numbers = st.one_of(st.integers(-5, 5), st.sampled_from(ODD_NUMBERS), st.integers(), st.floats())
scalars = st.one_of(st.none(), st.booleans(), numbers, words)
values = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(words, inner, max_size=4)), max_leaves=8
)


def places(document, path=()):
    """The paths to everything in a JSON document but itself."""
    items = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


@st.composite
def changed(draw, document, values=values):
    """A JSON document after one to three changes: a value replaced, taken from elsewhere, left out, added."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        paths = list(places(document))
        if not paths:
            break
        *way, last = draw(st.sampled_from(paths))
        parent = at(document, way)
        kind = draw(st.sampled_from(("replace", "replace", "replace", "nudge", "move", "remove", "add")))
        if kind == "remove":
            del parent[last]
        elif kind == "move":
            parent[last] = copy.deepcopy(at(document, draw(st.sampled_from(paths))))
        elif kind == "nudge" and type(parent[last]) in (int, float):
            parent[last] += draw(st.sampled_from((-1, 1, 0.5, 1e-9)))
        elif kind == "add" and isinstance(parent, dict):
            parent[draw(words)] = draw(values)
        else:
            parent[last] = draw(values)
    return document


def at(document, path):
    """What lies at a path in a JSON document."""
    for key in path:
        document = document[key]
    return document


def as_json(document):
    """JSON as Python writes it, where NaN and infinity are words."""
    return json.dumps(document).encode()


def documents(document, values=values):
    """The content of a file that held this JSON document: the document changed, other values, or its bytes damaged."""
    whole = as_json(document)
    return st.one_of(changed(document, values).map(as_json), values.map(as_json), damaged([whole, whole, b"[" * 100_000]))
