"""What the fuzz tests draw, damaged bytes, and what every reader is held to meanwhile."""

import contextlib
import io
import signal

from contract import descriptor_2, has_control, little_memory
from hypothesis import strategies as st

from common.cli import one_line

SECONDS = 20  # of one example
NUMBERS = (0, 1, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1)  # where formats break


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


def is_plain_line(error):
    """Whether an error as `cli.run` shows it is one line that can be shown and written anywhere."""
    return "\n" not in one_line(error) and not has_control(one_line(error))


@st.composite
def damaged(draw, originals):
    """One of some files' contents after one to four changes: bytes set, put in, cut out, copied from elsewhere."""
    content = draw(st.sampled_from(originals))
    for _ in range(draw(st.integers(1, 4))):
        at, source = (draw(st.integers(0, len(content))) for _ in range(2))
        size = draw(st.sampled_from((2, 4, 8)))
        number = draw(st.sampled_from(NUMBERS)) % 256**size
        new, replaced = draw(
            st.one_of(
                st.binary(min_size=1, max_size=4).map(lambda new: (new, len(new))),
                st.sampled_from(("big", "little")).map(lambda order: (number.to_bytes(size, order), size)),  # noqa: B023
                st.binary(min_size=1, max_size=16).map(lambda new: (new, 0)),
                st.one_of(st.integers(1, 64), st.just(len(content))).map(lambda count: (b"", count)),
                st.integers(1, 64).map(lambda count: (content[source : source + count], count)),  # noqa: B023
            )
        )
        content = content[:at] + new + content[at + replaced :]
    return content
