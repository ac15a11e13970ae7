import importlib
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import configs
import models
import tasks
import train
from training import builder, files, usage, validation

FILES = usage.list_config_files()
_resolved: set[tuple] = set()  # the mixers, and what their hidden sizes depend on, that were matched so far


@pytest.mark.parametrize("name", FILES)
def test_every_config_can_be_trained_with_every_mixer(name: str):
    """Hidden sizes are matched once for each mixer, and for dense, whose size depends on it, once for each length."""
    task = None
    for mixer in models.MIXERS:
        config = importlib.import_module(f"configs.{name}").get_config(mixer).to_dict()
        validation.validate_config(config)
        assert config["task"]["name"] in tasks.TASKS
        if builder.has_data(config["task"]):
            continue
        task = task or builder.build_task(config["task"])
        model = config["model"]
        key = (mixer, model["causal"], task.max_length if mixer == "dense" else 0)
        if key not in _resolved:
            _resolved.add(key)
            resolved = models.resolve_model(model, task.max_length)
            assert resolved["hidden_size"] > 0, mixer
            assert resolved["max_length"] > 0, mixer


@pytest.mark.parametrize("mixer", ["attention", "lstm", "rglru,attention"])
def test_positions_are_for_attention_alone(mixer: str):
    config: Any = configs.base(mixer, attention_positions="rope")
    assert config.model.positions == ("rope" if "attention" in mixer else "none")


@pytest.mark.parametrize("name", models.HYBRIDS)
def test_a_hybrid_by_its_name_is_its_pattern(name: str):
    """With its own positions, in as many blocks as take turns; and it can be built."""
    config: Any = importlib.import_module("configs.recall").get_config(name)
    hybrid = models.HYBRIDS[name]
    validation.validate_config(config.to_dict())
    assert (config.model.mixer, config.model.positions) == (hybrid.pattern, hybrid.positions)
    assert config.model.depth == len(models.parse_layer_pattern(hybrid.pattern))
    model = models.resolve_model(config.model.to_dict(), 32)
    network = models.build_model(model, vocabulary=5, channels=0, outputs=5, per="token")
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
    assert {f"mixer_{block}" for block in range(config.model.depth)} <= shapes.keys()


def test_a_config_for_an_unknown_mixer_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean lstm"):
        configs.base("lsmt")
    with pytest.raises(ValueError, match="did you mean griffin"):
        configs.base("grifin")


def test_help_alone_names_every_field_and_every_config_file():
    text = " ".join(usage.fill_usage(train.__doc__ or "").split())
    words = set(text.replace(",", " ").replace(":", " ").replace(";", " ").split())
    fields = configs.base("attention").to_dict()
    del fields["model"]["attention"]
    for field in files.flatten_dict(fields):
        assert field.split(".", 1)[1] in words, field
    for mixer in models.MIXERS:
        options = models.mixer_options(mixer)
        assert not options or f"{mixer}({' '.join(options)})" in text
    assert text.split("Mixers: ")[1].split(" (")[0] == ", ".join(models.MIXERS)
    assert text.split("Files: ")[1].split(" (in configs/)")[0] == ", ".join(FILES)


def test_a_new_mixer_or_config_file_is_in_the_help_by_itself(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(models.MIXERS, "novel", models.MIXERS["gru"])
    monkeypatch.setattr(usage, "list_config_files", lambda: ["fresh"])
    text = " ".join(usage.fill_usage(train.__doc__ or "").split())
    assert "attention, novel (" in text
    assert "Files: fresh (in configs/)" in text
