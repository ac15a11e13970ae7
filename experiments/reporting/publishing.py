"""Put tables and pictures that are made from records into README and docs, and say which of them are stale.

A builder returns what it makes as {name: content}. A name that ends in .svg, .html or .md is the path, in the
repository, of a picture, of a piece of a page, or of a whole page, which then begins with `PAGE_MARK`.
Any other is the name of a block: Markdown that stands in README.md or docs/, once or several times, between

    <!-- begin NAME -->
    <!-- end NAME -->

The first comment may say more in parentheses after the name.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from training import files

Publication = Mapping[str, str | bytes]
Builder = Callable[[], Publication]

COMMAND = "python -m experiments.publish"
PATHS = {".svg": "picture", ".html": "form", ".md": "page"}  # suffix of what is written whole → what it is
PAGE_MARK = f"<!-- made by {COMMAND} -->\n\n"
BEGIN_PATTERN = r"<!-- begin ([\w-]+)(?: \([^)\n]*\))? -->"
BLOCK_PATTERN = re.compile(
    r"(?P<begin><!-- begin (?P<name>[\w-]+)(?: \([^)\n]*\))? -->\n)(?P<body>.*?)(?P<end><!-- end (?P=name) -->)", re.S
)
SECTION_PATTERN = r"^## (?:\d+\. )?([^:\n]+)"  # the name of a section, without its number and verdict
ROW_PATTERN = r"^\| ([^|\n]+) (?=\|)"  # the first cell of a table's row


class Change(NamedTuple):
    """A page or picture that differs from what its records say: its whole content, before and after."""

    path: Path
    before: bytes
    after: bytes
    what: str


class Outcome(NamedTuple):
    """What one builder would change, and why it may not: each problem in one line."""

    changes: Sequence[Change]
    problems: Sequence[str]


def find_blocks(root: Path) -> dict[str, list[Path]]:
    """Return the pages in which each block stands. Raises ValueError for a marker without its partner."""
    found: dict[str, list[Path]] = {}
    for page in _pages(root):
        text = page.read_text("utf-8")
        names = [match["name"] for match in BLOCK_PATTERN.finditer(text)]
        markers = re.findall(rf"{BEGIN_PATTERN}|<!-- end ([\w-]+) -->", text)
        if [name for pair in markers for name in pair if name] != [name for name in names for _ in range(2)]:
            raise ValueError(f"{page}: a block's begin or end is missing, or blocks overlap")
        for name in names:
            found.setdefault(name, []).append(page)
    return found


def compare_publication(publication: Publication, root: Path, blocks: Mapping[str, Sequence[Path]]) -> Outcome:
    """Return how pages and pictures below `root` differ from a publication.

    What would take a result out of a page, or set it to "not run", is a problem: its record is missing.
    """
    changes: dict[Path, Change] = {}
    problems: list[str] = []
    for name, content in publication.items():
        if kind := PATHS.get(Path(name).suffix):
            path, data = root / name, content if isinstance(content, bytes) else content.encode()
            before = path.read_bytes() if path.exists() else b""
            if kind == "page":
                data = PAGE_MARK.encode() + data
                problems += _loss_problems(name, kind, before.decode(), data.decode())
            if before != data:
                changes[path] = Change(path, before, data, kind)
            continue
        assert isinstance(content, str)
        if name not in blocks:
            problems.append(f"no page has <!-- begin {name} --> and <!-- end {name} -->")
        for path in dict.fromkeys(blocks.get(name, ())):
            old = changes[path].after.decode() if path in changes else path.read_text("utf-8")
            for match in BLOCK_PATTERN.finditer(old):
                if match["name"] == name:
                    problems += _loss_problems(path.relative_to(root).as_posix(), name, match["body"], content)
            new = replace_block(old, name, content)
            if new != old:
                first = changes.get(path)
                what = f"{first.what}, {name}" if first else name
                changes[path] = Change(path, first.before if first else old.encode(), new.encode(), what)
    return Outcome(list(changes.values()), problems)


def _loss_problems(page: str, what: str, before: str, after: str) -> list[str]:
    """Return, as one line or none, what a part of a page would no longer show."""
    if not (gone := lost_parts(before, after)):
        return []
    more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
    return [
        f"{page}: {what} shows {gone[0]}{more}, whose record is missing or holds less; make it again, or delete "
        f"{gone[0]} from the page first"
    ]


def replace_block(text: str, name: str, body: str) -> str:
    """Return a page with the content of the blocks of this name replaced."""

    def replacement(match: re.Match[str]) -> str:
        return f"{match['begin']}\n{body.strip()}\n\n{match['end']}" if match["name"] == name else match[0]

    return BLOCK_PATTERN.sub(replacement, text)


def lost_parts(before: str, after: str) -> list[str]:
    """Return the sections of a Markdown text (or, where it has none, its table rows, by their first cell) that a new
    text has fewer of, with fewer subsections in them, or more that was "not run"."""
    pattern = SECTION_PATTERN if re.search(SECTION_PATTERN, before, re.M) else ROW_PATTERN

    def parts(text: str) -> dict[str, tuple[int, int]]:
        counts: dict[str, tuple[int, int]] = {}
        for name, rest in zip(*[iter(re.split(pattern, text, flags=re.M)[1:])] * 2, strict=True):
            name = re.sub(r"^\[(.*)\]\(.*\)$", r"\1", name.removesuffix(" †"))  # its page may be younger
            times, not_run = counts.get(name, (0, 0))
            times += 1 + len(re.findall(r"^### ", rest, re.M))
            counts[name] = times, not_run + len(re.findall(r"[|:] (?:– )?not run\b", rest))
        return counts

    now = parts(after)
    return [
        name
        for name, (times, not_run) in parts(before).items()
        if now.get(name, (0, 0))[0] < times or now[name][1] > not_run
    ]


def write_changes(changes: Sequence[Change]) -> None:
    for change in changes:
        change.path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically(change.path, change.after)


def unmade_parts(publications: Sequence[Publication], root: Path, blocks: Mapping[str, Sequence[Path]]) -> list[str]:
    """Return a line for each block in a page, whole page, and picture in docs/results/, that no builder makes."""
    made = {name for publication in publications for name in publication}
    lines = [
        f"{pages[0].relative_to(root)}: nothing makes the block {name}; delete it"
        for name, pages in blocks.items()
        if name not in made
    ]
    for page in _pages(root):
        path = page.relative_to(root).as_posix()
        if page.read_text("utf-8").startswith(PAGE_MARK) and path not in made:
            lines.append(f"{path}: nothing makes this page; delete it")
    pictures = sorted(path.relative_to(root).as_posix() for path in (root / "docs" / "results").rglob("*.svg"))
    return lines + [f"{path}: nothing makes this picture; delete it" for path in pictures if path not in made]


def _pages(root: Path) -> Iterator[Path]:
    yield root / "README.md"
    yield from sorted((root / "docs").rglob("*.md"))
