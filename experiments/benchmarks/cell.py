"""What the benchmark times, and what every library gives back: shared by the suite and by all libraries' processes.

This module imports no library that is timed, so that a PyTorch process never loads JAX.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

RECURRENT = ("rnn", "lstm", "gru")
LIBRARY_MIXERS = {  # the mixers that each library has; None: all of them
    "ours": None,
    "ours-shared": None,
    "ours-loop": None,
    "linen": (*RECURRENT, "attention"),
    "nnx": (*RECURRENT, "attention"),
    "torch": (*RECURRENT, "attention"),
    "torch-compile": (*RECURRENT, "attention"),
    "mambapy": ("s6",),
    "transformers": ("s6", "mamba2"),
    "xlstm": ("mlstm",),
    "xlstm-chunks": ("mlstm",),
    "accelerated-scan": ("mingru", "minlstm"),
    "mingru-pytorch": ("mingru",),
}
PACKAGES = {  # what a library needs that may be missing, as it is imported: all in the extra `peers`
    "torch": "torch",
    "torch-compile": "torch",
    "mambapy": "mambapy",
    "transformers": "transformers",
    "xlstm": "xlstm",
    "xlstm-chunks": "mlstm_kernels",
    "accelerated-scan": "accelerated_scan",
    "mingru-pytorch": "minGRU_pytorch",
}
OTHER_MODELS = {  # whose outcomes differ by definition: they are timed, and no ratio to them is given
    "mingru-pytorch": "another model: positive candidates, no biases",
}
LAYERS = 2
HEADS = 4
TOKENS_PER_CALL = 64  # of "ours-loop"
COMPARED_STEPS = 5  # steps or tokens whose outcomes must agree between libraries
LEARNING_RATE = 0.02
LEARNING_RATES = {"tcn": 1e-7, "irnn": 1e-18}  # mixers whose outputs are large without a norm between layers


class Cell(NamedTuple):
    """One measurement: a training "step" or a "forward" pass of `batch` sequences of `length`, or one more "token"
    after `length` − 1 others."""

    what: str
    mixer: str
    length: int
    width: int = 128
    batch: int = 32
    dtype: str = "float32"
    options: tuple[tuple[str, Any], ...] = ()  # of this project's mixer


class TimedCall(NamedTuple):
    """A function `call(carry) → carry` to be timed, and the outcomes of its first COMPARED_STEPS steps or tokens."""

    call: Callable[[Any], Any]
    carry: Any
    wait: Callable[[Any], None]
    outcome: list[float]
    per_call: int = 1  # steps or tokens
    extra: dict[str, Any] = {}  # counts and seconds of compiling, by column of the record


def supports(library: str, mixer: str) -> bool:
    """Whether the library has this mixer."""
    mixers = LIBRARY_MIXERS[library]
    return mixers is None or mixer in mixers


def draw_arrays(cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and regression targets of a training step, [B, T, D] each; of a token T is 1 and targets are unused."""
    draw = np.random.default_rng(0).standard_normal
    shape = (cell.batch, 1 if cell.what == "token" else cell.length, cell.width)
    return draw(shape, np.float32), draw(shape, np.float32)
