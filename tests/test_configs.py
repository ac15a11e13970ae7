import importlib
from pathlib import Path

import pytest

import configs
import models
import tasks
import train
from training import builder, files, validation

FILES = sorted(path.stem for path in Path(configs.__file__).parent.glob("[a-z]*.py"))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("mixer", models.MIXERS)
def test_every_config_can_be_trained_with_every_mixer(name, mixer):
    config = importlib.import_module(f"configs.{name}").get_config(mixer).to_dict()
    validation.validate_config(config)
    assert config["task"]["name"] in tasks.TASKS
    if "dataset" not in config["task"]:
        resolved = models.resolve_model(config["model"], builder.build_task(config["task"]).max_length)
        assert resolved["hidden_size"] > 0
        assert resolved["max_length"] > 0


def test_a_config_for_an_unknown_mixer_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean lstm"):
        configs.base("lsmt")


def test_help_alone_names_every_field_and_every_config_file():
    told = train.__doc__ or ""
    words = set(told.replace(",", " ").replace(":", " ").replace(";", " ").split())
    fields = configs.base("attention").to_dict()
    del fields["model"]["attention"]
    for field in files.flatten_dict(fields):
        short = field.split(".", 1)[1]
        assert short in words, field
    for mixer in models.MIXERS:
        own = models.mixer_options(mixer)
        assert not own or f"{mixer}({' '.join(own)})" in " ".join(told.split())
    assert " ".join(told.split()).split("Mixers: ")[1].split(" (")[0] == ", ".join(models.MIXERS)
    listed = " ".join(told.split()).split("Files: ")[1].split(" (in configs/)")[0]
    assert listed.split(", ") == FILES
