"""The contract of a sequence mixer, stated once; a new mixer subclasses `Mixer` and is named in `models.registry`.

    y, state = mixer(x, state=None, positions=positions, segments=segments, rng=None)

    x, y       [B, T, width]: B rows of T steps; y[:, t] depends on x[:, :t + 1] alone (of its segment)
    positions  [B, T] integers: the place of each step in its segment, from 0
    segments   [B, T] integers: the sequence that each step belongs to, numbered from 1 within a row; 0 is padding.
               Several sequences packed into one row have different numbers.
    state      what the next call goes on from: a pytree of arrays with a leading axis B; None before the first step
    rng        a key for dropout and the like; None in evaluation

What every mixer in MIXERS keeps to, and tests/models/test_mixers.py checks for each without being told of it:

- *Streaming equals parallel.* Any split of a sequence into calls, down to one step each, gives the outputs, the final
  state and the gradients of one call over the whole.
- *A new segment resets the state*: no output depends on another segment, not even in the last bit.
- *Padding holds the state*: a step with segment 0 changes no other output, no state and no gradient. Its own output
  means nothing, but must be finite.
- *Rows are independent*, and the mixer can be vmapped over parameters (an ensemble).
- *A foreign state is refused* with ValueError: one of another batch size, hidden size or mixer.
- *Precision.* Products may be in `dtype`. What is accumulated from step to step is float32, complex64 or int32 in the
  state; only copies of inputs, in leaves named key, value, window or past, may be in `dtype`.
- *VERSION* is raised by hand whenever the numbers change, since it is part of every result's key.
- A mixer that is not causal says `causal = False`; it returns None for its state and raises ValueError if given one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from models.field_errors import idle_field_error, suggest_divisors, validate_choice
from models.ops.scan import resume_state, segment_boundaries

MAX_HEADS = 2**16


class Steps(NamedTuple):
    """What `Mixer.mix` is told about the steps of a call, besides their inputs."""

    positions: Int[Array, "B T"]
    segments: Int[Array, "B T"]
    start: Bool[Array, "B T"]  # the first step of a segment: the state must be forgotten before it
    valid: Bool[Array, "B T"]  # no padding: elsewhere the state must stay as it is
    previous_segment: Int[Array, "B"]  # the segment that the steps before these ended in; 0: there were none
    first_call: bool  # no state was given
    rng: PRNGKeyArray | None


class Mixer(nn.Module):
    """A sequence mixer from `width` to `width` features, with `hidden_size` features of state or of all heads inside.

    A subclass says what its state is before the first step (`empty_state`) and how it goes from inputs and a state to
    outputs and the next state (`mix`, with @nn.compact). Its other fields are its options, `config.model.NAME.OPTION`;
    `validate` checks them. Fields named `dropout`, `positions`, `causal`, `depth_index` or `depth_fraction` are filled
    in from the model instead. One whose state does not fit this form, as attention's cache, overrides `__call__`.
    """

    width: int
    hidden_size: int
    max_length: int = 0  # the longest sequence; most mixers have no use for it
    dtype: Any = jnp.float32

    VERSION = 1
    causal = True

    def empty_state(self, batch_size: int) -> dict[str, Any]:
        """The state before the first step, leaves [B, ...], without the "segment" that every state has."""
        raise NotImplementedError(f"{type(self).__name__} must define empty_state(batch_size)")

    def mix(
        self, x: Float[Array, "B T D"], state: dict[str, Any], steps: Steps
    ) -> tuple[Float[Array, "B T D"], dict[str, Any]]:
        """The outputs, and the state after the last step; both states are as `empty_state` has them."""
        raise NotImplementedError(f"{type(self).__name__} must define mix(x, state, steps)")

    def sow_recurrence(self, **arrays: Any) -> None:
        """Sow what the steps of a recurrence are made of as "recurrence", among the "intermediates".

        Of a matrix memory these are the arguments of `ops.matrix_state.scan_matrix_state`, the `divisor` of what is
        read if there is one, and how many `substeps` a token has if it has several; of a diagonal state the `decay`
        [B, T, N, ...]; and of units with gates the `gates` by name, [B, T, N] each.
        """
        self.sow("intermediates", "recurrence", arrays)

    def product_matrices(self) -> dict[str, int]:
        """The parameters that are matrices of products, by their path in this mixer, for optimizers of matrices (Muon).

        The number says how many matrices, of equal width, stand side by side in the columns, as those of four gates do;
        0 is for a stack, whose first axis counts them. What is left out is no matrix: biases, norms, rates of a state,
        taps of a convolution. Without this method the optimizers of matrices refuse the mixer.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say which of its parameters are matrices")

    def initial_state(self, batch_size: int) -> dict[str, Any]:
        """The state that a call without one begins with: `empty_state`, and the "segment" [B] that it ended in."""
        return {**self.empty_state(batch_size), "segment": jnp.zeros(batch_size, jnp.int32)}

    def __call__(
        self,
        x: Float[Array, "B T D"],
        *,
        state: Any = None,
        positions: Int[Array, "B T"],
        segments: Int[Array, "B T"],
        rng: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "B T D"], Any]:
        """Outputs and the next state; see the module's docstring. Raises ValueError for a foreign `state`."""
        first_call = state is None
        memory = dict(resume_state(state, self._initial_state_of_rows(x.shape[0])))
        previous = memory.pop("segment")
        start, valid, last = jax.vmap(segment_boundaries)(segments, previous)
        steps = Steps(positions, segments, start, valid, previous, first_call, rng)
        y, memory = self.mix(x, memory, steps)
        return y, {**memory, "segment": last}

    def _initial_state_of_rows(self, rows: Any) -> dict[str, Any]:
        """`initial_state`, also where the number of rows is a symbol, as in a program that takes any number of them."""
        if isinstance(rows, int):
            return self.initial_state(rows)
        one_row = self.initial_state(1)
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (rows, *leaf.shape[1:])), one_row)

    @classmethod
    def validate(cls, options: "MixerOptions") -> None:
        """Raise ValueError, in one line, for options that can't be or don't go together. By default all are fine."""

    @classmethod
    def hidden_size_unit(cls, options: Mapping[str, Any]) -> int:
        """What `hidden_size` must be a multiple of, given the mixer's options."""
        return options.get("heads", 1)


@dataclass(frozen=True)
class MixerOptions:
    """The options of one mixer in a `config.model`, as `Mixer.validate` sees them, and checks that several need."""

    name: str  # in MIXERS
    values: Mapping[str, Any]  # of all fields of the class, defaults filled in
    defaults: Mapping[str, Any]  # of the options
    hidden_size: int  # of one direction; 0: not matched to attention's parameters yet
    model: Mapping[str, Any]  # all of config.model

    def __getitem__(self, option: str) -> Any:
        return self.values[option]

    def error(self, option: str, message: str) -> ValueError:
        """The error that `option`, with the value that it has, is refused with."""
        return ValueError(f"model.{self.name}.{option}={self[option]}: {message}")

    def check_choice(self, option: str, choices: Iterable[str]) -> None:
        validate_choice(f"model.{self.name}.{option}", self[option], choices)

    def check_range(self, option: str, minimum: int, maximum: int | None = None) -> None:
        if maximum is not None and self[option] > maximum:
            raise self.error(option, f"must be {maximum:,} or less; use fewer")
        if self[option] < minimum:
            raise self.error(option, f"must be {minimum} or more")

    def check_heads(self, hidden_size: int | None = None) -> None:
        """Refuse `heads` that don't divide the hidden size."""
        size = self.hidden_size if hidden_size is None else hidden_size
        self.check_range("heads", 1, MAX_HEADS)
        if size % self["heads"]:
            hint = suggest_divisors(size, self["heads"])
            raise self.error("heads", f"must divide the inner width {size}; {hint}")

    def refuse_idle(self, option: str, acts: str) -> None:
        """Refuse an option that has no effect and is not at its default; `acts` says where it would have one."""
        if self[option] != self.defaults[option]:
            raise idle_field_error(f"{self.name}.{option}", self[option], self.defaults[option], acts)
