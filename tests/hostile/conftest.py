"""What is asked of every bad input: exit code 2 and one line that names it; nothing changed, nothing left, nothing hangs."""

import contextlib
import os
import re
import resource
import signal
import tempfile
import unicodedata
from pathlib import Path

import pytest
from makers import state

from common import backend

SECONDS, MEMORY = 20, 3 * 2**30
LINE, WORD = 1500, 80  # the longest line, and the longest word of the input in it
NOBODY = 65534


@pytest.fixture(autouse=True)
def never_a_hang():
    def end(*_):
        raise TimeoutError(f"not done after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def watched(call, monkeypatch):
    """`watched(main, *arguments)`: `call` with little memory and without Keras; what reaches descriptor 2 is part of stderr."""
    monkeypatch.setattr(backend, "import_keras", lambda: pytest.fail("went on to Keras"))

    def run(main, *arguments):
        with little_memory(), descriptor_2() as written:
            try:
                code, out, err = call(main, *arguments)
            except UnicodeEncodeError as error:  # without the text, which would end pytest's own process too
                raise AssertionError(f"a name in no encoding was printed as it is: {error.reason}") from None
        return code, out, err + "".join(written)

    return run


@pytest.fixture
def refused(watched, tmp_path):
    """`refused(main, *arguments, names=words)`: bad input is answered as it should be, and the line holds these words."""

    def check(main, *arguments, names, folder=tmp_path):
        before = state(folder)
        code, out, err = watched(main, *arguments)
        check_line(err, *names)
        assert code == 2 and not has_control(out)
        assert state(folder) == before
        return err

    return check


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


@pytest.fixture
def common_folder():
    """A folder that everybody may enter, for `as_nobody`."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.fixture
def as_nobody(common_folder):
    """`as_nobody(main)`: main, as a user who is not root. The tests may be run by root, who may enter every folder."""

    def without_rights(main):
        def run():
            is_root = os.geteuid() == 0
            if is_root:
                os.seteuid(NOBODY)
            try:
                return main()
            finally:
                if is_root:
                    os.seteuid(0)

        return run

    return without_rights
