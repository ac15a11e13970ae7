"""Images as sequences of pixels, row by row, or of patches: which class is it?

Le, Jaitly and Hinton 2015 (arXiv 1504.00941), §4.3, set it for MNIST; `data.sources.digits` gives a small one of 64
steps. Patches are those of Dosovitskiy et al. 2020 (arXiv 2010.11929), §3.1.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from tasks.base import Batch, Split, Task, positions_and_segments, sample_rows, static


class Pixels(Task):
    """Name the class of an image, read pixel by pixel or patch by patch.

    `inputs` are images `[N, pixels, channels]` for each subset, "train", "validation" and "test", of floats in 0 … 1 or
    integers in 0 … 255; `labels` are `[N]`. With a `patch` of p, a step is a square of p × p pixels of a square image.

    A batch is distinct, uniformly drawn images of its subset, so that one of all `N` is the whole subset. The model
    sees the first `length` steps of each. `permuted` puts the steps into one fixed random order, the same for all
    images (Le, Jaitly and Hinton 2015, §4.3), so that neighbors no longer follow each other.

    Example:

        input   0.00 0.25 0.00 0.25 0.25 0.25 0.00 0.25 0.00
        target  0
    """

    inputs: Any
    labels: Any
    classes: int = static(10)
    permuted: bool = static(False)
    patch: int = static(1)

    def validate(self) -> None:
        self.require("classes", self.classes >= 2, "must be 2 or more")
        # Where JAX rebuilds a task, anything may stand in for its arrays.
        shape: Any = getattr(self.inputs["train"], "shape", ()) if isinstance(self.inputs, Mapping) else ()
        side = math.isqrt(shape[1]) if len(shape) == 3 else 0
        fits = self.patch == 1 or not side or (side**2 == shape[1] and side % self.patch == 0)
        self.require("patch", self.patch >= 1 and fits, f"must divide the {side} pixels of an image's side, or be 1")

    @property
    def max_length(self) -> int:
        return self.inputs["train"].shape[1] // self.patch**2

    vocabulary = 0

    @property
    def channels(self) -> int:
        return self.inputs["train"].shape[2] * self.patch**2

    @property
    def outputs(self) -> int:
        return self.classes

    target_level = "sequence"

    @property
    def chance(self) -> float:
        return 1 / self.classes

    @property
    def baseline(self) -> tuple[str, float]:
        """The class most frequent in training, and its share of the test images."""
        most = np.bincount(np.asarray(self.labels["train"])).argmax()
        return "the most frequent class", float(np.mean(np.asarray(self.labels["test"]) == most))

    @property
    def splits(self) -> Mapping[str, Split]:
        return {
            subset: Split(length=self.max_length, examples=len(self.labels[subset]), subset=subset)
            for subset in ("validation", "test")
        }

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """See `Task.sample`. Raises ValueError where the subset holds fewer images, or an image fewer pixels."""
        images, labels = self.inputs[subset], self.labels[subset]
        if max_length > self.max_length:
            raise ValueError(f"max_length={max_length}: an image has {self.max_length} steps, so give that or fewer")
        rows = sample_rows(key, batch, images.shape[0], f"{subset} images")
        positions, segments = positions_and_segments(batch, max_length, length)
        pixels = jnp.asarray(images)[rows]
        if jnp.issubdtype(pixels.dtype, jnp.integer):
            pixels = pixels.astype(jnp.float32) / 255
        if self.patch > 1:
            pixels = _split_into_patches(pixels, self.patch)
        if self.permuted:
            pixels = pixels[:, np.random.default_rng(0).permutation(self.max_length)]
        seen = pixels[:, :max_length] * segments[:, :, None]
        return Batch(seen, jnp.asarray(labels)[rows], jnp.ones(batch), positions, segments)

    @classmethod
    def example(cls) -> Task:
        shapes = np.array([[0, 1, 0, 1, 1, 1, 0, 1, 0], [1, 1, 1, 1, 0, 1, 1, 1, 1]], np.float32)  # a cross and a box
        inputs, labels = {}, {}
        for subset, count in (("train", 8), ("validation", 4), ("test", 6)):
            labels[subset] = np.arange(count, dtype=np.int32) % 2
            brightness = np.linspace(0.25, 1, count, dtype=np.float32)
            inputs[subset] = (shapes[labels[subset]] * brightness[:, None])[:, :, None]
        return cls(inputs, labels, classes=2)


def _split_into_patches(images: Float[Array, "B N C"], patch: int) -> Float[Array, "B M D"]:
    """Square images, cut into squares of `patch` × `patch` pixels, row by row; a square's pixels are one step."""
    batch, pixels, channels = images.shape
    across = math.isqrt(pixels) // patch
    cut = images.reshape(batch, across, patch, across, patch, channels).transpose(0, 1, 3, 2, 4, 5)
    return cut.reshape(batch, across**2, patch**2 * channels)
