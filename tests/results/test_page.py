"""report.html of a run and the page of several, made from published runs and figures of a few pixels: no model is trained."""

import base64
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from contract import has_control
from makers import change_json
from test_escaping import WORDS

import compare
from common import files
from common.results import run_figures, run_page, tables
from common.training.experiment import Experiment

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "plots" / "results"
VOID = {"meta", "img", "br"}
HOSTILE = WORDS | {
    "quote": '" onload="alert(1)',
    "single quote": "' onerror='alert(1)",
    "template": "{{7*7}}{% for x in y %}",
    "end of the title": "</title><img src=https://example.com/x.png>",
    "end of the style": "</style><style>body{display:none}",
    "comment": "<!--",
    "entity": "&lt;b&gt;",
    "address": "javascript:alert(1)",
    "zero width": "a\u200bb",
    "half a character": "a\udcffb",
}


class Page(HTMLParser):
    """A page's elements, checked to be closed in their order, its visible text and its title."""

    def __init__(self, path):
        super().__init__()
        self.source, self.tags, self.open, self.texts, self.title = path.read_text(encoding="utf-8"), [], [], [], ""
        self.feed(self.source)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes)
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):  # of SVG
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open[-1:] == ["title"]:
            self.title += text
        elif "style" not in self.open:
            self.texts.append(text)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def skeleton(self):
        """Everything but what comes from the run: the elements and the names of their attributes."""
        return [(tag, sorted(attributes)) for tag, attributes in self.tags]


def draw(path, number=0):
    """A small figure that differs from the others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(number).integers(0, 256, (30, 40, 3), np.uint8)
    image[:10] = 255
    cv2.imwrite(str(path), image)
    return image


def make_run(folder, published="resnet152v2/control", **changes):
    """A copy of a published run with figures; `changes` are of results.json."""
    shutil.copytree(PUBLISHED / published, folder)
    change_json(folder / "results.json", peak_memory_gib=1.5, **changes)
    several = files.read_json(folder / "results.json").get("models", {})
    names = [figure[0] for figure in (run_figures.MATRIX, *run_figures.FIGURES)]
    for model in several or [""]:
        top = folder if model in ("", "b-both-fc") else folder / model
        for name in names:
            draw(top / "plots" / name, len(name))
        draw(folder / "plots" / (f"{model}_curves.png" if model else "curves.png"), 1)
    for name in ("overview.png", "accuracy_by_samples.png") if several else ():
        draw(folder / "plots" / name, 2)
    return folder


def experiment_of(folder, **changes):
    results = files.read_json(folder / "results.json")
    title = "A/B split" if "models" in results else results["model"]
    made_of = {"name": results["experiment"], "title": title, "weights": results["weights"], "documented": 0.5}
    return Experiment(**made_of | {"remark": "on other terms"} | changes)


def write(folder, **changes):
    """The page of a run folder; `changes` are of its Experiment."""
    run_page.write(folder, files.read_json(folder / "results.json"), experiment_of(folder, **changes))
    return Page(folder / "report.html")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of one model, a sweep, two runs of four models, one of them with several sizes and seeds: folder by name."""
    root = tmp_path_factory.mktemp("runs")
    published = {
        "one": "resnet152v2/control",
        "sweep": "efficientnetb7/control",
        "four": "ab_split/default",
        "study": "ab_split/study",
    }
    return {name: make_run(root / name, run) for name, run in published.items()}


@pytest.fixture(scope="module")
def pages(runs):
    return {name: write(folder) for name, folder in runs.items()}


@pytest.fixture(scope="module")
def comparison(runs, pages):
    """compare.html beside the runs, of all of them."""
    figure, path = runs["one"].parent / "curves.png", runs["one"].parent / "compare.html"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(compare, "draw", lambda rows, path: draw(path) is not None and path)
        compare.main([*map(str, runs.values()), "--figure", str(figure), "--html", str(path)])
    return Page(path)


def embedded(image):
    return cv2.imdecode(np.frombuffer(base64.b64decode(image["src"].removeprefix("data:image/png;base64,")), np.uint8), 1)


def test_every_figure_is_there_and_says_what_it_shows(runs, pages, comparison):
    for name, count in {"one": 8, "sweep": 8, "four": 4 * 7 + 2, "study": 4 * 7 + 2}.items():
        images = pages[name].all("img")
        assert len(images) == count and len({image["alt"] for image in images}) > 7
        for image in images:
            assert len(image["alt"]) > 40 and "{" not in image["alt"]
            assert embedded(image).shape == (int(image["height"]), int(image["width"]), 3)
    (image,) = comparison.all("img")
    assert image["alt"].startswith("Curves: Val accuracy") and embedded(image).shape == (30, 40, 3)
    (first, *_) = pages["one"].all("img")
    plots = {path.read_bytes() for path in (runs["one"] / "plots").iterdir()}
    assert base64.b64decode(first["src"].removeprefix("data:image/png;base64,")) in plots  # the file as it is


@pytest.mark.parametrize("content", [None, b"", b"no image"])
def test_a_figure_that_is_no_image_is_left_out(tmp_path, content):
    folder = make_run(tmp_path / "run")
    (folder / "plots" / "mistakes.png").unlink()
    if content is not None:
        (folder / "plots" / "mistakes.png").write_bytes(content)
    assert len(write(folder).all("img")) == 7


def test_nothing_comes_from_elsewhere_and_nothing_runs(pages, comparison):
    for shown in (*pages.values(), comparison):
        assert shown.title and shown.all("html") == [{"lang": "en"}] and len(shown.all("h1")) == 1
        policy = next(meta["content"] for meta in shown.all("meta") if "http-equiv" in meta)
        assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
        assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & {tag for tag, _ in shown.tags}
        for tag, attributes in shown.tags:
            assert not [name for name in attributes if name.startswith("on")]
            assert attributes.get("src", "data:").startswith("data:") and (tag == "a" or "href" not in attributes)
        assert not re.search(r"https?:|@import|url\(|//", re.sub(r"data:[^\"]*", "", shown.source))
        targets = {attributes["id"] for _, attributes in shown.tags if "id" in attributes}
        assert all(link["href"][1:] in targets for link in shown.all("a") if link["href"].startswith("#"))


def test_the_numbers_are_those_of_results_json(runs, pages):
    for name, shown in pages.items():
        results = files.read_json(runs[name] / "results.json")
        for scores in results.get("models", {"": results}).values():
            low, high = scores["test_accuracy_interval"]
            for text in (f"{scores['test_accuracy']:.4f}", f"{low:.4f} to {high:.4f}", f"{scores['trained_weights']:,}"):
                assert text in shown.text
            for class_name, accuracy in zip(scores["class_names"], scores["per_class_accuracy"], strict=True):
                assert f"{class_name} {accuracy:.4f}" in shown.text
            size, pair = f"{scores['test_size']:,} test", scores["most_confused"][0]
            assert size in shown.text and f"{pair['true']} taken for {pair['predicted']} ({pair['pictures']:,})" in shown.text
    sweep = files.read_csv(runs["sweep"] / "sweep.csv", convert=False)
    assert all(" ".join(row.values()) in pages["sweep"].text for row in sweep)
    assert " ".join([*sweep[0].values(), "chosen"]) in pages["sweep"].text and pages["sweep"].text.count("chosen") == 2
    for row in files.read_json(runs["study"] / "results.json")["spread"]:
        assert f"{row['samples']:,} {row['runs']} {row['mean']:.4f} {row['deviation']:.4f}" in pages["study"].text
    assert "Mean test accuracy" not in pages["four"].text  # one seed and one size: the table would say nothing new


def test_what_was_run_is_told(runs, pages):
    for name, shown in pages.items():
        args, environment = (files.read_json(runs[name] / f"{part}.json") for part in ("args", "environment"))
        facts = (environment["command"], environment["git_commit"], environment["python"], environment["devices"][0])
        for text in (*facts, environment["precision"], *map(" ".join, environment["packages"].items())):
            assert text in shown.text
        assert all(f" {flag.replace('_', '-')} " in shown.text for flag in args)


def test_a_resumed_run_says_when(tmp_path):
    folder = make_run(tmp_path / "run")
    change_json(folder / "environment.json", started="20261127-101112", resumed=[{"time": "2026-11-28 09:10:11"}, "damaged"])
    shown = write(folder)
    assert "started 2026-11-27 10:11:12" in shown.text and "Resumed 2026-11-28 09:10:11, damaged" in shown.text


def test_a_documented_number_says_whether_it_compares(tmp_path):
    folder = make_run(tmp_path / "run", documented_accuracy=0.8736, comparable=True)
    shown = write(folder)
    assert "Documented 0.8736 on other terms" in shown.text and "not comparable" not in shown.text
    change_json(folder / "results.json", comparable=False)
    assert "Documented 0.8736 not comparable on other terms" in write(folder).text
    change_json(folder / "results.json", class_names=[f"{number}" for number in range(10)])
    shown = write(folder).text
    assert "0.8736" not in shown and "no documented number for this data" in shown


def test_a_run_that_did_not_end_as_it_should_says_so(tmp_path, pages):
    folder = make_run(tmp_path / "run", status="interrupted", dry_run=True, val_accuracy=None)
    shown = write(folder).text
    assert "Interrupted with Ctrl-C" in shown and "A dry run" in shown and "Val accuracy –" in shown
    results = files.read_json(make_run(tmp_path / "four", "ab_split/default") / "results.json")
    results["models"].popitem()  # the last one was not trained
    files.write_json(tmp_path / "four" / "results.json", results)
    shown = write(tmp_path / "four")
    assert [row["href"] for row in shown.all("a")] == ["#model-1", "#model-2", "#model-3"]
    assert "Interrupted" not in pages["one"].text and "dry run" not in pages["one"].text.replace("dry-run", "")


def set_everywhere(folder, word):
    """A run folder in which every text is `word`. Returns it."""
    results = files.read_json(folder / "results.json")
    models = results.get("models", {"": results})
    for scores in (results, *models.values()):
        count = len(scores["class_names"])
        scores |= {"class_names": [f"{word}{number}" for number in range(count)], "data": word, "weights": word, "model": word}
        scores["most_confused"] = [{"true": word, "predicted": word, "pictures": 1}]
    (folder / "results.json").write_text(json.dumps(results))
    change_json(folder / "args.json", name=word, data=word)
    environment = {"devices": [word], "packages": {word: word}, "resumed": [{"time": word}]}
    others = ("command", "started", "backend", "precision", "python", "platform", "processor", "git_commit")
    change_json(folder / "environment.json", **environment, **dict.fromkeys(others, word))
    return folder


@pytest.mark.parametrize("published", ["resnet152v2/control", "ab_split/default"])
def test_names_from_outside_are_only_text(tmp_path, published):
    folder = make_run(tmp_path / "run", published)
    shutil.rmtree(folder / "plots")
    draw(folder / "plots" / "confusion_matrix.png")
    texts = {}
    for kind, word in ({"harmless": "word"} | HOSTILE).items():
        shown = write(set_everywhere(folder, word), name="name", title=word, remark=word)
        texts[kind] = shown
        assert shown.skeleton() == texts["harmless"].skeleton(), kind
        assert not has_control(shown.source.replace("\n", "")), kind
        escaped = word if word.isprintable() else word.encode("unicode_escape").decode()
        assert shown.text.count(" ".join(escaped.split())) >= 15 and escaped in shown.title, kind


def test_the_page_of_several_names_and_links_them(runs, pages, comparison):
    rows = 2 + 4 + 4
    assert f"{rows} models compared" in comparison.text and len(comparison.all("a")) == rows
    for link in comparison.all("a"):
        assert (runs["one"].parent / link["href"]).is_file() and link["href"].endswith("/report.html")
    for folder in runs.values():
        results = files.read_json(folder / "results.json")
        for scores in results.get("models", {"": results}).values() if folder != runs["study"] else ():
            assert tables.accuracy(scores["test_accuracy"], scores["test_accuracy_interval"]) in comparison.text
    assert "has no paired test" in comparison.text and "predictions.csv is missing" in comparison.text


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FRAMES = """<!doctype html><meta charset="utf-8"><body>{frames}<script>
onload = () => {{
  for (const frame of document.querySelectorAll("iframe")) {{
    const shown = frame.contentDocument, pictures = [...shown.images];
    const wide = [...shown.querySelectorAll("main *")].filter(element => !element.closest(".scroll, .paper")
      && element.getBoundingClientRect().right > frame.clientWidth);
    document.body.append(`[${{frame.clientWidth}} ${{shown.documentElement.scrollWidth}} ${{wide.length}} ` +
      `${{pictures.filter(picture => picture.naturalWidth > 0).length}} ${{pictures.length}}]`);
  }}
}};
</script>"""


def chromium(tmp_path, *flags):
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={tmp_path / 'profile'}",
        *flags,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
def test_a_browser_shows_it_on_a_phone_and_a_desktop(tmp_path, runs, pages, comparison):
    """In frames of both widths nothing is wider than the frame, what may scroll apart, and every image is decoded."""
    word = "<a_class_name_that_is_very_long_and_has_no_spaces_at_all>" * 3
    long = write(set_everywhere(make_run(tmp_path / "long", "ab_split/default"), word), title=word)
    shown = [*pages.values(), comparison, long]
    frame = '<iframe style="width:{}px;height:900px;border:0" srcdoc="{}"></iframe>'
    frames = [frame.format(width, html.escape(each.source)) for width in (390, 1280) for each in shown]
    (tmp_path / "frames.html").write_text(FRAMES.format(frames="".join(frames)))
    dom = chromium(tmp_path, "--dump-dom", "--window-size=1400,1000", f"file://{tmp_path / 'frames.html'}")
    found = [list(map(int, numbers.split())) for numbers in re.findall(r"\[(\d+ \d+ \d+ \d+ \d+)\]", dom)]
    counts = [len(each.all("img")) for each in shown]
    assert found == [[width, width, 0, count, count] for width in (390, 1280) for count in counts]


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
def test_a_browser_shows_it_light_and_dark(tmp_path, runs, pages):
    brightness = []
    for scheme in (1, 0):
        flags = (
            f"--screenshot={tmp_path / 'page.png'}",
            "--window-size=600,800",
            f"--blink-settings=preferredColorScheme={scheme}",
        )
        chromium(tmp_path, *flags, f"file://{runs['one'] / 'report.html'}")
        screenshot = cv2.imread(str(tmp_path / "page.png"))
        brightness.append(screenshot[5, 5].mean())
        assert screenshot.std() > 5  # something is on it
    assert brightness[0] > 230 and brightness[1] < 40
