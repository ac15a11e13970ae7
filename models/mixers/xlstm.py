"""The xLSTM's two cells, whose gates are exponentials (Beck et al. 2024, arXiv 2405.04517).

    sLSTM:  c = f·c + i·tanh(g),  n = f·n + i,  h = σ(o)·c/n             with recurrent weights, one step at a time
    mLSTM:  C = f·C + i·v⊗k,  n = f·n + i·k,  h = σ(o)·C·q / max(|n·q|, 1)  without them, so that steps run in parallel

i = exp(ĩ), f = σ(f̃). Both store their state divided by exp(m), m = max(log f + m, ĩ), which leaves the outputs as they
are and keeps every number small (eq. 15 and 26).
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from models.mixers.base import Mixer, MixerOptions, Steps
from models.mixers.convolution import MAX_KERNEL_SIZE
from models.mixers.matrix_memory import join_heads, split_heads
from models.mixers.recurrent import init_orthogonal, recurrent_matvec
from models.mixers.surroundings import convolve_shortly, empty_past
from models.ops.matrix_state import IMPLEMENTATIONS, scan_weighted_state
from models.ops.projection import Projection
from models.ops.scan import masked_scan

LOG_ZERO = -1e30  # the m of an empty memory


def slstm_step(weights: dict[str, Array], carry: dict[str, Float[Array, "N"]], x_proj: Float[Array, "4*N"]):
    """One step. At the start of a segment all of `carry` is zero; m is then ignored, since n is 0."""
    i, f, g, o = jnp.split(x_proj + recurrent_matvec(carry["h"], weights["recurrent"]), 4)
    carried = jnp.where(carry["n"] > 0, nn.log_sigmoid(f) + carry["m"], -jnp.inf)
    m = jax.lax.stop_gradient(jnp.maximum(carried, i))  # h does not depend on m
    keep, new = jnp.exp(carried - m), jnp.exp(i - m)
    c, n = keep * carry["c"] + new * jnp.tanh(g), keep * carry["n"] + new
    h = nn.sigmoid(o) * c / n
    return {"c": c, "n": n, "m": m, "h": h}, h


def scan_mlstm(
    memory: dict[str, Array],
    query: Float[Array, "B T H K"],
    key: Float[Array, "B T H K"],
    value: Float[Array, "B T H V"],
    i: Float[Array, "B T H"],
    f: Float[Array, "B T H"],
    start: Bool[Array, "B T"],
    valid: Bool[Array, "B T"],
    **form: Any,
) -> tuple[dict[str, Array], Float[Array, "B T H V"]]:
    """The mLSTM's recurrence: a matrix memory with gates f·exp(m_{t−1} − m_t), keys i·exp(−m_t)·k, and the sum rule.

    The memory is `{"c": [B H K V+1], "m": [B H]}`, with n as the last column of c. `form` is how `scan_weighted_state`
    computes it. Any m gives the same outputs; what it is rounded to cancels.
    """
    key, log_gate, m = stabilize_mlstm(memory["m"], key, i, f, start, valid)
    c, y, weight = scan_weighted_state(memory["c"], query, key, value, log_gate, start, valid, **form)
    return {"c": c, "m": m[:, -1]}, y / mlstm_divisor(weight, m)


def mlstm_divisor(weight: Float[Array, "B T H 1"], m: Float[Array, "B T H"]) -> Float[Array, "B T H 1"]:
    """max(|n·q|, e^−m), by which what is read is divided, from the sum of the weights that is read."""
    # e^−m is clipped so that float32 can divide by its square; above m = 27 it is far below the rounding of n·q.
    return jnp.maximum(jnp.abs(weight), jnp.exp(-jnp.clip(m, -80, 27))[..., None])


def stabilize_mlstm(
    m: Float[Array, "B H"],
    key: Float[Array, "B T H K"],
    i: Float[Array, "B T H"],
    f: Float[Array, "B T H"],
    start: Bool[Array, "B T"],
    valid: Bool[Array, "B T"],
) -> tuple[Float[Array, "B T H K"], Float[Array, "B T H 1"], Float[Array, "B T H"]]:
    """The keys i·exp(−m_t)·k, the logarithms of the gates f·exp(m_{t−1} − m_t), and m_t, from the last m before."""
    log_f, before = nn.log_sigmoid(f), jax.lax.stop_gradient(m)
    m = jax.lax.stop_gradient(_stabilizers(m, i, log_f, start, valid))
    before = jnp.concatenate([before[:, None], m[:, :-1]], axis=1)
    key = jnp.exp(jnp.where(valid[:, :, None], i - m, LOG_ZERO))[..., None] * key
    return key, (log_f + (before - m))[..., None], m


def _stabilizers(
    m: Float[Array, "B H"],
    i: Float[Array, "B T H"],
    log_f: Float[Array, "B T H"],
    start: Bool[Array, "B T"],
    valid: Bool[Array, "B T"],
) -> Float[Array, "B T H"]:
    """m_t = max(m_{t−1} + log f_t, ĩ_t), from `m`; LOG_ZERO before a segment's first step, and held at padding."""
    start, valid = start[:, :, None], valid[:, :, None]
    add, floor = jnp.where(valid, jnp.where(start, LOG_ZERO, log_f), 0), jnp.where(valid, i, 2 * LOG_ZERO)

    def compose(first: tuple[Array, Array], then: tuple[Array, Array]) -> tuple[Array, Array]:
        return first[0] + then[0], jnp.maximum(first[1] + then[0], then[1])

    add, floor = jax.lax.associative_scan(compose, (add, floor), axis=1)
    return jnp.maximum(jnp.maximum(m[:, None] + add, floor), LOG_ZERO)


class SLSTM(Mixer):
    """sLSTM: width → gates → a state of `hidden_size` units → width.

    `gate_init` names the initialization. As in the authors' package, recurrent weights and biases are 0 except for the
    forget gate's biases: "powerlaw" (the default) starts them at 5 − 12·x^(0.3 + 1.3·`depth_fraction`), x from 0 to 1
    over the units; "linspace" at 3 to 6. "plain" has biases of 0 and orthogonal recurrent weights. Unlike in the
    package, there is one head, no convolution before the gates and no norm behind the cell.
    """

    gate_init: str = "powerlaw"
    depth_fraction: float = 0.0  # of the mixer's block in the stack: 0 in the first, 1 in the last

    VERSION = 2  # 1: the initialization "plain"

    @classmethod
    def validate(cls, options: MixerOptions) -> None:
        options.check_choice("gate_init", ("powerlaw", "linspace", "plain"))

    def empty_state(self, batch_size: int) -> dict[str, Any]:
        return {"carry": {name: jnp.zeros((batch_size, self.hidden_size)) for name in "cnmh"}}

    def product_matrices(self) -> dict[str, int]:
        return {"input/kernel": 4, "recurrent": 4, "output/kernel": 1}

    @nn.compact
    def mix(
        self, x: Float[Array, "B T D"], state: dict[str, Any], steps: Steps
    ) -> tuple[Float[Array, "B T D"], dict[str, Any]]:
        n = self.hidden_size

        def init_bias(key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
            return jnp.zeros(shape, dtype).at[n : 2 * n].set(self._forget_bias())

        x_proj = Projection(4 * n, dtype=self.dtype, bias_init=init_bias, name="input")(x).astype(jnp.float32)
        init_recurrent = init_orthogonal if self.gate_init == "plain" else nn.initializers.zeros
        weights = {"recurrent": self.param("recurrent", init_recurrent, (n, 4 * n)).astype(self.dtype)}
        run = partial(masked_scan, partial(slstm_step, weights))
        carry, y = jax.vmap(run)(state["carry"], x_proj, steps.start, steps.valid)
        return Projection(self.width, dtype=self.dtype, name="output")(y), {"carry": carry}

    def _forget_bias(self) -> Float[Array, "N"]:
        """The initial biases of the forget gate."""
        if self.gate_init == "powerlaw":
            return 5 - 12 * jnp.linspace(0, 1, self.hidden_size) ** (0.3 + 1.3 * self.depth_fraction)
        return jnp.linspace(3, 6, self.hidden_size) if self.gate_init == "linspace" else jnp.zeros(self.hidden_size)


class MLSTM(Mixer):
    """mLSTM: `heads` matrix memories, whose queries, keys and values share `hidden_size` features.

    `gate_init` names the gates' initialization: "linspace", as in the authors' package, has weights of 0, forget biases
    from 3 to 6 over the heads, and normal input biases of deviation 0.1; "plain" has weights like all others and biases
    of 3 and 0. Each head's output is normalized by its root mean square; the paper subtracts the mean too. Unlike in
    the package, gates see the input and not the queries, keys and values.

    `kernel` puts a short convolution and a silu before queries, keys and values; in the package, with 4 taps, it is
    before queries and keys alone. The output gate is a sigmoid, as in the package; `output_gate` can leave it out.
    `implementation` is "chunks", many steps at once, or "steps", the definition.
    """

    heads: int = 4
    gate_init: str = "linspace"
    kernel: int = 0
    output_gate: bool = True
    implementation: str = "chunks"

    VERSION = 2  # 1: the initialization "plain"

    @classmethod
    def validate(cls, options: MixerOptions) -> None:
        options.check_choice("gate_init", ("linspace", "plain"))
        options.check_choice("implementation", IMPLEMENTATIONS)
        options.check_range("kernel", 0, MAX_KERNEL_SIZE)
        options.check_heads()

    def empty_state(self, batch_size: int) -> dict[str, Array]:
        size = self.hidden_size // self.heads
        return {
            "c": jnp.zeros((batch_size, self.heads, size, size + 1)),
            "m": jnp.full((batch_size, self.heads), LOG_ZERO),
            **empty_past(self.kernel, batch_size, 3 * self.hidden_size, self.dtype),
        }

    def product_matrices(self) -> dict[str, int]:
        return {"input/kernel": 3, "gates/kernel": 2, "gate/kernel": 1, "output/kernel": 1}

    @nn.compact
    def mix(
        self, x: Float[Array, "B T D"], state: dict[str, Any], steps: Steps
    ) -> tuple[Float[Array, "B T D"], dict[str, Any]]:
        mixed = Projection(3 * self.hidden_size, dtype=self.dtype, name="input")(x)
        mixed, after = convolve_shortly(self, self.kernel, mixed, state, steps)
        mixed = nn.silu(mixed) if self.kernel else mixed
        query, key, value = (split_heads(part, self.heads) for part in jnp.split(mixed, 3, axis=-1))
        init = nn.initializers.lecun_normal() if self.gate_init == "plain" else nn.initializers.zeros
        gates = Projection(
            2 * self.heads, dtype=self.dtype, kernel_init=init, bias_init=self._init_gate_bias, name="gates"
        )(x).astype(jnp.float32)
        i, f = jnp.split(gates, 2, axis=-1)

        key = key * (self.hidden_size // self.heads) ** -0.5
        if self.is_mutable_collection("intermediates"):
            self.sow_recurrence(**_mlstm_recurrence(state["m"], query, key, value, i, f, steps))
        memory, y = scan_mlstm(
            {name: state[name] for name in ("c", "m")},
            query,
            key,
            value,
            i,
            f,
            steps.start,
            steps.valid,
            implementation=self.implementation,
        )
        y = join_heads(nn.RMSNorm(epsilon=1e-5, name="norm")(y)).astype(self.dtype)
        if self.output_gate:
            y = nn.sigmoid(Projection(self.hidden_size, dtype=self.dtype, name="gate")(x)) * y
        return Projection(self.width, dtype=self.dtype, name="output")(y), {**memory, **after}

    def _init_gate_bias(self, key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        """The initial biases of the input gates, followed by those of the forget gates."""
        if self.gate_init == "plain":
            return jnp.repeat(jnp.array([0.0, 3.0]), self.heads)
        return jnp.concatenate([0.1 * jax.random.normal(key, (self.heads,)), jnp.linspace(3, 6, self.heads)])


def _mlstm_recurrence(
    m: Float[Array, "B H"], query: Array, key: Array, value: Array, i: Array, f: Array, steps: Steps
) -> dict[str, Array]:
    """What `Mixer.sow_recurrence` shows of an mLSTM whose memory was empty before."""
    masks = steps.start, steps.valid
    key, log_gate, m = stabilize_mlstm(m, key, i, f, *masks)
    empty = jnp.zeros((*m[:, 0].shape, key.shape[-1], value.shape[-1] + 1))
    weight = scan_weighted_state(empty, query, key, value, log_gate, *masks)[2]
    return {"query": query, "key": key, "value": value, "log_gate": log_gate, "divisor": mlstm_divisor(weight, m)}
