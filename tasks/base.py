"""The contract of a task: what it hands to a model, and how the model's outputs are graded."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, dataclass_transform

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Integer, PRNGKeyArray, Shaped


class Batch(NamedTuple):
    """`B` sequences padded to `T` steps.

    `inputs` are token ids `[B, T]` or real vectors `[B, T, C]`. `targets` hold one entry per step (`[B, T]`, or
    `[B, T, O]` for real targets) or one per sequence (`[B]`, `[B, O]`); `weights` say how much each entry counts, 0 for
    not at all.
    `positions` count from 0 within a segment. `segments` number the sequences packed into a row from 1; 0 is padding.
    """

    inputs: Shaped[Array, "B T *C"]
    targets: Shaped[Array, "B ..."]
    weights: Float[Array, "B *T"]
    positions: Int[Array, "B T"]
    segments: Int[Array, "B T"]


class Split(NamedTuple):
    """An evaluation set of a task: `examples` sequences of `length` steps, drawn from `subset` with a fixed key."""

    length: int
    examples: int
    subset: str = "test"


def static(default: Any = dataclasses.MISSING) -> Any:
    """A setting of a task, such as `pairs: int = static(8)`: part of the pytree's structure and not a leaf of it."""
    return flax.struct.field(pytree_node=False, default=default)


@dataclass_transform(frozen_default=True, field_specifiers=(flax.struct.field,))
class Task:
    """Base class of all tasks: a pure function of a key that draws batches, and the facts needed to grade a model.

    A subclass is a frozen dataclass and a JAX pytree without any decorator. Its settings, which are the fields of
    `config.task`, are declared with `static`; other fields hold arrays (real data) and are the leaves of the pytree. It
    must state `vocabulary`, `outputs`, `max_length`, `chance`, `baseline` and `sample`, each as a class attribute, a
    property, or a setting. All else has a default, which suits a classification of tokens at each step.
    `tasks.synthetic.induction` is a short one to copy.

    `VERSION` is raised by hand when the numbers drawn or their scores change: results of another version are not
    reused. tests/tasks/fingerprints.json notices when somebody forgets.
    """

    VERSION: ClassVar[int] = 1

    vocabulary: ClassVar[int]
    """Number of input tokens, or 0 where inputs are real vectors."""
    channels: ClassVar[int] = 0
    """Size of an input vector, or 0 where inputs are tokens."""
    outputs: ClassVar[int]
    """Number of classes, or of real numbers to predict."""
    target_level: ClassVar[str] = "token"
    """Whether there is a target for each "token" or one for the "sequence"."""
    next_tokens: ClassVar[bool] = False
    """Whether targets are the inputs of later steps, which a model must then not see."""
    max_length: ClassVar[int]
    """Steps of the longest training sequence."""
    min_length: ClassVar[int] = 1
    """Steps of the shortest sequence that can be drawn."""
    rows_end_early: ClassVar[bool] = False
    """Whether a row may be shorter than the `length` asked for, as real sequences are."""
    metric: ClassVar[str] = "accuracy"
    """What `score` returns."""
    metric_mode: ClassVar[str] = "max"
    """Whether the "max" or the "min" of the metric is wanted."""
    chance: ClassVar[float]
    """The metric of a uniform guess."""
    baseline: ClassVar[tuple[str, float]]
    """A simple rule, in words, and its metric."""

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        own = vars(cls).keys()
        if own & {"score", "extra_scores"} and not own & {"score_parts", "score_weights"}:
            cls.score_parts = "none"
        task: Any = flax.struct.dataclass(cls)  # here, so that a task needs no decorator
        stated = {field.name for field in dataclasses.fields(task)}
        missing = [name for name in _REQUIRED if name not in stated and not hasattr(cls, name)]
        if cls.sample is Task.sample:
            missing.append("sample")
        if missing:
            raise TypeError(f"the task {cls.__name__} must state {', '.join(missing)}: see tasks.base.Task")

    def __post_init__(self):
        self.validate()

    def validate(self) -> None:
        """Raise ValueError for settings that make no task. Called with every task that is built.

        Arrays must not be looked at other than by shape: where JAX rebuilds a task, anything may stand in for them.
        """

    def require(self, name: str, is_valid: bool, rule: str) -> None:
        """Raise ValueError, in one line that ends with `rule`, unless the setting `name` is valid."""
        if not is_valid:
            raise ValueError(f"task.{name}={getattr(self, name)}: {rule}")

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """Draw `batch` sequences of `length` steps, padded to `max_length`.

        Pure, and jitted into the training step: the key alone decides. `length` may be traced, so that one compiled
        program serves every length; all else is static. `subset` is "train" or that of a `Split`; a task whose draws
        are all fresh ignores it.
        """
        raise NotImplementedError

    @property
    def splits(self) -> Mapping[str, Split]:
        """Evaluation sets by name, at least "validation" and "test".

        By default both are 512 sequences of `max_length` steps of one distribution, drawn with different keys.
        """
        split = Split(length=self.max_length, examples=512)
        return {"validation": split, "test": split, **self.extra_splits}

    @property
    def extra_splits(self) -> Mapping[str, Split]:
        """Further test sets, such as longer sequences; their names begin with "test_"."""
        return {}

    def loss_weights(self, batch: Batch) -> Float[Array, "B *T"]:
        """How much each target counts in the mean that the loss is: by default the batch's weights."""
        return batch.weights

    def loss(self, outputs: Float[Array, "B *T O"], batch: Batch) -> Float[Array, ""]:
        """What training minimizes: a mean weighted by `loss_weights`, so that a batch can be put together of parts.

        By default the cross entropy, in nats; label smoothing and z-loss can be added to this one alone.
        """
        return cross_entropy(outputs, batch._replace(weights=self.loss_weights(batch)))

    def score_weights(self, batch: Batch) -> Float[Array, "B ..."]:
        """How much each target, or each sequence, counts in the mean that the score is; 0 in padding.

        By default the batch's weights.
        """
        return batch.weights

    def score(self, outputs: Float[Array, "B *T O"], batch: Batch) -> Float[Array, ""]:
        """The `metric`: by default the accuracy of the targets that count by `score_weights`."""
        return accuracy(outputs, batch, self.score_weights(batch))

    score_parts: ClassVar[str] = "mean"
    """How the scores of a large split, and its extra scores, are put together from those of its parts.

    They are the parts' "mean" or "geometric mean", weighted by `score_weights`, or have to see the outputs of all
    sequences at once: "none". A subclass with a `score` or `extra_scores` of its own has "none", unless it also states
    `score_parts` or `score_weights`.
    """

    EXTRA_METRICS: ClassVar[tuple[str, ...]] = ()
    """Names that `extra_scores` may give. They differ from "loss", "score" and the names of splits."""

    def extra_scores(self, outputs: Float[Array, "B *T O"], batch: Batch) -> dict[str, Array]:
        """Further scores by name, which are logged and reported beside the metric; nothing is chosen by them."""
        return {}

    # ---- for people ------------------------------------------------------------------------------------------------

    @classmethod
    def example(cls) -> "Task":
        """A small instance, for previews (`python -m tasks`) and tests. By default that with all default settings."""
        return cls()

    def input_symbol(self, value: Any) -> str:
        """How one step's input is shown: a token by its name, numbers with two decimals."""
        if self.vocabulary:
            names = getattr(self, "names", ())
            return names[int(value)] if names else str(int(value))
        return ",".join(f"{number:.2f}" for number in np.ravel(value))

    def target_symbol(self, value: Any) -> str:
        """How one target is shown: as an input is where targets are tokens, otherwise as a number."""
        if np.issubdtype(np.asarray(value).dtype, np.floating):
            return ",".join(f"{number:.2f}" for number in np.ravel(value))
        return self.input_symbol(value) if self.next_tokens or self.outputs == self.vocabulary else str(int(value))


_REQUIRED = ("vocabulary", "outputs", "max_length", "chance", "baseline")


def suggest_name(name: str, known: Iterable[str]) -> str:
    """The words "did you mean X? " if one of the `known` names is close to `name`, otherwise nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]}? " if near else ""


def random_key(seed: Integer[Array, ""] | np.integer | int) -> PRNGKeyArray:
    """A key of the threefry generator, whatever jax_default_prng_impl says: all tasks are drawn with it."""
    return jax.random.key(seed, impl="threefry2x32")


def positions_and_segments(
    batch: int, max_length: int, length: Int[Array, ""] | int
) -> tuple[Int[Array, "B T"], Int[Array, "B T"]]:
    """Positions and segments of rows that hold one sequence each, in the first `length` of `max_length` steps."""
    step = jnp.broadcast_to(jnp.arange(max_length), (batch, max_length))
    return step, (step < length).astype(jnp.int32)


def sample_rows(key: PRNGKeyArray, batch: int, available: int, rows_name: str) -> Int[Array, "B"]:
    """Indices of `batch` distinct rows, drawn uniformly from `available` ones. Raises ValueError for too few rows."""
    validate_batch_size(batch, available, rows_name)
    return jax.random.permutation(key, available)[:batch]


def validate_batch_size(batch: int, available: int, rows_name: str) -> None:
    """Raise ValueError for a batch of more rows than are available."""
    if batch > available:
        raise ValueError(f"batch={batch}: the {rows_name} are {available}, so give that many or fewer")


def cross_entropy(outputs: Float[Array, "B *T O"], batch: Batch) -> Float[Array, ""]:
    """Weighted mean of −log p(target), in nats."""
    nats = optax.softmax_cross_entropy_with_integer_labels(outputs.astype(jnp.float32), batch.targets)
    return weighted_mean(nats, batch.weights)


def smoothed_cross_entropy(
    outputs: Float[Array, "B *T O"], batch: Batch, label_smoothing: float, z_loss: float
) -> Float[Array, ""]:
    """The cross entropy with a share of each target spread evenly over all classes, plus `z_loss`·(log Σ exp outputs)².

    Sources: Szegedy et al. 2016, arXiv 1512.00567; Chowdhery et al. 2022, arXiv 2204.02311, §5.
    """
    outputs = outputs.astype(jnp.float32)
    log_total = jax.nn.logsumexp(outputs, axis=-1)
    target = jnp.take_along_axis(outputs, batch.targets[..., None], axis=-1)[..., 0]
    aimed_at = (1 - label_smoothing) * target + label_smoothing * outputs.mean(axis=-1)
    return weighted_mean(log_total - aimed_at + z_loss * jnp.square(log_total), batch.weights)


def squared_error(outputs: Float[Array, "B *T O"], batch: Batch) -> Float[Array, ""]:
    """Weighted mean of (output − target)², summed over the `O` outputs."""
    error = jnp.square(outputs.astype(jnp.float32) - batch.targets).sum(axis=-1)
    return weighted_mean(error, batch.weights)


def accuracy(
    outputs: Float[Array, "B *T O"], batch: Batch, weights: Float[Array, "B *T"] | None = None
) -> Float[Array, ""]:
    """Weighted share of targets that the largest output names. `weights` replaces the batch's own.

    The result is nan if outputs of a target that counts are nan: no answer is not a wrong answer.
    """
    hit = (outputs.argmax(axis=-1) == batch.targets).astype(jnp.float32)
    hit = jnp.where(jnp.isnan(outputs).any(axis=-1), jnp.nan, hit)
    return weighted_mean(hit, batch.weights if weights is None else weights)


def sequence_accuracy(outputs: Float[Array, "B T O"], batch: Batch) -> Float[Array, ""]:
    """Share of sequences in which the largest output names every target that counts; nan as in `accuracy`."""
    counts = batch.weights > 0
    wrong = (outputs.argmax(axis=-1) != batch.targets) & counts
    unknown = (jnp.isnan(outputs).any(axis=-1) & counts).any()
    right = (~wrong.any(axis=1)).astype(jnp.float32)
    return jnp.where(unknown, jnp.nan, weighted_mean(right, count_sequences(batch.weights)))


def count_sequences(weights: Float[Array, "B T"]) -> Float[Array, "B"]:
    """1 for each sequence in which a target counts, and 0 for others: the weights of `sequence_accuracy`."""
    return (weights > 0).any(axis=1).astype(jnp.float32)


def weighted_mean(values: Float[Array, "B *T"], weights: Float[Array, "B *T"]) -> Float[Array, ""]:
    """Σ w·v / Σ w, or 0 if every weight is 0. A value of weight 0 may be nan."""
    return jnp.where(weights > 0, values * weights, 0).sum() / jnp.maximum(weights.sum(), 1e-9)
