"""The same layers in other libraries, each in a process of its own that answers one question at a time.

  python -m experiments.peers LIBRARY < questions > answers

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
KNOWN = {
    "ours": None,
    "ours-shared": None,
    "ours-loop": None,
    "linen": (*RECURRENT, "attention"),
    "nnx": (*RECURRENT, "attention"),
    "torch": (*RECURRENT, "attention"),
    "torch-compile": (*RECURRENT, "attention"),
}  # the mixers that each has; None: all of them
LAYERS, HEADS, LOOPED = 2, 4, 64
TRIED = 5  # steps or tokens whose outcomes are compared
RATE = 0.02
RATES = {"tcn": 1e-7}  # whose outputs, without a norm between, are large


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


class Made(NamedTuple):
    """`call(carried) → carried`, to be timed; and what the first TRIED steps or tokens gave."""

    call: Callable[[Any], Any]
    carried: Any
    wait: Callable[[Any], None]
    outcome: list[float]
    per_call: int = 1  # steps or tokens
    told: dict[str, Any] = {}  # what else there is to know


def data(cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of a step, or the first token, and what fills an attention's cache behind the others."""
    draw = np.random.default_rng(0).standard_normal
    shape = (cell.batch, 1 if cell.what == "token" else cell.length, cell.width)
    return draw(shape, np.float32), draw(shape, np.float32)


# ---- in JAX ---------------------------------------------------------------------------------------------------------


def in_jax(cell: Cell, weights: Any, layer: Callable, state: Any, how: str = "") -> Made:
    """`layer(weights, x, state) → (y, state)` twice; `state` is a layer's before the token, None for a step."""
    import jax
    import jax.numpy as jnp

    from models import cost

    dtype = jnp.dtype(cell.dtype)
    x, target = (jax.device_put(a) for a in data(cell))

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

        gradient_of, rate = jax.value_and_grad(loss), RATES.get(cell.mixer, RATE)
        if how == "shared":
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
        return weights, *jax.lax.scan(lambda c, _: (step((weights, *c))[1:], None), tuple(rest), length=LOOPED)[0]

    first = jax.tree.map(jnp.array, first)
    begun = time.perf_counter()
    compiled: Any = jax.jit(step, donate_argnums=0).lower(first).compile()
    took = time.perf_counter() - begun
    products, others = cost.work(step, first)
    found = {
        "compile_seconds": took, "products": products, "others": others, "bytes": cost.traffic(step, first),
        "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes, "parameters": cost.parameters(weights),
        "device": jax.devices()[0].device_kind,
    }  # fmt: skip
    carried, outcome = first, []
    for _ in range(TRIED):
        carried = compiled(carried)
        outcome.append(told(carried))
    call = jax.jit(many, donate_argnums=0) if how == "loop" else compiled
    return Made(call, carried, jax.block_until_ready, outcome, LOOPED if how == "loop" else 1, found)


def ours(cell: Cell, weights: Any, how: str = "") -> Made:
    import jax
    import jax.numpy as jnp

    import models

    dtype, longest = jnp.dtype(cell.dtype), cell.length
    mixer: Any = models.MIXERS[cell.mixer]
    mixer = mixer(width=cell.width, inner=cell.width, max_length=longest, dtype=dtype, **dict(cell.options))
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
    return in_jax(cell, weights, layer, state, how)


def initial(cell: Cell) -> list[dict[str, Any]]:
    """A layer's weights for each layer, as `models` draws them."""
    import jax
    import jax.numpy as jnp

    import models

    made: Any = models.MIXERS[cell.mixer]
    made = made(width=cell.width, inner=cell.width, max_length=cell.length, **dict(cell.options))
    x, at = jnp.zeros((1, 1, cell.width)), jnp.zeros((1, 1), jnp.int32)
    init = jax.jit(lambda key: made.init(key, x, positions=at, segments=at + 1)["params"])
    return [jax.device_get(init(jax.random.key(seed))) for seed in range(LAYERS)]


def flax_layer(cell: Cell, weights: Any, library: str) -> Made:
    """flax.linen's and flax.nnx's own layers, from the same weights."""
    import flax.linen as linen
    import jax
    import jax.numpy as jnp
    from flax import nnx

    d = cell.width
    causal = jnp.tril(jnp.ones((1, 1, cell.length, cell.length), bool))
    dense = linen.Dense(d)
    if cell.what == "token":
        raise ValueError(f"{library}: its token is not timed")
    named = [flax_weights(cell.mixer, w, d) for w in weights]
    if library == "linen":
        if cell.mixer == "attention":
            module: Any = linen.MultiHeadDotProductAttention(num_heads=HEADS, qkv_features=d)
            return in_jax(cell, named, lambda w, x, s: (module.apply({"params": w}, x, mask=causal), s), None)
        cells: Any = {"rnn": linen.SimpleCell, "lstm": linen.OptimizedLSTMCell, "gru": linen.GRUCell}
        module = linen.RNN(cells[cell.mixer](d))

        def layer(w: Any, x: Any, s: Any) -> tuple[Any, Any]:
            y: Any = module.apply({"params": {"cell": w["cell"]}}, x)
            return dense.apply({"params": w["output"]}, y), s

        return in_jax(cell, named, layer, None)

    rngs = nnx.Rngs(0)
    if cell.mixer == "attention":
        made: Any = nnx.MultiHeadAttention(HEADS, d, d, d, decode=False, rngs=rngs)
    else:
        cells = {"rnn": nnx.SimpleCell, "lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell}
        made = nnx.RNN(cells[cell.mixer](d, d, rngs=rngs), rngs=rngs)
    graph, found, rest = nnx.split(made, nnx.Param, ...)
    found = nnx.to_pure_dict(found)

    def converted(w: dict[str, Any]) -> Any:
        inner = w if cell.mixer == "attention" else {"cell": nnx_cell(cell.mixer, w["cell"])}
        return jax.tree.map(lambda like, a: np.reshape(a, like.shape), found, inner)

    def of_nnx(w: Any, x: Any, s: Any) -> tuple[Any, Any]:
        state = nnx.State(jax.tree.map(nnx.Param, w["inner"]))
        layer = nnx.merge(graph, state, rest)
        if cell.mixer == "attention":
            return layer(x, mask=causal), s
        zeros = jnp.zeros((len(x), d))
        y = layer(x, initial_carry=(zeros, zeros) if cell.mixer == "lstm" else zeros)
        return dense.apply({"params": w["output"]}, y), s

    own = [{"inner": converted(w), "output": w.get("output")} for w in named]
    own = [w if cell.mixer != "attention" else {"inner": w["inner"]} for w in own]
    return in_jax(cell, own, of_nnx, None)


def flax_weights(mixer: str, w: dict[str, Any], d: int) -> dict[str, Any]:
    """Our weights as flax.linen names them."""
    if mixer == "attention":
        size = d // HEADS
        named = {
            name: {
                "kernel": w[f"{name}_kernel"].reshape(d, HEADS, size),
                "bias": w[f"{name}_bias"].reshape(HEADS, size),
            }
            for name in ("query", "key", "value")
        }
        return {**named, "out": {"kernel": w["output"]["kernel"].reshape(HEADS, size, d), "bias": w["output"]["bias"]}}
    kernel, bias, recurrent = w["input"]["kernel"], w["input"]["bias"], w["recurrent"]
    if mixer == "rnn":
        cell: Any = {"i": {"kernel": kernel, "bias": bias}, "h": {"kernel": recurrent}}
    elif mixer == "lstm":
        cell = {}
        for at, gate in enumerate("ifgo"):
            cut = slice(at * d, (at + 1) * d)
            cell[f"i{gate}"] = {"kernel": kernel[:, cut]}
            cell[f"h{gate}"] = {"kernel": recurrent[:, cut], "bias": bias[cut]}
    else:
        cell = {}
        for at, gate in enumerate("rzn"):
            cut = slice(at * d, (at + 1) * d)
            cell[f"i{gate}"] = {"kernel": kernel[:, cut], "bias": bias[cut]}
            cell[f"h{gate}"] = {"kernel": recurrent[:, cut]}
        cell["hn"]["bias"] = w["candidate_bias"]
    return {"cell": cell, "output": w["output"]}


def nnx_cell(mixer: str, cell: dict[str, Any]) -> dict[str, Any]:
    """flax.nnx joins what flax.linen keeps apart."""
    if mixer == "rnn":
        return {"dense_i": cell["i"], "dense_h": cell["h"]}
    gates, parts = ("ifgo", "kernel") if mixer == "lstm" else ("rzn", "kernel")
    joined: Any = {
        "dense_i": {parts: np.concatenate([cell[f"i{g}"]["kernel"] for g in gates], axis=1)},
        "dense_h": {parts: np.concatenate([cell[f"h{g}"]["kernel"] for g in gates], axis=1)},
    }
    if mixer == "lstm":
        joined["dense_h"]["bias"] = np.concatenate([cell[f"h{g}"]["bias"] for g in gates])
    else:
        joined["dense_i"]["bias"] = np.concatenate([cell[f"i{g}"]["bias"] for g in gates])
    return joined


# ---- in PyTorch -----------------------------------------------------------------------------------------------------


def in_torch(cell: Cell, weights: Any, compiled: bool) -> Made:
    import torch  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]

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
            self.inner, self.out = kind(d, d), nn.Linear(d, d)
            set_(self.inner.weight_ih_l0, w["input"]["kernel"].T)
            set_(self.inner.bias_ih_l0, w["input"]["bias"])
            set_(self.inner.weight_hh_l0, w["recurrent"].T)
            set_(self.inner.bias_hh_l0, np.zeros(self.inner.bias_hh_l0.shape))
            if cell.mixer == "gru":
                set_(self.inner.bias_hh_l0[2 * d :], w["candidate_bias"])
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
    layers: Any = nn.ModuleList([made(w) for w in weights]).to(device, dtype)
    x, target = (torch.tensor(a.swapaxes(0, 1) if recurrent else a).to(device) for a in data(cell))
    x = x.to(dtype).contiguous()

    if cell.what == "step":

        def loss() -> Any:
            y = x
            for layer in layers:
                y, _ = layer(y)
            return (y.float() - target).square().mean()

        loss = torch.compile(loss) if compiled else loss
        # Of two biases whose sum alone matters one is trained; of a GRU's second one, a third matters.
        trained = [p for name, p in layers.named_parameters() if "bias_hh" not in name or cell.mixer == "gru"]
        update = torch.optim.SGD(trained, lr=RATE)

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
    for _ in range(TRIED):
        carried = step(carried)
        outcome.append(told(carried))
    wait = (lambda _: torch.cuda.synchronize()) if device == "cuda" else (lambda _: None)
    return Made(step, carried, wait, outcome)


# ---- the process ----------------------------------------------------------------------------------------------------


def make(library: str, cell: Cell, weights: Any) -> Made:
    known = KNOWN[library]
    if known is not None and cell.mixer not in known:
        raise ValueError(f"{library} has no {cell.mixer}")
    if library.startswith("ours"):
        return ours(cell, weights, library.partition("-")[2])
    if library.startswith("torch"):
        return in_torch(cell, weights, compiled=library.endswith("compile"))
    return flax_layer(cell, weights, library)


def rates(dtype: str) -> dict[str, Any]:
    """What this machine does at best: operations a second in a product of large matrices, and bytes a second moved."""
    import jax
    import jax.numpy as jnp

    accelerator = jax.default_backend() != "cpu"
    n, size = (8192, 2**28) if accelerator else (2048, 2**25)
    square = jax.random.normal(jax.random.key(0), (n, n), jnp.dtype(dtype))

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
        "machine": machine_told(),
    }


def machine_told() -> str:
    """The device, the versions and the revision, as one line."""
    import jax

    import records

    found = records.environment()
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

        import machine

        if library == "ours-shared":
            machine.keep_memory(one_arena=True)
            jax.config.update("jax_num_cpu_devices", machine.cores())
        elif library.startswith("ours"):
            machine.prepare()
        jax.config.update("jax_enable_compilation_cache", False)  # compiling is timed
    made: Made | None = None
    for line in sys.stdin:
        question = json.loads(line)
        try:
            if "rates" in question:
                answer: dict[str, Any] = rates(question["rates"])
            elif "cell" in question:
                made = None
                cell = Cell(**{**question["cell"], "options": tuple(map(tuple, question["cell"]["options"]))})
                path = Path(question["weights"])
                begun = time.perf_counter()
                if not path.exists():  # the first to be asked draws them
                    np.save(path, np.array(initial(cell), dtype=object), allow_pickle=True)
                made = make(library, cell, list(np.load(path, allow_pickle=True)))
                answer = {
                    "outcome": made.outcome,
                    "per_call": made.per_call,
                    "made_seconds": time.perf_counter() - begun,
                    "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
                    **made.told,
                }
            else:
                assert made is not None
                carried = made.carried
                if question["warm"]:  # what another process pushed out of the caches comes back
                    made.wait(carried := made.call(carried))
                begun = time.perf_counter()
                for _ in range(question["calls"]):
                    carried = made.call(carried)
                made.wait(carried)
                answer = {"seconds": (time.perf_counter() - begun) / (question["calls"] * made.per_call)}
                made = made._replace(carried=carried)
        except Exception as error:  # told to whoever asked, who goes on with the rest
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
