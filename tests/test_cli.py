import subprocess
import sys
from pathlib import Path

import pytest

import predict
import train_ab_split
from common import cli

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "flags",
    [
        ["--epochs", "0"],
        ["--epochs", "1.5"],
        ["--lr", "-1"],
        ["--lr", "nan"],
        ["--lr", "inf"],
        ["--dropout", "1"],
        ["--validation-split", "1"],
        ["--batch-size", "0"],
        ["--seed", "-1"],
        ["--b-samples", "some"],
        ["--name", "../elsewhere"],
        ["--epoch", "3"],  # an abbreviation
        ["--classes-b"],
    ],
)
def test_bad_flag_is_answered_in_one_line_with_exit_2(call, flags):
    code, out, err = call(train_ab_split.main, *flags)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1 and flags[0] in err


def test_defaults_are_shown_by_the_parser(capsys):
    with pytest.raises(SystemExit) as ended:
        train_ab_split.parse_args(["--help"])
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "(default: 0.001)" in shown and "(default: 0 7)" in shown and "(default: all)" in shown
    assert "None" not in shown and "False" not in shown and "bfloat16 arithmetic, float32 weights (default: off)" in shown


def test_arguments_are_checked_before_anything_heavy_is_imported():
    program = (
        "import sys, predict, train_ab_split as script; script.parse_args(['--epochs', '3']);"
        "heavy = {'tensorflow', 'keras', 'sklearn', 'matplotlib', 'pandas', 'scipy'} & set(sys.modules);"
        "sys.exit(', '.join(heavy) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_exit_codes(call):
    def fails_with(error):
        def main():
            raise error

        return main

    assert call(lambda: {"status": "finished"})[0] == 0
    assert call(lambda: {"status": "interrupted"})[0] == 130
    assert call(fails_with(KeyboardInterrupt()))[0] == 130
    assert call(fails_with(cli.TrainingError("the loss became nan")))[0] == 1
    assert call(fails_with(cli.InputError("no such thing"))) == (2, "", "script.py: error: no such thing\n")


def test_predict_takes_a_run_and_images():
    args = predict.parse_args(["runs/x", "a.png", "b/*.jpg"])
    assert args.images == ["a.png", "b/*.jpg"]
