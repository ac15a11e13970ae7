import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import records
from experiments import runner
from experiments.study import Scale, Setting, Study, above

STUDY = Study(
    question="?",
    fixed={"config": "curve", "training.batch": 8, "training.eval_every": 20, "training.steps_per_call": 10},
    vary={"model.activation": ("relu", "identity")},
    measured=("affine",),
    scales={"smoke": Scale((0, 1), (1e-3, 1e-2), (100,), {"training.steps": 20})},
    claims=(above("", {"model.activation": "identity"}, 0.5),),
)
SCALE = STUDY.scales["smoke"]


def run(folder: Path, study: Study = STUDY, scale: Scale = SCALE) -> tuple[list[runner.Line], list[str]]:
    """The lines, and what was said of each group that was run."""
    said: list[str] = []
    return runner.run(study, scale, folder, say=said.append), said


def timeless(lines: list[runner.Line]) -> list[Any]:
    """All that does not depend on when and how often a study was stopped."""
    header, rows = runner.table(lines)
    kept = [i for i, name in enumerate(header) if name not in ("seconds", "training_seconds")]
    return [[row[i] for i in kept] for row in rows]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[runner.Line]]:
    folder = tmp_path_factory.mktemp("studies")
    lines, said = run(folder)
    assert len(said) == 4  # of each setting the rates, then the seeds
    return folder, lines


def test_every_cell_is_there_once_with_its_part(done: tuple[Path, list[runner.Line]]):
    _, lines = done
    cells = [(*line.labels.values(), line.part, line.seed) for line in lines]
    assert len(cells) == 8
    assert {cell[1:] for cell in cells} == {("choose", 100), ("report", 0), ("report", 1)}
    for line in lines:
        assert {"test", "validation"} <= set(line.cell["metrics"])
        assert ("affine" in line.cell["metrics"]) == (line.part == "report")


def test_the_rate_is_the_one_that_did_best_on_seeds_that_are_not_reported(done: tuple[Path, list[runner.Line]]):
    _, lines = done
    for labels in ({"model.activation": "relu"}, {"model.activation": "identity"}):
        tried = {x.rate: x.value("validation") for x in lines if x.labels == labels and x.part == "choose"}
        assert set(tried) == {1e-3, 1e-2}
        best = min(tried.values())
        (rate,) = {x.rate for x in lines if x.labels == labels and x.part == "report"}
        assert tried[rate] <= best * (1 + 1e-3)


def test_what_was_run_is_found_again_and_what_is_new_is_run(done: tuple[Path, list[runner.Line]], tmp_path: Path):
    folder, lines = done
    again, said = run(folder)
    assert not said
    assert timeless(again) == timeless(lines)
    grown, said = run(folder, scale=SCALE._replace(seeds=(0, 1, 2)))
    assert len(said) == 2  # seed 2 of each setting, and nothing else
    assert timeless(grown)[:4] == timeless(lines)[:4]
    other = STUDY._replace(vary={"model.activation": ("relu", "tanh")}, question="another study, the same cells")
    _, said = run(folder, other)
    assert len(said) == 2
    more, said = run(folder, STUDY._replace(measured=("affine", "permuted")))
    assert len(said) == 2  # measured in the models that are there
    assert all({"affine", "permuted"} <= set(x.cell["metrics"]) for x in more if x.part == "report")
    assert len(list((folder / "groups").iterdir())) == 8


def test_a_line_that_a_kill_cut_off_is_run_again(done: tuple[Path, list[runner.Line]]):
    folder, lines = done
    path = folder / "cells.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    again, said = run(folder)
    assert timeless(again) == timeless(lines)
    assert len(said) <= 1
    path.write_bytes(b"{}\n" + whole)
    with pytest.raises(ValueError, match=r"cells\.jsonl: line 1 is damaged; delete that line") as caught:
        run(folder)
    assert "\n" not in str(caught.value)
    path.write_bytes(whole)


def test_two_runners_on_one_folder_and_a_folder_from_the_future(done: tuple[Path, list[runner.Line]], tmp_path: Path):
    folder, _ = done
    with runner.opened(folder), pytest.raises(ValueError, match="is in use by another process"):
        run(folder)
    records.write_json(tmp_path / "format.json", {"format": runner.FORMAT + 1})
    with pytest.raises(ValueError, match=r"written by a newer version .*update, or give another --workdir"):
        run(tmp_path)


def test_a_key_is_made_of_what_makes_a_cell_and_of_nothing_else():
    config: Any = runner.settings(STUDY, SCALE)[0].config
    key = runner.key(config, 0, 1e-3)
    same = json.loads(json.dumps(config))
    same["replicas"]["seeds"], same["replicas"]["how"], same["optimizer"]["learning_rate"] = [5, 6], "vmap", 0.5
    assert runner.key(same, 0, 1e-3) == key
    assert runner.key(config, 1, 1e-3) != key != runner.key(config, 0, 1e-2)
    same["model"]["width"] = 9
    assert runner.key(same, 0, 1e-3) != key


def test_seeds_that_the_rates_lack_alike_are_one_program(tmp_path: Path):
    setting: Setting = runner.settings(STUDY, SCALE)[0]
    with runner.opened(tmp_path) as store:
        cells = [(seed, rate) for rate in (1e-3, 1e-2) for seed in (0, 1)]
        (job,) = runner.groups(store, [(setting, cells)], (), STUDY, "data")
        assert (job.config["replicas"]["seeds"], job.config["replicas"]["learning_rates"]) == ([0, 1], [1e-3, 1e-2])
        store.cells[runner.key(setting.config, 0, 1e-3)] = {"metrics": {}, "died_at": None}
        jobs = runner.groups(store, [(setting, cells)], (), STUDY, "data")
        assert [(j.config["replicas"]["seeds"], j.config["replicas"]["learning_rates"]) for j in jobs] == [
            ([1], [1e-3]), ([0, 1], [1e-2])
        ]  # fmt: skip
        # What is wanted beside a score must be there too; of what diverged there is nothing more to be had.
        assert not runner.complete(store.cells[runner.key(setting.config, 0, 1e-3)], ("affine",))
        assert runner.complete({"metrics": {}, "died_at": 3}, ("affine",))


def test_settings_that_differ_in_their_rate_alone_are_one_program(tmp_path: Path):
    study = STUDY._replace(vary={**STUDY.vary, "optimizer.learning_rate": (1e-3, 1e-2)}, measured=())
    scale = Scale((0, 1), changes={"training.steps": 20})
    lines, said = run(tmp_path, study, scale)
    assert len(said) == 2  # of four settings with two seeds each
    assert len(lines) == 8
    assert len({line.cell["key"] for line in lines}) == 8
    for line in lines:
        assert line.rate == line.labels["optimizer.learning_rate"] == line.cell["learning_rate"]


def test_untrained_cells_are_measured_and_found_again(tmp_path: Path):
    study = STUDY._replace(trained=False, claims=(), scales={"smoke": Scale((0, 1))})
    lines, said = run(tmp_path, study, study.scales["smoke"])
    assert len(said) == 2
    assert [line.part for line in lines] == ["report"] * 4
    assert all(set(line.cell["metrics"]) == {"affine"} for line in lines)
    assert not run(tmp_path, study, study.scales["smoke"])[1]


def test_a_record_reads_as_the_lines_that_it_was_written_from(done: tuple[Path, list[runner.Line]], tmp_path: Path):
    _, lines = done
    records.write_csv(tmp_path / "record.csv", *runner.table(lines))
    read = runner.lines_of(records.read_csv(tmp_path / "record.csv"), STUDY, SCALE)
    assert [x[:4] for x in read] == [x[:4] for x in lines]
    for ours, theirs in zip(read, lines, strict=True):
        assert ours.cell["metrics"] == pytest.approx(theirs.cell["metrics"], rel=1e-5)
        assert ours.cell["parameters"] == theirs.cell["parameters"]
    text = (tmp_path / "record.csv").read_text()
    (tmp_path / "cut.csv").write_text(text[: text.rstrip().rfind(",") - 20])
    with pytest.raises(ValueError, match="the record is cut in the middle of a line"):
        runner.lines_of(records.read_csv(tmp_path / "cut.csv"), STUDY, SCALE)
    with pytest.raises(ValueError, match="the record is of another study"):
        runner.lines_of(records.read_csv(tmp_path / "record.csv"), STUDY._replace(vary={"mixer": ("lstm",)}), SCALE)


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.experiments.test_runner import SCALE, STUDY
from experiments import runner
runner.run(STUDY, SCALE, Path({folder!r}), say=lambda line: None)
"""


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_kills_at_random_moments_change_nothing(done: tuple[Path, list[runner.Line]], tmp_path: Path):
    """`KILLS=50 pytest -k kills -n 0 -s` for more of them; two otherwise."""
    kills, limit = int(os.environ.get("KILLS", "2")), 12.0
    code = KILLED.format(root=str(Path(__file__).parents[2]), folder=str(tmp_path))
    drawn, count = random.Random(0), 0
    devices = f"--xla_force_host_platform_device_count={len(jax.devices())}"  # as here, where the last of it is run
    environment = {**os.environ, "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {devices}"}
    while count < kills:
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)
        begun = time.monotonic()
        wait = drawn.uniform(1.0, limit)
        while process.poll() is None and time.monotonic() - begun < wait:
            time.sleep(0.05)
        if process.poll() is not None:  # it was through: begin a new one, with the same kills to come
            assert process.returncode == 0
            compare(done, tmp_path)
            for path in sorted(tmp_path.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            limit = max(4.0, 0.9 * (time.monotonic() - begun))
            continue
        process.send_signal(signal.SIGKILL)
        process.wait()
        count += 1
    compare(done, tmp_path)


def compare(done: tuple[Path, list[runner.Line]], folder: Path) -> None:
    lines, _ = run(folder)
    ours, theirs = timeless(lines), timeless(done[1])
    assert len(ours) == len(theirs)
    header = [name for name in runner.table(lines)[0] if name not in ("seconds", "training_seconds")]
    for mine, other in zip(ours, theirs, strict=True):
        for name, a, b in zip(header, mine, other, strict=True):
            assert a == b or name in ("revision", "how"), name
    assert np.isfinite([line.value("test") for line in lines]).all()
