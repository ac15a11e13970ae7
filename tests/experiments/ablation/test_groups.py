"""Which trials share a program, and what a trial's key is made of."""

import json
from pathlib import Path
from typing import Any

from experiments.ablation import groups, result_store, runner, trials
from experiments.ablation.study import Scale, Setting
from tests.experiments.ablation.test_runner import SCALE, STUDY, run


def test_a_key_is_made_of_what_makes_a_cell_and_of_nothing_else():
    config: Any = runner.resolve_settings(STUDY, SCALE)[0].config
    key = trials.trial_key(config, 0, 1e-3)
    same = json.loads(json.dumps(config))
    same["ensemble"]["seeds"], same["ensemble"]["mode"], same["optimizer"]["learning_rate"] = [5, 6], "vmap", 0.5
    assert trials.trial_key(same, 0, 1e-3) == key
    assert trials.trial_key(config, 1, 1e-3) != key != trials.trial_key(config, 0, 1e-2)
    same["model"]["width"] = 9
    assert trials.trial_key(same, 0, 1e-3) != key


def test_seeds_that_the_rates_lack_alike_are_one_program(tmp_path: Path):
    setting: Setting = runner.resolve_settings(STUDY, SCALE)[0]
    with result_store.open_store(tmp_path) as store:
        cells = [(seed, rate) for rate in (1e-3, 1e-2) for seed in (0, 1)]
        (job,) = groups.plan_groups(store.results, [(setting, cells)], STUDY, tmp_path, "data", measure=False)
        assert (job.config["ensemble"]["seeds"], job.config["ensemble"]["learning_rates"]) == ([0, 1], [1e-3, 1e-2])
        unmeasured: Any = {"metrics": {}, "died_at": None}
        store.results[trials.trial_key(setting.config, 0, 1e-3)] = unmeasured
        jobs = groups.plan_groups(store.results, [(setting, cells)], STUDY, tmp_path, "data", measure=False)
        assert [(j.config["ensemble"]["seeds"], j.config["ensemble"]["learning_rates"]) for j in jobs] == [
            ([1], [1e-3]), ([0, 1], [1e-2])
        ]  # fmt: skip
        # What is wanted beside a score must be there too; of what diverged there is nothing more to be had.
        assert not trials.is_complete(store.results[trials.trial_key(setting.config, 0, 1e-3)], ("affine",))
        assert trials.is_complete({"metrics": {}, "died_at": 3}, ("affine",))


def test_settings_that_differ_in_their_rate_alone_are_one_program(tmp_path: Path):
    study = STUDY._replace(grid={**STUDY.grid, "optimizer.learning_rate": (1e-3, 1e-2)}, measures=())
    scale = Scale((0, 1), overrides={"training.steps": 20})
    lines, said = run(tmp_path, study, scale)
    assert len(said) == 2  # of four settings with two seeds each
    assert len(lines) == 8
    assert len({line.result["key"] for line in lines}) == 8
    for line in lines:
        assert line.learning_rate == line.labels["optimizer.learning_rate"] == line.result["learning_rate"]


def test_untrained_cells_are_measured_and_found_again(tmp_path: Path):
    study = STUDY._replace(trained=False, claims=(), scales={"smoke": Scale((0, 1))})
    lines, said = run(tmp_path, study, study.scales["smoke"])
    assert len(said) == 2
    assert [line.phase for line in lines] == ["report"] * 4
    assert all(set(line.result["metrics"]) == {"affine"} for line in lines)
    assert not run(tmp_path, study, study.scales["smoke"])[1]
