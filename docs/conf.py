"""The site of `make docs`, by Sphinx: the pages of docs/ and the docstrings of what users call. It opens offline."""

import re
from pathlib import Path
from typing import Any

project = "Recur or Attend"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
html_theme = "sphinx_book_theme"
html_title = project
html_copy_source = False
nb_execution_mode = "off"  # notebooks are there with their outputs
nb_render_markdown_format = "myst"  # links in outputs lead to pages
myst_heading_anchors = 4
default_role = "code"  # `name` in a docstring
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# Pages outside docs/ that the site shows: their page → the file.
OUTSIDE = {"changelog": "CHANGELOG.md", "findings": "findings/README.md"}


def show_outside(app: Any, page: str, source: list[str]) -> None:
    """Put the text of a file outside docs/ in the place of its page, and lead links to it there."""
    if page in OUTSIDE:
        text = (Path(__file__).parents[1] / OUTSIDE[page]).read_text("utf-8")
        source[0] = text.replace("](docs/", "](")
    for inside, outside in OUTSIDE.items():
        source[0] = source[0].replace(f"](../{outside}", f"]({inside}.md")


def read_as_markdown(app: Any, what: str, name: str, item: Any, options: Any, lines: list[str]) -> None:
    """Read docstrings as Markdown: what is indented after an empty line is code, and | and _ are themselves."""
    shown: list[str] = []
    for line in lines:
        is_code = line.startswith("    ")
        if is_code and shown and not shown[-1].strip():
            shown += ["::", ""]
        shown.append(line if is_code else re.sub(r"(\w)_(?=\W|$)", r"\1\\_", line.replace("|", r"\|")))
    lines[:] = shown


def setup(app: Any) -> None:
    app.connect("source-read", show_outside)
    app.connect("autodoc-process-docstring", read_as_markdown)
