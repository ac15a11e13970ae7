import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
from experiments.benchmarks import worker
from experiments.benchmarks.worker import Cell

ROOT = Path(__file__).parents[3]
TORCH = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed (extra `peers`)")
LIBRARIES = ["linen", "nnx", pytest.param("torch", marks=TORCH)]


def outcome(library: str, cell: Cell) -> list[float]:
    return worker.build_call(library, cell, worker.initial_weights(cell)).outcome


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


@pytest.mark.parametrize("what", ["step", "forward", "token"])
@pytest.mark.parametrize("mixer", [name for name in models.MIXERS if name != "dense"])
def test_every_mixer_can_be_timed(mixer: str, what: str):
    cell = Cell(what, mixer, 6, width=8, batch=2)
    made = worker.build_call("ours", cell, worker.initial_weights(cell))
    made.wait(made.call(made.carry))
    assert np.isfinite(made.outcome).all()
    assert (
        len(set(made.outcome)) > 1 or worker.LEARNING_RATES.get(mixer, 1) < 1e-15
    )  # too small a step to be seen at this length
    assert made.extra["parameters"] > 0
    assert made.extra["products"] > 0


def test_many_tokens_a_call_are_those_of_as_many_calls():
    cell = Cell("token", "lstm", 6, width=8, batch=1)
    one, many = (worker.build_call(library, cell, worker.initial_weights(cell)) for library in ("ours", "ours-loop"))
    carried = one.carry
    for _ in range(worker.TOKENS_PER_CALL):
        carried = one.call(carried)
    assert many.per_call == worker.TOKENS_PER_CALL
    np.testing.assert_allclose(many.call(many.carry)[1], carried[1], rtol=1e-4, atol=1e-6)


def asked(library: str, *questions: dict[str, Any]) -> list[dict[str, Any]]:
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    command = [sys.executable, "-m", "experiments.benchmarks.worker", library]
    done = subprocess.run(command, cwd=ROOT, input=lines, capture_output=True, text=True, check=True, timeout=100)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_process_answers_and_survives_what_it_can_not_do(tmp_path: Path):
    cell = {**Cell("step", "rnn", 6, width=8, batch=2)._asdict(), "options": []}
    weights = str(tmp_path / "weights.npy")
    impossible = {"cell": {**cell, "options": [["heads", 3]]}, "weights": str(tmp_path / "others.npy")}
    refused, made, timed = asked("ours", impossible, {"cell": cell, "weights": weights}, {"calls": 3, "warm": True})
    assert "heads" in refused["error"]
    assert len(made["outcome"]) == worker.COMPARED_STEPS
    assert 0 < made["compile_seconds"] < made["made_seconds"]
    assert made["peak_bytes"] > 2**20
    assert 0 < timed["seconds"] < 10
    (told,) = asked("linen", {"cell": {**cell, "mixer": "mingru"}, "weights": weights})
    assert told["error"] == "ValueError: linen has no mingru"


def test_devices_that_share_a_batch_give_the_losses_of_one(tmp_path: Path):
    cell = {**Cell("step", "gru", 6, width=8, batch=32)._asdict(), "options": []}
    question = {"cell": cell, "weights": str(tmp_path / "weights.npy")}
    (one,), (shared,) = asked("ours", question), asked("ours-shared", question)
    np.testing.assert_allclose(shared["outcome"], one["outcome"], rtol=1e-5)


def test_what_a_machine_does_at_best_is_measured(monkeypatch: pytest.MonkeyPatch):
    found = worker.measure_peak_rates("float32")
    assert 1e8 < found["flops"] < 1e16
    assert 1e8 < found["bytes"] < 1e14
