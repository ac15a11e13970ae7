"""Studies that run until they are decided, and their records."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.ablation import looks, record_table, runner, sequential, verdicts
from experiments.ablation.study import Claim, Scale, Study, claim_above, claim_below
from experiments.ablation.trials import TrialRecord
from tests.experiments.ablation import STUDY
from tests.experiments.reporting import make_trial

SCALE = Scale((0, 1), overrides={"training.steps": 20})
CLAIM = claim_below("", {"model.activation": "identity"}, 1e-3, metric="affine")
A, B = {"mixer": "a"}, {"mixer": "b"}
Draw = Callable[[int], float]


def fake_runs(monkeypatch: pytest.MonkeyPatch, scores: dict[str, Draw]) -> list[int]:
    """Let `run_study` draw scores seed by seed in place of training; the numbers of seeds that it was asked for."""
    asked: list[int] = []

    def run_study(study: Study, scale: Scale, folder: Path, **options: Any) -> list[TrialRecord]:
        asked.append(len(scale.seeds))
        return [make_trial({"mixer": name}, seed, draw(seed)) for name, draw in scores.items() for seed in scale.seeds]

    monkeypatch.setattr(runner, "run_study", run_study)
    return asked


def study_of(*claims: Claim, seeds: Sequence[int] = (0,)) -> Study:
    mixers = {"a": {"mixer": "rnn"}, "b": {"mixer": "gru"}}
    return Study("?", {"config": "recall"}, {"mixer": mixers}, {"quick": Scale(tuple(seeds))}, claims)


def noise(center: float) -> Draw:
    return lambda seed: center + 0.01 * float(np.random.default_rng([seed, round(1000 * center)]).normal())


@pytest.mark.parametrize(
    ("gap", "expected", "seeds"),
    [(0.3, "reproduced", 3), (-0.3, "contradicted", 3), (0.025, "reproduced", 12), (0.0, "undecided", 12)],
)
def test_a_study_runs_until_its_claims_are_decided(
    gap: float, expected: str, seeds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = fake_runs(monkeypatch, {"a": noise(0.5 + gap), "b": noise(0.5)})
    told: list[str] = []
    study = study_of(claim_above("a is higher", A, B), seeds=(7, 8))
    at_last, trials = sequential.run_until_decided(study, "quick", tmp_path, log=told.append)
    assert asked == [n for n in looks.LOOKS if n <= seeds]
    assert at_last.scales["quick"].seeds == tuple(range(7, 7 + seeds))
    (found,) = verdicts.judge_claims(at_last, trials, "quick")
    assert (found.verdict, found.scale) == (expected, f"quick scale, {seeds} seeds until decided")
    assert told[-1].startswith(f"look {len(asked)} of 4, {seeds} seeds")
    assert ("what is undecided stays so" in told[-1]) == (expected == "undecided")
    if len(asked) > 1:
        assert "the next look, with 5 seeds, takes about" in told[0]


def test_a_look_asks_for_more_than_seeds_that_were_set_before():
    trials = [
        make_trial({"mixer": name}, seed, score)
        for name, scores in {"a": (0.60, 0.63, 0.61), "b": (0.55, 0.58, 0.57)}.items()
        for seed, score in enumerate(scores)
    ]
    study = study_of(claim_above("", A, B), seeds=range(3))
    assert verdicts.judge_claims(study, trials, "quick")[0].verdict == "reproduced"
    looked = [trial._replace(result={**trial.result, "looks": "3"}) for trial in trials]
    assert verdicts.judge_claims(study, looked, "quick")[0].verdict == "undecided"


def test_trials_are_shared_between_looks(tmp_path: Path):
    """With real runs: the second study finds what the first one trained, and trains the seeds that are new."""
    study = STUDY._replace(scales={"smoke": SCALE}, claims=(CLAIM,))
    runner.run_study(study, SCALE._replace(seeds=(0,)), tmp_path, log=lambda line: None)
    told: list[str] = []
    at_last, trials = sequential.run_until_decided(study, "smoke", tmp_path, log=told.append)
    assert at_last.scales["smoke"].seeds == (0, 1, 2)
    assert {trial.result.get("looks") for trial in trials} == {"3"}
    groups = {(trial.labels["model.activation"], trial.seed > 0): trial.result["group"] for trial in trials}
    assert len(set(groups.values())) == 4
    assert [one.verdict for one in verdicts.judge_claims(at_last, trials, "smoke")] == ["reproduced"]


def test_there_must_be_something_to_decide(tmp_path: Path):
    with pytest.raises(ValueError, match="no claim is about scale quick, so there is nothing to decide"):
        sequential.run_until_decided(study_of(), "quick", tmp_path)
    many, tuned = study_of(claim_above("", A, B), seeds=range(20)), study_of(claim_above("", A, B), seeds=(95,))
    with pytest.raises(ValueError, match="scale quick has 20 seeds, and the last look 12; run it without"):
        sequential.run_until_decided(many, "quick", tmp_path)
    tuned = tuned._replace(scales={"quick": tuned.scales["quick"]._replace(learning_rates=(1e-3, 1e-2))})
    with pytest.raises(ValueError, match="seed 100 is reported too"):
        sequential.run_until_decided(tuned, "quick", tmp_path)


# ---- records ---------------------------------------------------------------------------------------------------------


def recorded_rows(study: Study, taken: str, seeds: int) -> list[dict[str, str]]:
    claims = ";".join(map(verdicts.claim_fingerprint, study.claims))
    trials = [make_trial({"mixer": name}, seed, 0.5 + 0.01 * seed) for name in "ab" for seed in range(seeds)]
    header, rows = record_table.tabulate_records(
        [one._replace(result={**one.result, "looks": taken, "claims": claims}) for one in trials]
    )
    return [dict(zip(header, map(str, row), strict=True)) for row in rows]


def test_a_record_says_its_looks_and_has_the_seeds_of_the_last():
    study = study_of(claim_above("", A, B), seeds=range(3))
    trials = record_table.parse_records(recorded_rows(study, "3;5", 5), study, study.scales["quick"])
    assert len(trials) == 10
    assert verdicts.judge_claims(study, trials, "quick")[0].scale == "quick scale, 5 seeds until decided"


@pytest.mark.parametrize(
    ("taken", "seeds", "message"),
    [
        ("5;3", 5, "looks are 5;3, and declared are 3;5;8;12 seeds, in this order"),
        ("3;8", 8, "looks are 3;8, and"),
        ("4", 4, "looks are 4, and"),
        ("3;5;8", 5, "the record lacks a, seed 5"),
        ("", 5, "the record has too many of a, seed 3"),
    ],
)
def test_other_looks_and_fewer_seeds_than_they_say_are_refused(taken: str, seeds: int, message: str):
    study = study_of(claim_above("", A, B), seeds=range(3))
    with pytest.raises(ValueError, match=message):
        record_table.parse_records(recorded_rows(study, taken, seeds), study, study.scales["quick"])


def test_rows_must_agree_on_their_looks():
    study = study_of(claim_above("", A, B), seeds=range(3))
    rows = recorded_rows(study, "3", 3)
    rows[0]["looks"] = ""
    with pytest.raises(ValueError, match=r"looks are none and 3, .*; make it anew with --until=decided --record"):
        record_table.parse_records(rows, study, study.scales["quick"])


def test_a_claim_that_was_edited_after_its_record_is_marked():
    study = study_of(claim_above("", A, B, 0.1), claim_below("", A, 0.9), seeds=range(3))
    trials = record_table.parse_records(recorded_rows(study, "", 3), study, study.scales["quick"])
    edited = study._replace(claims=(claim_above("", A, B, 0.05), study.claims[1]))
    assert [verdicts.is_edited(claim, trials) for claim in edited.claims] == [True, False]
    marked = [verdicts.EDITED_NOTE in one.evidence for one in verdicts.judge_claims(edited, trials, "quick")]
    assert marked == [True, False]
    fewer = study._replace(claims=study.claims[:1])
    assert verdicts.judge_claims(fewer, trials, "quick")[0].scale.endswith("1 recorded claim removed since")
    assert "removed" not in verdicts.judge_claims(edited, trials, "quick")[0].scale
    rows = recorded_rows(study, "", 3)
    rows[0]["claims"] = "zzz"
    with pytest.raises(ValueError, match="claims='zzz' are no fingerprints"):
        record_table.parse_records(rows, study, study.scales["quick"])
    old = [trial._replace(result={**trial.result, "claims": ""}) for trial in trials]
    assert not verdicts.is_edited(edited.claims[0], old), "an old record does not say"


def test_a_claim_is_told_from_another_by_every_field_it_sets():
    claim = claim_above("text", A, B, 0.1)
    others = [
        claim._replace(text="other"), claim._replace(margin=0.2), claim._replace(right=0.5),
        claim._replace(at_most=True), claim._replace(within=0.1),
        claim._replace(also=(claim,)), claim._replace(also=(claim._replace(margin=0.3),)),
    ]  # fmt: skip
    assert len({verdicts.claim_fingerprint(one) for one in (claim, *others)}) == 8
    assert verdicts.claim_fingerprint(claim) == verdicts.claim_fingerprint(claim_above("text", dict(A), dict(B), 0.1))
