"""How a script speaks and ends: one line for an error, exit codes, Ctrl-C, SIGTERM, SIGHUP, and text that is safe to print.

Standard library only, so that `--help` and a mistyped flag are answered at once.
"""

import contextlib
import errno
import os
import re
import signal
import sys
from pathlib import Path

EXIT_DONE, EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED, EXIT_PIPE_CLOSED, EXIT_TERMINATED = 0, 1, 2, 130, 141, 143
# Errors of the machine, not of what the user gave.
OF_THE_MACHINE = (errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC)
OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "OOM when allocating", "out of memory", "can't allocate memory", "failed to map segment")
MAX_WORD, MAX_LINE = 80, 1400  # characters of a message

leave = sys.exit  # how `run` exits; one of several processes has its own way
run_folder = None  # of the run under way, which `--resume` continues
own_flags = ()  # of the program under way
stopped_by = None  # what a signal that has come during `fit` raises: KeyboardInterrupt or Terminated

_ends_steps = False


class InputError(ValueError):
    """The user's input can't be used. The message is one line: what was given, what is allowed, what to do."""


class TrainingError(RuntimeError):
    """Training can't continue, because the loss became NaN. The message is one line and names the phase and the epoch."""


class ExportError(RuntimeError):
    """A model can't be exported, or gives other numbers then. The message is one line."""


class Finished(Exception):  # noqa: N818  not an error
    """`--resume` names a finished run. The message is one line, the exit code 0."""


class Terminated(BaseException):  # noqa: N818  like KeyboardInterrupt
    """SIGTERM, as `kill`, SLURM and `docker stop` send it, or SIGHUP, as a closed terminal does."""


def run(main):
    """Call a script's `main()` and exit.

    0 done, 1 training, an export or the machine failed, 2 unusable input, 130 Ctrl-C, 141 nobody reads the output any more
    (silent), 143 SIGTERM or SIGHUP. An error is one line on stderr, without a traceback; only an error in this code has one.
    """
    global run_folder, stopped_by
    run_folder, stopped_by = None, None
    _make_streams_safe()
    before, results = catch_signals(), None
    try:
        results = main()
        sys.stdout.flush()
    except Finished as message:
        tell(message)
    except BaseException as error:
        _give_up_stdout_if_unusable()
        message, code = _ending(error)
        if message:
            print(f"{Path(sys.argv[0]).name}: error: {one_line(message)}", file=sys.stderr)
        (leave_at_once if is_out_of_memory(error) else leave)(code)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    leave(EXIT_INTERRUPTED if isinstance(results, dict) and results.get("status") == "interrupted" else EXIT_DONE)


def leave_at_once(code):
    """Exit without an orderly end, which may wait for ever: for a backend without memory, or for a process that is lost."""
    sys.stdout.flush()
    os._exit(code)


def tell(*lines, file=None):
    """Print lines, at once. What a folder, a class or a run is called can neither break a line nor reach the terminal."""
    for line in lines:
        print(printable(str(line)), file=file, flush=True)


def among_own_flags(*names):
    """Those of these flags that the program under way has, for advice: `--a or --b`; empty where it has none."""
    return " or ".join(name for name in names if name in own_flags)


def printable(text):
    r"""Text with its control characters escaped, line breaks too, as in `\x1b` and `\n`; letters of any language stay."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def one_line(message):
    """A message that can be printed: without control characters, long words shortened, as a line of bounded length."""
    line = re.sub(rf"[^\s/]{{{MAX_WORD + 1},}}", lambda word: shortened(word[0]), printable(str(message)))
    return line if len(line) <= MAX_LINE else f"{line[: MAX_LINE - 505]} ... {line[-500:]}"


def shortened(text, length=60):
    """Text of at most `length` characters: of a longer one its beginning and its end."""
    end = min(15, length // 3)
    return text if len(text) <= length else f"{text[: length - end - 3]}...{text[-end:]}"


def listed(items, count=None, separator="; "):
    """The first five of some texts in one, and how many more there are: of `count`, where `items` are only the first ones."""
    more = (count or len(items)) - 5
    return separator.join([*items[:5], *([f"and {more:,} more"] if more > 0 else [])])


def reason(error):
    """What an error says, in one line of at most 200 characters: the system's words where it has any."""
    message = getattr(error, "strerror", None) or re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # Keras's have bold words
    return shortened(" ".join(message.split()) or type(error).__name__, 200)


@contextlib.contextmanager
def blaming(flag):
    """Inside, a ValueError becomes an InputError that begins with this flag; an InputError, which names one, stays as it is."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{flag}: {error}") from error


@contextlib.contextmanager
def ending_steps():
    """Inside, a signal only sets `stopped_by`: who trains must look at it after each step, and raise that.

    Raised at once, Ctrl-C could be lost: on JAX, Keras catches everything where it waits for the logs of a step.
    """
    global _ends_steps, stopped_by
    _ends_steps = True
    try:
        yield
    finally:
        _ends_steps = False
        error, stopped_by = stopped_by, None
        if error:
            raise error


def catch_signals():
    """Let Ctrl-C raise KeyboardInterrupt, SIGTERM and SIGHUP Terminated, but a second Ctrl-C or SIGTERM end at once.

    What the process was started to ignore, as by `nohup`, stays ignored. Returns what handled each signal before, a dict.
    """
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has two
    return {number: signal.signal(number, _on_signal) for number in numbers if signal.getsignal(number) is not signal.SIG_IGN}


def is_out_of_memory(error):
    """Whether an error means that memory ran out: Python's own, or one in the words of TensorFlow, JAX or torch."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY)


def _on_signal(number, frame):
    global stopped_by
    is_hangup = number not in (signal.SIGINT, signal.SIGTERM)  # a closed terminal sends several of these
    signal.signal(number, signal.SIG_IGN if is_hangup else signal.SIG_DFL)
    for descriptor in (1, 2) if is_hangup else ():
        try:
            os.write(descriptor, b"")
        except OSError:  # the terminal is gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    error = KeyboardInterrupt if number == signal.SIGINT else Terminated
    if not _ends_steps:
        raise error
    stopped_by = stopped_by if stopped_by is Terminated else error
    if error is KeyboardInterrupt:
        with contextlib.suppress(OSError):
            os.write(2, b"\nCtrl-C: training ends after this step; once more ends the process at once\n")


def _ending(error):
    """The message and the exit code for what ended `main`. Raises the error where it is one in this code."""
    resume = f"; --resume {run_folder} continues the run" if run_folder and os.path.isdir(run_folder) else ""  # noqa: PTH112
    if isinstance(error, (InputError, TrainingError, ExportError)):
        return str(error), EXIT_BAD_INPUT if isinstance(error, InputError) else EXIT_FAILED
    if isinstance(error, (KeyboardInterrupt, Terminated)):
        word, code = ("terminated", EXIT_TERMINATED) if isinstance(error, Terminated) else ("interrupted", EXIT_INTERRUPTED)
        return f"{word}{resume}", code
    if isinstance(error, BrokenPipeError):
        return "", EXIT_PIPE_CLOSED
    if is_out_of_memory(error):
        smaller = "" if isinstance(error, ImportError) else among_own_flags("--batch-size", "--image-size")
        advice = f"give a smaller {smaller}" if smaller else "free some, or use a machine that has more"
        return f"out of memory ({reason(error)}): {advice}", EXIT_FAILED
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("common"):
        return f"{error.name} is not installed: python -m pip install -r requirements.txt", EXIT_FAILED
    if isinstance(error, OSError):
        what = f"{error.filename}: " if error.filename else ""
        is_input = not run_folder and error.errno not in OF_THE_MACHINE
        return f"{what}{reason(error)}{resume}", EXIT_BAD_INPUT if is_input else EXIT_FAILED
    raise error


def _make_streams_safe():
    """A closed stdout or stderr discards what is written; characters that the terminal lacks are escaped."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123  for as long as the process lives
        with contextlib.suppress(AttributeError):  # a stream of a test's
            getattr(sys, name).reconfigure(errors="backslashreplace")


def _give_up_stdout_if_unusable():
    """Where stdout can't be written to, Python would complain once more when it exits."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
