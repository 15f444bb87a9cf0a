from dataclasses import replace

from common.data import CIFAR10, SCENES
from common.results import tables
from common.training.run import Experiment

ROWS = [("a|b", "1,000", "(0.5000)", "20261123"), ("longer", 7, "-", "none")]
COLUMNS = ("name", "count", "documented", "weights")


def test_words_are_aligned_left_and_numbers_right():
    assert tables.text(ROWS, COLUMNS) == [
        "name    count  documented  weights",
        "------  -----  ----------  --------",
        "a|b     1,000    (0.5000)  20261123",
        "longer      7           -  none",
    ]


def test_markdown_is_aligned_likewise_and_escapes_a_bar():
    rows = [[tables.escaped(cell) for cell in row] for row in ROWS]
    assert tables.markdown(rows, COLUMNS) == [
        "| name | count | documented | weights |",
        "|---|--:|--:|---|",
        r"| a\|b | 1,000 | (0.5000) | 20261123 |",
        "| longer | 7 | - | none |",
    ]


def test_an_accuracy_shows_its_deviation_where_it_has_one():
    assert tables.accuracy(0.5, (0.4, 0.6)) == "0.5000 [0.4000, 0.6000]"
    assert tables.accuracy(0.97, (0.95, 0.99), 0.004) == "0.9700 ± 0.0040 [0.9500, 0.9900]"
    assert tables.accuracy(0.5, (0.4, 0.6), balanced=0.1) == "0.5000 [0.4000, 0.6000], balanced 0.1000"


def test_a_documented_number_that_cant_be_compared_is_in_brackets():
    results = {"experiment": "vgg19", "documented_accuracy": 0.85, "class_names": ["airplane", "horse"]}
    assert tables.documented(results | {"comparable": True}) == "0.8500"
    assert tables.documented(results | {"comparable": False}) == "(0.8500)"
    assert tables.documented(results | {"documented_accuracy": None, "comparable": False}) == "-"


def test_a_documented_number_stands_beside_what_the_document_is_about_only():
    vgg19 = Experiment("vgg19", "a model", "none", documented=0.85, remark="")
    scenes = replace(vgg19, name="resnet152v2")
    for class_names in ("0123456789", ["airplane", "rocket"], CIFAR10[:9], SCENES):
        assert vgg19.documented_on(class_names) is None
    assert vgg19.documented_on(CIFAR10) == scenes.documented_on(CIFAR10) == 0.85
    assert scenes.documented_on(SCENES) == 0.85 and scenes.documented_on(["coast", "forest"]) is None


def test_equal_devices_are_counted():
    assert tables.devices(["NVIDIA H200"]) == "NVIDIA H200"
    assert tables.devices(["A", "B", "A"]) == "2 x A, B"
