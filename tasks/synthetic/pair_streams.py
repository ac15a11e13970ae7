"""Recall in streams of key–value pairs: with noise between them, or with keys and values of several tokens.

Poli et al. 2024, "Mechanistic Design and Scaling of Hybrid Architectures" (arXiv 2403.17844), §3.1 and Appendix B, and
the authors' code (athms/mad-lab, its multi-query form), whose settings the defaults are. The paper trains on 12,800
sequences, many times over; here every draw is fresh, as everywhere among these tasks.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from tasks.base import Batch, Task, positions_and_segments, static


class InContextRecall(Task):
    """Name the value of a key that has come before, in a stream of pairs.

    A row of `length` tokens is `k v k v … k`, its last value being left out. Keys are drawn with replacement from the
    first half of the `symbols` − `noise_symbols` tokens; a key's value, drawn from the second half, is the same
    throughout a row. The last key is drawn from those that came. With probability `noise` a pair is two noise tokens
    instead, which are the last `noise_symbols` ones; all but one pair, which is drawn, can be. The score counts the
    values of keys that came before. The loss counts every next token, as in the authors' code.

    The paper's recall: 16 symbols; its noisy recall: 32 symbols, 16 of them noise, a noise of 0.2. The last step of a
    row of even length is padding. (In the authors' code the pair that can't be noise may be the last one, which never
    is, so that in very few rows no key comes before the last one.)

    Example:

        input   3 7 1 6 3 7 1 6 1
        target          7   6   6
    """

    symbols: int = static(16)
    max_length: int = static(127)
    noise: float = static(0.0)
    noise_symbols: int = static(0)

    def validate(self) -> None:
        self.require("noise_symbols", self.noise_symbols >= 0, "must be 0 or more")
        self.require(
            "symbols",
            self._value_end >= 2,
            f"{self.noise_symbols} of them are noise, and a key and a value must be left: give "
            f"{self.noise_symbols + 2} or more",
        )
        self.require("max_length", self.max_length >= 3, "must be 3 or more: a pair and a key")
        self.require("noise", 0 <= self.noise < 1, "must be 0 or more, and below 1")
        self.require("noise", not self.noise or self.noise_symbols > 0, "needs task.noise_symbols of 1 or more")

    min_length = 3
    next_tokens = True

    @property
    def _value_end(self) -> int:
        """Tokens below it are keys and values."""
        return self.symbols - self.noise_symbols

    @property
    def vocabulary(self) -> int:
        return self.symbols

    @property
    def outputs(self) -> int:
        return self.symbols

    @property
    def chance(self) -> float:
        """A uniform guess among the values."""
        return 1 / (self._value_end - self._value_end // 2)

    @property
    def baseline(self) -> tuple[str, float]:
        """What a model that holds no pair can do."""
        return "always the same value", self.chance

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """See `Task.sample`. `subset` makes no difference: every draw is fresh."""
        half, slots = self._value_end // 2, (max_length + 1) // 2
        pairs = (length + 1) // 2  # the last one without its value
        for_keys, for_values, for_noise, for_pair, for_last = jax.random.split(key, 5)
        keys = jax.random.randint(for_keys, (batch, slots), 0, half)
        slot = jnp.arange(slots)[None]
        noise_key, noise_token_key = jax.random.split(for_noise)
        is_noise = jax.random.uniform(noise_key, (batch, slots)) < self.noise
        sure = jax.random.randint(for_pair, (batch, 1), 0, pairs - 1)
        is_noise &= (slot != sure) & (slot < pairs - 1)
        came = (slot < pairs - 1) & ~is_noise
        present = jnp.any((keys[:, None] == jnp.arange(half)[None, :, None]) & came[:, None], axis=2)
        last = jax.random.categorical(for_last, jnp.where(present, 0.0, -jnp.inf))  # uniform among keys that came
        keys = jnp.where(slot == pairs - 1, last[:, None], keys)
        values = half + jax.random.randint(for_values, (batch, half), 0, self._value_end - half)
        values = jnp.take_along_axis(values, keys, axis=1)
        tokens = jnp.stack([keys, values], axis=-1)
        if self.noise:
            drawn = jax.random.randint(noise_token_key, tokens.shape, self._value_end, self.symbols)
            tokens = jnp.where(is_noise[..., None], drawn, tokens)
        again = _came_before(keys, ~is_noise) & ~is_noise
        stream = jnp.pad(tokens.reshape(batch, -1), ((0, 0), (0, 2)))[:, : max_length + 1]
        asked = jnp.repeat(again, 2, axis=1) & (jnp.arange(2 * slots) % 2 == 0)[None]  # at the keys
        asked = jnp.pad(asked, ((0, 0), (0, 1)))[:, :max_length]
        positions, segments = positions_and_segments(batch, max_length, 2 * pairs - 1)
        inputs, targets = stream[:, :-1] * segments, stream[:, 1:] * segments
        return Batch(inputs, targets, (asked * segments).astype(jnp.float32), positions, segments)

    def loss_weights(self, batch: Batch) -> Float[Array, "B T"]:
        return (batch.segments > 0).astype(jnp.float32)

    @classmethod
    def example(cls) -> Task:
        return cls(symbols=8, max_length=9)


def _came_before(keys: Int[Array, "B P"], counts: Bool[Array, "B P"]) -> Bool[Array, "B P"]:
    """Whether one of the keys before, of those that count, is the same."""
    earlier = jnp.tril(jnp.ones((keys.shape[1],) * 2, bool), -1)
    return ((keys[:, :, None] == keys[:, None]) & counts[:, None] & earlier[None]).any(axis=2)


class FuzzyRecall(Task):
    """Name the value of a key that came before, both of one to three tokens.

    A key is 1 to `key_tokens` different tokens of the first half, uniformly many; a value 1 to `value_tokens` of the
    second half. Pairs follow one another without separators; a key that comes again has the same value. One pair, the
    probe, is put in at a drawn place, and once more at the end, its last token being left out. What the pairs leave of
    `length` is filled up in front with the last symbol. The score counts all value tokens of keys that came before.
    The loss counts every next token. In test sets all keys have `key_tokens` tokens, as in the authors' code.

    (In that code the place of the probe may lie behind the pairs, so that it is not put in. Here it is then the last
    pair.)

    Example:

        input   · · · · 0 3 1 2 0 3 4 6 1 2 0 3 4
        target                              3 4 6
    """

    symbols: int = static(16)
    key_tokens: int = static(3)
    value_tokens: int = static(3)
    max_length: int = static(128)

    def validate(self) -> None:
        for name in ("key_tokens", "value_tokens"):
            self.require(name, getattr(self, name) >= 1, "must be 1 or more")
        needed = max(2 * self.key_tokens, 2 * self.value_tokens - 1) + 1
        self.require(
            "symbols",
            self.symbols >= needed,
            f"keys of {self.key_tokens} and values of {self.value_tokens} different tokens, and the one that fills, "
            f"need {needed} or more",
        )
        self.require("max_length", self.max_length >= self.min_length, f"must be {self.min_length} or more")

    @property
    def min_length(self) -> int:
        return 2 * (self.key_tokens + self.value_tokens) + 1

    next_tokens = True

    @property
    def vocabulary(self) -> int:
        return self.symbols

    @property
    def outputs(self) -> int:
        return self.symbols

    @property
    def chance(self) -> float:
        """A uniform guess among the tokens of values."""
        return 1 / (self.symbols - 1 - (self.symbols - 1) // 2)

    @property
    def baseline(self) -> tuple[str, float]:
        return "always the same token", self.chance

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """See `Task.sample`; keys of a `subset` other than "train" are as long as can be."""
        half, end = (self.symbols - 1) // 2, self.symbols - 1
        slots = max_length // 2 + 1  # pairs of two tokens or more
        for_keys, for_values, for_probe, for_place = jax.random.split(key, 4)
        fewest = 1 if subset == "train" else self.key_tokens
        shape, probe = (batch, slots), (batch, 1)
        key_probe, value_probe = jax.random.split(for_probe)
        keys = _draw_motifs(for_keys, shape, 0, half, fewest, self.key_tokens)
        values = _draw_motifs(for_values, shape, half, end, 1, self.value_tokens)
        probe_key = _draw_motifs(key_probe, probe, 0, half, fewest, self.key_tokens)
        probe_value = _draw_motifs(value_probe, probe, half, end, 1, self.value_tokens)

        probe_size = _motif_sizes(probe_key) + _motif_sizes(probe_value)
        limit = length - probe_size - self.key_tokens - self.value_tokens  # pairs begin before it
        place = jax.random.randint(for_place, probe, 0, limit)
        starts = _pair_starts(keys, _fix_values(keys, values, probe_key, probe_value))
        slot = jnp.arange(slots)[None]
        chosen = jnp.argmax((starts >= place) | (slot == (starts < limit).sum(axis=1, keepdims=True) - 1), axis=1)
        chosen = chosen[:, None]
        came = ((keys == probe_key).all(axis=2) & (slot < chosen)).any(axis=1, keepdims=True)
        is_probe = (slot == chosen) & ~came
        keys = jnp.where(is_probe[..., None], probe_key, keys)
        values = _fix_values(keys, values, probe_key, probe_value)
        starts = _pair_starts(keys, values)
        count = (starts < limit).sum(axis=1, keepdims=True)
        keys = jnp.where((slot == count)[..., None], probe_key, keys)  # once more, at the end
        values = jnp.where((slot == count)[..., None], probe_value, values)

        asked = _came_before(_motif_numbers(keys, self.symbols), jnp.ones(shape, bool)) & (slot <= count)
        total = jnp.take_along_axis(starts, count, axis=1) + probe_size
        sizes = _motif_sizes(keys)
        first = starts + (length + 1 - total)  # filled up in front, so that the last token is at `length`
        stream, weights = jnp.full((batch, max_length + 1), end), jnp.zeros((batch, max_length + 1))
        row = jnp.arange(batch)[:, None]
        for motif, at, of_value in ((keys, first, False), (values, first + sizes, True)):
            for i in range(motif.shape[2]):
                there = jnp.where((motif[..., i] >= 0) & (slot <= count), at + i, max_length + 1)  # else dropped
                stream = stream.at[row, there].set(motif[..., i], mode="drop")
                if of_value:
                    weights = weights.at[row, there].set(asked.astype(jnp.float32), mode="drop")
        positions, segments = positions_and_segments(batch, max_length, length)
        inputs, targets = stream[:, :-1] * segments, stream[:, 1:] * segments
        return Batch(inputs, targets, weights[:, 1:] * segments, positions, segments)

    def loss_weights(self, batch: Batch) -> Float[Array, "B T"]:
        return (batch.segments > 0).astype(jnp.float32)

    @classmethod
    def example(cls) -> Task:
        return cls(symbols=8, max_length=17)

    def input_symbol(self, value: Any) -> str:
        return "·" if int(value) == self.symbols - 1 else str(int(value))


# A motif is the tokens of a key or of a value, as [B, P, S] with −1 behind the last one.


def _draw_motifs(
    key: PRNGKeyArray, shape: tuple[int, int], first: int, end: int, fewest: int, most: int
) -> Int[Array, "B P {most}"]:
    """Motifs of `fewest` to `most` different tokens `first` … `end` − 1; every size, and of it every motif, alike."""
    for_sizes, for_tokens = jax.random.split(key)
    sizes = jax.random.randint(for_sizes, (*shape, 1), fewest, most + 1)
    order = jnp.argsort(jax.random.uniform(for_tokens, (*shape, end - first)), axis=-1)
    return jnp.where(jnp.arange(most)[None, None] < sizes, first + order[..., :most], -1)


def _motif_sizes(motifs: Int[Array, "B P S"]) -> Int[Array, "B P"]:
    return (motifs >= 0).sum(axis=2)


def _motif_numbers(motifs: Int[Array, "B P S"], symbols: int) -> Int[Array, "B P"]:
    """A number for each motif, the same for the same tokens."""
    return (motifs + 1) @ (symbols + 1) ** jnp.arange(motifs.shape[2])


def _fix_values(
    keys: Int[Array, "B P K"], values: Int[Array, "B P V"], probe_key: Int[Array, "B 1 K"], probe_value: Array
) -> Int[Array, "B P V"]:
    """The values with which keys come: of a key that came before the same, and of the probe's key the probe's."""
    same = (keys[:, :, None] == keys[:, None]).all(axis=3)
    values = jnp.take_along_axis(values, jnp.argmax(same, axis=2)[..., None], axis=1)
    return jnp.where((keys == probe_key).all(axis=2, keepdims=True), probe_value, values)


def _pair_starts(keys: Int[Array, "B P K"], values: Int[Array, "B P V"]) -> Int[Array, "B P"]:
    """The place of each pair's first token."""
    sizes = _motif_sizes(keys) + _motif_sizes(values)
    return jnp.cumsum(sizes, axis=1) - sizes
