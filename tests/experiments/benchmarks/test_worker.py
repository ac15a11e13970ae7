import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
from experiments.benchmarks import cell as cells
from experiments.benchmarks import jax_layers, peak_rates, worker
from experiments.benchmarks.cell import Cell
from experiments.benchmarks.processes import Worker

TORCH = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed (extra `peers`)")
LIBRARIES = ["linen", "nnx", pytest.param("torch", marks=TORCH)]


initial_weights = cache(jax_layers.initial_weights)


@cache
def outcome(library: str, cell: Cell) -> list[float]:
    return worker.build_call(library, cell, initial_weights(cell)).outcome


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("mixer", ["rnn", "lstm", "gru", "attention"])
def test_training_gives_the_same_losses(mixer: str, library: str):
    """The same forward, the same gradients and the same update: after five steps of them, and the loss has fallen."""
    cell = Cell("step", mixer, 6, width=8, batch=3)
    expected = outcome("ours", cell)
    fallen = expected[0] - expected[-1]
    assert fallen > 1e-3
    # Of a GRU's biases nnx has one less, and PyTorch two more, which it trains.
    within = 0.05 if mixer == "gru" and library != "linen" else 1e-3
    np.testing.assert_allclose(outcome(library, cell), expected, rtol=1e-6, atol=within * fallen)


@pytest.mark.parametrize(
    ("library", "mixer"),
    [
        (library, mixer)
        for library, mixers in cells.LIBRARY_MIXERS.items()
        for mixer in mixers or ()
        if library in cells.PACKAGES and not library.startswith("torch") and mixer in models.MIXERS
    ],
)
def test_packages_train_to_the_same_losses(library: str, mixer: str):
    """But one whose model is another by definition."""
    pytest.importorskip("torch", reason="PyTorch is not installed (extra `peers`)")
    pytest.importorskip(cells.PACKAGES[library])
    cell = Cell("step", mixer, 128, width=16, batch=3)
    expected, found = outcome("ours", cell), outcome(library, cell)
    if library in cells.OTHER_MODELS:
        assert abs(found[0] - expected[0]) > 1e-3 * expected[0]
        assert found[-1] < found[0]
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=0.01 * (expected[0] - expected[-1]))


@TORCH
@pytest.mark.parametrize("mixer", ["rnn", "lstm", "gru", "attention"])
def test_a_token_gives_the_same_tokens(mixer: str):
    cell = Cell("token", mixer, 5, width=8, batch=1)
    np.testing.assert_allclose(outcome("torch", cell), outcome("ours", cell), rtol=1e-4, atol=1e-5)


@TORCH
@pytest.mark.parametrize("library", ["torch", "torch-compile"])
def test_parameters_stay_in_float32_where_products_are_not(library: str):
    """In bfloat16 most of an update would be rounded away: the loss would not fall as ours does."""
    cell = Cell("step", "attention", 6, width=8, batch=3, dtype="bfloat16")
    expected = outcome("ours", cell)
    np.testing.assert_allclose(outcome(library, cell), expected, rtol=1e-6, atol=0.1 * (expected[0] - expected[-1]))


@pytest.mark.parametrize("what", ["step", "token"])
@pytest.mark.parametrize("mixer", [name for name in models.MIXERS if name != "dense"])
def test_every_mixer_can_be_timed(mixer: str, what: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jax_layers, "LAYERS", 1)
    check_can_be_timed(Cell(what, mixer, 6, width=8, batch=2))


def test_a_forward_pass_can_be_timed():
    check_can_be_timed(Cell("forward", "attention", 6, width=8, batch=2))


def check_can_be_timed(cell: Cell) -> None:
    timed = worker.build_call("ours", cell, jax_layers.initial_weights(cell))
    timed.wait(timed.call(timed.carry))
    assert np.isfinite(timed.outcome).all()
    tiny_step = cells.LEARNING_RATES.get(cell.mixer, 1) < 1e-15  # too small to be seen at this length
    assert len(set(timed.outcome)) > 1 or tiny_step
    assert timed.extra["parameters"] > 0
    assert timed.extra["products"] > 0


def test_many_tokens_a_call_are_those_of_as_many_calls():
    cell = Cell("token", "lstm", 6, width=8, batch=1)
    one, many = (worker.build_call(library, cell, initial_weights(cell)) for library in ("ours", "ours-loop"))
    carry = one.carry
    for _ in range(cells.TOKENS_PER_CALL):
        carry = one.call(carry)
    assert many.per_call == cells.TOKENS_PER_CALL
    np.testing.assert_allclose(many.call(many.carry)[1], carry[1], rtol=1e-4, atol=1e-6)


def ask(library: str, *questions: dict[str, Any]) -> list[dict[str, Any]]:
    """The answers of a process of its own."""
    process = Worker(library)
    try:
        return [process.ask(**question) for question in questions]
    finally:
        process.close()


def test_a_process_answers_and_survives_what_it_can_not_do(tmp_path: Path):
    cell = {**Cell("step", "rnn", 6, width=8, batch=2)._asdict(), "options": []}
    weights = str(tmp_path / "weights.npy")
    impossible = {"cell": {**cell, "options": [["heads", 3]]}, "weights": str(tmp_path / "others.npy")}
    refused, built, timed = ask("ours", impossible, {"cell": cell, "weights": weights}, {"calls": 3, "warm": True})
    assert "heads" in refused["error"]
    assert len(built["outcome"]) == cells.COMPARED_STEPS
    assert 0 < built["compile_seconds"] < built["made_seconds"]
    assert built["peak_bytes"] > 2**20
    assert 0 < timed["seconds"] < 10
    lacking = worker.Session("linen").answer({"cell": {**cell, "mixer": "mingru"}, "weights": weights})
    assert lacking["error"] == "ValueError: linen has no mingru"


def test_a_process_that_died_is_said_to_have():
    process = Worker("torch")  # which loads nothing before it is asked
    process.process.kill()
    assert process.ask(rates="float32") == {"error": "its process ended with status -9"}


def test_devices_that_share_a_batch_give_the_losses_of_one(tmp_path: Path):
    cell = Cell("step", "gru", 6, width=8, batch=32)
    question = {"cell": {**cell._asdict(), "options": []}, "weights": str(tmp_path / "weights.npy")}
    (shared,) = ask("ours-shared", question)
    np.testing.assert_allclose(shared["outcome"], outcome("ours", cell), rtol=1e-5)


def test_what_a_machine_does_at_best_is_measured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(peak_rates, "CALLS", 2)
    rates = peak_rates.measure_peak_rates("float32")
    assert 1e8 < rates["flops"] < 1e16
    assert 1e8 < rates["bytes"] < 1e14
