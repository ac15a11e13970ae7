"""The benchmark's layers as other packages for PyTorch have them (extra `peers`), from this project's weights.

  mambapy           its block of Mamba, whose scan is parallel over the steps; beside s6
  transformers      its Mamba without kernels of its own, one step after the other, beside s6; and its Mamba-2 in chunks
  xlstm             the mLSTM's parallel form, which the package runs without a GPU, inside our projections
  xlstm-chunks      the same in chunks, as its larger models have it (package mlstm_kernels)
  accelerated-scan  its reference of the scan in PyTorch, inside our projections; beside mingru and minlstm
  mingru-pytorch    its minGRU, which is another model than ours: candidates are positive, and no layer has a bias

What a package has as a whole layer is taken so, if its definition is ours. Where it is not, as around the mLSTM (the
package normalizes otherwise and has a convolution), its recurrence alone stands between our projections.
"""

from collections.abc import Callable
from typing import Any

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional as F  # pyright: ignore[reportMissingImports]

from experiments.benchmarks.cell import HEADS, Cell
from experiments.benchmarks.torch_layers import copy_into

_STATE_SIZE, _KERNEL = 8, 4  # of our s6
_MAMBA2_STATE_SIZE = 16


def make_peer_layer(library: str, cell: Cell, weights: Any) -> Any:
    """A module from [B, T, D] and a state, which is None, to outputs and None."""
    return _Stateless(_MAKERS[library, cell.mixer](cell, weights))


class _Stateless(nn.Module):
    def __init__(self, inner: Any):
        super().__init__()
        self.inner = inner

    def forward(self, x: Any, state: Any = None) -> tuple[Any, Any]:
        return self.inner(x), state


# ---- Mamba ----------------------------------------------------------------------------------------------------------


def _make_mambapy(cell: Cell, weights: Any) -> Any:
    from mambapy.mamba import MambaBlock, MambaConfig  # pyright: ignore[reportMissingImports]

    config = MambaConfig(d_model=cell.width, n_layers=1, expand_factor=1, d_state=_STATE_SIZE, d_conv=_KERNEL)
    block = MambaBlock(config)
    _copy_mamba_weights(block, weights)
    return block


def _make_transformers_mamba(cell: Cell, weights: Any) -> Any:
    from transformers.models.mamba.modeling_mamba import (  # pyright: ignore[reportMissingImports]
        MambaConfig,
        MambaMixer,
    )

    sizes = {"hidden_size": cell.width, "state_size": _STATE_SIZE, "conv_kernel": _KERNEL, "expand": 1}
    mixer = MambaMixer(MambaConfig(**sizes, num_hidden_layers=1), layer_idx=0)
    _copy_mamba_weights(mixer, weights)
    return mixer


def _copy_mamba_weights(block: Any, weights: Any) -> None:
    """Both packages name them as the authors' code does; their kernels begin with the oldest step, ours with the
    newest."""
    copy_into(block.in_proj.weight, weights["input"]["kernel"].T)
    copy_into(block.conv1d.weight, weights["kernel"][::-1].T[:, None])
    copy_into(block.conv1d.bias, weights["kernel_bias"])
    copy_into(block.x_proj.weight, weights["select"]["kernel"].T)
    copy_into(block.dt_proj.weight, weights["step"]["kernel"].T)
    copy_into(block.dt_proj.bias, weights["step"]["bias"])
    copy_into(block.A_log, weights["log_rates"])
    copy_into(block.D, weights["skip"])
    copy_into(block.out_proj.weight, weights["output"]["kernel"].T)


def _make_transformers_mamba2(cell: Cell, weights: Any) -> Any:
    from transformers.models.mamba2.modeling_mamba2 import (  # pyright: ignore[reportMissingImports]
        Mamba2Config,
        Mamba2Mixer,
    )

    n = cell.width
    sizes = {"hidden_size": n, "num_heads": HEADS, "head_dim": n // HEADS, "state_size": _MAMBA2_STATE_SIZE}
    config = Mamba2Config(**sizes, expand=1, n_groups=1, conv_kernel=_KERNEL, chunk_size=64, num_hidden_layers=1)
    mixer = Mamba2Mixer(config, layer_idx=0)
    value_and_gate = weights["input"]["kernel"]
    parts = [value_and_gate[:, n:], value_and_gate[:, :n], weights["select"]["kernel"], weights["step"]["kernel"]]
    for part, columns in zip(torch.split(mixer.in_proj.weight.data, [p.shape[1] for p in parts]), parts, strict=True):
        copy_into(part, columns.T)
    copy_into(mixer.dt_bias, weights["step"]["bias"])
    copy_into(mixer.conv1d.weight, weights["kernel"][::-1].T[:, None])
    copy_into(mixer.conv1d.bias, weights["kernel_bias"])
    copy_into(mixer.A_log, weights["log_rates"])
    copy_into(mixer.D, weights["skip"])
    copy_into(mixer.norm.weight, weights["norm"]["scale"])
    copy_into(mixer.out_proj.weight, weights["output"]["kernel"].T)
    return mixer


# ---- recurrences of packages between our projections ----------------------------------------------------------------


class _MLSTM(nn.Module):
    """Our mLSTM around `recur(q, k, v, i, f)`, of [B, H, T, K] and gates [B, H, T]."""

    def __init__(self, cell: Cell, weights: Any, recur: Callable[..., Any]):
        super().__init__()
        self.recur = recur
        self.qkv, self.gates, self.gate, self.out = (_linear(weights[n]) for n in ("input", "gates", "gate", "output"))
        self.scale = nn.Parameter(torch.ones(cell.width // HEADS))
        copy_into(self.scale, weights["norm"]["scale"])

    def forward(self, x: Any) -> Any:
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, HEADS, d // HEADS).permute(2, 0, 3, 1, 4)
        i, f = self.gates(x).view(b, t, 2, HEADS).permute(2, 0, 3, 1)
        y = F.rms_norm(self.recur(q, k, v, i, f), (d // HEADS,), self.scale, 1e-5)
        return self.out(torch.sigmoid(self.gate(x)) * y.transpose(1, 2).reshape(b, t, d))


def _make_xlstm(cell: Cell, weights: Any) -> Any:
    from xlstm.blocks.mlstm.backends import parallel_stabilized_simple  # pyright: ignore[reportMissingImports]

    return _MLSTM(cell, weights, lambda q, k, v, i, f: parallel_stabilized_simple(q, k, v, i[..., None], f[..., None]))


def _make_xlstm_chunks(cell: Cell, weights: Any) -> Any:
    from mlstm_kernels.torch.chunkwise.native import (  # pyright: ignore[reportMissingImports]
        mlstm_chunkwise__native_custbw,
    )

    return _MLSTM(cell, weights, lambda *inputs: mlstm_chunkwise__native_custbw(*inputs, chunk_size=64))


class _MinimalRNN(nn.Module):
    """Our minGRU or minLSTM around the package's scan, which is over the last of [B, N, T]."""

    def __init__(self, cell: Cell, weights: Any, scan: Callable[..., Any]):
        super().__init__()
        self.cell, self.scan = cell, scan
        self.gates, self.out = _linear(weights["input"]), _linear(weights["output"])

    def forward(self, x: Any) -> Any:
        parts = self.gates(x).transpose(1, 2).chunk(3 if self.cell.mixer == "minlstm" else 2, dim=1)
        *gates, candidate = parts
        if self.cell.mixer == "minlstm":
            forget, new = map(torch.sigmoid, gates)
            keep, new = forget / (forget + new), new / (forget + new)
        else:
            keep, new = torch.sigmoid(-gates[0]), torch.sigmoid(gates[0])
        return self.out(self.scan(keep.contiguous(), (new * candidate).contiguous()).transpose(1, 2))


def _make_accelerated_scan(cell: Cell, weights: Any) -> Any:
    from accelerated_scan.ref import scan  # pyright: ignore[reportMissingImports]

    return _MinimalRNN(cell, weights, scan)


def _make_mingru_pytorch(cell: Cell, weights: Any) -> Any:
    from minGRU_pytorch import minGRU  # pyright: ignore[reportMissingImports]

    return minGRU(cell.width, proj_out=True)


def _linear(weights: Any) -> Any:
    """A layer of ours, with a bias, in PyTorch."""
    layer = nn.Linear(*weights["kernel"].shape)
    copy_into(layer.weight, weights["kernel"].T)
    copy_into(layer.bias, weights["bias"])
    return layer


_MAKERS: dict[tuple[str, str], Callable[[Cell, Any], Any]] = {
    ("mambapy", "s6"): _make_mambapy,
    ("transformers", "s6"): _make_transformers_mamba,
    ("transformers", "mamba2"): _make_transformers_mamba2,
    ("xlstm", "mlstm"): _make_xlstm,
    ("xlstm-chunks", "mlstm"): _make_xlstm_chunks,
    ("accelerated-scan", "mingru"): _make_accelerated_scan,
    ("accelerated-scan", "minlstm"): _make_accelerated_scan,
    ("mingru-pytorch", "mingru"): _make_mingru_pytorch,
}
