"""README.md and docs/: files that are shown are the files, code runs, links lead somewhere, commands exist.

python -m tests.examples.test_docs        writes the files anew into the pages that show them
"""

import contextlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import models
import train
from configs import recall
from tests import ROOT
from training.builder import build_run

PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"), ROOT / "findings/README.md"]
)
SHOWN = re.compile(r"<!-- file: (\S+) -->\n```python\n(.*?)```", re.S)
ADDED = {"moving_average", "majority", "NAME"}  # what a reader of docs/extending.md adds, by the name of its file
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def path_exists(path: str) -> bool:
    return (ROOT / path).exists() or Path(path).stem in ADDED


def embed_files(text: str) -> str:
    """The page with every file that it shows as the file is now."""
    return SHOWN.sub(lambda found: f"<!-- file: {found[1]} -->\n```python\n{(ROOT / found[1]).read_text()}```", text)


def heading_anchors(page: Path) -> set[str]:
    """What a link into the page may name behind its #, as GitHub makes it of the headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_a_file_that_is_shown_is_the_file(page: Path):
    text = page.read_text()
    assert text == embed_files(text), (
        f"{page_name(page)}: run python -m tests.examples.test_docs, which copies the files anew"
    )


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page: Path):
    for link in LINK.findall(re.sub(r"```.*?```", "", page.read_text(), flags=re.S)):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page_name(page)} links to {path}, which is not there"
        if anchor and target.suffix == ".md":
            assert anchor in heading_anchors(target), (
                f"{page_name(page)} links to {link}, and {page_name(target)} has no such heading"
            )


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_commands_name_modules_configs_and_mixers_that_exist(page: Path):
    text = page.read_text()
    for module in re.findall(r"python -m ([a-z_.]+)", text):
        assert importlib.util.find_spec(module), f"{page_name(page)}: python -m {module}: no such module"
    for target in re.findall(r"^ +make ([a-z]+)", text, re.M):
        assert f"\n{target}:" in (ROOT / "Makefile").read_text(), f"{page_name(page)}: make {target}: no such target"
    for config, mixer in re.findall(r"--config=(configs/\w+\.py):([\w,]+)", text):
        assert path_exists(config), f"{page_name(page)}: {config} is not there"
        for name in models.parse_layer_pattern(mixer):
            assert name in {*models.MIXERS, *models.HYBRIDS, *ADDED}, f"{page_name(page)}: {name} is no mixer"
    for study in re.findall(r"--study=([a-z_]+)", text):
        assert list((ROOT / "experiments/studies").rglob(f"{study}.py")), f"{page_name(page)}: no study {study}"
    for path in re.findall(r"`((?:models|tasks|data|training|experiments|configs|tests)/[\w/]+(?:\.\w+|/))`", text):
        assert path_exists(path), f"{page_name(page)} names {path}, which is not there"


def test_the_python_of_the_readme_runs(monkeypatch: pytest.MonkeyPatch):
    """On the model of the README's command as it is before training."""
    config: Any = recall.get_config("lstm")
    monkeypatch.setattr(train, "load", lambda _: untrained_run(config))
    text = (ROOT / "README.md").read_text()
    (code,) = (code for code in re.findall(r"```python\n(.*?)```", text, re.S) if "train.load" in code)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["logits"].shape == (1, 1, config.task.symbols)


def untrained_run(config: Any) -> tuple[Any, Any]:
    run = build_run(config)
    tokens = jnp.zeros((1, 1), jnp.int32)
    return run, jax.jit(run.model.init)(jax.random.key(0), tokens)["params"]


if __name__ == "__main__":
    for page in PAGES:
        with contextlib.suppress(FileNotFoundError):
            page.write_text(embed_files(page.read_text()))
