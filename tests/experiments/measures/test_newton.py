from typing import Any

import jax
import jax.numpy as jnp
import pytest

from experiments.measures import newton
from tests.experiments.measures import params, run


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(newton, "LENGTHS", (16,))


@pytest.mark.parametrize(("mixer", "expected"), [("paragru", 1), ("paralstm", 2)])
def test_a_recurrence_whose_gates_do_not_see_its_state_is_solved_at_once(mixer: str, expected: int):
    """It is linear in its state; but an LSTM's output is the tanh of its cell, which takes one more."""

    def silence(path: Any, leaf: Any) -> Any:
        return jnp.zeros_like(leaf) if path[-1].key in ("recurrent", "peephole") else leaf

    linear = jax.tree_util.tree_map_with_path(silence, params(run(mixer)))
    evaluate = newton.newton_iterations(run(mixer))
    assert evaluate(linear, 0) == {16: expected}
    found: Any = evaluate(params(run(mixer)), 0)
    assert expected < found[16] < 10
    strong = jax.tree_util.tree_map_with_path(
        lambda path, leaf: 20 * leaf if path[-1].key == "recurrent" else leaf, params(run(mixer))
    )
    assert evaluate(strong, 0)[16] > found[16]  # pyright: ignore[reportIndexIssue]


def test_other_mixers_are_refused_in_one_line():
    with pytest.raises(ValueError, match="newton iterations: gru has none; they are of paragru and paralstm"):
        newton.newton_iterations(run("gru"))
