"""The site of `make docs`: it is built without a warning, its links lead somewhere, and it works without a network."""

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

find_faults = runpy.run_path(str(ROOT / "docs/check_links.py"))["find_faults"]  # docs is no package
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_site_builds_without_a_warning_and_works_as_files(tmp_path: Path):
    for package in ("sphinx", "myst_nb", "sphinx_book_theme", "sphinx_copybutton"):
        pytest.importorskip(package, reason="the extra docs is not installed")
    site = tmp_path / "site"
    words = ["--fail-on-warning", "--keep-going", "--quiet", "-d", str(tmp_path / "doctrees"), "docs", str(site)]
    built = subprocess.run([sys.executable, "-m", "sphinx", *words], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert not list(find_faults(site))
    functions = "".join(page.read_text() for page in (site / "api").glob("*.html"))
    assert "Alias for field number" not in functions
    assert '">Type<' not in functions, "the words before a colon in a field's comment are taken for its type"
    if BROWSER:
        found = read_with_browser(f"file://{site}/search.html?q=softmax")
        assert 'href="results/claims.html' in found, "the search finds nothing where the site is opened as files"


def read_with_browser(address: str) -> str:
    """The page as it is once its scripts have run."""
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom", address]
    return subprocess.run([str(BROWSER), *words], capture_output=True, text=True, check=True, timeout=120).stdout


def write_site(folder: Path, head: str, body: str) -> list[str]:
    (folder / "sub").mkdir()
    (folder / "there.txt").touch()
    (folder / "sub" / "other.html").write_text('<h2 id="a place">…</h2>')
    (folder / "index.html").write_text(f"<html><head>{head}</head><body>{body}</body></html>")
    return list(find_faults(folder))


@pytest.mark.parametrize(
    "link", ["#", "there.txt", "sub/other.html", "sub/other.html#a%20place", "https://example.org/x", "mailto:a@b.c"]
)
def test_a_link_that_leads_somewhere_is_no_fault(tmp_path: Path, link: str):
    assert write_site(tmp_path, "", f'<a href="{link}">…</a>') == []


@pytest.mark.parametrize("link", ["nowhere.html", "sub", "sub/other.html#elsewhere", "#elsewhere"])
def test_a_link_that_leads_nowhere_is_named_with_its_page(tmp_path: Path, link: str):
    (fault,) = write_site(tmp_path, "", f'<a href="{link}">…</a>')
    assert fault.startswith(f"index.html: {link} leads to a ")


@pytest.mark.parametrize(
    "loading",
    [
        '<script src="https://cdn.example.org/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.example.org/x">',
        '<img src="http://example.org/x.png">',
    ],
)
def test_what_a_page_would_load_over_the_network_is_a_fault(tmp_path: Path, loading: str):
    (fault,) = write_site(tmp_path, loading, "")
    assert fault.endswith(", which is not there without a network")


def test_a_style_sheet_that_loads_a_font_over_the_network_is_a_fault(tmp_path: Path):
    (tmp_path / "x.css").write_text("@font-face { src: url('https://fonts.example.org/x.woff2') }")
    (fault,) = write_site(tmp_path, '<link rel="stylesheet" href="x.css">', '<img src="data:image/png;base64,AA==">')
    assert fault.startswith("x.css: loads https://fonts.example.org/x.woff2")


def test_a_folder_without_a_page_is_a_fault(tmp_path: Path):
    (fault,) = find_faults(tmp_path)
    assert "build the site first" in fault
