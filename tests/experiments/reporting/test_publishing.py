from pathlib import Path

import pytest

from experiments.reporting.publishing import (
    PAGE_MARK,
    compare_publication,
    find_blocks,
    lost_parts,
    replace_block,
    unmade_parts,
    write_changes,
)

SECTIONS = "## 1. One bit: ✓ reproduced\n\n### Claims\n\n| ✓ reproduced | it is |\n\n## 2. Two: ? undecided"
ROWS = "| result | verdict |\n| --- | --- |\n| `one_bit` † | ✓ reproduced |\n| `two` | ? undecided |"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with two blocks in README, one of which stands in a page of docs/ too."""
    (tmp_path / "docs" / "results").mkdir(parents=True)
    (tmp_path / "README.md").write_text(
        "# Title\n\n<!-- begin rows -->\n<!-- end rows -->\n\nProse.\n\n"
        "<!-- begin sections (made by python -m experiments.publish) -->\nold\n<!-- end sections -->\n"
    )
    (tmp_path / "docs" / "results" / "page.md").write_text("<!-- begin rows -->\n<!-- end rows -->\n\nEnd.\n")
    return tmp_path


def publish(root: Path, publication) -> list[str]:
    """Write what has changed unless there is a problem; return the problems."""
    changes, problems = compare_publication(publication, root, find_blocks(root))
    if not problems:
        write_changes(changes)
    return list(problems)


def test_blocks_and_pictures_are_written_where_they_stand_and_found_unchanged(root: Path):
    made = {"rows": ROWS, "sections": SECTIONS, "docs/results/studies/a.svg": b"<svg/>", "docs/a.html": "<form>"}
    changes, problems = compare_publication(made, root, find_blocks(root))
    assert [(change.path.relative_to(root).as_posix(), change.what) for change in changes] == [
        ("README.md", "rows, sections"),
        ("docs/results/page.md", "rows"),
        ("docs/results/studies/a.svg", "picture"),
        ("docs/a.html", "form"),
    ]
    assert not problems
    write_changes(changes)
    assert (root / "README.md").read_text() == (
        f"# Title\n\n<!-- begin rows -->\n\n{ROWS}\n\n<!-- end rows -->\n\nProse.\n\n"
        f"<!-- begin sections (made by python -m experiments.publish) -->\n\n{SECTIONS}\n\n<!-- end sections -->\n"
    )
    assert (root / "docs" / "results" / "page.md").read_text().endswith("<!-- end rows -->\n\nEnd.\n")
    assert compare_publication(made, root, find_blocks(root)) == ([], [])
    (stale,) = compare_publication({"rows": ROWS + " "}, root, find_blocks(root)).changes or [None]
    assert stale is None, "surrounding space is no change"
    changed = compare_publication({"rows": ROWS.replace("? undecided", "✗ contradicted")}, root, find_blocks(root))
    assert len(changed.changes) == 2


@pytest.mark.parametrize(
    ("name", "after", "lost"),
    [
        ("sections", "nothing", "One bit and 1 more"),
        ("sections", SECTIONS.replace("## 2. Two: ? undecided", ""), "Two"),
        ("sections", SECTIONS.replace("? undecided", "– not run"), "Two"),
        ("sections", SECTIONS.replace("### Claims", ""), "One bit"),
        ("sections", SECTIONS.replace("| ✓ reproduced |", "| – not run |"), "One bit"),
        ("rows", ROWS.replace("| `one_bit` † | ✓ reproduced |\n", ""), "`one_bit`"),
        ("rows", ROWS.replace("? undecided", "– not run"), "`two`"),
        ("rows", ROWS.replace("? undecided", "not run"), "`two`"),
    ],
    ids=range(8),
)
def test_what_a_page_shows_is_not_replaced_by_less(root: Path, name: str, after: str, lost: str):
    assert not publish(root, {"rows": ROWS, "sections": SECTIONS})
    before = {path: path.read_bytes() for path in root.rglob("*.md")}
    problem, *others = publish(root, {name: after})
    assert f"README.md: {name} shows {lost}, whose record is missing or holds less; make it again, or" in problem
    assert len(others) == (name == "rows"), "a line for each page"
    assert "\n" not in problem
    assert {path: path.read_bytes() for path in root.rglob("*.md")} == before


def test_a_result_may_become_better_and_what_was_not_run_stay_so():
    old = "## 1. A: – not run\n| – not run |\n## 2. B: ? undecided\n"
    for new in (old, "## 1. A: ✗ contradicted\n## 2. B: ✓ reproduced\n", "## 1. B: ✓ x\n## 2. C: ✓ x\n" + old):
        assert lost_parts(old, new) == []
    assert lost_parts("", old) == []
    assert lost_parts(ROWS, ROWS.replace("`one_bit` †", "`one_bit`").replace("`two`", "`two` †")) == []


def test_a_whole_page_is_made_anew_and_not_replaced_by_less(root: Path):
    page = root / "docs" / "results" / "new" / "one.md"
    assert not publish(root, {"docs/results/new/one.md": SECTIONS})
    assert page.read_text() == PAGE_MARK + SECTIONS
    (changes, problems) = compare_publication({"docs/results/new/one.md": SECTIONS}, root, find_blocks(root))
    assert not changes
    assert not problems
    less = SECTIONS.replace("## 2. Two: ? undecided", "")
    (problem,) = publish(root, {"docs/results/new/one.md": less})
    assert problem.startswith("docs/results/new/one.md: page shows Two, whose record is missing or holds less")
    assert page.read_text() == PAGE_MARK + SECTIONS
    (line,) = unmade_parts([{"rows": "", "sections": ""}], root, find_blocks(root))
    assert line == "docs/results/new/one.md: nothing makes this page; delete it"


def test_a_block_that_stands_nowhere_or_that_nothing_makes_is_named(root: Path):
    (problem,) = publish(root, {"elsewhere": "text"})
    assert problem == "no page has <!-- begin elsewhere --> and <!-- end elsewhere -->"
    (root / "docs" / "results" / "old.svg").write_text("<svg/>")
    assert unmade_parts([{"rows": ROWS, "docs/results/new.svg": "x"}], root, find_blocks(root)) == [
        "README.md: nothing makes the block sections; delete it",
        "docs/results/old.svg: nothing makes this picture; delete it",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "<!-- begin a -->\n",
        "<!-- end a -->\n",
        "<!-- begin a -->\n<!-- begin b -->\n<!-- end a -->\n<!-- end b -->\n",
        "<!-- begin a -->\n<!-- end a -->\n<!-- begin a -->\n",
    ],
)
def test_a_marker_without_its_partner_is_refused(root: Path, text: str):
    (root / "docs" / "more.md").write_text(text)
    with pytest.raises(ValueError, match=r"more\.md: a block's begin or end is missing, or blocks overlap$"):
        find_blocks(root)


def test_only_the_named_block_is_replaced():
    page = "<!-- begin a -->\nA\n<!-- end a -->\n<!-- begin b -->\nB\n<!-- end b -->\n"
    assert replace_block(page, "b", "\\1 new") == (
        "<!-- begin a -->\nA\n<!-- end a -->\n<!-- begin b -->\n\n\\1 new\n\n<!-- end b -->\n"
    )
