import os
import subprocess
import sys
from typing import Any

import pytest

import models.matching
from experiments.ablation import study
from experiments.ablation.study import Scale, Study, claim_above, claim_below, claim_near
from tests import ROOT
from training import builder

SCALE = Scale((0, 1), (1e-3, 3e-3), (100,))
GOOD = Study(
    question="?",
    fixed={"config": "recall", "training.steps": 100, "training.eval_every": 100},
    grid={"mixer": ("lstm", "gru"), "size": {"small": {"model.width": 8}, "large": {"model.width": 16}}},
    scales={"quick": SCALE},
    claims=(claim_above("a", {"mixer": "lstm"}, {"mixer": "gru"}, 0.1),),
)


def test_settings_are_all_combinations_with_their_configs():
    found = study.resolve_settings(GOOD, SCALE)
    assert [tuple(one.labels.values()) for one in found] == [
        ("lstm", "small"), ("lstm", "large"), ("gru", "small"), ("gru", "large")
    ]  # fmt: skip
    assert [one.config["model"]["width"] for one in found] == [8, 16, 8, 16]
    assert {one.config["model"]["mixer"] for one in found[:2]} == {"lstm"}
    assert all(one.config["training"]["steps"] == 100 for one in found)
    assert all(one.config["task"]["pairs"] == 8 for one in found)  # what is not said is the file's
    assert study.format_labels(found[0].labels) == "lstm, small"


def test_a_scale_changes_fields_and_axes_and_some_can_be_left_out():
    scale = SCALE._replace(overrides={"training.steps": 50, "training.eval_every": 50}, grid={"mixer": ("rnn",)})
    found = study.resolve_settings(GOOD, scale)
    assert {one.labels["mixer"] for one in found} == {"rnn"}
    assert {one.config["training"]["steps"] for one in found} == {50}
    without = GOOD._replace(exclude=({"mixer": "gru", "size": "large"},))
    assert len(study.resolve_settings(without, SCALE)) == 3
    assert len(study.resolve_settings(GOOD, SCALE, {"mixer": ["gru"], "size": ["small"]})) == 1


def test_a_claim_compares_settings_that_differ_in_what_its_right_side_names():
    settings: list[Any] = [{"mixer": m, "delay": d} for m in ("rnn", "lstm", "attention") for d in (5, 60)]
    compared: Any = list(
        study.compared_pairs(claim_above("", {"mixer": "attention"}, {"mixer": ("rnn", "lstm")}), settings)
    )
    assert [(a["delay"], b["mixer"], b["delay"]) for a, b in compared] == [
        (5, "rnn", 5), (5, "lstm", 5), (60, "rnn", 60), (60, "lstm", 60)
    ]  # fmt: skip
    compared = list(
        study.compared_pairs(claim_below("", {"mixer": ("rnn", "lstm"), "delay": 60}, {"delay": 5}), settings)
    )
    assert [(a["mixer"], b["mixer"]) for a, b in compared] == [("rnn", "rnn"), ("lstm", "lstm")]
    assert [b for _, b in study.compared_pairs(claim_above("", {"delay": 5}, 0.9), settings)] == [0.9] * 3


BAD: list[tuple[dict[str, Any], str]] = [
    ({"fixed": {"config": "recal"}}, r"config=recal: must be one of .*did you mean recall\?"),
    ({"fixed": {}}, r"config=None: must be one of adding"),
    ({"grid": {"mixer": ("lstm", "gur")}}, r"mixer gur: .*MIXER=gur: must be one of .*did you mean gru\?|^gur: "),
    ({"grid": {"model.widht": (8, 16)}}, r"widht 8: field=model\.widht: must be one of .*did you mean model\.width\?"),
    ({"grid": {"model.width": (8, "wide")}}, r"width wide: model\.width='wide': must be of the type of 32"),
    ({"grid": {"task.name": ("recall", "recal")}}, r"task\.name=recal: must be one of .*did you mean recall\?"),
    ({"grid": {}}, r"grid: a study needs an axis"),
    ({"grid": {"mixer": ()}}, r"grid: mixer has no labels, so the grid is empty"),
    ({"grid": {"mixer": "lstm"}}, r"grid: mixer='lstm' must be a tuple of different labels"),
    ({"grid": {"mixer": ("lstm", "lstm")}}, r"must be a tuple of different labels"),
    ({"exclude": ({},)}, r"the grid is empty: every setting is filtered out or excluded"),
    ({"grid": {"heads": {"four": {"model.attention.heads": 4}, "three": {"model.attention.heads": 3}}}},
     r"three: model\.attention\.heads=3: must divide the inner width 32"),
    ({"grid": {"same": {"a": {"model.width": 8}, "b": {"model.width": 8}}}}, r"^b and a: are the same config"),
    ({"claims": (claim_above("x", {"mixer": "rnn"}, 0.5),)}, r"claim 'x': mixer has no 'rnn'; it has lstm, gru"),
    ({"claims": (claim_above("x", {"mixr": "lstm"}, 0.5),)}, r"claim 'x'=mixr: must be one of mixer, size"),
    ({"claims": (claim_near("x", {"mixer": "lstm"}, {"size": "tiny"}, 0.1),)}, r"claim 'x': size has no 'tiny'"),
    ({"claims": (claim_above("x", {"mixer": "lstm"}, 0.5, metric="tset"),)}, r"metric=tset: must be one of test, val"),
    ({"exclude": ({"mixer": "gru"},)}, r"claim 'a': the grid has no setting that it speaks of"),
    ({"measures": ("reech",)}, r"measures=reech: must be one of reach, .*did you mean reach\?"),
    ({"plot_metric": "bits"}, r"metric=bits: must be one of test, validation"),
    ({"trained": False}, r"trained=False: an untrained study needs measures"),
    ({"scales": {"quick": SCALE._replace(seeds=())}}, r"seeds=\(\): must be one or more different seeds"),
    ({"scales": {"quick": SCALE._replace(seeds=(0, 100))}}, r"seed 100 is reported too, so it may not choose the rate"),
    ({"scales": {"quick": SCALE._replace(grid={"mixr": ("lstm",)})}}, r"Scale\.grid=mixr: must be one of mixer, size"),
    *(
        ({"grid": {"size": {f"s{unfit}": {"model.width": 8}, "b": {}}}, "claims": ()}, rf"^'s{said}': has '{said}' in")
        for unfit, said in (("\0", r"\\x00"), ("\x1b", r"\\x1b"), ("\n", r"\\n"), ("\ud800", r"\\ud800"),
                            ("\uffff", r"\\uffff"))
    ),
    ({"grid": {"size\x07": {"small": {"model.width": 8}, "b": {}}}, "claims": ()}, r"'size\\x07': has "),
    ({"scales": {"quick": SCALE._replace(grid={"size": {"s\x07": {"model.width": 8}}})}}, r"'s\\x07': has "),
    ({"question": "Is\x0cit?"}, r"'Is\\x0cit\?': has '\\x0c' in it, which no report can show"),
    ({"claims": (claim_above("a\x0b", {"mixer": "lstm"}, 0.5),)}, r"'a\\x0b': has "),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_what_can_not_be_run_is_refused_before_anything_is_trained(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message) as caught:
        study.validate_study(GOOD._replace(**changes), "quick")
    assert "\n" not in str(caught.value)


def test_a_study_or_scale_that_there_is_not():
    with pytest.raises(ValueError, match=r"--study=similarty: must be one of .*did you mean similarity\?"):
        study.load_study("similarty")
    with pytest.raises(ValueError, match=r"--scale=big: must be one of quick"):
        study.validate_study(GOOD, "big")


@pytest.mark.parametrize("name", study.study_names())
def test_every_study_can_be_run_at_every_scale(name: str, monkeypatch: pytest.MonkeyPatch):
    """With hidden sizes matched to attention's parameters at the scale that has a record, and as wide as the model at
    the others, where matching would take most of the time."""
    one = study.load_study(name)
    scales = sorted(one.scales, key=lambda scale: scale != "quick")
    study.validate_study(one, scales[0])
    monkeypatch.setattr(models.matching, "match_hidden_size", lambda mixer, width, *args, **options: width)
    for scale in scales[1:]:
        study.validate_study(one, scale)


def test_a_study_may_have_one_scale_and_measure_in_some_settings():
    some = GOOD._replace(measures={"reach": {"size": "small"}}, plot_metric="reach")
    study.validate_study(some, "quick")
    measured = [study.measures_for(some, one) for one in study.grid_labels(some, SCALE)]
    assert measured == [("reach",), (), ("reach",), ()]
    with pytest.raises(ValueError, match=r"measures: size has no 'tiny'; it has small, large"):
        study.validate_study(some._replace(measures={"reach": {"size": "tiny"}}), "quick")


def test_a_claim_may_be_of_an_extra_score_where_the_task_gives_it():
    claims = (claim_above("a", {"mixer": "lstm"}, 0.5, metric="balanced accuracy"),)
    peptides = Study("?", {"config": "peptides"}, {"mixer": ("lstm", "gru")}, {"quick": SCALE}, claims)
    with pytest.raises(ValueError, match=r"metric=balanced accuracy: must be one of test, validation$"):
        study.validate_study(peptides, "quick")
    settings = study.resolve_settings(peptides, SCALE)
    own = [s._replace(config={**s.config, "task": {"name": "classification", "path": "a.csv"}}) for s in settings]
    study.validate_metric(peptides, "balanced accuracy", study.extra_metrics(own))
    assert study.extra_metrics(settings) == []


def test_a_claim_speaks_of_the_scales_that_have_its_labels():
    other = Scale(seeds=(0,), grid={"mixer": ("rnn", "gru")})
    some = GOOD._replace(scales={"quick": SCALE, "other": other})
    study.validate_study(some, "other")
    assert not list(study.compared_pairs(some.claims[0], study.grid_labels(some, other)))
    with pytest.raises(ValueError, match="claim 'a': mixer has no 'dense'; it has rnn, gru"):
        study.validate_study(some._replace(claims=(claim_above("a", {"mixer": "dense"}, 0.5),)), "other")
    best = claim_above("a", {}, 0.5, best_of="mixr")
    with pytest.raises(ValueError, match=r"claim 'a': best_of=mixr: must be one of mixer, size"):
        study.validate_study(some._replace(claims=(best,)), "quick")


def test_the_notes_claims_each_have_a_study():
    rows = {study.load_study(name).notes_row for name in study.study_names()}
    assert set(range(1, 13)) - {6} <= rows  # the sixth is the scorecard's


def test_a_setting_is_what_train_would_run():
    (one, *_) = study.resolve_settings(GOOD, SCALE)
    assert builder.build_run(one.config).config["model"]["width"] == 8


def test_checking_a_study_leaves_open_how_many_devices_there_are():
    """Replicas are spread over as many as suit them, which can be said only before the first array is made."""
    code = """
import jax
from experiments.ablation import study
for name in ("distance", "bottleneck"):
    study.validate_study(study.load_study(name), "quick")
jax.config.update("jax_num_cpu_devices", 3)
print(len(jax.devices()))
"""
    flags = {**os.environ, "XLA_FLAGS": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=flags, capture_output=True, text=True, timeout=100, check=True
    )
    assert done.stdout.strip() == "3"
