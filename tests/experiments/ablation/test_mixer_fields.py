from experiments.ablation.mixer_fields import claims_about, mixer_fields, registered_only
from experiments.ablation.study import claim_above


def test_a_mixer_gets_the_options_that_it_has_and_that_are_not_its_defaults():
    assert mixer_fields("gla", kernel=4) == {"mixer": "gla", "model.gla.kernel": 4}
    assert mixer_fields("delta", kernel=4) == {"mixer": "delta"}
    assert mixer_fields("lstm", kernel=4) == {"mixer": "lstm"}
    assert mixer_fields("newcomer", kernel=4) == {"mixer": "newcomer", "model.newcomer.kernel": 4}


def test_settings_of_mixers_that_are_not_registered_are_left_out():
    assert registered_only({"a": {"mixer": "lstm"}, "b": {"mixer": "newcomer"}}) == {"a": {"mixer": "lstm"}}


def test_claims_speak_of_the_labels_that_there_are():
    grid = {"mixer": ("lstm", "gru"), "size": {"small": {}, "large": {}}}
    some = claim_above("a", {"mixer": ("lstm", "newcomer"), "size": "small"}, {"mixer": "gru"}, 0.1)
    none = claim_above("b", {"mixer": ("newcomer",)}, 0.5)
    other = claim_above("c", {"mixer": "lstm"}, {"mixer": "newcomer"})
    number = claim_above("d", {"size": "large"}, 0.5)
    kept = claims_about(grid, (some, none, other, number))
    assert [claim.text for claim in kept] == ["a", "d"]
    assert kept[0].left == {"mixer": ("lstm",), "size": ("small",)}
    assert (kept[0].right, kept[0].margin) == ({"mixer": ("gru",)}, 0.1)
    assert kept[1].right == 0.5
