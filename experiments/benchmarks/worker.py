"""The same layers in other libraries, each in a process of its own that answers one question at a time.

  python -m experiments.benchmarks.worker LIBRARY < questions > answers

What it is asked and what it answers are lines of JSON: a `Cell` is made and tried, and then timed as often as wanted.
Two bare layers, one after the other and each with an output product, are trained on the mean square of their distance
from fixed targets; or they are given a token at a time, the outcome being the next token. Weights come from a file in
the form that models/ has them, so that all libraries must give the same losses and the same tokens.

  ours                     models/, on one device
  ours-shared              models/, a batch's sequences shared out over a CPU's cores as devices
  ours-loop                models/, LOOPED tokens a call, in one compiled program
  linen, nnx               flax.linen's and flax.nnx's own layers
  torch, torch-compile     PyTorch's, eagerly and through torch.compile (extra `peers`); on a GPU they are cuDNN's
"""

import contextlib
import json
import resource
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

RECURRENT = ("rnn", "lstm", "gru")
LIBRARY_MIXERS = {
    "ours": None,
    "ours-shared": None,
    "ours-loop": None,
    "linen": (*RECURRENT, "attention"),
    "nnx": (*RECURRENT, "attention"),
    "torch": (*RECURRENT, "attention"),
    "torch-compile": (*RECURRENT, "attention"),
}  # the mixers that each has; None: all of them
LAYERS, HEADS, TOKENS_PER_CALL = 2, 4, 64
COMPARED_STEPS = 5  # steps or tokens whose outcomes are compared
LEARNING_RATE = 0.02
LEARNING_RATES = {"tcn": 1e-7, "irnn": 1e-18}  # whose outputs, without a norm between, are large


class Cell(NamedTuple):
    """What is timed: a training "step" of `batch` sequences of `length`, "forward" alone, or a "token" behind
    `length` − 1 others."""

    what: str
    mixer: str
    length: int
    width: int = 128
    batch: int = 32
    dtype: str = "float32"
    options: tuple[tuple[str, Any], ...] = ()  # of the mixer, for ours


class TimedCall(NamedTuple):
    """`call(carry) → carry`, to be timed; and what the first TRIED steps or tokens gave."""

    call: Callable[[Any], Any]
    carry: Any
    wait: Callable[[Any], None]
    outcome: list[float]
    per_call: int = 1  # steps or tokens
    extra: dict[str, Any] = {}  # what else there is to know


def draw_arrays(cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of a step, or the first token, and what fills an attention's cache behind the others."""
    draw = np.random.default_rng(0).standard_normal
    shape = (cell.batch, 1 if cell.what == "token" else cell.length, cell.width)
    return draw(shape, np.float32), draw(shape, np.float32)


# ---- in JAX ---------------------------------------------------------------------------------------------------------


def build_jax_call(cell: Cell, weights: Any, layer: Callable, state: Any, variant: str = "") -> TimedCall:
    """`layer(weights, x, state) → (y, state)` twice; `state` is a layer's before the token, None for a step."""
    import jax
    import jax.numpy as jnp

    from models import cost

    dtype = jnp.dtype(cell.dtype)
    x, target = (jax.device_put(a) for a in draw_arrays(cell))

    def network(weights: Any, x: Any, states: Any) -> tuple[Any, Any]:
        after = []
        for w, s in zip(weights, states, strict=True):
            x, s = layer(w, x, s)
            after.append(s)
        return x, after

    if cell.what == "step":

        def loss(weights: Any, x: Any, target: Any) -> Any:
            y, _ = network(weights, x.astype(dtype), [None] * LAYERS)
            return jnp.square(y.astype(jnp.float32) - target).mean()

        gradient_of, rate = jax.value_and_grad(loss), LEARNING_RATES.get(cell.mixer, LEARNING_RATE)
        if variant == "tied_projections":
            mesh = jax.make_mesh((len(jax.devices()),), ("batch",))
            x, target = (jax.device_put(a, jax.NamedSharding(mesh, jax.P("batch"))) for a in (x, target))
            weights = jax.device_put(weights, jax.NamedSharding(mesh, jax.P()))
            gradient_of = jax.shard_map(
                lambda *args: jax.lax.pmean(jax.value_and_grad(loss)(*args), "batch"),
                mesh=mesh, in_specs=(jax.P(), jax.P("batch"), jax.P("batch")), out_specs=jax.P(), check_vma=False,
            )  # fmt: skip

        def step(carried: Any) -> Any:
            weights, _, x, target = carried
            found, gradient = gradient_of(weights, x, target)
            return jax.tree.map(lambda w, g: w - rate * g, weights, gradient), found, x, target

        first, told = (weights, jnp.float32(0), x, target), lambda carried: float(carried[1])
    else:

        def step(carried: Any) -> Any:
            weights, x, states = carried
            y, after = network(weights, x, states)
            return weights, y.astype(dtype), after if cell.what == "token" else states

        first, told = (weights, x.astype(dtype), [state] * LAYERS), lambda carried: float(carried[1].mean())

    def many(carried: Any) -> Any:
        weights, *rest = carried
        return weights, *jax.lax.scan(
            lambda c, _: (step((weights, *c))[1:], None), tuple(rest), length=TOKENS_PER_CALL
        )[0]

    first = jax.tree.map(jnp.array, first)
    begun = time.perf_counter()
    compiled: Any = jax.jit(step, donate_argnums=0).lower(first).compile()
    took = time.perf_counter() - begun
    products, others = cost.op_counts(step, first)
    found = {
        "compile_seconds": took, "products": products, "others": others,
        "bytes": cost.bytes_moved(step, first, include_arguments=cell.what != "token"),  # what a token leaves stays where it is
        "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes, "parameters": cost.count_params(weights),
        "device": jax.devices()[0].device_kind,
    }  # fmt: skip
    carried, outcome = first, []
    for _ in range(COMPARED_STEPS):
        carried = compiled(carried)
        outcome.append(told(carried))
    call = jax.jit(many, donate_argnums=0) if variant == "loop" else compiled
    return TimedCall(call, carried, jax.block_until_ready, outcome, TOKENS_PER_CALL if variant == "loop" else 1, found)


def make_layer(cell: Cell) -> Any:
    """One of our layers."""
    import models

    made: Any = models.MIXERS[cell.mixer]
    sizes = {"width": cell.width, "hidden_size": cell.width, "max_length": cell.length}
    return made(**sizes, dtype=np.dtype(cell.dtype), **dict(cell.options))


def build_own_call(cell: Cell, weights: Any, variant: str = "") -> TimedCall:
    import jax
    import jax.numpy as jnp

    mixer, dtype, longest = make_layer(cell), jnp.dtype(cell.dtype), cell.length
    steps = jnp.arange(longest)

    def layer(weights: Any, x: Any, state: Any) -> tuple[Any, Any]:
        at = jnp.broadcast_to(steps if state is None else steps[-1:], x.shape[:2])
        y, after = mixer.apply({"params": weights}, x, state=state, positions=at, segments=jnp.ones_like(at))
        if state is not None:  # a cache that counts its tokens stays full, and never runs over
            after = jax.tree.map(lambda new, old: new if new.ndim else old, after, state)
        return y, after

    state = None
    if cell.what == "token":
        x = jax.ShapeDtypeStruct((cell.batch, longest - 1, cell.width), dtype)
        before = jax.ShapeDtypeStruct((cell.batch, longest - 1), jnp.int32)
        call = lambda w, x, at: mixer.apply({"params": w}, x, positions=at, segments=at)[1]  # noqa: E731
        state = jax.eval_shape(call, weights[0], x, before)
        state = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype) if s.ndim else jnp.int32(longest - 1), state)
        if "segments" in state:  # of the tokens in the cache: they are there, as zeros
            state = {
                **state,
                "segments": jnp.ones_like(state["segments"]),
                "positions": jnp.broadcast_to(steps, (cell.batch, longest)),
            }
        elif "segment" in state:
            state = {**state, "segment": jnp.ones_like(state["segment"])}
    return build_jax_call(cell, weights, layer, state, variant)


def initial_weights(cell: Cell) -> list[dict[str, Any]]:
    """A layer's weights for each layer, as `models` draws them."""
    import jax
    import jax.numpy as jnp

    made = make_layer(cell)
    x, at = jnp.zeros((1, 1, cell.width)), jnp.zeros((1, 1), jnp.int32)
    init = jax.jit(lambda key: made.init(key, x, positions=at, segments=at + 1)["params"])
    return [jax.device_get(init(jax.random.key(seed, impl="threefry2x32"))) for seed in range(LAYERS)]


# ---- the process ----------------------------------------------------------------------------------------------------


def supports(library: str, mixer: str) -> bool:
    known = LIBRARY_MIXERS[library]
    return known is None or mixer in known


def build_call(library: str, cell: Cell, weights: Any) -> TimedCall:
    if not supports(library, cell.mixer):
        raise ValueError(f"{library} has no {cell.mixer}")
    if library.startswith("ours"):
        return build_own_call(cell, weights, library.partition("-")[2])
    if library.startswith("torch"):
        from experiments.benchmarks import torch_layers

        return torch_layers.build_torch_call(cell, weights, compiled=library.endswith("compile"))
    from experiments.benchmarks import flax_layers

    return flax_layers.build_flax_call(cell, weights, library)


def measure_peak_rates(dtype: str) -> dict[str, Any]:
    """What this machine does at best: operations a second in a product of large matrices, and bytes a second moved."""
    import jax
    import jax.numpy as jnp

    accelerator = jax.default_backend() != "cpu"
    n, size = (8192, 2**28) if accelerator else (2048, 2**25)
    square = jax.random.normal(jax.random.key(0, impl="threefry2x32"), (n, n), jnp.dtype(dtype))

    def best(function: Callable, x: Any) -> float:
        call, times = jax.jit(function), []
        for _ in range(8):
            begun = time.perf_counter()
            jax.block_until_ready(call(x))
            times.append(time.perf_counter() - begun)
        return min(times)

    copied = jnp.zeros(size)
    return {
        "flops": 2 * n**3 / best(lambda a: (a @ a).astype(a.dtype), square),
        "bytes": 2 * copied.nbytes / best(lambda a: a + 1, copied),
        "machine": describe_machine(),
    }


def describe_machine() -> str:
    """The device, the versions and the revision, as one line."""
    import jax

    from training import provenance

    found = provenance.describe_environment()
    device = jax.devices()[0]
    name = device.device_kind
    if device.platform == "cpu" and (known := Path("/proc/cpuinfo")).exists():
        lines = [line for line in known.read_text().splitlines() if line.startswith("model name")]
        name = f"{lines[0].partition(': ')[2] if lines else name}, {found['cores']} cores"
    versions = found["packages"] | {"python": found["python"]}
    with contextlib.suppress(metadata.PackageNotFoundError):
        versions["torch"] = metadata.version("torch")
    told = [f"{package} {version}" for package, version in versions.items()]
    return "; ".join([name, *told, f"revision {found['revision'][:12]}{' with changes' * found['source_changed']}"])


def main(library: str) -> None:
    if not library.startswith("torch"):
        import jax

        from training import runtime

        if library == "ours-shared":
            runtime.tune_malloc(one_arena=True)
            jax.config.update("jax_num_cpu_devices", runtime.usable_cores())
        elif library.startswith("ours"):
            runtime.configure_runtime()
        jax.config.update("jax_enable_compilation_cache", False)  # compiling is timed
    made: TimedCall | None = None
    for line in sys.stdin:
        question = json.loads(line)
        try:
            if "rates" in question:
                answer: dict[str, Any] = measure_peak_rates(question["rates"])
            elif "cell" in question:
                made = None
                cell = Cell(**{**question["cell"], "options": tuple(map(tuple, question["cell"]["options"]))})
                path = Path(question["weights"])
                begun = time.perf_counter()
                if not path.exists():  # the first to be asked draws them
                    np.save(path, np.array(initial_weights(cell), dtype=object), allow_pickle=True)
                made = build_call(library, cell, list(np.load(path, allow_pickle=True)))
                answer = {
                    "outcome": made.outcome,
                    "per_call": made.per_call,
                    "made_seconds": time.perf_counter() - begun,
                    "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
                    **made.extra,
                }
            else:
                assert made is not None
                carried = made.carry
                if question["warm"]:  # what another process pushed out of the caches comes back
                    made.wait(carried := made.call(carried))
                begun = time.perf_counter()
                for _ in range(question["calls"]):
                    carried = made.call(carried)
                made.wait(carried)
                answer = {"seconds": (time.perf_counter() - begun) / (question["calls"] * made.per_call)}
                made = made._replace(carry=carried)
        except Exception as error:  # told to whoever asked, who goes on with the rest
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
