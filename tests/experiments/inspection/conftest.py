from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import data
from configs import titles
from experiments import explore
from experiments.inspection.reading import ModelReading, load_run, read_sentence
from tests import tiny_config
from tests.experiments.inspection import ABOUT, NASTY, export, made_up, text_model
from training import loop


@contextmanager
def replaced_data() -> Iterator[None]:
    """Made-up data in place of real ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load_dataset", made_up)
        patch.setattr(explore, "title_details", lambda: ABOUT)
        yield


@pytest.fixture(scope="module", autouse=True)
def made_up_data() -> Iterator[None]:
    with replaced_data():
        yield


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported: attention, lstm and titles."""
    root = tmp_path_factory.mktemp("runs")
    with replaced_data():
        text_model(root / "attention", "attention")
        text_model(root / "lstm", "lstm", model__depth=1)
        export(root / "titles", titles.get_config(), model__width=8)
    return root


@pytest.fixture(scope="session")
def recall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workdir, of a task without text, trained for a moment."""
    fields = {"ensemble.seeds": (0, 1), "training.steps": 10}
    directory = tmp_path_factory.mktemp("recall") / "run"
    loop.train(tiny_config("attention", fields), directory, tensorboard=False)
    return directory


@pytest.fixture(scope="session")
def page(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All three, reading markup; and the figures beside the page."""
    out = tmp_path_factory.mktemp("page") / "explore.html"
    paths = [runs / name for name in ("attention", "lstm", "titles")]
    with replaced_data():
        explore.write_exploration(paths, NASTY, out, "data", 0, figures=True)
    return out


@pytest.fixture(scope="session")
def readings(runs: Path) -> dict[str, ModelReading]:
    """What attention and lstm make of the page's sentence."""
    with replaced_data():
        loaded = {name: load_run(runs / name, "data", 0) for name in ("attention", "lstm")}
    tokens = np.array(loaded["attention"].run.task.encode(NASTY))
    return {name: read_sentence(name, one, tokens) for name, one in loaded.items()}
