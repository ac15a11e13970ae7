from experiments.ablation.mixer_fields import mixer_fields


def test_a_mixer_gets_the_options_that_it_has_and_that_are_not_its_defaults():
    assert mixer_fields("gla", kernel=4) == {"mixer": "gla", "model.gla.kernel": 4}
    assert mixer_fields("delta", kernel=4) == {"mixer": "delta"}
    assert mixer_fields("lstm", kernel=4) == {"mixer": "lstm"}
