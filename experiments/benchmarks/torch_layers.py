"""The benchmark's two layers in PyTorch, eager or through torch.compile; on a GPU they are cuDNN's."""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from experiments.benchmarks.cell import (
    COMPARED_STEPS,
    HEADS,
    LEARNING_RATE,
    RECURRENT,
    Cell,
    TimedCall,
    draw_arrays,
)

RNNS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def build_torch_call(
    cell: Cell, weights: Any, compiled: bool, make_layer: Callable[[Cell, Any], Any] | None = None
) -> TimedCall:
    """The two layers from the same weights, as a training step or as a pass without gradients.

    `make_layer(cell, weights)` makes another layer than PyTorch's own, over [B, T, D].
    """
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")  # as JAX has it on a GPU
    device = "cuda" if torch.cuda.is_available() else "cpu"
    layer = make_layer or (_Recurrent if cell.mixer in RECURRENT else _Attention)
    layers: Any = nn.ModuleList([layer(cell, w) for w in weights]).to(device)
    program = _training_program if cell.what == "step" else _inference_program
    step, carry = program(cell, layers, device, compiled)
    outcome = []
    for _ in range(COMPARED_STEPS):
        carry = step(carry)
        outcome.append(float(carry[0].float().mean()))
    return TimedCall(step, carry, _synchronize if device == "cuda" else _return_at_once, outcome)


def _training_program(cell: Cell, layers: Any, device: str, compiled: bool) -> tuple[Callable[[Any], Any], Any]:
    """Gradient descent on the mean square of the distance from fixed targets, and its first carry."""
    x, target = _to_device(cell, device)
    precision = _autocast(cell, device)

    def loss() -> Any:
        y = x
        with precision:
            for layer in layers:
                y, _ = layer(y)
        return (y.float() - target).square().mean()

    compute_loss = torch.compile(loss) if compiled else loss
    # PyTorch has two biases where only their sum matters, so one is trained; in a GRU a third of the second matters.
    trained = [p for name, p in layers.named_parameters() if "bias_hh" not in name or cell.mixer == "gru"]
    optimizer = torch.optim.SGD(trained, lr=LEARNING_RATE)

    def step(carry: Any) -> Any:
        layers.zero_grad()
        value = compute_loss()
        value.backward()
        optimizer.step()
        return value.detach(), carry[1]

    return step, (torch.zeros(()), None)


def _inference_program(cell: Cell, layers: Any, device: str, compiled: bool) -> tuple[Callable[[Any], Any], Any]:
    """The outputs are the next inputs; of a token, its state is the next state."""
    x, _ = _to_device(cell, device)
    precision = _autocast(cell, device)

    def forward(x: Any, states: Any) -> tuple[Any, Any]:
        after = []
        with precision:
            for layer, state in zip(layers, states, strict=True):
                x, state = layer(x, state)
                after.append(state)
        return x, after

    apply = torch.compile(forward) if compiled else forward

    @torch.no_grad()
    def step(carry: Any) -> Any:
        y, after = apply(*carry)
        return y, after if cell.what == "token" else carry[1]

    return step, (x, [layer.full_state(device) if cell.what == "token" else None for layer in layers])


class _Recurrent(nn.Module):
    """nn.RNN, nn.LSTM or nn.GRU and an output projection, over [T, B, D]."""

    def __init__(self, cell: Cell, weights: Any):
        super().__init__()
        d = cell.width
        self.cell = cell
        self.rnn: Any = RNNS[cell.mixer](d, d)
        self.out = nn.Linear(d, d)
        copy_into(self.rnn.weight_ih_l0, weights["input"]["kernel"].T)
        copy_into(self.rnn.bias_ih_l0, weights["input"]["bias"])
        copy_into(self.rnn.weight_hh_l0, weights["recurrent"].T)
        copy_into(self.rnn.bias_hh_l0, np.zeros(self.rnn.bias_hh_l0.shape))
        if cell.mixer == "gru":
            copy_into(self.rnn.bias_hh_l0[2 * d :], weights["candidate_bias"])
        copy_into(self.out.weight, weights["output"]["kernel"].T)
        copy_into(self.out.bias, weights["output"]["bias"])

    def forward(self, x: Any, state: Any = None) -> tuple[Any, Any]:
        y, state = self.rnn(x, state)
        return self.out(y), state

    def full_state(self, device: str) -> Any:
        """The state after any number of tokens, as zeros."""
        zeros = torch.zeros(1, self.cell.batch, self.cell.width, device=device, dtype=_dtype(self.cell))
        return (zeros, zeros) if self.cell.mixer == "lstm" else zeros


class _Attention(nn.Module):
    """Causal attention with one fused product for queries, keys and values, over [B, T, D]."""

    def __init__(self, cell: Cell, weights: Any):
        super().__init__()
        d = cell.width
        self.cell = cell
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        names = ("query", "key", "value")
        copy_into(self.qkv.weight, np.concatenate([weights[f"{name}_kernel"] for name in names], axis=1).T)
        copy_into(self.qkv.bias, np.concatenate([weights[f"{name}_bias"] for name in names]))
        copy_into(self.out.weight, weights["output"]["kernel"].T)
        copy_into(self.out.bias, weights["output"]["bias"])

    def forward(self, x: Any, state: Any = None) -> tuple[Any, Any]:
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, HEADS, d // HEADS).permute(2, 0, 3, 1, 4)
        if state is not None:
            keys, values = state
            keys[:, :, -1:], values[:, :, -1:] = k, v
            k, v = keys, values
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=state is None)
        return self.out(y.transpose(1, 2).reshape(b, t, d)), state

    def full_state(self, device: str) -> Any:
        """A cache of keys and values with room for the last token."""
        shape = (2, self.cell.batch, HEADS, self.cell.length, self.cell.width // HEADS)
        return tuple(torch.zeros(shape, device=device, dtype=_dtype(self.cell)))


def _to_device(cell: Cell, device: str) -> tuple[Any, Any]:
    """Inputs in the cell's dtype and targets in float32, time first for recurrences."""
    time_first = cell.mixer in RECURRENT
    x, target = (torch.tensor(a.swapaxes(0, 1) if time_first else a).to(device) for a in draw_arrays(cell))
    return x.to(_dtype(cell)).contiguous(), target


def _autocast(cell: Cell, device: str) -> Any:
    """Products in bfloat16 and parameters in float32, as in JAX: bfloat16 would round most of an update away."""
    return contextlib.nullcontext() if cell.dtype == "float32" else torch.autocast(device, _dtype(cell))


def _dtype(cell: Cell) -> Any:
    return getattr(torch, cell.dtype)


def copy_into(parameter: Any, value: Any) -> None:
    with torch.no_grad():
        parameter.copy_(torch.tensor(np.array(value, np.float32)))


def _synchronize(carry: Any) -> None:
    torch.cuda.synchronize()


def _return_at_once(carry: Any) -> None:
    """PyTorch's calls on a CPU return when they are done."""
