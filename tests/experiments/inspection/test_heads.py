from typing import Any

import numpy as np
import pytest

from experiments.inspection import heads
from experiments.inspection.activations import capture_activations
from tests.experiments.inspection import TOKENS, params, run


def looking(at: Any) -> np.ndarray:
    """Weights that are all on one key for each query."""
    return np.eye(len(TOKENS), dtype=np.float32)[[at(t) for t in range(len(TOKENS))]]


def latest(t: int, after: int) -> int:
    """The place `after` the last earlier token that is the same; the token itself where there is none."""
    return max((s + after for s in range(t) if TOKENS[s] == TOKENS[t]), default=t)


@pytest.mark.parametrize(
    ("role", "at"),
    [
        ("previous", lambda t: max(t - 1, 0)),
        ("first", lambda t: 0),
        ("itself", lambda t: t),
        ("same", lambda t: latest(t, 0)),
        ("induction", lambda t: latest(t, 1)),
    ],
)
def test_heads_that_do_one_thing_are_named_by_it(role: str, at: Any):
    uniform = heads.measure_head(np.tril(np.ones((10, 10))) / np.arange(1, 11)[:, None], TOKENS)
    found = heads.measure_head(looking(at), TOKENS)
    assert found[role] == 1
    assert found["entropy"] == 0
    assert heads.classify_head(found, uniform) == role
    assert heads.classify_head(uniform, uniform) == "mixed"


def test_measures_by_hand():
    weights = np.array([[1, 0, 0], [0.5, 0.5, 0], [0.25, 0.25, 0.5]])
    found = heads.measure_head(weights, np.array([7, 8, 7]))
    assert found["previous"] == pytest.approx((0.5 + 0.25) / 2)
    assert found["first"] == pytest.approx((0.5 + 0.25) / 2)
    assert found["itself"] == pytest.approx(2 / 3)
    assert found["same"] == pytest.approx(0.25)  # only the last token was seen before
    assert found["induction"] == pytest.approx(0.25)  # and 8 followed it
    assert found["entropy"] == pytest.approx((0 + 1 + 1.5) / 3)
    assert found["distance"] == pytest.approx((0 + 0.5 + 0.75) / 3)
    none = heads.measure_head(weights, np.array([7, 8, 9]))
    assert np.isnan(none["same"])
    assert np.isnan(none["induction"])
    assert heads.classify_head(none, none) == "mixed"


def test_heads_are_ordered_by_what_they_do():
    of = run("attention")
    found = heads.summarize_heads(of, capture_activations(of, params(of), TOKENS), TOKENS)
    assert [(one.block, one.head) for one in found] == [(block, head) for block in range(2) for head in range(4)]
    assert all(0 <= one.measured["entropy"] <= np.log2(10) for one in found)
    roles = [one.role for one in heads.sort_by_role(found)]
    names = [*heads.HEAD_ROLES, "mixed"]
    assert roles == sorted(roles, key=names.index)
