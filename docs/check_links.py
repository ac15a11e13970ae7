"""Check a built site: every link leads to a file and a place in it that are there, and nothing comes over a network.

.venv/bin/python docs/check_links.py build/site
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The places of a page that a link may name, its links, and the files that a browser loads with it."""

    def __init__(self, text: str):
        super().__init__()
        self.places, self.links, self.loaded = {"", "top"}, list[str](), list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value is not None}
        self.places |= {given[name] for name in ("id", "name") if name in given}
        (self.links if tag in ("a", "area") else self.loaded).extend(given[n] for n in ("href", "src") if n in given)


def find_faults(site: Path) -> Iterator[str]:
    """A line for each link that leads nowhere, and for each file that would come over the network."""
    found = [path for path in site.resolve().rglob("*.html") if "_static" not in path.parts]  # there: theme's templates
    if not found:
        yield f"{site}: no page is there; build the site first (make docs)"
    pages = {path: Page(path.read_text("utf-8")) for path in found}
    for path, page in sorted(pages.items()):
        where = path.relative_to(site.resolve())
        for link in dict.fromkeys((*page.links, *page.loaded)):
            scheme, host, target, _, place = urlsplit(link)
            if scheme == "data":
                continue
            if scheme or host:
                if link in page.loaded:
                    yield f"{where}: loads {link}, which is not there without a network"
                continue
            file = (path.parent / unquote(target)).resolve() if target else path
            if not file.is_file():
                yield f"{where}: {link} leads to a file that is not there"
            elif file in pages and unquote(place) not in pages[file].places:
                yield f"{where}: {link} leads to a place that {file.name} does not have"
    for path in sorted(site.rglob("*.css")):
        for url in re.findall(r"url\(\s*[\"']?((?:https?:)?//[^)\"']+)", path.read_text("utf-8")):
            yield f"{path.relative_to(site)}: loads {url}, which is not there without a network"


if __name__ == "__main__":
    faults = list(find_faults(Path(sys.argv[1])))
    print(*faults, sep="\n", end="\n" if faults else "")
    sys.exit(bool(faults))
