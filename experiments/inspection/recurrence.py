"""The inside of a recurrence: what its state keeps of every token, how fast it forgets, and what it holds.

All of it is for one sequence, `tokens` [T], from its start, and for models that read in one direction. A mixer shows
what its steps are made of (`models.mixers.base.Mixer.sow_recurrence`); what it shows decides what can be said:

- *a matrix memory*  S_t = A_t·S_{t−1} + k_t ⊗ v_t,  y_t = S_tᵀ·q_t.  Token s is read at t with the weight
  q_tᵀ·A_t ⋯ A_{s+1}·k_s, exactly as attention's weights multiply values: it is read off by giving token s the s-th unit
  vector as its value. A_t is diag(g_t), or (1 − β_t·k_t·k_tᵀ)·diag(g_t) where the delta rule erases.
- *a diagonal state*  h_t = a_t ⊙ h_{t−1} + b_t.  Of what token s wrote into a unit, a_t ⋯ a_{s+1} is left at t.
- *an LSTM's or a GRU's units*  The share of a unit that stays is its forget gate, or update gate.
- *any vector of units*  What each holds behind every token; of a nonlinear recurrence also the eigenvalues of its
  Jacobian (`experiments.inspection.units`).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from experiments.inspection import units
from experiments.inspection.activations import Activations, Tokens, apply_from_start, to_numpy
from models.ops.fenwick import scan_log_linear
from models.ops.matrix_state import scan_matrix_state
from training import builder

KEPT_GATES = {"lstm": "forget", "gru": "update"}  # the gate whose value is the share of a unit that stays
_WITHOUT_RECURRENCE = {"attention", "dense", "tcn"}  # mixers whose state is a cache of inputs
LONGEST = 1e6  # steps: a time constant above it is shown as this


class RecurrenceReading(NamedTuple):
    """What one block's recurrence does with a sentence. What a mixer does not have is None, or empty.

    Units are sorted from the fastest to the slowest where they have time constants; `units` are their own numbers.
    """

    kept: Float[np.ndarray, "T T"] | None = None  # of what token s wrote, the share left at t; the mean over units
    weights: Float[np.ndarray, "H T T"] | None = None  # the weight of token s in what each head reads at t
    gates: Mapping[str, Float[np.ndarray, "T N"]] = {}
    states: Mapping[str, Float[np.ndarray, "T N"]] = {}  # what units hold: an LSTM's c and h, the h of others
    units: Int[np.ndarray, "N"] | None = None
    time_constants: Float[np.ndarray, "N"] | None = None  # steps until 1/e of a unit is left
    line_correlations: Float[np.ndarray, "N"] | None = None  # Pearson's r of the first state with `units.steps_since`
    eigenvalues: Complex[np.ndarray, "T M"] | None = None  # of each step's transition, the largest first
    memory: Float[np.ndarray, "T H K V"] | None = None  # the matrix behind each token
    note: str = ""  # what is left out, and why


def read_recurrences(
    run: builder.Run, params: Any, tokens: Tokens, activations: Activations
) -> list[RecurrenceReading | None]:
    """The reading of every block; None for one without a recurrence, such as attention, or that reads both ways."""
    if not units.can_stream(run) or set(run.config["model"]["mixer"].split(",")) <= _WITHOUT_RECURRENCE:
        return [None] * run.model.depth
    inputs = jnp.asarray(tokens, jnp.int32)[None]
    _, variables = jax.jit(partial(apply_from_start, run.model, mutable="intermediates"))(params, inputs)
    shown = variables.get("intermediates", {})
    readings = []
    for block, state in enumerate(units.stream_states(run, params, inputs)):
        found = _read_block(shown.get(f"mixer_{block}", {}).get("recurrence"))
        size = None if found is None or found.units is None else len(found.units)
        states = {name: value[0] for name, value in units.unit_states(state, size).items()}
        if states:
            found = _add_states(found or RecurrenceReading(), states, tokens, run.task)
            x = activations.blocks[block].mixer_input
            values, note = units.jacobian_eigenvalues(run, params, block, x, states)
            found = found._replace(eigenvalues=found.eigenvalues if values is None else values, note=note)
        readings.append(found)
    return readings


def _add_states(
    found: RecurrenceReading, states: Mapping[str, Float[np.ndarray, "T N"]], tokens: Tokens, task: Any
) -> RecurrenceReading:
    """The reading with what its units hold, in its order, and how each goes with the characters since a line break."""
    first = next(iter(states.values()))
    order = np.arange(first.shape[-1]) if found.units is None else found.units
    token = units.line_break_token(getattr(task, "names", ()))
    correlations = None
    if token is not None and (tokens == token).any():
        correlations = units.unit_correlations(first[:, order], units.steps_since(tokens, token, from_start=True))
    ordered = {name: value[:, order] for name, value in states.items()}
    return found._replace(states=ordered, units=order, line_correlations=correlations)


def _read_block(sown: Any) -> RecurrenceReading | None:
    if sown is None:
        return None
    substeps = sown[0].pop("substeps", 1)
    recurrence: dict[str, Any] = jax.tree.map(lambda leaf: leaf[0], sown[0])  # of the one sequence
    if "gates" in recurrence:
        return _read_gates(recurrence["gates"])
    if "decay" in recurrence:
        return _read_diagonal(recurrence["decay"])
    return _read_matrix(recurrence, int(substeps))


# ---- units with gates, and diagonal states --------------------------------------------------------------------------


def _read_gates(gates: Mapping[str, Float[Array, "T N"]]) -> RecurrenceReading:
    stays = next((gates[name] for name in KEPT_GATES.values() if name in gates), None)
    values = {name: to_numpy(value) for name, value in gates.items()}
    if stays is None:  # an LSTM whose forget gate is off keeps everything
        return RecurrenceReading(gates=values, units=np.arange(next(iter(values.values())).shape[1]))
    constants = unit_time_constants(to_numpy(stays))
    order = np.argsort(constants, kind="stable")
    return RecurrenceReading(
        kept=mean_kept_share(to_numpy(stays)),
        gates={name: value[:, order] for name, value in values.items()},
        units=order,
        time_constants=constants[order],
    )


def _read_diagonal(decay: Array) -> RecurrenceReading:
    factors = np.asarray(decay).reshape(len(decay), -1)  # states of all features side by side
    constants = unit_time_constants(np.abs(factors))
    order = np.argsort(constants, kind="stable")
    return RecurrenceReading(
        kept=mean_kept_share(factors),
        gates={"decay": np.abs(factors[:, order]).astype(np.float32)},
        units=order,
        time_constants=constants[order],
        eigenvalues=units.largest_first(factors.astype(np.complex64)),
    )


def unit_time_constants(stays: Float[np.ndarray, "T N"]) -> Float[np.ndarray, "N"]:
    """τ = −1/mean(log f): the steps in which a unit falls to 1/e, by the shares f that stay of it at each step."""
    with np.errstate(divide="ignore"):
        rate = -np.log(np.asarray(stays, np.float64)).mean(axis=0)
        return np.minimum(1 / np.maximum(rate, 0), LONGEST).astype(np.float32)


def mean_kept_share(factors: np.ndarray) -> Float[np.ndarray, "T T"]:
    """|f_t ⋯ f_{s+1}| in row t and column s, the mean over units; `factors` [T, N]. 0 where s lies ahead of t."""
    steps, sizes = len(factors), np.abs(factors).astype(np.float64)
    left = np.zeros((steps, steps))
    running = np.zeros((steps, sizes.shape[1]))  # of every token so far, unit by unit
    for t in range(steps):
        running[:t] *= sizes[t]
        running[t] = 1
        left[t, : t + 1] = running[: t + 1].mean(axis=1)
    return left.astype(np.float32)


# ---- matrix memories ------------------------------------------------------------------------------------------------


def _read_matrix(recurrence: Mapping[str, Any], substeps: int) -> RecurrenceReading:
    """The reading of a matrix memory.

    A token with several substeps, as DeltaProduct's, is read behind the last one; its weight is the sum of theirs.
    """
    per_head = {name: recurrence.get(name) for name in ("query", "key", "value", "log_gate", "strength", "erase")}
    weights = effective_weights(per_head, recurrence.get("divisor"), recurrence.get("level_weights"))
    weights = weights[:, substeps - 1 :: substeps]
    weights = weights.reshape(*weights.shape[:2], -1, substeps).sum(axis=3)
    transitions = step_transitions(per_head)
    memory = memory_after_steps(transitions, to_numpy(per_head["key"]), written_values(per_head))
    of_tokens = transitions[::substeps]
    for substep in range(1, substeps):
        of_tokens = transitions[substep::substeps] @ of_tokens
    eigenvalues = np.linalg.eigvals(of_tokens)  # [T, H, K]
    return RecurrenceReading(
        weights=weights,
        eigenvalues=units.largest_first(eigenvalues.reshape(len(eigenvalues), -1)).astype(np.complex64),
        memory=memory[substeps - 1 :: substeps],
    )


def effective_weights(
    per_head: Mapping[str, Any],
    divisor: Float[Array, "T H 1"] | None = None,
    level_weights: Float[Array, "T H L"] | None = None,
) -> Float[np.ndarray, "H T T"]:
    """The weight of token s in what each head reads at t: row t, column s, 0 ahead of t.

    The recurrence itself, with unit vectors in place of the values, since what is read is linear in them.
    """
    steps, heads = per_head["query"].shape[:2]
    unit_values = jnp.broadcast_to(jnp.eye(steps)[:, None], (steps, heads, steps))[None]
    arrays: dict[str, Any] = {
        name: None if leaf is None else jax.tree.map(lambda x: x[None], leaf) for name, leaf in per_head.items()
    }
    start, valid = jnp.arange(steps)[None] == 0, jnp.ones((1, steps), bool)
    keys = per_head["key"].shape[-1]
    if level_weights is None:
        empty = jnp.zeros((1, heads, keys, steps))
        _, read = scan_matrix_state(
            empty, arrays["query"], arrays["key"], unit_values, arrays["log_gate"], arrays["strength"], start, valid,
            erase=arrays["erase"], implementation="steps",
        )  # fmt: skip
    else:
        empty = jnp.zeros((1, heads, level_weights.shape[-1], keys, steps))
        read = scan_log_linear(
            empty, jnp.zeros(1, jnp.int32), arrays["query"], arrays["key"], unit_values, arrays["log_gate"],
            arrays["strength"], level_weights[None], start, valid, implementation="steps",
        )[2]  # fmt: skip
    read = read[0] if divisor is None else read[0] / divisor
    return to_numpy(read).swapaxes(0, 1)


def step_transitions(per_head: Mapping[str, Any]) -> Float[np.ndarray, "T H K K"]:
    """A_t of every step and head: diag(g), (1 − β·k·kᵀ)·diag(g), or (1 + w·rᵀ)·diag(g)."""
    key = np.asarray(per_head["key"], np.float64)
    steps, heads, keys = key.shape
    gate = np.ones((steps, heads, keys))
    if per_head["log_gate"] is not None:
        gate = gate * np.exp(np.asarray(per_head["log_gate"], np.float64))
    change = np.broadcast_to(np.eye(keys), (steps, heads, keys, keys))
    if per_head["strength"] is not None:
        strength = np.asarray(per_head["strength"], np.float64)[..., None, None]
        change = change - strength * key[..., :, None] * key[..., None, :]
    if per_head["erase"] is not None:
        read, write = (np.asarray(one, np.float64) for one in per_head["erase"])
        change = change + write[..., :, None] * read[..., None, :]
    return change * gate[..., None, :]


def written_values(per_head: Mapping[str, Any]) -> Float[np.ndarray, "T H V"]:
    """What a key writes: v_t, or β_t·v_t by the delta rule."""
    value = to_numpy(per_head["value"])
    return value if per_head["strength"] is None else to_numpy(per_head["strength"])[..., None] * value


def memory_after_steps(
    transitions: Float[np.ndarray, "T H K K"], key: Float[np.ndarray, "T H K"], written: Float[np.ndarray, "T H V"]
) -> Float[np.ndarray, "T H K V"]:
    """S_t = A_t·S_{t−1} + k_t ⊗ w_t behind every step, from an empty memory."""
    memory = np.zeros((*key.shape[1:], written.shape[-1]))
    after = []
    for transition, k, w in zip(transitions, key, written, strict=True):
        memory = transition @ memory + k[..., :, None] * w[..., None, :]
        after.append(memory)
    return np.stack(after).astype(np.float32)
