import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

from experiments.ablation.verdicts import Verdict
from experiments.reporting.charts import DARK_COLORS, DotChart, DotRow, GroupedDotChart, LineChart, Series
from experiments.reporting.html_report import Report, Section, Table, write_html
from tests.experiments.reporting import NAMES, curves

INJECTED = "<script>alert(1)</script> & \"$x_1\" 'µ'"
VOID = {"meta", "br", "hr", "img", "input", "link"}


def realistic(charts=8):
    dots = DotChart("seeds", "Seeds", "accuracy", [(name, [0.1, 0.2, 0.25]) for name in NAMES], bounds=(0, 1))
    table = Table("Everything", ["mixer", "accuracy", "remark"], [["lstm", "0.39 ± 0.05", "slow"], ["gru", "–", ""]])
    return Report(
        "Recur or attend?",
        "What does attention buy?",
        table,
        [Verdict("claim", verdict, "evidence", "3 seeds") for verdict in ("reproduced", "undecided", "proxy")],
        [
            Section("Learning", "One.\n\nTwo.", [curves(f"c{i}") for i in range(charts - 1)], [table]),
            Section("Seeds", charts=[dots]),
        ],
        {"Model": {"width": 64}, "Log": "a: 1\nb: 2"},
        "python -m experiments.compare",
        "2026-01-01",
    )


class Balanced(HTMLParser):
    """Raises unless every tag is closed in order; collects ids, links and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.tags, self.text = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for key, value in attrs if key == "id"]
        self.links += [value for key, value in attrs if key in ("href", "src", "xlink:href", "action", "srcset")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def page(report, tmp_path):
    return write_html(report, tmp_path / "page.html").read_text("utf-8")


@pytest.fixture(scope="module")
def large_page(tmp_path_factory):
    """The folder of a page with eight charts, and its text."""
    folder = tmp_path_factory.mktemp("large")
    return folder, page(realistic(), folder)


@pytest.fixture(scope="module")
def small_page(tmp_path_factory):
    """The text of a page with two charts."""
    return page(realistic(2), tmp_path_factory.mktemp("small"))


def svgs(text):
    return [ET.fromstring(found) for found in re.findall(r"<svg.*?</svg>", text, re.S)]


def test_realistic_page_is_one_small_closed_file(large_page):
    folder, text = large_page
    parsed = Balanced(text)
    drawings = svgs(text)
    assert len(text.encode()) < 600_000
    assert len(drawings) == 8
    assert all(link.startswith("#") for link in parsed.links)
    assert not {"script", "link", "img", "iframe"} & set(parsed.tags)
    assert not re.search(r"@import|url\((?!#)", text)
    assert not re.search(r"https?:", text)
    assert list(folder.iterdir()) == [folder / "page.html"], "nothing half-written is left"


def test_ids_are_unique_and_found(large_page):
    _, text = large_page
    parsed = Balanced(text)
    assert len(parsed.ids) == len(set(parsed.ids)) > 8
    wanted = {link[1:] for link in parsed.links} | set(re.findall(r"url\(#([^)]*)\)", text))
    assert wanted == set(parsed.ids)


def test_same_data_same_bytes(small_page, tmp_path):
    script = (
        "import sys; from tests.experiments.reporting.test_html_report import realistic, write_html;"
        "write_html(realistic(2), sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "again.html")], check=True, timeout=100)
    assert (tmp_path / "again.html").read_text("utf-8") == small_page, "another process, another hash seed"


def test_order_of_the_page(small_page):
    text = small_page
    order = [
        "<h1>",
        "What does attention buy?",
        "✓ reproduced",
        "Everything",
        "Learning",
        "Settings, and",
        "2026-01-01",
    ]
    places = [text.index(part, text.index("<body>")) for part in order]
    assert places == sorted(places)


def test_everything_is_escaped(tmp_path):
    i = INJECTED
    chart = LineChart(i, i, i, i, [Series(i, [1, 2], [1, 2])], [(i, 1.5)], note=i)
    dots = DotChart(i, i, i, [(i, [1, 2])], [(i, 1.5)], note=i)
    table = Table(i, [i, i], [[i, i]], i)
    grouped = GroupedDotChart(i, i, i, [DotRow(i, {i: [1, 2]}, 1.0)], i, note=i)
    section = Section(i, i, [chart, dots, grouped], [table])
    report = Report(i, i, table, [Verdict(i, "proxy", i, i)], [section], {i: {i: i}, i + "2": i}, i, i)
    text = page(report, tmp_path)
    parsed = Balanced(text)
    assert "<script" not in text
    assert "script" not in parsed.tags
    assert "".join(parsed.text).count(i) > 20
    assert all(i in "".join(drawing.itertext()) for drawing in svgs(text))


def test_drawings_have_a_role_a_title_and_the_page_s_colors(small_page):
    for drawing in svgs(small_page):
        assert drawing.get("role") == "img"
        assert drawing.get("aria-label")
        assert drawing[0].tag.endswith("title")
        assert drawing[0].text
        for element in drawing.iter():
            style = element.get("style", "")
            for color in re.findall(r"#[0-9a-f]{6}", style):
                assert f"var(--{color[1:]}, {color})" in style
                assert color in DARK_COLORS, "a color with no dark counterpart"


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "series",
    [
        [],
        [Series("lstm", [], [])],
        [Series("lstm", [1], [0.5])],
        [Series("lstm", [1], [0.5], [math.nan], [math.nan])],
        [Series("lstm", [1, 2, 3], [math.nan] * 3)],
        [Series("lstm", [1, 2, 3], [0.1, math.nan, 0.3], [0.0, 0.1, math.nan], None)],
        [Series("lstm", [1, 2], [math.inf, 0.3]), Series("gru", [0, 2], [-1, 0.0])],
        [Series("lstm", [1, 2], [0.3, 0.3])],
        [Series(f"model {i}", [1, 2], [i, i]) for i in range(30)],
        [Series("lstm", [1, 2], [1e-9, 2e9]), Series("lstm, trained", [1, 2], [5, 6], dashed=True)],
    ],
)
def test_odd_series(series, log, tmp_path):
    chart = LineChart("odd", "Odd", "x", "y", series, [("chance", 0.1), ("none", math.nan)], log_x=log, log_y=log)
    (drawing,) = svgs(page(Report("t", "q", sections=[Section("s", charts=[chart])]), tmp_path))
    assert "nan" not in ET.tostring(drawing, encoding="unicode").replace("trained", "")


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.5], [math.nan], [math.nan, 0.5, 0.6]])
def test_odd_dots(values, tmp_path):
    for groups in ([], [("lstm", values)], [("lstm", values), ("gru", [0.1, 0.2])]):
        dots = DotChart("odd", "Odd", "y", groups, references=[("chance", math.nan)], bounds=(0, 1))
        text = page(Report("t", "q", sections=[Section("s", charts=[dots])]), tmp_path)
    said = {(): "not run", (0.5,): "one seed", (0.5, 0.5): "no spread seen"}.get(tuple(values), "diverged")
    assert said in text


def test_empty_report(tmp_path):
    text = page(Report("title", ""), tmp_path)
    Balanced(text)
    page(Report("title", "", Table("", [], []), sections=[Section("")]), tmp_path)


def test_unknown_verdict_is_refused(tmp_path):
    with pytest.raises(ValueError, match="contradicted"):
        write_html(Report("t", "q", verdicts=[Verdict("claim", "maybe")]), tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_columns_of_figures_go_right(tmp_path):
    cells = ["0.993 ± 0.004", "0.99 [0.98, 1.00]", "0.99 (one seed)", "102,592", "1.2e-05", "83 ×", "−0.3", "–", "95 %"]
    rows = [["lstm", cell, "B32 T256", "–"] for cell in cells]
    text = page(Report("t", "q", Table("x", ["mixer", "figure", "text", "nothing"], rows)), tmp_path)
    assert text.count('class="n"') == len(rows) + 1
