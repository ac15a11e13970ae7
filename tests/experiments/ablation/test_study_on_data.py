"""A study on other data than its own: what it keeps, what is left out, and what is refused."""

from typing import Any

import pytest

from experiments.ablation import study
from experiments.ablation.own_data import OwnData
from experiments.ablation.study import Scale, Study, claim_above
from experiments.ablation.study_on_data import study_on_data

TEXT = {"name": "characters", "dataset": "shakespeare", "max_length": 64}
KINDS = {
    "shakespeare": TEXT,
    "splice": {"name": "classification", "dataset": "splice"},
    "verses": {"name": "parallel_text", "dataset": "verses"},
    "digits": {"name": "pixels", "dataset": "digits"},
}


def on_text(name: str, mixer: str = "", **overrides: Any) -> tuple[Study, list[str]]:
    fields = {field.replace("__", "."): value for field, value in overrides.items()}
    return study_on_data(name, study.load_study(name), OwnData("shakespeare", mixer, fields, TEXT))


def configs_of(found: Study, scale: str = "quick") -> dict[str, Any]:
    return {study.format_labels(one.labels): one.config for one in study.resolve_settings(found, found.scales[scale])}


@pytest.mark.parametrize("config", KINDS)
def test_every_study_is_of_one_task_or_refused_in_one_line(config: str):
    """And what is left of it can be run at every scale: no setting lacks a field, no two are the same."""
    refusals = {}
    for name in study.study_names():
        try:
            found, remarks = study_on_data(name, study.load_study(name), OwnData(config, "", {}, KINDS[config]))
        except ValueError as error:
            refusals[name] = str(error)
            continue
        for scale in found.scales.values():
            settings = study.resolve_settings(found, scale)
            assert len(settings) > 1
            assert {one.config["task"].get("dataset") for one in settings} == {config}
        assert not found.claims
        assert all("\n" not in line for line in remarks)
    assert {"speed", "slots"} <= refusals.keys()
    assert len(refusals) < 12
    assert all(line.startswith(f"--study={name}: ") and "\n" not in line for name, line in refusals.items())


def test_an_axis_that_chooses_the_task_becomes_one_label_with_its_fewest_steps():
    found, remarks = on_text("compare")
    assert list(found.grid) == ["task", "mixer"]
    assert found.grid["task"] == {"shakespeare": {"training.steps": 500}}
    assert found.scales["full"].grid["task"] == {"shakespeare": {"training.steps": 3000}}
    assert list(found.grid["mixer"]) == ["attention", "lstm", "gru", "rnn", "dense"]
    assert "permuted" in remarks[0]
    assert remarks[1] == "left out: 2 claims about its own task"
    assert list(on_text("distance")[0].grid) == ["mixer", "data"]  # "task.delay", which was a field
    assert [len(labels) for labels in on_text("permutations")[0].grid.values()] == [6, 1]


def test_a_label_means_what_it_means_on_the_studys_own_task():
    """The config of the text has ALiBi for its positions, and that of induction sinusoids, which its labels name."""
    configs = configs_of(on_text("induction")[0])
    assert configs["2 layers, sinusoidal"]["model"]["positions"] == "sinusoidal"
    assert configs["2 layers, sinusoidal"]["model"]["depth"] == 2
    assert configs["1 layer, sinusoidal"]["model"]["depth"] == 1
    assert configs["lstm"]["model"]["positions"] == "none"
    assert configs["lstm"]["task"] == TEXT
    assert configs["lstm"]["training"]["batch_size"] == 16  # of the text's config


def test_fields_that_suit_the_studys_own_task_are_left_out_and_named():
    found, remarks = on_text("order")
    assert "left out, since they suit its own task: model.causal=False, model.pool=mean" in remarks
    assert all(config["model"]["causal"] for config in configs_of(found).values())
    assert "model.max_length=64" in on_text("dense")[1][0]
    kept, _ = study_on_data("order", study.load_study("order"), OwnData("splice", "", {}, KINDS["splice"]))
    assert not any(config["model"]["causal"] for config in configs_of(kept).values())


def test_measures_that_need_the_studys_own_task_are_left_out():
    assert on_text("similarity")[0].measures == ("similar", "similar before", "similar gain")
    found, remarks = on_text("sites")
    assert (found.measures, found.plot_metric) == ((), "test")
    assert "left out, since they measure something in its own task: site, site gradient" in remarks
    assert on_text("capacity")[0].measures == ()  # bits of pairs
    on_images, _ = study_on_data("lines", study.load_study("lines"), OwnData("digits", "", {}, KINDS["digits"]))
    assert on_images.measures == ("affine",)


def test_fields_of_the_command_line_count_more_than_the_studys():
    found, _ = on_text("shape", training__steps=50, task__max_length=16, ensemble__seeds=(7, 8))
    assert found.scales["quick"].seeds == (7, 8)
    assert {(c["training"]["steps"], c["task"]["max_length"]) for c in configs_of(found).values()} == {(50, 16)}
    assert found.scales["quick"].learning_rates == (3e-3, 1e-2)
    assert on_text("shape", optimizer__learning_rate=1e-3)[0].scales["quick"].learning_rates == ()
    assert on_text("shape", ensemble__learning_rates=(0.1,))[0].scales["quick"].learning_rates == (0.1,)
    assert on_text("compare", training__steps=50)[0].grid["task"] == {"shakespeare": {}}


def test_an_option_of_a_mixer_is_for_its_own_settings():
    configs = configs_of(on_text("own_data", model__attention__heads=8)[0])
    assert configs["attention"]["model"]["attention"]["heads"] == 8
    assert "attention" not in configs["lstm"]["model"]
    assert (
        configs_of(on_text("heads", model__attention__window=4)[0])["heads 1, depth 1"]["model"]["attention"]["window"]
        == 4
    )


def test_the_mixer_behind_the_colon_is_for_studies_that_name_none():
    configs = configs_of(on_text("attended", "lstm")[0])
    assert {config["model"]["mixer"] for config in configs.values()} == {"lstm"}
    with pytest.raises(ValueError, match=r"--config=shakespeare:gru: shape has mixers of its own: leave out :gru"):
        on_text("shape", "gru")


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("speed", {}, r"measures what models cost, at lengths of its own: leave out --config"),
        ("bottleneck", {}, r"its models are encoder–decoders, which need pairs .* configs/pairs\.py"),
        ("slots", {}, r"its models are memories of keys and values"),
        (
            "shape",
            {"model__depth": 3},
            r"--config\.model\.depth=3: shape varies it \(model\.depth\): choose with --filter",
        ),
        (
            "own_data",
            {"model__rnn__solver": "quasi"},
            r"--config\.model\.rnn\.solver=quasi: no setting of own_data has",
        ),
        (
            "shape",
            {"model__mixer": "gru"},
            r"--config\.model\.mixer=gru: choose among the mixers of shape with --filter",
        ),
        ("shape", {"ensemble__mode": "map"}, r"--config\.ensemble\.mode: give --mode"),
    ],
)
def test_what_no_other_data_can_do_is_refused(name: str, fields: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message) as caught:
        on_text(name, **fields)
    assert "\n" not in str(caught.value)


def test_a_study_that_varies_its_task_alone_is_refused():
    pairs = Study(
        question="?",
        fixed={"config": "recall"},
        grid={"task.pairs": (2, 4), "model.width": (8,)},
        scales={"quick": Scale(seeds=(0,))},
        claims=(claim_above("a", {"task.pairs": 2}, {"task.pairs": 4}),),
    )
    with pytest.raises(ValueError, match=r"--study=pairs: varies nothing but its own task"):
        study_on_data("pairs", pairs, OwnData("shakespeare", "", {}, TEXT))


def test_data_have_a_name_for_folders_and_labels():
    def name(path: str) -> str:
        return OwnData("text", "", {}, {"name": "text", "path": path}).name

    assert [name("a/my notes.txt.gz"), name("~/corpus/"), name("data/*.parquet"), name("…")] == [
        "my_notes", "corpus", "data", "data"
    ]  # fmt: skip
    assert OwnData("recall", "", {}, {"name": "recall"}).name == "recall"
