import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

from experiments.ablation.verdicts import Verdict
from experiments.reporting import html_report
from experiments.reporting.charts import (
    DARK_COLORS,
    MODEL_STYLES,
    OTHER_STYLES,
    DotChart,
    LineChart,
    Series,
    assign_styles,
    chart_figure,
    save_charts,
)
from experiments.reporting.html_report import (
    Report,
    Section,
    Table,
    lost_parts,
    markdown_table,
    publish_page,
    replace_table,
    write_html,
)

INJECTED = "<script>alert(1)</script> & \"$x_1\" 'µ'"
NAMES = [*MODEL_STYLES, "mamba"]
VOID = {"meta", "br", "hr", "img", "input", "link"}


def curves(name, *, points=31, **rest):
    steps = np.arange(points) * 100
    y = [np.linspace(0.03, 0.2 * i, points) for i in range(len(NAMES))]
    series = [Series(model, steps, mean, mean - 0.02, mean + 0.02) for model, mean in zip(NAMES, y, strict=True)]
    return LineChart(name, f"Title of {name}", "step", "accuracy", series, references=[("chance", 0.03)], **rest)


def realistic(charts=8):
    dots = DotChart("seeds", "Seeds", "accuracy", [(name, [0.1, 0.2, 0.25]) for name in NAMES], bounds=(0, 1))
    table = Table("Everything", ["mixer", "accuracy", "remark"], [["lstm", "0.39 ± 0.05", "slow"], ["gru", "–", ""]])
    return Report(
        "Recur or attend?",
        "What does attention buy?",
        table,
        [Verdict("claim", verdict, "evidence", "3 seeds") for verdict in ("reproduced", "trend only", "proxy")],
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


def svgs(text):
    return [ET.fromstring(found) for found in re.findall(r"<svg.*?</svg>", text, re.S)]


def test_realistic_page_is_one_small_closed_file(tmp_path):
    text = page(realistic(), tmp_path)
    parsed = Balanced(text)
    drawings = svgs(text)
    assert len(text.encode()) < 600_000
    assert len(drawings) == 8
    assert all(link.startswith("#") for link in parsed.links)
    assert not {"script", "link", "img", "iframe"} & set(parsed.tags)
    assert not re.search(r"@import|url\((?!#)", text)
    assert not re.search(r"https?:", text)
    assert list(tmp_path.iterdir()) == [tmp_path / "page.html"], "nothing half-written is left"


def test_ids_are_unique_and_found(tmp_path):
    text = page(realistic(), tmp_path)
    parsed = Balanced(text)
    assert len(parsed.ids) == len(set(parsed.ids)) > 8
    wanted = {link[1:] for link in parsed.links} | set(re.findall(r"url\(#([^)]*)\)", text))
    assert wanted == set(parsed.ids)


def test_same_data_same_bytes(tmp_path):
    text = page(realistic(2), tmp_path)
    assert page(realistic(2), tmp_path) == text
    script = (
        "import sys; from tests.experiments.reporting.test_html_report import realistic;"
        "from experiments.reporting.html_report import write;"
        "write(realistic(2), sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "again.html")], check=True, timeout=100)
    assert (tmp_path / "again.html").read_text("utf-8") == text, "another process, another hash seed"


def test_order_of_the_page(tmp_path):
    text = page(realistic(2), tmp_path)
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
    section = Section(i, i, [chart, dots], [table])
    report = Report(i, i, table, [Verdict(i, "proxy", i, i)], [section], {i: {i: i}, i + "2": i}, i, i)
    text = page(report, tmp_path)
    parsed = Balanced(text)
    assert "<script" not in text
    assert "script" not in parsed.tags
    assert "".join(parsed.text).count(i) > 20
    assert all(i in "".join(drawing.itertext()) for drawing in svgs(text))


def test_drawings_have_a_role_a_title_and_the_page_s_colours(tmp_path):
    text = page(realistic(2), tmp_path)
    for drawing in svgs(text):
        assert drawing.get("role") == "img"
        assert drawing.get("aria-label")
        assert drawing[0].tag.endswith("title")
        assert drawing[0].text
        for element in drawing.iter():
            style = element.get("style", "")
            for colour in re.findall(r"#[0-9a-f]{6}", style):
                assert f"var(--{colour[1:]}, {colour})" in style
                assert colour in DARK_COLORS, "a colour with no dark counterpart"


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
    with pytest.raises(ValueError, match="not reproduced"):
        write_html(Report("t", "q", verdicts=[Verdict("claim", "maybe")]), tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_columns_of_figures_go_right(tmp_path):
    cells = ["0.993 ± 0.004", "0.99 [0.98, 1.00]", "0.99 (one seed)", "102,592", "1.2e-05", "83 ×", "−0.3", "–", "95 %"]
    rows = [["lstm", cell, "B32 T256", "–"] for cell in cells]
    text = page(Report("t", "q", Table("x", ["mixer", "figure", "text", "nothing"], rows)), tmp_path)
    assert text.count('class="n"') == len(rows) + 1


def test_one_look_per_model():
    looks = assign_styles(["mamba", "lstm", "mamba", "s4"])
    assert looks["lstm"] == MODEL_STYLES["lstm"]
    assert list(looks) == ["mamba", "lstm", "s4"]
    many = assign_styles([*MODEL_STYLES, *(f"model {i}" for i in range(len(OTHER_STYLES) ** 2))])
    assert len(set(many.values())) == len(many)
    assert {look.color for look in many.values()} <= set(DARK_COLORS)


def test_labels_at_the_line_ends_do_not_touch():
    chart = LineChart("x", "x", "x", "y", [Series(name, [1, 2], [0.5, 0.5 + i / 1e3]) for i, name in enumerate(NAMES)])
    drawing = chart_figure(chart)
    drawing.draw_without_rendering()
    boxes = [text.get_window_extent() for text in drawing.axes[0].texts if text.get_text() in NAMES]
    assert len(boxes) == len(NAMES)
    ordered = sorted(boxes, key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 + 1 for below, above in pairwise(ordered))
    inside = drawing.axes[0].get_window_extent()
    assert all(box.x0 > inside.x1 and box.x1 <= drawing.bbox.x1 for box in boxes), "beside the data, in the picture"


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_save(kind, tmp_path):
    charts = [curves("a"), curves("b", log_y=True), DotChart("c", "C", "y", [("lstm", [1.0, 2.0])])]
    one = save_charts(charts, tmp_path / f"one.{kind}", columns=2).read_bytes()
    save_charts(charts, tmp_path / "more" / f"one.{kind}", columns=2)
    assert (tmp_path / "more" / f"one.{kind}").read_bytes() == one
    start = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}
    assert one.startswith(start[kind])
    save_charts(charts[0], tmp_path / f"alone.{kind}")


def test_a_table_is_put_in_place_of_the_old_one(tmp_path):
    page = tmp_path / "page.md"
    other = markdown_table(["a", "b"], [["5", "6"]])
    page.write_text(f"# Page\n\n{markdown_table(['a (x)', 'b'], [['1', '2'], ['3', '4']])}\n\nText.\n\n{other}\n")
    new = markdown_table(["a (x)", "b"], [["7", "8"]])
    replace_table(new, page)
    assert page.read_text() == f"# Page\n\n{new}\n\nText.\n\n{other}\n"
    with pytest.raises(ValueError, match=r"page\.md has no table \| c \|$"):
        replace_table(markdown_table(["c"], []), page)


TEXT = "# Page\n\n## 1. One bit: ✓ reproduced\n\n### Claims\n\n| ✓ reproduced | it is |\n\n## 2. Two: ≈ trend only\n"
ROWS = [["`one_bit`", "Is it?", "✓ reproduced"], ["`two`", "Is it?", "≈ trend only"]]


@pytest.mark.parametrize(
    ("text", "rows", "says"),
    [
        ("# Page\n", [], r"page\.md shows One bit and 1 more, of which a record is missing: make one_bit makes it"),
        (
            TEXT.replace("## 2. Two: ≈ trend only", ""),
            ROWS,
            r"page\.md shows Two, .*: make two makes it; to go without",
        ),
        (TEXT.replace("≈ trend only", "– not run"), ROWS, r"page\.md shows Two, "),
        (TEXT.replace("### Claims", ""), ROWS, r"page\.md shows One bit, "),
        (TEXT.replace("| ✓ reproduced |", "| – not run |"), ROWS, r"page\.md shows One bit, "),
        (TEXT, ROWS[1:], r"README\.md shows `one_bit`, .*: make one_bit makes it; .* from README\.md first$"),
        (TEXT, [ROWS[0], ["`two`", "Is it?", "– not run"]], r"README\.md shows `two`, "),
        (TEXT, [ROWS[0], ["`two`", "Is it?", "not run"]], r"README\.md shows `two`, "),
    ],
    ids=range(8),
)
def test_what_is_committed_is_not_replaced_by_less(text, rows, says, tmp_path, monkeypatch):
    header, page, readme = ["result", "question", "verdict"], tmp_path / "page.md", tmp_path / "README.md"
    monkeypatch.setattr(report, "README", readme)
    readme.write_text(markdown_table(header, ROWS) + "\n")
    monkeypatch.setattr(report, "put", lambda table: replace_table(table, readme))
    drawn = [DotChart("c", "C", "y", [("lstm", [1.0, 2.0])])]
    publish_page(page, TEXT, drawn, 1, markdown_table(header, ROWS), "make {name}")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {"page.md", "page.svg", "README.md"}
    with pytest.raises(ValueError, match=says) as caught:
        publish_page(page, text, drawn, 1, markdown_table(header, rows), "make {name}")
    assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_result_may_become_better_and_what_was_not_run_stay_so():
    old = "## 1. A: – not run\n| – not run |\n## 2. B: ≈ trend only\n"
    for new in (old, "## 1. A: ✗ not reproduced\n## 2. B: ✓ reproduced\n", "## 1. B: ✓ x\n## 2. C: ✓ x\n" + old):
        assert lost_parts(old, new, html_report.SECTION_PATTERN) == []
    assert lost_parts("", old, html_report.SECTION_PATTERN) == []
