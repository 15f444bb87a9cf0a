import argparse
import contextlib
import importlib
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import train_ab_split
from common import cli, flags

ROOT = Path(__file__).parents[1]
PROGRAMS = sorted(path.stem for path in ROOT.glob("*.py"))


DEFAULTS = {  # what every published run was made with, but for the flags in its command
    "data": "cifar10", "max_train_samples": None, "cache_dir": Path("cache"), "seed": 0, "amp": False, "devices": 1,
    "resume": None, "output_dir": Path("runs"), "name": None, "dry_run": False, "tensorboard": False,
}  # fmt: skip
WHERE_THERE_IS = {"weights": "imagenet", "interpolation": "bicubic", "views": 4, "no_cache": False, "unfreeze_last": 0}


@pytest.mark.parametrize("script", ["vgg19", "vgg19_finetune", "resnet152v2", "efficientnetb7", "ab_split"])
def test_defaults_stay_those_of_the_published_runs(script):
    args = vars(importlib.import_module(f"train_{script}").parse_args([]))
    expected = DEFAULTS | {name: value for name, value in WHERE_THERE_IS.items() if name in args}
    assert {name: args[name] for name in expected} == expected
    assert args["validation_split"] == (0.25 if script == "resnet152v2" else 0.1)
    with contextlib.nullcontext() if script == "ab_split" else pytest.raises(SystemExit):  # which needs no val part
        importlib.import_module(f"train_{script}").parse_args(["--validation-split", "0"])


LIMITS = [  # the type of a flag, the outermost words that it takes, and the next ones, which it does not
    (flags.positive_int, ["1", "1000000000"], ["0", "1000000001", "all", "1.5"]),
    (flags.at_least_two, ["2", "1000000000"], ["1", "1000000001"]),
    (flags.count, ["0", "1000000000"], ["-1", "1000000001"]),
    (flags.positive_int_or_all, ["1", "all"], ["0", "1000000001"]),
    (flags.count_or_all, ["0", "all"], ["-1", "ALL"]),
    (flags.seed, ["0", "2147483647"], ["-1", "2147483648"]),
    (flags.views, ["1", "1000"], ["0", "1001"]),
    (flags.image_edge, ["1", "8192"], ["0", "8193"]),
    (flags.positive_float, ["1e-9", "1e9", "1e38"], ["0", "1.1e38", "nan", "inf", "-1"]),
    (flags.open_fraction, ["1e-9", "0.999"], ["0", "1", "nan"]),
    (flags.fraction, ["0", "0.999"], ["-0.1", "1", "nan"]),
    (flags.share, ["0", "1"], ["-0.1", "1.1", "nan"]),
    (flags.run_name, ["x", "ä-1_2.", "x" * 60], ["", ".x", "x" * 61, "a b", "a/b"]),
]


@pytest.mark.parametrize("convert, taken, refused", LIMITS, ids=lambda value: getattr(value, "__name__", None))
def test_a_flag_takes_numbers_up_to_its_limits(convert, taken, refused):
    for word in taken:
        assert str(convert(word)) == word or convert(word) == float(word)
    for word in refused:
        with pytest.raises(argparse.ArgumentTypeError):
            convert(word)


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_flag_has_one_of_these_types(monkeypatch, program):
    """None takes a bare number: of a flag without a type the words are names, paths or choices."""
    monkeypatch.setattr(
        flags, "build_parser", lambda description, build=flags.build_parser: parsers.append(build(description)) or parsers[0]
    )
    parsers, script = [], importlib.import_module(program)
    with pytest.raises(SystemExit):
        script.parse_args(["--help"])
    for action in parsers[0]._actions:
        assert action.type in (None, Path, str.lower, *(row[0] for row in LIMITS)), action.option_strings
        assert action.type or not isinstance(action.default, (int, float)) or action.nargs == 0, action.option_strings


LIGHT = """
import sys, predict, compare, train_ab_split
heavy = lambda *others: sorted({"tensorflow", "keras.src", *others} & {*sys.modules})
train_ab_split.parse_args(["--epochs", "3"])
assert not heavy("sklearn", "matplotlib", "pandas", "scipy")
compare.main(["plots/results/resnet152v2/control", "--no-figure"])
assert not heavy("matplotlib")
import make_plots
compare.main(["plots/results/resnet152v2/control", "--figure", sys.argv[1]])
assert heavy("matplotlib") == ["matplotlib"]
"""


def test_arguments_are_checked_and_runs_compared_before_anything_heavy_is_imported(tmp_path):
    command = [sys.executable, "-c", LIGHT, tmp_path / "compare.png"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def fails_with(error, run_folder=None):
    def main():
        cli.run_folder = run_folder
        raise error

    return main


def test_exit_codes(call):
    assert call(lambda: {"status": "finished"})[0] == 0
    assert call(lambda: {"status": "interrupted"})[0] == 130
    assert call(fails_with(KeyboardInterrupt()))[0] == 130
    assert call(fails_with(cli.Terminated()))[0] == 143  # 128 and the number of SIGTERM
    assert call(fails_with(BrokenPipeError())) == (141, "", "")  # 128 and the number of SIGPIPE
    assert call(fails_with(cli.TrainingError("the loss became nan")))[0] == 1
    assert call(fails_with(cli.InputError("no such thing"))) == (2, "", "script.py: error: no such thing\n")
    assert call(fails_with(cli.Finished("r is finished"))) == (0, "r is finished\n", "")


OF_A_RUN = [  # what ends a run, its exit code before there is a folder and after, the words for it
    (FileNotFoundError(2, "No such file or directory", "a.png"), 2, 1, "a.png: No such file or directory"),
    (OSError(28, "No space left on device"), 1, 1, "No space left on device"),
    (KeyboardInterrupt(), 130, 130, "interrupted"),
    (cli.Terminated(), 143, 143, "terminated"),
]


@pytest.mark.parametrize("error, before, after, words", OF_A_RUN, ids=lambda value: repr(value)[:20])
def test_what_ends_a_run_says_how_to_go_on(call, tmp_path, error, before, after, words):
    assert call(fails_with(error)) == (before, "", f"script.py: error: {words}\n")
    assert call(fails_with(error, tmp_path / "removed")) == (after, "", f"script.py: error: {words}\n")
    expected = cli.one_line(f"script.py: error: {words}; --resume {tmp_path} continues the run") + "\n"
    assert call(fails_with(error, tmp_path)) == (after, "", expected)


SIGNALS = [  # what comes during a step, what is raised after it
    ("INT", KeyboardInterrupt),
    ("TERM", cli.Terminated),
    ("HUP HUP", cli.Terminated),  # a terminal that is closed sends several
    ("INT TERM", cli.Terminated),
    ("TERM INT", cli.Terminated),
]


@pytest.mark.parametrize("names, error", SIGNALS)
def test_a_signal_during_a_step_waits_for_its_end(capfd, signals, names, error):
    with cli.ending_steps():
        pass
    done = []
    with pytest.raises(error), cli.ending_steps():
        for name in names.split():
            signal.raise_signal(getattr(signal, f"SIG{name}"))
            done.append(name)
    assert done == names.split()


@pytest.mark.parametrize("names, error", SIGNALS[:3])
def test_a_signal_ends_anything_else_at_once_unless_it_is_ignored_from_the_start(signals, names, error):
    number = getattr(signal, f"SIG{names[:4].strip()}")
    with pytest.raises(error):
        signal.raise_signal(number)
    signal.signal(number, signal.SIG_IGN)
    assert number not in cli.catch_signals()


@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_a_second_signal_ends_the_process_at_once(name):
    program = "import signal; from common import cli; cli.catch_signals();"
    program += f"steps = cli.ending_steps(); steps.__enter__(); signal.raise_signal(signal.SIG{name});"
    program += f"print('goes on', flush=True); signal.raise_signal(signal.SIG{name})"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (-getattr(signal, f"SIG{name}"), "goes on\n")
    assert ("once more ends the process at once" in ended.stderr) == (name == "INT")


WORDS = [  # of Python, JAX, TensorFlow, torch on a GPU and on a CPU
    "RESOURCE_EXHAUSTED: Out of memory allocating 46099926888 bytes.",
    "{{function_node}} OOM when allocating tensor with shape[1437,64,96,96]",
    "CUDA out of memory. Tried to allocate 3.86 GiB.",
    "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes.",
]


LACKS = [
    (MemoryError(), "out of memory"),
    (ImportError("libtensorflow_cc.so.2: failed to map segment from shared object"), "free some"),
    (ModuleNotFoundError(name="tensorflow"), "tensorflow is not installed"),
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_the_machine_lacks_is_one_line_with_flags_that_the_program_has(call, capsys, program):
    with pytest.raises(SystemExit):
        importlib.import_module(program).parse_args(["--help"])
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    for error, words in LACKS:
        code, out, err = call(fails_with(error))
        assert (code, out, err.count("\n")) == (1, "", 1) and words in err
        assert set(re.findall(r"--[a-z-]+", err)) <= known


def test_without_the_packages_help_is_one_line():
    ended = subprocess.run([sys.executable, "-S", ROOT / "compare.py", "--help"], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert "cv2, filelock, h5py, jinja2, keras" in ended.stderr and ended.stderr.endswith("-r requirements.txt\n")


def test_too_little_memory_names_the_flags(call):
    train_ab_split.parse_args([])
    for words in WORDS:
        told = f"script.py: error: out of memory ({words}): give a smaller --batch-size or --image-size\n"
        assert call(fails_with(RuntimeError(words))) == (1, "", told)


def test_an_error_in_this_code_has_a_traceback(call):
    with pytest.raises(ZeroDivisionError):
        cli.run(fails_with(ZeroDivisionError()))


def test_long_words_and_lines_are_shortened_in_their_middle():
    assert cli.one_line("x" * 80) == "x" * 80
    assert cli.one_line("see " + "a" * 50 + "b" * 31) == "see " + "a" * 42 + "..." + "b" * 15
    words = "word " * 280  # 1,400 characters
    assert cli.one_line(words) == words
    assert cli.one_line(words + "end") == words[:895] + " ... " + (words + "end")[-500:]
    assert cli.shortened("y" * 60) == "y" * 60


SHOWN = {
    "Größe 猫 ✗": "Größe 猫 ✗",
    "a\x1b[2Jb\r\n": r"a\x1b[2Jb\r\n",
    "right to left \u202e, no break\xa0": r"right to left \u202e, no break\xa0",
    "not UTF-8 \udcff": r"not UTF-8 \udcff",
}


def test_what_is_shown_has_no_control_character(capsys):
    for text, shown in SHOWN.items():
        assert cli.printable(text) == shown
    cli.tell(*SHOWN, 5)
    assert capsys.readouterr().out.splitlines() == [*SHOWN.values(), "5"]


def test_a_reason_is_the_systems_or_the_errors_words():
    assert cli.reason(FileNotFoundError(2, "No such file or directory")) == "No such file or directory"
    assert cli.reason(ValueError("two\n  \x1b[1mlines\x1b[0m")) == "two lines"
    assert cli.reason(KeyError()) == "KeyError" and len(cli.reason(ValueError("z" * 201))) == 200


def test_a_value_error_blames_the_flag():
    with pytest.raises(cli.InputError, match="^--data x: it is empty$"), cli.blaming("--data x"):
        raise ValueError("it is empty")
    with pytest.raises(cli.InputError, match="^--lr is too high$"), cli.blaming("--data x"):
        raise cli.InputError("--lr is too high")
    with pytest.raises(KeyError), cli.blaming("--data x"):
        raise KeyError
