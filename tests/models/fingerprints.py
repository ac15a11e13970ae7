"""Numbers of every model that has a VERSION, so that a test fails when they change and VERSION does not.

    python -m tests.models.fingerprints    stores them in fingerprints.json, for new models and new VERSIONs

A fingerprint holds a few outputs, the sizes of the gradients and of the initial parameters. They are compared with a
tolerance of a thousandth, which other CPUs and other releases of JAX stay within.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import models
from configs import base
from models.associative_memory import ASSOCIATIVE_MEMORIES
from tests.models.contract import initial_params, make, run
from tests.models.test_mixers import MIXED, VARIANTS, X, variant_name

STORE = Path(__file__).with_name("fingerprints.json")
TOLERANCE = 1e-3  # relative to the largest number of a fingerprint's part
TOKENS = jnp.asarray([[1, 2, 4, 5, 3, 6, 7, 8], [4, 4, 3, 1, 1, 1, 0, 0], [1, 3, 2, 2, 0, 0, 0, 0]], jnp.int32)
MEMORIES = [("softmax", "sum"), ("linear", "sum"), ("dpfp2", "delta"), ("favor64", "sum")]


class Versioned(NamedTuple):
    """A model of which a fingerprint is taken, and the class whose VERSION says when it changes."""

    name: str
    versioned: type
    options: Any


def versioned_models() -> Iterator[Versioned]:
    for name, options in VARIANTS:
        yield Versioned(variant_name((name, options)), models.mixer_class(name), (name, options))
    for link in ("vector", "additive"):
        yield Versioned(f"encoder_decoder-{link}", models.Seq2Seq, link)
    for memory, rule in MEMORIES:
        yield Versioned(f"associative_memory-{memory}-{rule}", models.AssociativeMemory, (memory, rule))


def fingerprint(model: Versioned) -> dict[str, list[float]]:
    if issubclass(model.versioned, models.Mixer):
        name, options = model.options
        module = make(name, **options)
        result, params = run(module, X, MIXED), initial_params(module)
        outputs = result["y"][:2, ::4, :3]
        gradients = {"params": result["params"], "x": result["x"]}
    else:
        network, tokens = _network(model), TOKENS
        params = jax.jit(network.init)(jax.random.key(0, impl="threefry2x32"), tokens)

        def total(params: Any) -> Any:
            positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
            y, _ = network.apply(params, tokens, positions=positions, segments=jnp.minimum(tokens, 1))
            return (y * jnp.cos(jnp.arange(y.size)).reshape(y.shape)).sum(), y

        (_, outputs), gradients = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
        outputs = np.asarray(outputs)[..., :4]
    norms = [np.sqrt(sum((np.abs(leaf) ** 2).sum() for leaf in jax.tree.leaves(t))) for t in (gradients, params)]
    return {"outputs": _rounded(np.asarray(outputs).reshape(-1)[:24]), "norms": _rounded(norms)}


def _rounded(numbers: Any) -> list[float]:
    return [float(f"{x:.5g}") for x in numbers]


def _network(model: Versioned) -> Any:
    config: Any = base("gru")
    fields = config.model.to_dict() | {"width": 8, "depth": 1, "hidden_size": 8, "max_length": 8}
    if model.versioned is models.Seq2Seq:
        fields["encoder_decoder"] = model.options
        return models.build_model(fields, vocabulary=9, channels=0, outputs=9, per="token", separator=3)
    memory, rule = model.options
    return models.AssociativeMemory(4, 8, update_rule=rule, **ASSOCIATIVE_MEMORIES[memory])


def difference(stored: dict[str, list[float]], current: dict[str, list[float]]) -> float:
    """The largest difference, relative to the largest number of its part."""
    pairs = [(np.array(stored[part]), np.array(current[part])) for part in ("outputs", "norms")]
    return max(float(np.abs(a - b).max() / (np.abs(a).max() + 1e-6)) for a, b in pairs)


def read_store() -> dict[str, Any]:
    return json.loads(STORE.read_text()) if STORE.exists() else {}


def write_store() -> None:
    store, kept = {}, read_store()
    for model in versioned_models():
        version = getattr(model.versioned, "VERSION")  # noqa: B009
        current, before = fingerprint(model), kept.get(model.name)
        if before and before["version"] == version and difference(before, current) <= TOLERANCE:
            store[model.name] = before
            continue
        if before and before["version"] == version:
            print(f"{model.name}: the numbers changed, VERSION did not: raise {model.versioned.__name__}.VERSION first")
            store[model.name] = before
            continue
        store[model.name] = {"version": version, **current}
        print(f"{model.name}: stored for VERSION {version}")
    lines = (f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in store.items())
    STORE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    write_store()
