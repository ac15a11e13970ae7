"""Copy memory: hold ten symbols through a long silence, then say them.

Hochreiter and Schmidhuber 1997; exactly as in Bai, Kolter and Koltun 2018 (arXiv 1803.01271), §4.1 and their code.
"""

import math
from collections.abc import Mapping
from typing import ClassVar

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from tasks.batch import Batch, Split, accuracy, cross_entropy, unpacked

SYMBOLS = 10  # how many are to be held
GO = 9  # the token that asks for them


@flax.struct.dataclass
class CopyMemory:
    """Ten digits from 1 … 8, `delay` − 1 zeros, eleven nines; the target is zeros, then the ten digits.

    A sequence has `length = delay + 20` tokens. The loss is the cross-entropy over all of them; the score is the
    accuracy on the ten digits alone.
    """

    VERSION: ClassVar[int] = 1

    delay: int = flax.struct.field(default=80, pytree_node=False)

    def __post_init__(self):
        if self.delay < 1:
            raise ValueError(f"task.delay={self.delay}: must be 1 or more")

    @property
    def max_length(self) -> int:
        return self.delay + 2 * SYMBOLS

    min_length = 2 * SYMBOLS + 1
    vocabulary = 10
    channels = 0
    outputs = 10
    per = "token"
    next_tokens = False
    metric = "accuracy"
    best = "max"
    chance = 1 / 8

    @property
    def baseline(self) -> tuple[str, float]:
        """Zeros, then random digits: this scores 1/8, with the loss of `guess_loss`."""
        return "zeros, then random digits", 1 / 8

    @property
    def guess_loss(self) -> float:
        """The loss, in nats, of knowing when to speak and nothing of what to say: 10·ln 8 / (delay + 20)."""
        return SYMBOLS * math.log(8) / (self.delay + 2 * SYMBOLS)

    @property
    def splits(self) -> Mapping[str, Split]:
        split = Split(length=self.max_length, examples=512)
        return {"validation": split, "test": split}  # the same distribution, other draws

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """See `Task.sample`. `subset` makes no difference: every draw is fresh."""
        digits = jax.random.randint(key, (batch, SYMBOLS), 1, 9)
        positions, segments = unpacked(batch, max_length, length)
        step = positions[0]
        go = (step >= length - SYMBOLS - 1) & (step < length)
        inputs = jnp.broadcast_to(jnp.where(go, GO, 0), (batch, max_length)).at[:, :SYMBOLS].set(digits)
        back = step - (length - SYMBOLS)  # 0 … 9 where the digits are due
        due = (back >= 0) & (back < SYMBOLS)
        targets = jnp.where(due, digits[:, jnp.clip(back, 0, SYMBOLS - 1)], 0)
        return Batch(inputs, targets, segments.astype(jnp.float32), positions, segments)

    def loss(self, outputs: Float[Array, "B T O"], batch: Batch) -> Float[Array, ""]:
        return cross_entropy(outputs, batch)

    def score(self, outputs: Float[Array, "B T O"], batch: Batch) -> Float[Array, ""]:
        return accuracy(outputs, batch, batch.weights * (batch.targets > 0))
