"""What is asked of the answer to bad input: one line that names it, and that can be shown anywhere."""

import contextlib
import os
import re
import resource
import tempfile
import unicodedata
from pathlib import Path

MEMORY = 3 * 2**30
LINE, WORD = 1500, 80  # the longest line, and the longest word of the input in it


def check_line(text, *names):
    """One line that can be shown anywhere, and holds these words."""
    assert text.endswith("\n") and text.count("\n") == 1, text[:2000]
    line = text[:-1]
    assert not has_control(line), ascii(line)
    assert "Traceback" not in line
    assert len(line) <= LINE
    assert max(map(len, re.split(r"[\s/]+", line))) <= WORD, line
    for name in names:
        assert str(name) in line, (name, line)


def has_control(text):
    """Whether there is a character that a terminal obeys, a table's line breaks excepted."""
    return any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in text.replace("\n", ""))


@contextlib.contextmanager
def little_memory():
    """At most 3 GiB more than now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else None
    before = resource.getrlimit(resource.RLIMIT_AS)
    if pages:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextlib.contextmanager
def descriptor_2():
    """Gives a list that will hold what was written to file descriptor 2, past `sys.stderr`."""
    before, written = os.dup(2), []
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield written
        finally:
            os.dup2(before, 2)
            os.close(before)
            file.seek(0)
            written.append(file.read().decode(errors="replace"))
