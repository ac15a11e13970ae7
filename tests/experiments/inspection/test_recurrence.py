"""The inside of recurrences, held to the mixers' own states and to sums written out."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from experiments.inspection import recurrence, units
from experiments.inspection.activations import capture_activations
from tests.experiments.inspection import TOKENS, close, params, run

MATRIX = ("linear", "gla", "delta", "gated_delta", "mlstm", "mamba2", "hgrn2", "rwkv7", "kda", "gated_delta_product")
DIAGONAL = ("mingru", "minlstm", "lru", "rglru", "s4d", "s6")


@cache
def read_first_block(mixer: str) -> tuple[Any, Any, recurrence.RecurrenceReading]:
    """The run, its parameters, and what its first block's recurrence does."""
    of = run(mixer, model__depth=1)
    own = params(of)
    (found,) = recurrence.read_recurrences(of, own, TOKENS, capture_activations(of, own, TOKENS))
    assert found is not None
    return of, own, found


def sown_recurrence(of: Any, own: Any) -> dict[str, Any]:
    """What the first block's mixer shows, of the one sequence."""
    apply = jax.jit(partial(recurrence.apply_from_start, of.model, mutable="intermediates"))
    _, variables = apply(own, jnp.asarray(TOKENS)[None])
    shown = variables["intermediates"]["mixer_0"]["recurrence"][0]
    return jax.tree.map(lambda leaf: leaf[0] if jnp.ndim(leaf) else leaf, shown)


def states_after_tokens(of: Any, own: Any) -> list[Any]:
    """The first block's state behind every token, from the model read token by token."""

    @jax.jit
    def read_token(token: Any, state: Any, t: Any) -> Any:
        where = {"positions": t.reshape(1, 1), "segments": jnp.ones((1, 1), jnp.int32)}
        return of.model.apply({"params": own}, token.reshape(1, 1), state=state, **where)[1]

    state, states = None, []
    for t, token in enumerate(jnp.asarray(TOKENS, jnp.int32)):
        state = read_token(token, state, jnp.int32(t))
        states.append(jax.tree.map(lambda leaf: leaf[0], state[0]))
    return states


@pytest.mark.parametrize("mixer", MATRIX)
def test_the_memory_is_the_mixer_s_own(mixer: str):
    of, own, found = read_first_block(mixer)
    assert found.memory is not None
    name = "c" if mixer == "mlstm" else "memory"
    expected = np.stack([state[name] for state in states_after_tokens(of, own)])
    close(found.memory, expected[..., : found.memory.shape[-1]], 1e-4)


@pytest.mark.parametrize("mixer", [*MATRIX, "loglinear"])
def test_weights_times_values_are_what_is_read(mixer: str):
    """Written out in float64: q_t·A_t ⋯ A_{s+1}·k_s, summed over the substeps of a token."""
    of, own, found = read_first_block(mixer)
    assert found.weights is not None
    shown = sown_recurrence(of, own)
    levels, substeps = shown.pop("level_weights", None), int(shown.pop("substeps", 1))
    per_head = {name: shown.get(name) for name in ("query", "key", "value", "log_gate", "strength", "erase")}
    transitions = recurrence.step_transitions(per_head)
    query, key = (np.asarray(per_head[name], np.float64) for name in ("query", "key"))
    if per_head["strength"] is not None:
        key = key * np.asarray(per_head["strength"])[..., None]
    steps, heads = query.shape[:2]
    expected = np.zeros((heads, steps, steps))
    for s in range(steps):
        kept = key[s]
        for t in range(s, steps):
            kept = np.einsum("hij,hj->hi", transitions[t], kept) if t > s else kept
            scale = 1.0 if levels is None else np.asarray(levels)[t, :, (t ^ s).bit_length()]
            expected[:, t, s] = scale * (query[t] * kept).sum(axis=-1)
    expected = expected[:, substeps - 1 :: substeps].reshape(heads, steps // substeps, -1, substeps).sum(axis=-1)
    if "divisor" in shown:
        expected = expected / np.asarray(shown["divisor"])[..., 0].T[..., None]
    close(found.weights, expected)
    assert not np.triu(found.weights, 1).any()


def test_a_delta_rule_erases_and_a_sum_does_not():
    """The same key twice: behind the second writing nothing is left of the first, if β is 1."""
    key = jnp.stack([jnp.array([1.0, 0.0]), jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])])[:, None]
    per_head = {"query": key, "key": key, "value": key, "log_gate": None, "strength": None, "erase": None}
    close(recurrence.effective_weights(per_head)[0], [[1, 0, 0], [1, 1, 0], [0, 0, 1]])
    erased = recurrence.effective_weights({**per_head, "strength": jnp.ones((3, 1))})[0]
    close(erased, [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    negative = recurrence.step_transitions({**per_head, "strength": jnp.full((3, 1), 2.0)})
    assert np.linalg.eigvals(negative[0, 0]).min() == pytest.approx(-1), "a reflection"


@pytest.mark.parametrize("mixer", DIAGONAL)
def test_what_is_left_of_a_diagonal_state_is_the_product_of_its_decays(mixer: str):
    of, own, found = read_first_block(mixer)
    assert found.kept is not None
    assert found.time_constants is not None
    assert found.eigenvalues is not None
    decay = np.abs(np.asarray(sown_recurrence(of, own)["decay"])).reshape(len(TOKENS), -1)
    assert found.kept[3, 1] == pytest.approx((decay[2] * decay[3]).mean(), rel=1e-4)
    close(np.diag(found.kept), 1)
    assert (np.diff(found.time_constants) >= 0).all()
    rate = -np.log(decay.astype(np.float64)).mean(axis=0)
    close(found.time_constants, np.sort(1 / rate))
    close(np.abs(found.eigenvalues), np.sort(found.gates["decay"])[:, ::-1])


def test_the_gates_of_an_lstm_and_a_gru_are_those_of_their_equations():
    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    for mixer, names in (("lstm", ("input", "forget", "output")), ("gru", ("reset", "update"))):
        of, own, found = read_first_block(mixer)
        assert set(found.gates) == set(names)
        assert found.kept is not None
        weights, x = own["mixer_0"], capture_activations(of, own, TOKENS).blocks[0].mixer_input
        h = np.stack([state["carry"]["h"] for state in states_after_tokens(of, own)])
        before = np.concatenate([np.zeros_like(h[:1]), h[:-1]])
        mixed = x @ weights["input"]["kernel"] + weights["input"]["bias"] + before @ np.asarray(weights["recurrent"])
        parts = np.split(mixed, 4 if mixer == "lstm" else 3, axis=-1)
        by_name = {"input": 0, "forget": 1, "output": 3, "reset": 0, "update": 1}
        values = {name: sigmoid(parts[by_name[name]]) for name in names}
        stays = values[recurrence.KEPT_GATES[mixer]]
        order = np.argsort(recurrence.unit_time_constants(stays), kind="stable")
        for name in names:
            close(found.gates[name], values[name][:, order])
        close(found.kept[2, 0], (stays[1] * stays[2]).mean())


def test_units_that_keep_everything_have_the_longest_time_constant():
    constants = recurrence.unit_time_constants(np.array([[1.0, 0.5, 0.0], [1.0, 0.5, 0.0]]))
    assert constants == pytest.approx([recurrence.LONGEST, 1 / np.log(2), 0])


def test_what_a_unit_holds_is_its_state_behind_every_token():
    """Read token by token; units in the order of their time constants, an LSTM's c first."""
    for mixer, names in (("lstm", ["c", "h"]), ("gru", ["h"]), ("rnn", ["h"]), ("minlstm", ["h"])):
        of, own, found = read_first_block(mixer)
        assert list(found.states) == names
        assert found.units is not None
        for name in names:
            states = [state.get("carry", state)[name] for state in states_after_tokens(of, own)]
            close(found.states[name], np.stack(states)[:, found.units], 1e-4)


@pytest.mark.parametrize("mixer", ["lstm", "gru", "rnn"])
def test_eigenvalues_are_those_of_the_jacobian_by_differences(mixer: str):
    """Central differences of the mixer's own step in float32; what is compared is the trace of J and of J·J."""
    of, own, found = read_first_block(mixer)
    x = jnp.asarray(capture_activations(of, own, TOKENS).blocks[0].mixer_input)
    states = [state["carry"] for state in states_after_tokens(of, own)]
    t, names = 4, list(found.states)
    module = units.mixer_of_block(of, 0)
    one = jnp.ones((1, 1), jnp.int32)

    @jax.jit
    def step(before: Any) -> Any:
        carry = {name: part[None] for name, part in zip(names, jnp.split(before, len(names)), strict=True)}
        state = {"carry": carry, "segment": one[0]}
        _, after = module.apply({"params": own["mixer_0"]}, x[t][None, None], state=state, positions=one, segments=one)
        return jnp.concatenate([after["carry"][name][0] for name in names])

    before = np.concatenate([states[t - 1][name] for name in names])
    size = 1e-2
    rows = [(step(before + d) - step(before - d)) / (2 * size) for d in size * np.eye(len(before), dtype=np.float32)]
    jacobian = np.array(rows, np.float64).T
    assert found.eigenvalues is not None
    values = found.eigenvalues[t].astype(np.complex128)
    assert values.sum() == pytest.approx(np.trace(jacobian), abs=2e-3)
    assert (values**2).sum() == pytest.approx(np.trace(jacobian @ jacobian), abs=2e-3)
    assert (np.diff(np.abs(values)) <= 1e-6).all(), "the largest first"


def test_a_large_state_has_no_eigenvalues_and_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(units, "MAX_STATE", 4)
    of = run("gru", model__depth=1)
    own = params(of)
    (found,) = recurrence.read_recurrences(of, own, TOKENS, capture_activations(of, own, TOKENS))
    assert found is not None
    assert found.eigenvalues is None
    assert found.note.startswith("Eigenvalues are left out: the state has ")


def test_steps_since_a_token():
    tokens = np.array([[5, 0, 5, 5, 0, 0], [5, 5, 5, 5, 5, 0]])
    nan = np.nan
    np.testing.assert_array_equal(
        units.steps_since(tokens, 0, from_start=False), [[nan, 0, 1, 2, 0, 0], [nan, nan, nan, nan, nan, 0]]
    )
    np.testing.assert_array_equal(
        units.steps_since(tokens, 0, from_start=True), [[1, 0, 1, 2, 0, 0], [1, 2, 3, 4, 5, 0]]
    )


def test_a_unit_that_counts_is_told_from_one_that_does_not():
    """A counter, its negative, noise, and a constant; places without a count are left out."""
    random = np.random.default_rng(0)
    tokens = random.integers(0, 9, (6, 40))
    counts = units.steps_since(tokens, 0, from_start=False)
    counter = np.nan_to_num(counts, nan=99)
    states = np.stack([counter, 1 - 2 * counter, random.normal(size=tokens.shape), np.ones(tokens.shape)], axis=-1)
    found = units.unit_correlations(states, counts)
    known = np.isfinite(counts)
    assert found[:2] == pytest.approx([1, -1])
    assert found[2] == pytest.approx(np.corrcoef(states[known][:, 2], counts[known])[0, 1], abs=1e-6)
    assert found[3] == 0
    assert units.unit_correlations(states, np.full(tokens.shape, np.nan)).tolist() == [0, 0, 0, 0]


def test_what_has_no_recurrence_is_none():
    for of in (run("attention"), run("gru", model__causal=False)):
        own = params(of)
        assert recurrence.read_recurrences(of, own, TOKENS, capture_activations(of, own, TOKENS)) == [None, None]


def test_every_causal_recurrence_shows_its_inside():
    """What is in neither list has no recurrence that could be shown: windows, an sLSTM, whose state is a quotient."""
    units_alone = {"rnn", "irnn", "paragru", "paralstm"}
    without = {"attention", "dense", "tcn", "slstm"}
    assert {*MATRIX, *DIAGONAL, *units_alone, "loglinear", "lstm", "gru"} == set(models.MIXERS) - without
