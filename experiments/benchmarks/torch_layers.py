"""PyTorch's own layers, for experiments.benchmarks.worker; on a GPU they are cuDNN's."""

import contextlib
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from experiments.benchmarks.worker import COMPARED_STEPS, HEADS, LEARNING_RATE, RECURRENT, Cell, TimedCall, draw_arrays


def build_torch_call(cell: Cell, weights: Any, compiled: bool) -> TimedCall:
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")  # as JAX has it on a GPU
    dtype = getattr(torch, cell.dtype)
    recurrent = cell.mixer in RECURRENT
    d, size = cell.width, cell.width // HEADS

    class Recurrent(nn.Module):
        def __init__(self, w: Any):
            super().__init__()
            kind: Any = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[cell.mixer]
            self.hidden_size, self.out = kind(d, d), nn.Linear(d, d)
            set_(self.hidden_size.weight_ih_l0, w["input"]["kernel"].T)
            set_(self.hidden_size.bias_ih_l0, w["input"]["bias"])
            set_(self.hidden_size.weight_hh_l0, w["recurrent"].T)
            set_(self.hidden_size.bias_hh_l0, np.zeros(self.hidden_size.bias_hh_l0.shape))
            if cell.mixer == "gru":
                set_(self.hidden_size.bias_hh_l0[2 * d :], w["candidate_bias"])
            set_(self.out.weight, w["output"]["kernel"].T)
            set_(self.out.bias, w["output"]["bias"])

        def forward(self, x: Any, state: Any = None) -> tuple[Any, Any]:  # [T, B, D]
            y, state = self.inner(x, state)
            return self.out(y), state

        def before(self) -> Any:
            zeros = torch.zeros(1, cell.batch, d, device=device, dtype=dtype)
            return (zeros, zeros) if cell.mixer == "lstm" else zeros

    class Attention(nn.Module):
        def __init__(self, w: Any):
            super().__init__()
            self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
            names = ("query", "key", "value")
            set_(self.qkv.weight, np.concatenate([w[f"{n}_kernel"] for n in names], axis=1).T)
            set_(self.qkv.bias, np.concatenate([w[f"{n}_bias"] for n in names]))
            set_(self.out.weight, w["output"]["kernel"].T)
            set_(self.out.bias, w["output"]["bias"])

        def forward(self, x: Any, state: Any = None) -> tuple[Any, Any]:  # [B, T, D]
            b, t, _ = x.shape
            q, k, v = self.qkv(x).view(b, t, 3, HEADS, size).permute(2, 0, 3, 1, 4)
            if state is not None:
                keys, values = state
                keys[:, :, -1:], values[:, :, -1:] = k, v
                k, v = keys, values
            y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=state is None)
            return self.out(y.transpose(1, 2).reshape(b, t, d)), state

        def before(self) -> Any:
            shape = (2, cell.batch, HEADS, cell.length, size)
            return tuple(torch.zeros(shape, device=device, dtype=dtype))

    def set_(parameter: Any, value: Any) -> None:
        with torch.no_grad():
            parameter.copy_(torch.tensor(np.array(value, np.float32)))

    made = Recurrent if recurrent else Attention
    layers: Any = nn.ModuleList([made(w) for w in weights]).to(device)
    x, target = (torch.tensor(a.swapaxes(0, 1) if recurrent else a).to(device) for a in draw_arrays(cell))
    x = x.to(dtype).contiguous()
    # Products in bfloat16, parameters in float32, as ours: bfloat16 would round most of an update away.
    mixed = contextlib.nullcontext() if cell.dtype == "float32" else torch.autocast(device, dtype)

    if cell.what == "step":

        def loss() -> Any:
            y = x
            with mixed:
                for layer in layers:
                    y, _ = layer(y)
            return (y.float() - target).square().mean()

        loss = torch.compile(loss) if compiled else loss
        # Of two biases whose sum alone matters one is trained; of a GRU's second one, a third matters.
        trained = [p for name, p in layers.named_parameters() if "bias_hh" not in name or cell.mixer == "gru"]
        update = torch.optim.SGD(trained, lr=LEARNING_RATE)

        def step(carried: Any) -> Any:
            layers.zero_grad()
            found = loss()
            found.backward()
            update.step()
            return found.detach(), carried[1]

        first = (torch.zeros(()), None)
    else:

        def forward(x: Any, states: Any) -> tuple[Any, Any]:
            after = []
            with mixed:
                for layer, state in zip(layers, states, strict=True):
                    x, state = layer(x, state)
                    after.append(state)
            return x, after

        forward = torch.compile(forward) if compiled else forward

        @torch.no_grad()
        def step(carried: Any) -> Any:  # pyright: ignore[reportRedeclaration]
            y, after = forward(*carried)
            return y, after if cell.what == "token" else carried[1]

        first = (x, [layer.before() if cell.what == "token" else None for layer in layers])

    told = lambda carried: float(carried[0].float().mean())  # noqa: E731
    carried, outcome = first, []
    for _ in range(COMPARED_STEPS):
        carried = step(carried)
        outcome.append(told(carried))
    wait = (lambda _: torch.cuda.synchronize()) if device == "cuda" else (lambda _: None)
    return TimedCall(step, carried, wait, outcome)
