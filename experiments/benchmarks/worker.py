"""One library's layers in a process of its own, which answers questions: lines of JSON in, lines of JSON out.

  python -m experiments.benchmarks.worker LIBRARY < questions > answers

A first question names a `Cell`, which is built and tried; further questions time it as often as wanted. Two bare
layers, one after the other and each with an output projection, are trained on the mean square of their distance from
fixed targets; or they get one token at a time, the output being the next token. Weights come from a file in the form
that models/ has them, so that all libraries must give the same losses and the same tokens.

  ours                     models/, on one device
  ours-shared              models/, the batch split over a CPU's cores as devices
  ours-loop                models/, TOKENS_PER_CALL tokens a call, in one compiled program
  linen, nnx               the layers of flax.linen and flax.nnx
  torch, torch-compile     PyTorch's layers, eager and through torch.compile (extra `peers`); on a GPU they are cuDNN's
  mambapy, xlstm, ...      layers of other packages for PyTorch (experiments.benchmarks.peer_layers)
"""

import json
import resource
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks.cell import PACKAGES, Cell, TimedCall, supports


def build_call(library: str, cell: Cell, weights: Any) -> TimedCall:
    """The cell's layers in this library. Raises ValueError where the library has no such layer."""
    if not supports(library, cell.mixer):
        raise ValueError(f"{library} has no {cell.mixer}")
    if library.startswith("ours"):
        from experiments.benchmarks import jax_layers

        return jax_layers.build_own_call(cell, weights, library.partition("-")[2])
    if library.startswith("torch"):
        from experiments.benchmarks import torch_layers

        return torch_layers.build_torch_call(cell, weights, compiled=library.endswith("compile"))
    if library in PACKAGES:
        from experiments.benchmarks import peer_layers, torch_layers

        return torch_layers.build_torch_call(cell, weights, False, partial(peer_layers.make_peer_layer, library))
    from experiments.benchmarks import flax_layers

    return flax_layers.build_flax_call(cell, weights, library)


class Session:
    """The cell that was built last, and the answers about it."""

    def __init__(self, library: str):
        self.library = library
        self.timed: TimedCall | None = None

    def answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one question; an exception becomes an `error`, so that whoever asked goes on with the rest."""
        try:
            if "rates" in question:
                from experiments.benchmarks.peak_rates import measure_peak_rates

                return measure_peak_rates(question["rates"])
            if "cell" in question:
                return self._build(question["cell"], Path(question["weights"]))
            return {"seconds": self._time(question["calls"], warm=question["warm"])}
        except Exception as error:
            return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}

    def _build(self, fields: Mapping[str, Any], weights_path: Path) -> dict[str, Any]:
        """Build the cell, with the weights in the file; the first library that is asked draws them."""
        self.timed = None  # frees what the last cell held
        cell = Cell(**{**fields, "options": tuple(map(tuple, fields["options"]))})
        begun = time.perf_counter()
        if not weights_path.exists():
            from experiments.benchmarks.jax_layers import save_initial_weights

            save_initial_weights(cell, weights_path)
        timed = self.timed = build_call(self.library, cell, list(np.load(weights_path, allow_pickle=True)))
        return {
            "outcome": timed.outcome,
            "per_call": timed.per_call,
            "made_seconds": time.perf_counter() - begun,
            "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            **timed.extra,
        }

    def _time(self, calls: int, *, warm: bool) -> float:
        """Seconds of one step or token, the mean over `calls`. `warm` adds a call before them, which brings back the
        caches that another process has emptied."""
        assert self.timed is not None
        call, carry, wait, _, per_call, _ = self.timed
        if warm:
            wait(carry := call(carry))
        begun = time.perf_counter()
        for _ in range(calls):
            carry = call(carry)
        wait(carry)
        seconds = (time.perf_counter() - begun) / (calls * per_call)
        self.timed = self.timed._replace(carry=carry)
        return seconds


def configure_library(library: str) -> None:
    """Set up JAX as this library's processes need it. Nothing is to do for PyTorch and what stands on it."""
    if library in PACKAGES:
        return
    import jax

    from training import runtime

    if library == "ours-shared":
        runtime.tune_malloc(one_arena=True)
        jax.config.update("jax_num_cpu_devices", runtime.usable_cores())
    elif library.startswith("ours"):
        runtime.configure_runtime()
    jax.config.update("jax_enable_compilation_cache", False)  # compiling is timed


def main(library: str) -> None:
    configure_library(library)
    session = Session(library)
    for line in sys.stdin:
        print(json.dumps(session.answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
