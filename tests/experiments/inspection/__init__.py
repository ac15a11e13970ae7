"""Made-up data and models of explore's tests: small, untrained, and full of markup."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from configs import shakespeare
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
    leaves, tree = jax.tree.flatten(jax.jit(partial(trainer.init_params, run))(jnp.uint32(0)))
    keys = jax.random.split(jax.random.key(1), len(leaves))
    drawn = [leaf + 0.3 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    directory.mkdir(parents=True)
    checkpoint.save_params(directory / "params", jax.tree.unflatten(tree, drawn))
    files.write_json(directory / "config.json", run.config)
    return directory


def text_model(directory: Path, mixer: str, **fields: Any) -> Path:
    fields = {"task__max_length": 16, "model__width": 8, "model__feedforward": 1.0, **fields}
    positions = "sinusoidal" if mixer == "attention" else "none"
    return export(directory, shakespeare.get_config(mixer), **{"model__positions": positions, **fields})


def text_of(page: Path) -> str:
    return re.sub(r"<script.*?</script>", "", page.read_text("utf-8"), flags=re.S)
