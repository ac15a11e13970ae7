"""The site of `make docs`, by Sphinx: the pages of docs/ and the docstrings of what users call. It opens offline."""

import re
import typing
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.pycode import ModuleAnalyzer

typing.GENERATING_DOCUMENTATION = "recur-or-attend"  # jaxtyping then writes Float[Array, 'B T'] without a module

ROOT = Path(__file__).parents[1]
project = "Recur or Attend"
author = "The Recur or Attend authors"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
nb_execution_mode = "off"  # notebooks are there with their outputs
nb_render_markdown_format = "myst"  # links in outputs lead to pages
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
nitpicky = True  # a role that names nothing is an error; types of other packages lead nowhere
nitpick_ignore_regex = [("py:(?!mod|func).*", ".*")]

html_theme = "sphinx_book_theme"
html_title = project
html_theme_options = {
    "navbar_persistent": [],  # the search is in the sidebar
    "toc_title": "On this page",
    "show_toc_level": 2,
}
html_static_path = ["site"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_show_search_summary = False  # excerpts are fetched, which a browser refuses where a page is a file

highlight_language = "text"  # of blocks without a language: commands, and rows of numbers in docstrings
default_role = "code"  # `name` in a docstring
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
maximum_signature_line_length = 120
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

# Files outside docs/ that the site shows: page → file.
OUTSIDE = {"changelog": "CHANGELOG.md", "findings": "findings/README.md"}


def show_outside(app: Any, page: str, source: list[str]) -> None:
    """Put the text of a file outside docs/ in the place of its page, and lead links to files where they are shown."""
    if page in OUTSIDE:
        text = (ROOT / OUTSIDE[page]).read_text("utf-8")
        source[0] = text.replace("](docs/", "](")
    for inside, outside in OUTSIDE.items():
        source[0] = source[0].replace(f"](../{outside}", f"]({inside}.md")
    source[0] = re.sub(r"\[[\w./-]+\.md\]\(", "[](", source[0])  # the title in place of the file's name
    up = "/" if page in OUTSIDE else r"(?:\.\./)+"
    source[0] = re.sub(rf"\]\({up}examples/(\w+)\.py\)", r"](/examples.md#examples\1py)", source[0])
    source[0] = re.sub(rf"\[([^]]+)\]\({up}(\w[\w/]*)\.py\)", link_module, source[0])


def link_module(link: re.Match[str]) -> str:
    return f"{{py:mod}}`{link[1].strip('`')} <{link[2].replace('/', '.')}>`"


def read_as_markdown(app: Any, what: str, name: str, item: Any, options: Any, lines: list[str]) -> None:
    """Read docstrings as Markdown: what is indented after an empty line is code, and | and _ are themselves."""
    if what in ("attribute", "property"):
        join_attribute(lines)
    shown: list[str] = []
    is_code = False
    for line in lines:
        is_indented = line.startswith("  ")
        if is_indented and shown and not shown[-1].strip() and not is_code:
            shown += ["::", ""]
            is_code = True
        elif line.strip() and not is_indented:
            is_code = False
        shown.append(line if is_code else escape_line(line))
    lines[:] = [line for line in shown if not re.fullmatch(r"Alias for field number \d+", line)]


def escape_line(line: str) -> str:
    """A line of Markdown as reStructuredText: `code` may stand in the middle of a word."""
    parts = line.split("`")
    if len(parts) % 2 == 0:  # code that goes on in the next line
        parts = [line]
    parts[::2] = [re.sub(r"(\w)_(?=\W|$)", r"\1\\_", part.replace("|", r"\|")) for part in parts[::2]]
    parts[1::2] = [f"\\ ``{part}``\\ " for part in parts[1::2]]
    return "".join(parts)


def join_attribute(lines: list[str]) -> None:
    """Put back what Napoleon takes for a type, the words before a colon."""
    for index, line in enumerate(lines):
        if line.startswith(":type: "):
            lines[:] = [f"{line.removeprefix(':type: ')}: {lines[0]}", *lines[1:index], *lines[index + 1 :]]
            return


def shorten_signature(
    app: Any, what: str, name: str, item: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Leave out the fields that every module of flax has, and write defaults as code; one made anew is `...`."""
    if signature:
        signature = re.sub(r", parent: .*?<flax\S+ object>, name: str \| None = None", "", signature)
        signature = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", signature.replace("<factory>", "..."))
    return signature, returned


def read_field_comments(app: Any) -> None:
    """Make the comment behind a field its documentation, as if it began with #: for Sphinx."""
    for folder in ("models", "tasks", "training", "experiments"):
        for path in (ROOT / folder).rglob("*.py"):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            source = re.sub(r"^(    \w+: .*\S)  # ", r"\1  #: ", path.read_text("utf-8"), flags=re.M)
            ModuleAnalyzer.cache["module", module] = ModuleAnalyzer.for_string(source, module, str(path))


def visit_equation(self: Any, node: Any) -> None:
    """Write an equation as MathML, which browsers draw without any script."""
    is_block = isinstance(node, nodes.math_block)
    tag = "div" if is_block else "span"
    self.body.append(self.starttag(node, tag, "", CLASS="equation") + tex2mathml(node.astext(), is_block) + f"</{tag}>")
    raise nodes.SkipNode


def setup(app: Any) -> None:
    app.connect("builder-inited", read_field_comments)
    app.connect("source-read", show_outside)
    app.connect("autodoc-process-docstring", read_as_markdown)
    app.connect("autodoc-process-signature", shorten_signature)
    app.add_html_math_renderer("mathml", (visit_equation, None), (visit_equation, None))
