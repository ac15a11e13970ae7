"""Every sequence mixer under one interface, and the networks built from them.

A mixer is called as `mixer(x[B, T, D], state=None, positions[B, T], segments[B, T], rng=None) -> (y[B, T, D], state)`.
To add one: write a module with that call, the fields `width`, `inner`, `max_length` and `dtype`, and the class
variables `VERSION` and `causal`; name it in `MIXERS`. The shared tests then cover it.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models import cost
from models.attention import Attention
from models.dense import Dense
from models.feedforward import ACTIVATIONS
from models.positions import POSITIONS, SCORED
from models.recurrence import Recurrence
from models.skeleton import Skeleton

# The fields of `config.model` that go to the skeleton as they are.
SKELETON = ["depth", "width", "max_length", "pool", "activation", "norm", "residual", "final_norm", "positions"]
SKELETON += ["tied", "dropout"]

MIXERS: dict[str, Callable[..., nn.Module]] = {
    "dense": Dense,
    "rnn": partial(Recurrence, cell="rnn"),
    "lstm": partial(Recurrence, cell="lstm"),
    "gru": partial(Recurrence, cell="gru"),
    "attention": Attention,
}


def version(mixer: str) -> int:
    """The mixer's VERSION, raised by hand whenever its numbers change."""
    made = MIXERS[mixer]
    return getattr(made.func if isinstance(made, partial) else made, "VERSION")  # noqa: B009


def build(model: Mapping[str, Any], *, vocabulary: int, channels: int, outputs: int, per: str) -> Skeleton:
    """The network that a resolved `config.model` describes, for inputs and outputs of these sizes.

    Raises ValueError, in one line, for a name or number that can't be built.
    """
    check(model)
    own = dict(model["attention"]) if model["mixer"] == "attention" else {}
    if model["mixer"] == "attention":
        own |= {"causal": model["causal"], "positions": model["positions"] if model["positions"] in SCORED else "none"}
    mixer = partial(MIXERS[model["mixer"]], inner=model["inner"], max_length=model["max_length"], **own)
    if model["tied"] and not vocabulary == outputs:
        raise ValueError(
            f"model.tied: the head can share the embedding only where inputs and outputs are the same tokens, "
            f"not with {vocabulary} tokens in and {outputs} outputs"
        )
    return Skeleton(
        mixer=mixer,
        vocabulary=vocabulary,
        channels=channels,
        outputs=outputs,
        per=per,
        hidden=round(model["feedforward"] * model["width"]),
        dtype=jnp.dtype(model["dtype"]),
        **{name: model[name] for name in SKELETON},
    )


def resolve(model: Mapping[str, Any], max_length: int) -> dict[str, Any]:
    """`config.model` with its zeros filled in: `max_length` with the task's, `inner` with what matches attention.

    Every mixer then has as many parameters as attention at the same width, as near as a whole number of units allows.
    """
    model = dict(model)
    check(model)
    model["max_length"] = model["max_length"] or max_length
    if model["max_length"] < max_length:
        raise ValueError(
            f"model.max_length={model['max_length']}: the task has sequences of {max_length}; give {max_length} or more"
        )
    model["inner"] = model["inner"] or matched_inner(model["mixer"], model["width"], model["max_length"])
    return model


@lru_cache
def matched_inner(mixer: str, width: int, max_length: int) -> int:
    """The inner width at which `mixer` has as many parameters as attention with its usual `inner` = `width`."""
    if mixer == "attention":
        return width

    def count(inner: int) -> int:
        module = MIXERS[mixer](width=width, inner=inner, max_length=max_length)
        x, steps = jnp.zeros((1, 1, width)), jnp.zeros((1, 1), jnp.int32)
        shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), x, positions=steps, segments=steps))
        return cost.parameters(shapes)

    attention = 4 * width * width + 4 * width
    return cost.closest(count, attention, largest=max(8, 4 * width))


def check(model: Mapping[str, Any]) -> None:
    """Refuse, with ValueError, what can't be a model."""
    one_of("model.mixer", model["mixer"], MIXERS)
    one_of("model.positions", model["positions"], POSITIONS)
    one_of("model.activation", model["activation"], ACTIVATIONS)
    one_of("model.norm", model["norm"], ("pre", "post", "none"))
    one_of("model.pool", model["pool"], ("last", "mean"))
    one_of("model.dtype", model["dtype"], ("float32", "bfloat16"))
    for name, least in (("depth", 1), ("width", 1), ("inner", 0), ("max_length", 0), ("feedforward", 0)):
        if model[name] < least:
            raise ValueError(f"model.{name}={model[name]}: must be {least} or more")
    if not 0 <= model["dropout"] < 1:
        raise ValueError(f"model.dropout={model['dropout']}: must be at least 0 and below 1")
    if model["mixer"] == "attention":
        heads, inner = model["attention"]["heads"], model["inner"] or model["width"]
        if heads < 1:
            raise ValueError(f"model.attention.heads={heads}: must be 1 or more")
        if inner % heads:
            near = [n for n in range(1, inner + 1) if inner % n == 0]
            raise ValueError(
                f"model.attention.heads={heads}: must divide the inner width {inner}; "
                f"{' and '.join(map(str, sorted(near, key=lambda n: abs(n - heads))[:2]))} do"
            )
        if model["positions"] == "rope" and inner // heads % 2:
            raise ValueError(
                f"model.positions=rope: the head size {inner // heads} must be even; change heads or width"
            )
    elif model["positions"] in SCORED:
        raise ValueError(
            f"model.positions={model['positions']}: acts on attention's scores, which {model['mixer']} has none of; "
            f"use none, sinusoidal or learned"
        )
    if not model["causal"] and model["mixer"] != "attention":
        raise ValueError(
            f"model.causal=False: {model['mixer']} is causal by construction; only attention can look ahead"
        )


def one_of(field: str, value: str, known: Iterable[str]) -> None:
    """Raise ValueError, naming the nearest known name, unless `value` is one of `known`."""
    known = list(known)
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{field}={value}: must be one of {', '.join(known)}{hint}")
