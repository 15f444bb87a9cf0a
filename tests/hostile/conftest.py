"""How bad input is tried: in a folder of its own, with little time and memory, without Keras; nothing may be changed by it."""

import os
import re
import signal
import tempfile
from pathlib import Path

import pytest
from contract import check_line, descriptor_2, has_control, little_memory
from makers import state

from common import backend, cli

SECONDS = 20
NOBODY = 65534


@pytest.fixture(autouse=True)
def never_a_hang():
    def end(*_):
        pytest.fail(f"not done after {SECONDS} s")  # no OSError, which the readers catch

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, SECONDS, SECONDS)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
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
        advised = re.findall(r"(?<![\w-])(?<!\.py )--[a-z][a-z-]*", err)
        assert all(flag in cli.own_flags or any(str(word).startswith(flag) for word in arguments) for flag in advised), err
        assert code == 2 and not has_control(out)
        assert state(folder) == before
        return err

    return check


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
