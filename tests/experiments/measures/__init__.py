"""What the tests of measures share: small runs, their parameters, and a measure of them."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp

from configs import recall
from experiments.measures.registry import MEASURES
from training import builder, trainer

TUNE = "X:1\nT:A tune\nM:4/4\nL:1/8\nK:C\nCDEF GABc|c2BA G4|CDE2|"  # two full bars of three


@cache
def run(mixer: str, **fields: Any) -> builder.Run:
    """Recall of two pairs by one block of width 8. `fields` are of the config, `__` for a dot."""
    config: Any = recall.get_config(mixer)
    config.task.update(pairs=2, max_length=16, symbols=16)
    config.model.width, config.model.depth = 8, 1
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return builder.build_run(config)


_INITIAL: dict[tuple[int, int], tuple[builder.Run, Any]] = {}  # by a run's id and a seed


def params(of: builder.Run, seed: int = 0) -> Any:
    """The run's initial parameters, in dicts of their own."""
    if (id(of), seed) not in _INITIAL:
        # Not jitted: most runs share their operations. The run is kept, so that no other gets its id.
        _INITIAL[id(of), seed] = of, trainer.init_params(of, jnp.uint32(seed))
    return jax.tree.map(lambda leaf: leaf, _INITIAL[id(of), seed][1])


def value_of(name: str, of: builder.Run, own: Any = None) -> Any:
    """The measure of this name, of the initial parameters unless others are given."""
    return MEASURES[name](of)(params(of) if own is None else own, 0)
