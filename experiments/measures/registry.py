"""What can be measured in a model beside its score: one function a measure, by the name that studies use.

A measure is `measure(run) -> (params, seed) -> number`, or `{x: number}` for a curve over x. What it compiles, it
compiles once for all seeds of a run. Inputs come from the test split, the same for every model.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy import stats

import tasks
from experiments import sample
from experiments.measures import timing
from models import cost
from models.seq2seq import split_source_target
from tasks.synthetic.translation import FIRST_WORD, word_alignment
from training import builder, trainer

SAMPLE_KEY = 2**31 + 1  # of what is drawn here: no seed of a run is this large
NUM_SEQUENCES = 32
MeasureValue = float | dict[int, float]
Measure = Callable[[builder.Run], Callable[[Any, int], MeasureValue]]


def sample_test_batch(run: builder.Run, sequences: int = NUM_SEQUENCES) -> tasks.Batch:
    """Sequences of the test split, of the task's length."""
    length, subset = run.task.max_length, run.task.splits["test"].subset
    return run.task.sample(tasks.random_key(np.uint32(SAMPLE_KEY)), sequences, length, length, subset)


def apply_to_batch(run: builder.Run, params: Any, batch: tasks.Batch, **more: Any) -> Any:
    return run.model.apply({"params": params}, batch.inputs, positions=batch.positions, segments=batch.segments, **more)


def skip_embedding(run: builder.Run, params: Any) -> tuple[Any, Any]:
    """The network from its embedded inputs `[B, T, D]` on, and its parameters: the same outputs as from the inputs."""
    width = run.model.width
    own = {**params, "embed": {"kernel": jnp.eye(width), "bias": jnp.zeros(width)}}
    if run.model.tie_embeddings:  # the head reads by the table, which is no embedding any more
        table = params["embed"]["embedding"]
        own["head"] = {"kernel": table.T, "bias": jnp.zeros(len(table))}
    return run.model.clone(vocabulary=0, channels=width), own


def last_output(y: Float[Array, "B *T O"]) -> Float[Array, "B O"]:
    """What is said of a sequence: after its last step, where there is something at each."""
    return y if y.ndim == 2 else y[:, -1]


# ---- what order and distance do -------------------------------------------------------------------------------------


def reach(run: builder.Run) -> Callable[[Any, int], MeasureValue]:
    """‖∂y_T/∂x_t‖ against T − t, relative to its sum over t: how much of what decides the last output lies where.

    y are the outputs at the last step and x the embedded inputs. The Frobenius norm is estimated with eight random
    directions of y (Hutchinson 1989). Bengio et al. 1994 and Pascanu et al. 2013 look at ∂h_T/∂h_t, which attention
    has none of; this is the same question put to any model.
    """
    batch = sample_test_batch(run)

    @jax.jit
    def norms(params: Any) -> Float[Array, "T"]:
        network, own = skip_embedding(run, params)
        table = params["embed"].get("embedding")
        x = (
            table[batch.inputs]
            if table is not None
            else nn.Dense(run.model.width).apply({"params": params["embed"]}, batch.inputs)
        )

        def last(x: Array) -> Array:
            y, _ = network.apply({"params": own}, x, positions=batch.positions, segments=batch.segments)
            return last_output(y)

        y, pull = jax.vjp(last, x)
        directions = jax.random.normal(tasks.random_key(0), (8, *y.shape))
        squares = jax.lax.map(lambda v: jnp.square(pull(v)[0]).sum(axis=(0, 2)), directions)
        return jnp.sqrt(squares.mean(axis=0))

    def measure(params: Any, seed: int) -> MeasureValue:
        found = np.asarray(norms(params), np.float64)[::-1]
        share = found / max(found.sum(), 1e-300)
        distances = [0, *(2**i for i in range((len(share) - 1).bit_length()))]
        return {distance: float(share[distance]) for distance in distances}

    return measure


def permuted(run: builder.Run) -> Callable[[Any, int], MeasureValue]:
    """|f(x) − f(x permuted)| / |f(x)| of the last output, mean over sequences, the last step staying where it is.

    0 says that the model can't tell one order of what it has read from another.
    """
    batch = sample_test_batch(run)
    order = jax.random.permutation(tasks.random_key(1), batch.inputs.shape[1] - (run.task.per == "token"))
    order = jnp.concatenate([order, jnp.arange(len(order), batch.inputs.shape[1])])

    @jax.jit
    def change(params: Any) -> Array:
        def last(inputs: Array) -> Array:
            y, _ = apply_to_batch(run, params, batch._replace(inputs=inputs))
            return last_output(y)

        y = last(batch.inputs)
        moved = jnp.linalg.norm(last(batch.inputs[:, order]) - y, axis=-1)
        return (moved / jnp.maximum(jnp.linalg.norm(y, axis=-1), 1e-9)).mean()

    return lambda params, seed: float(change(params))


def longer(run: builder.Run) -> Callable[[Any, int], MeasureValue]:
    """The score on sequences of 1, 1¼, 1½ and 2 times the longest length of training; nan where the model refuses."""
    longest = run.task.max_length
    lengths = [longest, longest * 5 // 4, longest * 3 // 2, longest * 2]

    @jax.jit
    def score(params: Any, length: Array) -> Array:
        batch = run.task.sample(tasks.random_key(np.uint32(SAMPLE_KEY)), 256, 2 * longest, length, "test")
        return run.task.score(trainer.apply_model(run, params, batch), batch)

    def measure(params: Any, seed: int) -> MeasureValue:
        try:
            return {length: float(score(params, jnp.int32(length))) for length in lengths}
        except ValueError:  # a window that is too small for any of them
            return {length: float("nan") for length in lengths}

    return measure


def affine(run: builder.Run) -> Callable[[Any, int], MeasureValue]:
    """|f(a + b) − f(a) − f(b) + f(0)| / |f|, the largest over pairs of inputs: 0 for a straight line."""
    key = tasks.random_key(np.uint32(SAMPLE_KEY))
    a, b = jax.random.uniform(key, (2, 256, 1, run.task.channels), minval=-1, maxval=1) / 2

    @jax.jit
    def bend(params: Any) -> Array:
        f = lambda x: run.model.apply({"params": params}, x)[0]  # noqa: E731
        return jnp.abs(f(a + b) - f(a) - f(b) + f(0 * a)).max() / jnp.maximum(jnp.abs(f(a)).max(), 1e-9)

    return lambda params, seed: float(bend(params))


def bits(run: builder.Run) -> Callable[[Any, int], MeasureValue]:
    """What the outputs say of the targets of one sequence: Σ over its targets of log₂ of 1/chance, less the
    cross-entropy in bits. A lower bound of what the model holds in memory at once."""
    batch = sample_test_batch(run, sequences=256)
    targets = float(np.asarray(batch.weights).sum() / 256)
    loss = jax.jit(lambda params: run.task.loss(trainer.apply_model(run, params, batch), batch))
    return lambda params, seed: max(0.0, targets * float(-np.log2(run.task.chance) - loss(params) / np.log(2)))


# ---- what attention looks at ----------------------------------------------------------------------------------------


def attention_weights(run: builder.Run, params: Any, batch: tasks.Batch) -> list[Float[Array, "B H T S"]]:
    """Attention's weights, block by block: of the bridge in an encoder–decoder, else of the mixers."""
    _, kept = apply_to_batch(run, params, batch, mutable="intermediates")
    kept = kept.get("intermediates", {})
    names = sorted(name for name in kept if name.startswith(("bridges_", "mixer_")) and "weights" in kept[name])
    if not names:
        raise ValueError("a measure of attention's weights needs attention in the model")
    return [kept[name]["weights"][0] for name in names]


def aligned(run: builder.Run) -> Callable[[Any, int], MeasureValue]:
    """The share of words whose largest weight (mean over heads, the best of the blocks) is on the source word that
    they translate; chance is one in the number of words."""
    batch = sample_test_batch(run, sequences=128)
    halved = partial(split_source_target, separator=run.task.separator, halves=True)
    pair = jax.vmap(halved)(batch.inputs, batch.positions, batch.segments)
    words = (batch.inputs.shape[1] - 1) // 2
    truth = jax.vmap(word_alignment, (0, None))(pair.source - FIRST_WORD, words)[:, :words]

    @jax.jit
    def share(params: Any) -> Array:
        found = [
            (w.mean(axis=1)[:, :words].argmax(axis=-1) == truth).mean() for w in attention_weights(run, params, batch)
        ]
        return jnp.stack(found).max()

    return lambda params, seed: float(share(params))


def alignment_error(run: builder.Run) -> Callable[[Any, int], MeasureValue]:
    """The alignment error rate of a bridge (Och and Ney 2003, eq. 8): 1 − 2 |said ∩ true| / (|said| + |true|), over
    the test set's pairs of a task with links, which are all taken as sure. Said is, of each word of the target, the
    source word with the largest weight (mean over heads, the best of the blocks) as it is about to be written."""
    batch, there, true = linked_pairs(run)
    halved = partial(split_source_target, separator=run.task.separator, halves=True)
    longest = true.shape[1]

    @jax.jit
    def found(params: Any) -> list[Array]:
        pair = jax.vmap(halved)(batch.inputs, batch.positions, batch.segments)
        real = (pair.source_segments != 0)[:, None, :longest]
        return [
            jnp.where(real, w.mean(axis=1)[:, :longest, :longest], -1).argmax(axis=-1)
            for w in attention_weights(run, params, batch)
        ]

    def measure(params: Any, seed: int) -> MeasureValue:
        return min(alignment_error_rate(np.asarray(said), there, true) for said in found(params))

    return measure


def diagonal_error(run: builder.Run) -> Callable[[Any, int], MeasureValue]:
    """The alignment error rate of a rule that reads no word: of n source words the one at the same share of the way."""
    _, there, true = linked_pairs(run)
    sources = (np.asarray(run.task.sources["test"]) > 0).sum(axis=1)[:, None]
    targets = there.sum(axis=1)[:, None]
    said = np.minimum((np.arange(there.shape[1]) + 0.5) * sources / np.maximum(targets, 1), sources - 1).astype(int)
    error = alignment_error_rate(said, there, true)
    return lambda params, seed: error


def alignment_gain(run: builder.Run) -> Callable[[Any, int], MeasureValue]:
    """By how much the bridge's alignment error is below that of the diagonal."""
    model, rule = alignment_error(run), diagonal_error(run)
    return lambda params, seed: rule(params, seed) - model(params, seed)  # pyright: ignore[reportOperatorIssue]


def linked_pairs(run: builder.Run) -> tuple[tasks.Batch, np.ndarray, np.ndarray]:
    """The whole test set of a task with links, one pair a row: which of the target's places hold a word `[N, T]`, and
    the links `[N, T, S]`."""
    if getattr(run.task, "links", None) is None:
        raise ValueError("a measure of alignment needs a task with links, as that of the data set verses")
    true = np.asarray(run.task.links["test"])
    batch = run.task.rows(jnp.arange(len(true))[:, None], run.task.pair, 1, "test")
    return batch, np.asarray(run.task.targets["test"]) > 0, true


def alignment_error_rate(predicted: np.ndarray, is_word: np.ndarray, true: np.ndarray) -> float:
    """The alignment error rate of one source place `predicted` for each word of the target."""
    hits = np.take_along_axis(true, predicted[..., None], axis=-1)[..., 0] & is_word
    return 1 - 2 * float(hits.sum()) / float(is_word.sum() + true.sum())


def site(run: builder.Run) -> Callable[[Any, int], MeasureValue]:
    """The share of test sequences whose most influential place is one that is known to make their class (a task's
    `sites`): where another token, mean over all others, changes the class probabilities most (total variation).
    Chance is a class's sites over the places of a sequence."""
    batch, known = sequences_with_sites(run)
    tokens = run.task.vocabulary

    @jax.jit
    def share(params: Any) -> Array:
        def said(inputs: Array) -> Array:
            return jax.nn.softmax(trainer.apply_model(run, params, batch._replace(inputs=inputs)))

        whole = said(batch.inputs)

        def change(place: Array) -> Array:
            def other(by: Array) -> Array:  # tokens are numbered from 1
                moved = 1 + (batch.inputs[:, place] - 1 + by) % (tokens - 1)
                return 0.5 * jnp.abs(said(batch.inputs.at[:, place].set(moved)) - whole).sum(axis=-1)

            return jax.lax.map(other, jnp.arange(1, tokens - 1)).mean(axis=0)

        moved = jax.lax.map(change, jnp.arange(batch.inputs.shape[1]))
        return share_on_site(moved.T * (batch.segments != 0), known)

    return lambda params, seed: float(share(params))


def site_gradient(run: builder.Run) -> Callable[[Any, int], MeasureValue]:
    """As `site`, by the norm of the gradient of the class's log probability in the embedded token."""
    batch, known = sequences_with_sites(run)

    @jax.jit
    def share(params: Any) -> Array:
        network, own = skip_embedding(run, params)

        def likely(x: Array) -> Array:
            y, _ = network.apply({"params": own}, x, positions=batch.positions, segments=batch.segments)
            return jnp.take_along_axis(jax.nn.log_softmax(y), batch.targets[:, None], axis=-1).sum()

        return share_on_site(
            jnp.linalg.norm(jax.grad(likely)(params["embed"]["embedding"][batch.inputs]), axis=-1), known
        )

    return lambda params, seed: float(share(params))


def site_weight(run: builder.Run) -> Callable[[Any, int], MeasureValue]:
    """As `site`, by the weight that attention gives to a place, mean over queries, heads and blocks."""
    batch, known = sequences_with_sites(run)

    @jax.jit
    def share(params: Any) -> Array:
        given = [w.mean(axis=(1, 2)) for w in attention_weights(run, params, batch)]
        return share_on_site(jnp.stack(given).mean(axis=0), known)

    return lambda params, seed: float(share(params))


def sequences_with_sites(run: builder.Run) -> tuple[tasks.Batch, Array]:
    """The test sequences whose class has sites, and where those are `[N, T]`."""
    if not any(getattr(run.task, "sites", ())):
        raise ValueError("a measure of sites needs a task that has some, as that of the data set splice")
    subset = run.task.splits["test"]
    batch = run.task.sample(tasks.random_key(0), subset.examples, subset.length, subset.length, subset.subset)
    some = np.isin(np.asarray(batch.targets), [i for i, places in enumerate(run.task.sites) if places])
    batch = jax.tree.map(lambda leaf: leaf[some], batch)
    known = np.zeros((len(run.task.sites), subset.length), bool)
    for row, places in zip(known, run.task.sites, strict=True):
        row[list(places)] = True
    return batch, jnp.asarray(known)[batch.targets]


def share_on_site(saliency: Float[Array, "N T"], is_site: Bool[Array, "N T"]) -> Float[Array, ""]:
    """The share of rows whose largest entry is at a known place."""
    return jnp.take_along_axis(is_site, saliency.argmax(axis=1)[:, None], axis=1).mean()


def tunes_that_parse(run: builder.Run) -> Callable[[Any, int], MeasureValue]:
    """The share of the tunes that a model writes, at temperature 0.7, that parse as ABC
    (experiments.measures.abc_notation)."""
    return lambda params, seed: _check_sampled_tunes(run, params, seed).parsed_share


def full_bars(run: builder.Run) -> Callable[[Any, int], MeasureValue]:
    """The share of their bars that last as long as the metre says; nan where no tune parses."""
    return lambda params, seed: _check_sampled_tunes(run, params, seed).full_share


def full_bars_lost(run: builder.Run) -> Callable[[Any, int], MeasureValue]:
    """By how much that is below the share in as many tunes of the test set."""
    people, filled = sample.check_tunes(sample.human_tunes(run, NUM_SEQUENCES)).full_share, full_bars(run)
    return lambda params, seed: people - filled(params, seed)  # pyright: ignore[reportOperatorIssue]


def _check_sampled_tunes(run: builder.Run, params: Any, seed: int) -> sample.TuneStatistics:
    return sample.check_tunes(sample.sample_tunes(run, params, NUM_SEQUENCES, 0.7, seed))


def _similarity_rank(run: builder.Run, params: Any) -> float:
    """Spearman's rank correlation of two tokens' similarity (cosine of their embeddings) with the weight that one
    gives to the other in the first block, mean over heads, over all pairs of different tokens in a causal order."""
    batch = sample_test_batch(run, sequences=8)
    table = params["embed"]["embedding"][batch.inputs]
    unit = table / jnp.linalg.norm(table, axis=-1, keepdims=True)
    alike, given = jnp.einsum("btd,bsd->bts", unit, unit), attention_weights(run, params, batch)[0].mean(axis=1)
    steps = jnp.arange(alike.shape[1])
    pairs = (steps[:, None] > steps) & (batch.inputs[:, :, None] != batch.inputs[:, None, :])
    pairs &= (batch.inputs[:, :, None] != 0) & (batch.inputs[:, None, :] != 0)  # 0 fills
    alike, given, pairs = (np.asarray(x).reshape(-1, len(steps)) for x in (alike, given, pairs))
    rows = []  # each for itself, since a row of many keys has smaller weights
    for a, w, p in zip(alike, given, pairs, strict=True):
        found: Any = stats.spearmanr(a[p], w[p]) if p.sum() > 4 else None
        rows += [found.statistic] if found else []
    return float(np.nanmean(rows))


def similar(run: builder.Run) -> Callable[[Any, int], MeasureValue]:
    """`_similarity_rank` in the trained model."""
    return lambda params, seed: _similarity_rank(run, params)


def similar_before(run: builder.Run) -> Callable[[Any, int], MeasureValue]:
    """`_similarity_rank` in the model as it was before training."""
    return lambda params, seed: _similarity_rank(run, trainer.init_params(run, jnp.uint32(seed)))


def similar_gain(run: builder.Run) -> Callable[[Any, int], MeasureValue]:
    """What training added to `_similarity_rank`."""
    return lambda params, seed: (
        _similarity_rank(run, params) - _similarity_rank(run, trainer.init_params(run, jnp.uint32(seed)))
    )


def coupled(run: builder.Run) -> Callable[[Any, int], MeasureValue]:
    """How much the other weights of a row move when one key changes, relative to that key's own weight: Σ|Δ others| /
    Σ|Δ own|, in the first block, where no other score can have changed."""
    batch = sample_test_batch(run)
    place = batch.inputs.shape[1] // 4
    other = batch.inputs.at[:, place].set((batch.inputs[:, place] + 1) % run.task.vocabulary)

    @jax.jit
    def ratio(params: Any) -> Array:
        before, after = (attention_weights(run, params, batch._replace(inputs=x))[0] for x in (batch.inputs, other))
        moved = jnp.abs(after - before)[:, :, place + 1 :]  # the queries that see it and are not it
        own = moved[..., place].sum()
        return (moved.sum() - own) / jnp.maximum(own, 1e-9)

    return lambda params, seed: float(ratio(params))


def diverse(run: builder.Run) -> Callable[[Any, int], MeasureValue]:
    """How differently the heads of a block look: half the sum of |difference| of two heads' weights, mean over pairs of
    heads, steps and blocks. 0: all alike; 1: no two look at the same token."""
    batch = sample_test_batch(run)

    @jax.jit
    def distance(params: Any) -> Array:
        found = []
        for w in attention_weights(run, params, batch):
            heads = w.shape[1]
            apart = 0.5 * jnp.abs(w[:, :, None] - w[:, None]).sum(axis=-1).mean(axis=(0, 3))
            found.append(apart.sum() / max(heads * (heads - 1), 1))
        return jnp.stack(found).mean()

    return lambda params, seed: float(distance(params))


# ---- what it costs --------------------------------------------------------------------------------------------------

LENGTHS = (64, 128, 256, 512)
CONTEXTS = (128, 512, 2048)


def step_time(run: builder.Run) -> Callable[[Any, int], MeasureValue]:
    """Seconds of a training step (data, forward, backward, update) of one block on recall, batch 8, against length."""
    model = run.config["model"]

    def measure(params: Any, seed: int) -> MeasureValue:
        found = timing.time_training_steps([model["mixer"]], LENGTHS, width=model["width"], batch=8)
        return {one.length: one.seconds for one in found}

    return measure


def step_depth(run: builder.Run) -> Callable[[Any, int], MeasureValue]:
    """The longest chain of operations in forward and backward pass, each waiting for the one before, against length."""
    model = run.config["model"]

    def measure(params: Any, seed: int) -> MeasureValue:
        return {length: _training_depth(model["mixer"], length, model["width"]) for length in LENGTHS}

    return measure


def _training_depth(mixer: str, length: int, width: int) -> float:
    run = timing.build_timed_run(mixer, length, width, batch=1)
    params = jax.eval_shape(lambda: trainer.init_params(run, jnp.uint32(0)))
    batch = jax.eval_shape(lambda: run.task.sample(tasks.random_key(0), 1, length, length))
    return cost.critical_path(jax.grad(lambda p, b: run.task.loss(trainer.apply_model(run, p, b), b)), params, batch)


def stream_time(run: builder.Run) -> Callable[[Any, int], MeasureValue]:
    """Seconds of one streamed token of one sequence, against the tokens that came before it."""
    model = run.config["model"]

    def measure(params: Any, seed: int) -> MeasureValue:
        return {
            context: next(iter(timing.time_streamed_tokens([model["mixer"]], context, width=model["width"]))).seconds
            for context in CONTEXTS
        }

    return measure


def state(run: builder.Run) -> Callable[[Any, int], MeasureValue]:
    """Floats that the model carries from one token to the next, against the tokens that it has room for."""

    def floats(context: int) -> int:
        made = timing.build_timed_run(run.config["model"]["mixer"], context, run.config["model"]["width"], batch=1)
        return trainer.run_costs(made)["state_floats"]

    return lambda params, seed: {context: floats(context) for context in CONTEXTS}


def parameters(run: builder.Run) -> Callable[[Any, int], MeasureValue]:
    """Parameters of the mixers, as wide as the model, against the window that they are made for."""

    def count(length: int) -> int:
        model = {**run.config["model"], "hidden_size": run.model.width, "max_length": length}
        made = builder.build_run({**run.config, "model": model})
        return cost.count_mixer_params(jax.eval_shape(lambda: trainer.init_params(made, jnp.uint32(0))))

    return lambda params, seed: {length: count(length) for length in (64, 128, 256, 512)}


ORDER = (reach, permuted, longer, affine, bits)
LOOKS = (aligned, similar, similar_before, similar_gain, coupled, diverse)
REAL = (alignment_error, diagonal_error, alignment_gain, site, site_gradient, site_weight)
TUNES = (tunes_that_parse, full_bars, full_bars_lost)
COSTS = (step_time, step_depth, stream_time, state, parameters)
TIMED_MEASURES = {"step time", "stream time"}  # what else the machine does shows in these
MEASURES: dict[str, Measure] = {f.__name__.replace("_", " "): f for f in (*ORDER, *LOOKS, *REAL, *TUNES, *COSTS)}
# Raised by hand when a measure gives other numbers, beyond rounding; what was measured before is measured anew then.
MEASURE_VERSIONS: dict[str, int] = {
    **dict.fromkeys(MEASURES, 1),
    "tunes that parse": 2,
    "full bars": 2,
    "full bars lost": 2,
}


def evaluate_measures(
    run: builder.Run, names: Sequence[str], members: Sequence[tuple[Any, int]]
) -> list[dict[str, float]]:
    """Each measure of each of `members`, (params, seed): numbers by name, a curve's as "name@x"."""
    found: list[dict[str, float]] = [{} for _ in members]
    for name in names:
        measure = MEASURES[name](run)
        for values, (params, seed) in zip(found, members, strict=True):
            value = measure(params, seed)
            values |= {f"{name}@{x}": y for x, y in value.items()} if isinstance(value, dict) else {name: value}
    return found
