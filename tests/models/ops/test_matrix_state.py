from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from models.ops import matrix_state
from models.ops.matrix_state import scan_matrix_state

B, H, K, V, STEPS = 2, 2, 4, 3, 11
random = np.random.default_rng(0)
QUERY, KEY, VALUE, BY, WRITE = (random.normal(size=(B, H, STEPS, n)) for n in (K, K, V, K, K))
KEY, BY, WRITE = (a / np.linalg.norm(a, axis=-1, keepdims=True) for a in (KEY, BY, WRITE))
MEMORY = random.normal(size=(B, H, K, V))
GATES, GATE = (np.log(random.uniform(0.5, 1, (B, H, STEPS, n))) for n in (K, 1))
STRENGTH = random.uniform(0, 2, (B, H, STEPS))
START, VALID = (np.zeros((B, STEPS), bool) for _ in range(2))
START[0, [6, 9]], VALID[:] = True, np.arange(STEPS) != 3
RULES: dict[str, tuple[Any, Any, Any]] = {  # log gate, strength, what erases
    "sum": (None, None, None),
    "gated": (GATES, None, None),
    "gated, one for all": (GATE, None, None),
    "delta": (None, STRENGTH, None),
    "gated delta": (GATE, STRENGTH, None),
    "gated delta, a gate a feature": (GATES, STRENGTH, None),
    "general": (None, None, (BY, -WRITE)),
    "general, gated": (GATE, None, (BY, -WRITE)),
    "general, a gate a feature": (GATES, None, (BY, -WRITE)),
}
FORMS = {  # options of scan_matrix_state
    "steps": {"implementation": "steps"},
    **{f"chunks of {size}": {"chunk_size": size} for size in (2, 4, 16)},
}


def by_hand(rule: str) -> tuple[np.ndarray, np.ndarray]:
    """The recurrence one step after another, in float64."""
    log_gate, strength, erase = RULES[rule]
    memory, ys = MEMORY.copy(), np.zeros((B, H, STEPS, V))
    for b, h, t in np.ndindex(B, H, STEPS):
        if not VALID[b, t]:
            continue
        before = np.zeros((K, V)) if START[b, t] else memory[b, h]
        if log_gate is not None:
            before = np.exp(log_gate[b, h, t])[:, None] * before
        key, new = KEY[b, h, t], VALUE[b, h, t]
        if strength is not None:
            new = strength[b, h, t] * (new - before.T @ key)
        after = before + np.outer(key, new)
        if erase is not None:
            by, write = erase
            after += np.outer(write[b, h, t], before.T @ by[b, h, t])
        memory[b, h], ys[b, h, t] = after, after.T @ QUERY[b, h, t]
    return memory, ys


def scan(memory: Any, inputs: Any, start: Any = START, valid: Any = VALID, **form: Any) -> Any:
    """The memory and outputs, these 0 at padding, where they mean nothing."""
    memory, masks = jax.tree.map(jnp.asarray, (memory, (start, valid)))
    *inputs, erase = jax.tree.map(lambda a: jnp.swapaxes(a, 1, 2), inputs)
    after, y = scan_matrix_state(memory, *inputs, *masks, erase=erase, **form)  # pyright: ignore[reportCallIssue]
    return after, jnp.where(valid[:, None, :, None], jnp.swapaxes(y, 1, 2), 0)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_recurrence(rule: str, form: str):
    """From a memory that holds something, over new segments and over padding."""
    after, y = jax.jit(partial(scan, **FORMS[form]))(MEMORY, (QUERY, KEY, VALUE, *RULES[rule]))
    expected = by_hand(rule)
    np.testing.assert_allclose(after, expected[0], atol=1e-5)
    np.testing.assert_allclose(y, expected[1], atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_gradients_are_finite_differences(rule: str):
    with jax.enable_x64(True):
        check_grads(jax.jit(partial(scan, chunk_size=4)), (MEMORY, (QUERY, KEY, VALUE, *RULES[rule])), 1, ["rev"])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("per_span", [2, 32])
def test_chunks_have_the_gradients_of_steps(rule: str, per_span: int, monkeypatch: pytest.MonkeyPatch):
    """Also where there are several spans of chunks, of which only the borders are kept for the gradient."""
    monkeypatch.setattr(matrix_state, "_CHUNKS_PER_SPAN", per_span)
    direction = random.normal(size=(B, H, STEPS, V))

    def total(memory: Any, inputs: Any, **form: Any) -> Any:
        after, y = scan(memory, inputs, **form)
        return (y * direction).sum() + (after * MEMORY[::-1]).sum()

    chunks, steps = (
        jax.jit(jax.grad(partial(total, **FORMS[form]), (0, 1)))(MEMORY, (QUERY, KEY, VALUE, *RULES[rule]))
        for form in ("chunks of 2", "steps")
    )
    for found, expected in zip(jax.tree.leaves(chunks), jax.tree.leaves(steps), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("form", FORMS)
def test_a_strength_of_one_replaces_what_the_key_recalled(form: str):
    """Keys of length 1: after writing, the key recalls its value and nothing of what it recalled before."""
    inputs = (KEY, KEY, VALUE, None, np.ones((B, H, STEPS)), None)
    _, y = jax.jit(partial(scan, start=START, valid=np.ones_like(VALID), **FORMS[form]))(MEMORY, inputs)
    np.testing.assert_allclose(y, VALUE, atol=1e-5)


def test_a_strength_of_two_reflects():
    """1 − 2·k·kᵀ has the eigenvalue −1: the memory along the key changes sign at every write of nothing."""
    key = KEY[:, :, :1]
    inputs = (key, key, np.zeros((B, H, 1, V)), None, np.full((B, H, 1), 2.0), None)
    after, _ = jax.jit(partial(scan, start=START[:, :1], valid=VALID[:, :1]))(MEMORY, inputs)
    np.testing.assert_allclose(key @ after, -(key @ MEMORY), atol=1e-5)


def test_two_rules_or_an_unknown_implementation_are_refused():
    inputs = (QUERY, KEY, VALUE, None, STRENGTH, (BY, WRITE))
    with pytest.raises(ValueError, match="give one of them"):
        scan(MEMORY, inputs)
    with pytest.raises(ValueError, match="must be one of chunks, steps"):
        scan(MEMORY, (*inputs[:-1], None), implementation="loop")
