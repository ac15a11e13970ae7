"""The site of `make docs`, by Sphinx: the pages of docs/ and the docstrings of what users call. It opens offline."""

from typing import Any

project = "Recur or Attend"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
html_theme = "sphinx_book_theme"
html_title = project
html_copy_source = False
nb_execution_mode = "off"  # notebooks are there with their outputs
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# Pages of the repository outside docs/ that the site includes: their link on a page of docs/ → their page.
OUTSIDE = {"../CHANGELOG.md": "changelog.md", "../findings/README.md": "findings.md"}


def link_inside(app: Any, page: str, source: list[str]) -> None:
    """Lead links to files outside docs/ to the pages that include them."""
    for outside, inside in OUTSIDE.items():
        source[0] = source[0].replace(f"]({outside}", f"]({inside}")


def setup(app: Any) -> None:
    app.connect("source-read", link_inside)
