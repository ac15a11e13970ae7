"""What the tests of inspection share: made-up data full of markup, small untrained models and their parameters."""

import re
from functools import cache, partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from configs import recall, shakespeare
from training import builder, checkpoint, files, trainer

NASTY = "</script><b>'x"  # all of whose characters the model below knows
ALPHABET = " \n!\"'()-./:;<=>?abcdefghijklmnopqrstuvwxyz"
WORDS = ("", "love", "blood", "crown", "<i>", "sea", "o'er")
PLAY = "A </script><img src=x onerror=alert(1)> Play"
TITLES = (PLAY, "King Ink", "The Sea")
ABOUT = {PLAY: ("comedy", 1594), "King Ink": ("history", 1596), "The Sea": ("tragedy", 1610)}


def made_up(name: str, data_dir: Any = None) -> dict[str, Any]:
    """What `data.load_dataset` returns, with noise in it."""
    random = np.random.default_rng(0)
    splits = {"train": 300, "validation": 100, "test": 100}
    if name == "shakespeare":
        text = {split: random.integers(0, len(ALPHABET), n).astype(np.uint8) for split, n in splits.items()}
        return {"text": text, "alphabet": ALPHABET}
    inputs = {split: random.integers(1, len(WORDS), (n, 6)).astype(np.uint16) for split, n in splits.items()}
    labels = {split: random.integers(0, 3, n).astype(np.int32) for split, n in splits.items()}
    return {"inputs": inputs, "labels": labels, "names": WORDS, "classes": TITLES}


def export(directory: Path, config: Any, **fields: Any) -> Path:
    """An untrained model as `train.export_member` leaves it, with biases and norms that are something."""
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    run = builder.build_run(config)
    params = add_noise(jax.jit(partial(trainer.init_params, run))(jnp.uint32(0)))
    directory.mkdir(parents=True)
    checkpoint.save_params(directory / "params", params)
    files.write_json(directory / "config.json", run.config)
    return directory


def add_noise(params: Any) -> Any:
    leaves, tree = jax.tree.flatten(params)
    random = np.random.default_rng(1)
    noise = [leaf + 0.3 * random.normal(size=leaf.shape).astype(np.float32) for leaf in leaves]
    return jax.tree.unflatten(tree, noise)


def text_model(directory: Path, mixer: str, **fields: Any) -> Path:
    fields = {"task__max_length": 16, "model__width": 8, "model__feedforward": 1.0, **fields}
    positions = "sinusoidal" if mixer == "attention" else "none"
    return export(directory, shakespeare.get_config(mixer), **{"model__positions": positions, **fields})


def text_of(page: Path) -> str:
    return re.sub(r"<script.*?</script>", "", page.read_text("utf-8"), flags=re.S)


# ---- a small recall model -------------------------------------------------------------------------------------------

TOKENS = np.array([3, 9, 4, 10, 3, 9, 5, 11, 3, 9], np.int32)


@cache
def run(mixer: str, **fields: Any) -> builder.Run:
    config: Any = recall.get_config(mixer)
    config.task.update(pairs=2, max_length=16, symbols=16)
    config.model.width = 8
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return builder.build_run(config)


def params(of: builder.Run) -> Any:
    """Initial parameters with noise, biases and norms too, so that no term is nothing."""
    return add_noise(trainer.init_params(of, jnp.uint32(0)))


def outputs(of: builder.Run, own: Any, tokens: np.ndarray) -> np.ndarray:
    """The model itself, asked without looking inside."""
    model: Any = of.model
    y, _ = _jit_apply(model)({"params": own}, jnp.asarray(tokens)[None])
    return np.asarray(y[0])


@cache
def _jit_apply(model: Any) -> Any:
    return jax.jit(model.apply)


def normed(own: Any, name: str, x: np.ndarray) -> np.ndarray:
    return np.asarray(nn.LayerNorm().apply({"params": own[name]}, x))


def close(ours: Any, theirs: Any, within: float = 1e-5) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=within, atol=within)
