"""Train one model on one task, as one replica or as many at once.

  python train.py --config=configs/recall.py:lstm --workdir=runs/recall-lstm
  python train.py --config=configs/recall.py:attention --config.model.depth=4 --workdir=runs/deep
  python train.py --config=configs/digits.py:gru --config.replicas.seeds=0,1,2 \\
      --config.replicas.learning_rates=1e-3,3e-3 --workdir=runs/digits-gru      (six replicas, one program)
  python train.py --workdir=runs/digits-gru --export=best-gru --replica=2       (one of them, to keep)

A config is a file and, after the colon, a mixer, or several with commas between that take turns block by block.
Mixers: dense, rnn, irnn, lstm, gru, slstm, mlstm, mingru, minlstm, lru, rglru, s4d, s6, linear, gla, delta,
gated_delta, tcn, attention (python -m models says where each is from and what it costs).
Files: adding, associations, bible, copy_memory, copy_string, counting, curve, digits, fashion_mnist, flip_flop,
formal_language, induction, irish, mnist, peptides, permuted_digits, phonemes, python, recall, selective_copy,
shakespeare, splice, titles, translation, verses, word_problem (in configs/).
Any field can be set from here, as --config.GROUP.FIELD=VALUE; configs/__init__.py says what each one is:

  task       name, and what that task takes: recall has pairs, symbols, max_length
  model      mixer depth width inner feedforward activation norm residual final_norm positions tied dropout pool
             max_length causal bridge bridge_heads memory memory_rule dtype; and what one mixer has of its own, as
             model.lstm.open:
             attention(heads bias groups window similarity normaliser placed shared form) rnn(solver) irnn(solver)
             lstm(forget_bias open solver) gru(solver) slstm(start) mlstm(heads start)
             lru(smallest largest phase) rglru(kernel scale_first) s4d(size) s6(size kernel)
             linear(heads feature nu kernel) gla(heads feature nu kernel) delta(heads feature nu kernel negative)
             gated_delta(heads feature nu kernel negative) tcn(layers kernel block)
  optimizer  learning_rate warmup weight_decay clip b1 b2
  training   steps batch shortest steps_per_call eval_every
  replicas   seeds learning_rates how

The workdir then holds config.json (every field as it was used), environment.json (versions, device, revision),
group.json (who trains together, and how), metrics.jsonl, checkpoints/, tensorboard/ and, once finished, result.json;
on real data also task.json (its letters or words and its shapes).
Stop it any way you like, kill -9 included: the same command goes on where it was, to the same bits.

One run over several processes: the same command in each, with a workdir that all of them see (process 0 writes; one
Ctrl-C or SIGTERM stops all, and where one dies all end). --distributed alone will do where JAX knows the cluster, as
on TPUs and under SLURM; elsewhere every process is told where process 0 is, how many there are, and which it is:

  python train.py --config=... --workdir=/shared/run --coordinator=host0:1234 --processes=2 --process=0     (or 1)
"""

if __name__ == "__main__":
    import startup

    startup.catch_interrupts()

import contextlib
import dataclasses
import os
import signal
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags
from jaxtyping import Array
from ml_collections import ConfigDict, config_flags

import checkpoint
import command
import configs
import datasets
import distributed
import machine
import models
import records
import tasks
from display import Display, say
from models import cost

VERSION = 3  # of this loop and of the defaults in configs.base: raised by hand whenever the numbers they make change
EVALUATED = 512  # the most sequences that go through the model at once in an evaluation
MEND = "put it back from a copy, or check out the revision that wrote it"  # of a file that no command writes anew
SMALLEST = 1e-12  # learning rate: a smaller one moves no parameter in float32
NO_SEED = np.uint32(2**31)  # seeds are below it, so no run trains on what it is evaluated on


class Replica(NamedTuple):
    """One model in training. A run's state is a Replica whose every leaf has a leading axis, one entry a replica."""

    step: Array
    seed: Array
    learning_rate: Array
    params: Any
    optimizer: Any
    best_params: Any  # those with the best validation score
    best_score: Array
    best_scores: Any  # what they score, by split; nothing yet at best_step 0
    best_step: Array
    alive: Array  # False once a loss or gradient was not finite; it is not updated any more
    died_at: Array  # the step whose update was refused, or −1


class Group(NamedTuple):
    """Who trains together, and how: "map" (one after another on each device) or "vmap" (side by side).

    The replicas are spread over `devices`, each of which stands for `shards` that share every replica's batch.
    """

    how: str
    devices: int
    seeds: tuple[int, ...]
    learning_rates: tuple[float, ...]
    shards: int = 1


class Run(NamedTuple):
    """What a config describes. `config` is the resolved one: every field as it is used, and the VERSIONs behind it."""

    config: dict[str, Any]
    task: Any
    model: models.Skeleton | models.Seq2Seq | models.AssociativeMemory
    optimizer: optax.GradientTransformation


# ---- build ----------------------------------------------------------------------------------------------------------


def build(config: Mapping[str, Any], data_dir: str | Path = "data") -> Run:
    """The task, the model and the optimizer of `config`. Raises ValueError, in one line, where it can't be."""
    config = config.to_dict() if isinstance(config, ConfigDict) else dict(config)
    machine.check_settings()
    check(config)
    models.check(config["model"])
    return assemble(config, build_task(config["task"], data_dir), versions(config, data_dir))


def assemble(config: Mapping[str, Any], task: Any, versions: Mapping[str, Any]) -> Run:
    """The run of a checked `config` on `task`. Raises ValueError, in one line, where they don't go together."""
    if (shortest := config["training"]["shortest"]) > task.max_length:
        raise ValueError(f"training.shortest={shortest}: the task's sequences have {task.max_length} steps at most")
    if 0 < shortest < task.min_length:
        raise ValueError(f"training.shortest={shortest}: the task's sequences have {task.min_length} steps at least")
    model = models.resolve(config["model"], task.max_length)
    fits(model, task)
    sizes = {"vocabulary": task.vocabulary, "channels": task.channels, "outputs": task.outputs, "per": task.per}
    sizes["separator"] = getattr(task, "separator", None)
    optimizer = config["optimizer"]
    return Run(
        config={**config, "model": model, "versions": dict(versions)},
        task=task,
        model=models.build(model, **sizes),
        optimizer=optax.chain(
            optax.clip_by_global_norm(optimizer["clip"]),
            optax.scale_by_adam(b1=optimizer["b1"], b2=optimizer["b2"]),
            optax.add_decayed_weights(optimizer["weight_decay"], mask=decayed),
        ),
    )


def check_memory(run: Run) -> None:
    """Refuse, with ValueError, what this machine's memory can't hold for sure: parameters, the best ones, two moments
    and a gradient of every replica, and one layer's features of one replica's batch, all in float32."""
    config, steps = run.config, run.task.max_length
    members = len(config["replicas"]["seeds"]) * max(1, len(config["replicas"]["learning_rates"]))
    inputs = jax.eval_shape(lambda task: sample_longest(task, 1), run.task).inputs
    parameters, batch = models.parameters(run.model, inputs), config["training"]["batch"]
    needed = 4 * (5 * members * parameters + batch * steps * config["model"]["width"])
    there = machine.memory_bytes()
    if there is not None and needed > there:
        raise ValueError(
            f"{members} × {parameters:,} parameters and batches of {batch} × {steps:,} steps need at least "
            f"{needed / 2**30:,.0f} GiB, and this machine has {there / 2**30:,.0f}; give fewer replicas, or a smaller "
            f"model.width, model.depth or training.batch"
        )


def fits(model: Mapping[str, Any], task: Any) -> None:
    """Refuse, with ValueError, a model that would cheat in this task, or could not be tested in it."""
    if task.next_tokens and not model["causal"]:
        raise ValueError(
            f"model.causal=False: the targets of {type(task).__name__} are the tokens to come, which the model would "
            f"see; use model.causal=True"
        )
    longest = max(split.length for split in task.splits.values())
    places = (longest + 1) // 2 if model.get("bridge") else longest  # source and target each have half of a row
    if model["positions"] in ("learned", "randomised") and places > model["max_length"]:
        raise ValueError(
            f"model.positions={model['positions']}: there are {model['max_length']} of them, and test sequences of "
            f"{longest}; give model.max_length={places} or more"
        )


def versions(config: Mapping[str, Any], data_dir: str | Path = "data") -> dict[str, Any]:
    """What is behind a result: the VERSIONs of its mixer, of its task, of this loop, and of a bridge or memory it has;
    and the fingerprint of its data, where they are real, for which they are prepared if need be."""
    mixer, task = models.version(config["model"]["mixer"]), tasks.TASKS[config["task"]["name"]].VERSION
    bridge = {"bridge": models.Seq2Seq.VERSION} if config["model"].get("bridge") else {}
    memory = {"memory": models.AssociativeMemory.VERSION} if config["model"].get("memory") else {}
    dataset = config["task"].get("dataset")
    data = {"data": datasets.data_fingerprint(dataset, data_dir)} if dataset else {}
    return {"mixer": mixer, "task": task, "loop": VERSION, **bridge, **memory, **data}


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a run this one and no other: every field that `configs.base` does not have, or has otherwise.

    A field that is added to `base` later, with a default that keeps the old behaviour, so leaves old keys as they are.
    """
    default = records.flat(records.plain(configs.base(config["model"]["mixer"]).to_dict()))
    del default["model.mixer"]
    return {name: value for name, value in flattened(config).items() if name not in default or value != default[name]}


def flattened(config: Mapping[str, Any]) -> dict[str, Any]:
    return records.flat(records.plain(config.to_dict() if isinstance(config, ConfigDict) else config))


def build_task(config: Mapping[str, Any], data_dir: str | Path = "data") -> Any:
    """The task that `config.task` names, with its data where it has a `dataset`."""
    fields = dict(config)
    name, dataset = fields.pop("name"), fields.pop("dataset", "")
    models.one_of("task.name", name, tasks.TASKS)
    if dataset:
        check_datasets()
    data = datasets.load(dataset, data_dir) if dataset else {}
    try:
        return tasks.TASKS[name](**data, **fields)
    except TypeError as error:  # a field that this task does not have
        raise ValueError(f"task: {error}") from None


def check_datasets() -> None:
    """Raise ValueError where another package of that name, such as Hugging Face's, was imported in place of ours."""
    folder, found = Path(__file__).resolve().parent, list(getattr(datasets, "__path__", [str(datasets.__file__)]))
    if folder / "datasets" not in [Path(place).resolve() for place in found]:
        raise ValueError(
            f"datasets is another package of that name, {', '.join(found)}: put {folder} first on sys.path before it "
            f"is imported, or run in that folder"
        )


def decayed(params: Any) -> Any:
    """Weight decay is for products: not for biases and norms, nor for the rates at which a state fades and turns."""

    def weighs(path: Any, leaf: Array) -> bool:
        return leaf.ndim > 1 and not any(word in path[-1].key for word in ("bias", "rates"))

    return jax.tree.map_with_path(weighs, params)


def check(config: Mapping[str, Any]) -> None:
    """Refuse, with ValueError, numbers that can't be trained with."""
    training, optimizer, replicas = config["training"], config["optimizer"], config["replicas"]
    for name in ("steps", "batch", "steps_per_call", "eval_every"):
        if not 1 <= training[name] < 2**31:
            raise ValueError(f"training.{name}={training[name]}: must be 1 or more, and below 2³¹")
    for name in ("steps", "eval_every"):
        if training[name] % training["steps_per_call"]:
            raise ValueError(
                f"training.{name}={training[name]}: must be a multiple of training.steps_per_call="
                f"{training['steps_per_call']}"
            )
    if training["shortest"] < 0:
        raise ValueError(f"training.shortest={training['shortest']}: must be 0 or more")
    largest = float(np.finfo(np.float32).max)
    for rate in (optimizer["learning_rate"], *replicas["learning_rates"]):
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate < float("inf"):
            raise ValueError(f"learning_rate={rate}: must be a number above 0")
        if not SMALLEST <= rate <= largest:
            raise ValueError(f"learning_rate={rate}: must be from {SMALLEST:g}, below which nothing moves in float32, "
                             f"to {largest:.1e}")  # fmt: skip
    for name, least, below in (("warmup", 0, 2**31), ("weight_decay", 0, largest), ("b1", 0, 1), ("b2", 0, 1)):
        if not least <= optimizer[name] < below or np.float32(optimizer[name]) >= below:  # nan is neither
            raise ValueError(
                f"optimizer.{name}={optimizer[name]}: must be at least {least} and below {below:.7g}, in float32 too"
            )
    if not SMALLEST <= optimizer["clip"] <= largest:
        raise ValueError(f"optimizer.clip={optimizer['clip']}: must be a number above 0, from {SMALLEST:g} to "
                         f"{largest:.1e}")  # fmt: skip
    seeds = replicas["seeds"]
    if not seeds or any(type(seed) is not int or not 0 <= seed < 2**31 for seed in seeds):
        raise ValueError(f"replicas.seeds={seeds}: give one or more whole numbers from 0 to 2147483647")
    for name, kind in (("seeds", np.int64), ("learning_rates", np.float32)):
        if len(np.unique(np.asarray(replicas[name], kind))) < len(replicas[name]):
            raise ValueError(f"replicas.{name}={replicas[name]}: each may be given once")
    models.one_of("replicas.how", replicas["how"], ("auto", "map", "vmap", "measured"))


def form_group(config: Mapping[str, Any]) -> Group:
    """Every seed with every learning rate, spread evenly over as many devices as divide them.

    As many of the devices left over as divide a batch share it. `how` may be "measured", which `fastest` resolves.
    """
    rates = config["replicas"]["learning_rates"] or (config["optimizer"]["learning_rate"],)
    pairs = [(seed, rate) for rate in rates for seed in config["replicas"]["seeds"]]
    how = config["replicas"]["how"]
    if how == "auto":  # a processor is busy with one small model; an accelerator wants them side by side
        how = "map" if jax.default_backend() == "cpu" else "vmap"
    devices = largest_divisor(len(pairs), len(jax.devices()))
    shards = largest_divisor(config["training"]["batch"], len(jax.devices()) // devices) if machine.spare() else 1
    return Group(how, devices, tuple(s for s, _ in pairs), tuple(float(r) for _, r in pairs), shards)


def largest_divisor(number: int, most: int) -> int:
    """The largest that is not above `most`."""
    return max(n for n in range(1, most + 1) if number % n == 0)


# ---- step and evaluate: pure functions of one replica ---------------------------------------------------------------


def init(run: Run, seed: int, learning_rate: float) -> Replica:
    """A replica before its first step."""
    params = init_params(run, jnp.uint32(seed))
    worst = -jnp.inf if run.task.best == "max" else jnp.inf
    return Replica(
        step=jnp.int32(0),
        seed=jnp.uint32(seed),
        learning_rate=jnp.float32(learning_rate),
        params=params,
        optimizer=run.optimizer.init(params),
        best_params=jax.tree.map(jnp.copy, params),  # a copy: a donated buffer can't be in the state twice
        best_score=jnp.float32(worst),
        # Not nan, which JAX would take for unequal to that of another process.
        best_scores={split: jnp.float32(0) for split in run.task.splits},
        best_step=jnp.int32(0),
        alive=jnp.bool_(True),
        died_at=jnp.int32(-1),
    )


def init_params(run: Run, seed: Array) -> Any:
    inputs = jax.eval_shape(lambda task: sample_longest(task, 1), run.task).inputs
    inputs = jnp.zeros(inputs.shape, inputs.dtype)
    return run.model.init(jax.random.fold_in(tasks.random_key(seed), 0), inputs)["params"]


def sample_longest(task: Any, batch: int) -> tasks.Batch:
    """A batch of sequences as long as the task's longest."""
    return task.sample(tasks.random_key(0), batch, task.max_length, task.max_length)


def train_step(run: Run, task: Any, replica: Replica) -> tuple[Replica, dict[str, Array]]:
    """One step of AdamW on a batch that depends on the seed and the step alone; its loss, score and gradient norm."""
    training = run.config["training"]
    key = jax.random.fold_in(jax.random.fold_in(tasks.random_key(replica.seed), 1), replica.step)
    for_length, for_batch, for_dropout = jax.random.split(key, 3)
    length = jnp.int32(task.max_length)
    if training["shortest"]:
        length = jax.random.randint(for_length, (), training["shortest"], task.max_length + 1)
    batch = shared_out(task.sample(for_batch, training["batch"], task.max_length, length))

    def objective(params):
        model = run.config["model"]
        draws = model["dropout"] or model["positions"] == "randomised" or model.get("memory")
        outputs = apply(run, params, batch, for_dropout if draws else None)
        return task.loss(outputs, batch), outputs

    (loss, outputs), gradient = jax.value_and_grad(objective, has_aux=True)(replica.params)
    norm = optax.global_norm(gradient)
    direction, optimizer = run.optimizer.update(gradient, replica.optimizer, replica.params)
    rate = replica.learning_rate * schedule(run.config, replica.step)
    params = jax.tree.map(lambda p, d: p - rate * d, replica.params, direction)

    alive = replica.alive & jnp.isfinite(loss) & jnp.isfinite(norm)
    params, optimizer = jax.tree.map(
        lambda new, old: jnp.where(alive, new, old), (params, optimizer), (replica.params, replica.optimizer)
    )
    died_at = jnp.where(replica.alive & ~alive, replica.step, replica.died_at)
    after = replica._replace(step=replica.step + 1, params=params, optimizer=optimizer, alive=alive, died_at=died_at)
    return after, {"loss": loss, "score": task.score(outputs, batch), "gradient_norm": norm}


def train_steps(run: Run, replica: Replica, task: Any) -> tuple[Replica, dict[str, Array]]:
    """`steps_per_call` steps, and the means of what they measured."""
    step = lambda replica, _: train_step(run, task, replica)  # noqa: E731
    replica, measured = jax.lax.scan(step, replica, length=run.config["training"]["steps_per_call"])
    return replica, jax.tree.map(jnp.mean, measured)


def evaluate(run: Run, split: tasks.Split, replica: Replica, task: Any, stream: Array) -> dict[str, Array]:
    """Loss and score of a replica on a split, whose sequences are the same for every model and seed.

    `stream` tells apart splits that are otherwise alike, which then share one program.
    """
    key = jax.random.fold_in(tasks.random_key(NO_SEED), stream)
    whole = task.sample(key, split.examples, max(task.max_length, split.length), split.length, split.subset)
    calls = -(-split.examples // EVALUATED)
    size = -(-split.examples // calls)
    size += -size % sharers()
    over = calls * size - split.examples

    def cut(leaf):
        padded = jnp.pad(leaf, [(0, over), *[(0, 0)] * (leaf.ndim - 1)])
        return padded.reshape(calls, size, *leaf.shape[1:])

    outputs = jax.lax.map(lambda batch: apply(run, replica.params, shared_out(batch)), jax.tree.map(cut, whole))
    outputs = outputs.reshape(calls * size, *outputs.shape[2:])[: split.examples]
    return {"loss": task.loss(outputs, whole), "score": task.score(outputs, whole)}


def stream(split: str) -> np.uint32:
    """A number for the name of a split, which adding another split does not change."""
    return np.uint32(zlib.crc32(split.encode()))


def keep_best(run: Run, replica: Replica, scores: Mapping[str, Array]) -> Replica:
    """Remember the parameters, and their scores on every split, if none before did better on the validation split.

    Of equal scores the later counts: a score that can't rise any more says nothing of what is learnt behind it. A
    replica that is not updated any more stays as it is.
    """
    score, best = scores["validation"], replica.best_score
    better = replica.alive & (score >= best if run.task.best == "max" else score <= best)
    new = (replica.params, score, dict(scores), replica.step)
    old = (replica.best_params, best, replica.best_scores, replica.best_step)
    params, score, scores, step = jax.tree.map(lambda n, o: jnp.where(better, n, o), new, old)
    return replica._replace(best_params=params, best_score=score, best_scores=scores, best_step=step)


def apply(run: Run, params: Any, batch: tasks.Batch, rng: Array | None = None) -> Array:
    outputs, _ = run.model.apply(
        {"params": params}, batch.inputs, positions=batch.positions, segments=batch.segments, rng=rng
    )
    return outputs


def schedule(config: Mapping[str, Any], step: Array) -> Array:
    """1 at the end of a linear warm-up, then a half cosine that would reach 0 with one step more than there are."""
    warmup, steps = config["optimizer"]["warmup"], config["training"]["steps"]
    rising = (step + 1) / max(warmup, 1)
    falling = 0.5 * (1 + jnp.cos(jnp.pi * (step - warmup) / max(steps - warmup, 1)))
    return jnp.where(step < warmup, jnp.minimum(rising, 1.0), falling)


# ---- the replica axis and the batch axis ----------------------------------------------------------------------------


def make_mesh(group: Group) -> jax.sharding.Mesh:
    """Its devices, [replica, batch]; ValueError where a process would have none of them."""
    count = group.devices * group.shards
    if count < jax.process_count():
        raise ValueError(
            f"{len(group.seeds)} replicas and their batches can share {count} devices, too few for "
            f"{jax.process_count()} processes; give fewer processes, or a training.batch that more devices divide"
        )
    devices = np.array(distributed.devices(count)).reshape(group.devices, group.shards)
    return jax.sharding.Mesh(devices, ("replica", "batch"))


def over_replicas(function: Callable, group: Group, mesh: jax.sharding.Mesh) -> Callable:
    """`function(replica, *shared)` lifted over the leading axis of its first argument, as the group is run.

    Where the devices share batches, `function` is one program over the mesh's "batch" axis: what it computes is that of
    a whole batch, and the compiler splits it as `shared_out` says.
    """

    def lifted(replicas, *shared):
        if group.how == "vmap":
            return jax.vmap(lambda replica: function(replica, *shared))(replicas)
        return jax.lax.map(lambda replica: function(replica, *shared), replicas)

    along, whole = jax.P("replica"), jax.P()
    manual = {"replica"} if group.shards > 1 else set(mesh.axis_names)

    def sharded(replicas, *shared):
        specs = (along, *(whole for _ in shared))
        return jax.shard_map(
            lifted, mesh=mesh, in_specs=specs, out_specs=along, axis_names=manual, check_vma=False
        )(replicas, *shared)  # fmt: skip

    return sharded


def sharers() -> int:
    """How many devices share a batch where this is traced: 1 outside of `over_replicas`."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if "batch" in mesh.manual_axes else dict(mesh.shape).get("batch", 1)


def shared_out(batch: tasks.Batch) -> tasks.Batch:
    """The same batch, its sequences split evenly over the devices that share it."""
    if sharers() == 1:
        return batch
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, jax.P("batch")), batch)


def init_group(run: Run, group: Group, mesh: jax.sharding.Mesh) -> Replica:
    """All replicas before their first step.

    Made one by one: on a CPU of jax 0.10, a vmapped orthogonal initialiser hangs for ever about one time in four.
    """
    made = jax.jit(partial(init, run))
    replicas = [made(seed, rate) for seed, rate in zip(group.seeds, group.learning_rates, strict=True)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *jax.device_get(replicas))
    return jax.device_put(stacked, jax.NamedSharding(mesh, jax.P("replica")))


def jit_call(run: Run, group: Group, mesh: jax.sharding.Mesh) -> Any:
    """`train_steps` of all replicas, which gives away the state that it is given."""
    along = jax.NamedSharding(mesh, jax.P("replica"))
    return jax.jit(over_replicas(partial(train_steps, run), group, mesh), donate_argnums=0, out_shardings=along)


def fastest(run: Run, group: Group) -> tuple[Group, list[dict[str, Any]]]:
    """`group` run in the way whose call takes the least time, and what each took: how, devices, shards, seconds.

    Timed are "map" and "vmap", on all of the group's devices, on those that its replicas are spread over, and on one;
    with several processes, only where each has a device. Ways that need more memory than there is are passed over.
    """
    ways = []
    for devices, shards in dict.fromkeys([(group.devices, group.shards), (group.devices, 1), (1, 1)]):
        if devices * shards < jax.process_count():
            continue
        for how in ("map", "vmap"):
            way = {"how": how, "devices": devices, "shards": shards}
            try:
                ways.append({**way, "seconds": seconds_of_call(run, group._replace(**way))})
            except RuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error) or jax.process_count() > 1:
                    raise
    if not ways:
        raise ValueError("replicas.how=measured: out of memory in every way; try fewer replicas or a smaller batch")
    ways = distributed.from_first(lambda: ways)  # the clocks of others say otherwise
    best = min(ways, key=lambda way: way["seconds"])
    return group._replace(how=best["how"], devices=best["devices"], shards=best["shards"]), ways


def seconds_of_call(run: Run, group: Group) -> float:
    """What one training call takes, the second of a state that is then forgotten: the first touches fresh memory."""
    mesh = make_mesh(group)
    replicas, task = init_group(run, group, mesh), jax.device_put(run.task, jax.NamedSharding(mesh, jax.P()))
    call = jit_call(run, group, mesh).lower(replicas, task).compile()
    replicas, _ = jax.block_until_ready(call(replicas, task))
    begun = time.monotonic()
    jax.block_until_ready(call(replicas, task))
    return time.monotonic() - begun


# ---- the loop -------------------------------------------------------------------------------------------------------


def train(
    config: Mapping[str, Any],
    workdir: str | Path,
    *,
    data_dir: str | Path = "data",
    name: str = "train",
    save_seconds: float = 20.0,
    tensorboard: bool = True,
    regroup: bool = False,
) -> dict[str, Any]:
    """Train `config` in `workdir`, going on from what is there; the result, as result.json has it.

    Where several processes train together (distributed.joined), each calls this alike and each gets the result.
    Raises ValueError where the workdir holds another config's run, is in use by another process, or has a checkpoint
    that can't be read, OSError where files can't be written, and command.Stopped after saving, where SIGTERM or
    Ctrl-C came.
    """
    if not save_seconds >= 0:
        raise ValueError(f"save_seconds={save_seconds}: must be 0 or more")
    workdir = Path(workdir)
    run = build(config, data_dir)
    path = workdir / "result.json"
    if not path.exists():
        check_memory(run)
    with contextlib.ExitStack() as held:
        distributed.from_first(lambda: held.enter_context(claim(workdir, run.config)))
        if not distributed.from_first(path.exists):
            result = fit(run, workdir, name, save_seconds, tensorboard, regroup)
            distributed.from_first(lambda: records.write_json(path, result))
        return distributed.from_first(lambda: read_result(path, run))  # just finished and found again read alike


def read_result(path: Path, run: Run) -> dict[str, Any]:
    """What a finished run came to. Raises ValueError where the file is damaged or another run's."""
    result = records.read_json(path, records.RESULT)
    if result["key"] != records.key(identity(run.config)):
        raise ValueError(f"{path} is of another run than config.json; delete it and the same command writes it anew")
    return result


def fit(run: Run, workdir: Path, name: str, save_seconds: float, tensorboard: bool, regroup: bool) -> dict[str, Any]:
    """The loop itself, from the newest checkpoint in `workdir` to the last step."""
    first = jax.process_index() == 0  # who writes and shows; the others compute
    group = recorded_group(workdir, run, regroup)
    mesh = make_mesh(group)
    along = jax.NamedSharding(mesh, jax.P("replica"))
    replicas = init_group(run, group, mesh)
    task = jax.device_put(run.task, jax.NamedSharding(mesh, jax.P()))
    distributed.from_first(lambda: describe(run, workdir))

    call = jit_call(run, group, mesh)
    splits = run.task.splits
    score = {
        split: jax.jit(over_replicas(partial(evaluate, run, split), group, mesh), out_shardings=along)
        for split in splits.values()
    }
    keep = jax.jit(jax.vmap(partial(keep_best, run)), donate_argnums=0, out_shardings=along)

    training = run.config["training"]
    checkpoints = checkpoint.Checkpoints(workdir / "checkpoints", run=records.key(identity(run.config)))
    step = distributed.from_first(lambda: checkpoints.latest() or 0)
    if step:
        replicas = checkpoints.restore(step, replicas)
        check_members(workdir, group, *distributed.read((replicas.seed, replicas.learning_rate)))
        if (there := int(distributed.read(replicas.step).max())) != step:
            raise ValueError(
                f"{workdir}/checkpoints/{step} is the checkpoint of step {there}; give it its own name again"
            )
    distributed.from_first(lambda: check_log(run, workdir / "metrics.jsonl", step))
    if first and not step and run.config["optimizer"]["warmup"] >= training["steps"]:
        say(
            f"{name}: the rate rises in all of the {training['steps']} steps and never falls, since optimizer.warmup="
            f"{run.config['optimizer']['warmup']}"
        )
    log = records.Metrics(workdir / "metrics.jsonl") if first else None
    board = Board(workdir / "tensorboard", group, step) if first and tensorboard else None
    saved = begun = time.monotonic()

    def note(split: str, row: Mapping[str, Any], **more: float) -> None:
        if log:
            log.write(step=step, split=split, **row, **more)
        if board:
            board.write(step, split, row)

    showing = Display(name, training["steps"], step) if first else contextlib.nullcontext()
    with command.Signals() as signals, showing as display:
        alive = distributed.read(replicas.alive)
        compiling = {}
        if step < training["steps"] and alive.any():
            call = call.lower(replicas, task).compile()
            compiling, begun = {"compile_seconds": time.monotonic() - begun}, time.monotonic()
        while step < training["steps"] and alive.any():
            replicas, measured = call(replicas, task)
            step += training["steps_per_call"]
            measured, alive = distributed.read((measured, replicas.alive))
            now = time.monotonic()
            row = {
                "loss": measured["loss"],
                run.task.metric: measured["score"],
                "gradient_norm": measured["gradient_norm"],
            }
            note("train", row, seconds=now - begun, **compiling)
            compiling = {}  # said once, of the first call
            begun = now

            if step % training["eval_every"] == 0 or step == training["steps"]:
                scores = {}
                for split in splits:
                    result = score[splits[split]](replicas, task, stream(split))
                    scores[split] = result["score"]
                    result = distributed.read(result)
                    row = {"loss": result["loss"], run.task.metric: result["score"]}
                    note(split, row, seconds=time.monotonic() - begun)
                    begun = time.monotonic()
                replicas = keep(replicas, scores)
            if display:
                display.step(step, **display_values(run, measured, alive))

            over = step == training["steps"] or not alive.any()
            caught, due = distributed.largest(signals.caught or 0, now - saved >= save_seconds)
            if over or caught or due:
                if log:
                    log.sync()  # so that no checkpoint is ahead of its log, even where the power fails
                checkpoints.save(step, replicas)
                saved = time.monotonic()
            if caught and not over:
                checkpoints.wait()
                raise command.Stopped(
                    f"{command.INTERRUPTED[signal.Signals(caught)]}: saved step {step} of {training['steps']} in "
                    f"{workdir}; the same command goes on from there",
                    128 + caught,
                )
    checkpoints.wait()
    checkpoints.close()
    if log:
        log.close()
    if board:
        board.close()
    end = distributed.read(replicas._replace(params=None, optimizer=None, best_params=None))
    return distributed.from_first(lambda: summary(run, group, end, records.read_metrics(workdir / "metrics.jsonl")))


def describe(run: Run, workdir: Path) -> None:
    """Write where a run takes place and, on real data, what its task is without them."""
    records.add_environment(workdir / "environment.json")
    if run.config["task"].get("dataset"):
        records.write_json(workdir / "task.json", description(run.task))


@contextlib.contextmanager
def claim(workdir: Path, config: Mapping[str, Any]) -> Iterator[None]:
    """Make `workdir` this config's, and this process's while it lasts; ValueError if it is another's."""
    path = workdir / "config.json"
    workdir.mkdir(parents=True, exist_ok=True)
    with records.locked(workdir):
        if not path.exists():
            records.write_json(path, config)
        theirs, ours = records.read_json(path, records.CONFIG), config
        theirs_at, ours_at = identity(theirs), identity(ours)
        other = sorted(k for k in theirs_at | ours_at if theirs_at.get(k) != ours_at.get(k))
        if other:
            was, wanted = flattened(theirs), flattened(ours)
            told = [f"{name} is {was.get(name)!r}, not {wanted.get(name)!r}" for name in other[:3]]
            more = f" and {len(other) - 3} more" if len(other) > 3 else ""
            raise ValueError(
                f"{workdir} holds another config's run ({'; '.join(told)}{more}); give another --workdir, "
                f"or that run's own values to go on with it"
            )
        yield


def recorded_group(workdir: Path, run: Run, regroup: bool) -> Group:
    """How this run's replicas were first grouped, which a resumed one keeps: another way gives other last bits."""
    path = workdir / "group.json"
    read = distributed.from_first(
        lambda: records.read_json(path, records.GROUP) if path.exists() and not regroup else None
    )
    if read:
        group = group_of(read)
        check_members(workdir, form_group(run.config), group.seeds, group.learning_rates)
        if (begun := group.devices * group.shards) > len(jax.devices()):
            raise ValueError(
                f"{workdir} was begun on {begun} devices and {len(jax.devices())} are here; "
                f"--regroup goes on all the same, with other last bits"
            )
        return group
    group, more = form_group(run.config), {}
    make_mesh(group)  # raises before anything is written
    if group.how == "measured":
        group, ways = fastest(run, group)
        more = {"measured": ways}
    distributed.from_first(lambda: records.write_json(path, {**group._asdict(), **more}))
    return group


def check_members(workdir: Path, group: Group, seeds: Sequence[int], learning_rates: Sequence[float]) -> None:
    """Refuse, with ValueError, other seeds or learning rates than the group's: a file was changed."""
    same = np.array_equal(group.seeds, seeds) and np.array_equal(
        np.asarray(group.learning_rates, np.float32), np.asarray(learning_rates, np.float32)
    )
    if not same:
        raise ValueError(
            f"{workdir}: config.json, group.json and the newest checkpoint are not of the same seeds and learning "
            f"rates, so one of them was changed; put it back from a copy, or start anew in another directory"
        )


def check_log(run: Run, path: Path, step: int) -> None:
    """Refuse, with ValueError, a log that lacks what was written up to `step`: time and curves would be of a part.

    What is damaged behind that is cut off: it is made again.
    """
    rows, size, damage = records.read_lines(path, records.ROW)
    training, there = run.config["training"], {(row["step"], row["split"]) for row in rows}
    for at in range(training["steps_per_call"], step + 1, training["steps_per_call"]):
        evaluated = at % training["eval_every"] == 0 or at == training["steps"]
        for split in ("train", *(run.task.splits if evaluated else ())):
            if (at, split) not in there:
                raise ValueError(
                    f"{damage or path}: there is no row of {split} at step {at}, though the run was saved at step "
                    f"{step}; put the file back from a copy, or start anew in another directory"
                )
    if damage:
        os.truncate(path, size)


def group_of(saved: Mapping[str, Any]) -> Group:
    """The group that a group.json holds."""
    seeds, rates = tuple(saved["seeds"]), tuple(saved["learning_rates"])
    return Group(saved["how"], saved["devices"], seeds, rates, saved.get("shards", 1))  # an older run has no shards


def display_values(run: Run, measured: Mapping[str, np.ndarray], alive: np.ndarray) -> dict[str, float]:
    """Means over the replicas that are alive, and how many are not."""
    values = {"loss": measured["loss"], run.task.metric: measured["score"]}
    shown = {key: float(value[alive].mean()) if alive.any() else float("nan") for key, value in values.items()}
    return shown if alive.all() else {**shown, "diverged": int((~alive).sum())}


def summary(run: Run, group: Group, replicas: Replica, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What is kept of a finished run: a row a replica, its scores at its best validation step; cost; time.

    Scores are those of the state; `rows`, of the log, say how long it took.

    `seconds` are those of everything, `training_seconds` of training steps alone, without compiling and evaluating.
    """
    members = []
    for index, (seed, rate) in enumerate(zip(group.seeds, group.learning_rates, strict=True)):
        best = int(replicas.best_step[index])
        scores = {split: float(score[index]) for split, score in replicas.best_scores.items()} if best else {}
        members.append(
            {
                "seed": seed,
                "learning_rate": rate,
                "best_step": best,
                "validation": float(replicas.best_score[index]),
                "test": scores.get("test"),
                "scores": scores,
                "died_at": int(replicas.died_at[index]) if not replicas.alive[index] else None,
            }
        )
    return {
        "key": records.key(identity(run.config)),
        "status": "finished" if (replicas.alive & (replicas.best_step > 0)).any() else "diverged",
        "metric": run.task.metric,
        "best": run.task.best,
        "chance": run.task.chance,
        "baseline": run.task.baseline,
        "replicas": members,
        "cost": costs(run),
        "seconds": sum(row["seconds"] + row.get("compile_seconds", 0) for row in rows),
        "training_seconds": sum(row["seconds"] for row in rows if row["split"] == "train"),
        "steps": int(replicas.step.max()),
    }


def costs(run: Run) -> dict[str, int]:
    """Parameters, floats of state, and FLOPs of the products in one training step of one replica."""
    batch = jax.eval_shape(lambda task: sample_longest(task, run.config["training"]["batch"]), run.task)
    params = jax.eval_shape(lambda: init_params(run, jnp.uint32(0)))
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape[1:]), leaf.dtype), batch)
    _, state = jax.eval_shape(
        lambda p, b: run.model.apply({"params": p}, b.inputs, positions=b.positions, segments=b.segments), params, one
    )
    return {
        "parameters": cost.parameters(params),
        "mixer_parameters": cost.mixer_parameters(params),
        "state_floats": cost.state_floats(state),
        "step_flops": cost.flops(jax.grad(lambda p, b: run.task.loss(apply(run, p, b), b)), params, batch),
    }


class Board:
    """TensorBoard files: a run for each replica, a tag for each split and metric, so that replicas share their charts.

    Not by tensorboardX's SummaryWriter: it writes in a thread, which a full disk ends, and then it blocks for ever.
    """

    def __init__(self, directory: Path, group: Group, step: int):
        try:
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto import event_pb2
            from tensorboardX.summary import scalar
        except ImportError as error:
            raise ValueError(f"TensorBoard files need {error.name}; install it, or give --notensorboard") from None
        events: Any = event_pb2  # its names are made when it is imported
        self.event, self.scalar = events.Event, scalar
        restart = events.SessionLog(status=events.SessionLog.START)  # hides what was logged after the checkpoint
        self.files: dict[Path, Any] = {}
        for seed, rate in zip(group.seeds, group.learning_rates, strict=True):
            path = directory / f"seed{seed}-rate{rate:g}"
            with records.named(path):
                path.mkdir(parents=True, exist_ok=True)
                self.files[path] = EventsWriter(str(path / "events"), f".{step}")
                self.files[path].write_event(self.event(wall_time=time.time(), step=step + 1, session_log=restart))
                self.files[path].flush()

    def write(self, step: int, split: str, row: Mapping[str, np.ndarray]) -> None:
        for index, (path, file) in enumerate(self.files.items()):
            with records.named(path):
                for metric, values in row.items():
                    summary = self.scalar(f"{split}/{metric}", float(np.asarray(values)[index]))
                    file.write_event(self.event(wall_time=time.time(), step=step, summary=summary))
                if split != "train":
                    file.flush()

    def close(self) -> None:
        for path, file in self.files.items():
            with records.named(path):
                file.close()


# ---- the command ----------------------------------------------------------------------------------------------------


def export(workdir: Path, to: Path, index: int, which: str) -> None:
    """One replica of a run as an ordinary checkpoint: `to`/params, beside the config.json that builds its model and, of
    a task on real data, task.json, with all that a model of it needs but the data.

    Raises ValueError where there is no such run, replica or checkpoint, and FileExistsError where `to` exists.
    """
    config = of_replica(workdir, index)
    if to.exists():
        raise FileExistsError(f"{to} exists already; --export needs a new directory")
    params = saved_params(workdir, index, which)
    to.mkdir(parents=True)
    checkpoint.save_params(to / "params", params, records.key(identity(config)))
    if (workdir / "task.json").exists():
        records.write_json(to / "task.json", records.read_json(workdir / "task.json", records.TASK, MEND))
    records.write_json(to / "config.json", config)


def of_replica(workdir: Path, index: int) -> dict[str, Any]:
    """The config of a run as if this replica had been its only one."""
    if not (workdir / "group.json").exists():
        raise ValueError(f"{workdir} holds no run; --workdir names the one to export from")
    config = records.read_json(workdir / "config.json", records.CONFIG, MEND)
    group = records.read_json(workdir / "group.json", records.GROUP)
    if not 0 <= index < len(group["seeds"]):
        raise ValueError(f"--replica={index}: {workdir} has replicas 0 to {len(group['seeds']) - 1}")
    config["replicas"] = {"seeds": [group["seeds"][index]], "learning_rates": [group["learning_rates"][index]]}
    config["replicas"]["how"] = group["how"]
    return config


def saved_params(workdir: Path, index: int, which: str) -> Any:
    """What a run's newest checkpoint has of a replica: its "best" parameters, or the "last"."""
    return checkpoint.replica(saved_state(workdir)["best_params" if which == "best" else "params"], index)


def saved_members(workdir: str | Path, part: str = "best_params") -> list[Any]:
    """The newest parameters of every replica of a run, on the default device: its best ones, or its "params".

    Raises ValueError as `saved_state` does.
    """
    state = saved_state(Path(workdir))
    return [jax.device_put(checkpoint.replica(state[part], index)) for index in range(len(state["seed"]))]


def saved_state(workdir: Path) -> Any:
    """A run's newest checkpoint, as nested dicts of numpy arrays, on however many devices it was made.

    Raises ValueError, in one line, where there is none, it can't be read, or it is not of the run that config.json,
    group.json and result.json are of.
    """
    config = records.read_json(workdir / "config.json", records.CONFIG, MEND)
    key, result = records.key(identity(config)), workdir / "result.json"
    checkpoints = checkpoint.Checkpoints(workdir / "checkpoints", read_only=True, run=key)
    state = checkpoints.raw()
    if not isinstance(state, Mapping) or not {"params", "best_params", "seed", "learning_rate"} <= set(state):
        raise ValueError(f"{workdir}/checkpoints are of another format than train.py writes: they hold no best_params")
    group = group_of(records.read_json(workdir / "group.json", records.GROUP))
    check_members(workdir, group, state["seed"], state["learning_rate"])
    if result.exists() and (steps := records.read_json(result, records.RESULT)["steps"]) != checkpoints.latest():
        raise ValueError(
            f"{workdir}: result.json is of step {steps} and the newest checkpoint of step {checkpoints.latest()}; "
            f"delete result.json, and the command that trained it makes the rest again"
        )
    return state


def load_exported(directory: str | Path, data_dir: str | Path | None = None) -> tuple[Run, Any]:
    """The run and the parameters of what `--export` wrote: `run.model.apply({"params": params}, inputs)`.

    Of real data nothing is needed, and `run.task` has none to sample; with a `data_dir` it has. Raises ValueError where
    mixer, task, loop or those data have changed since: the parameters would mean something else now.
    """
    directory = Path(directory)
    config, described = records.read_json(directory / "config.json", records.CONFIG, MEND), directory / "task.json"
    task = task_of(config, records.read_json(described, records.TASK, MEND)) if described.exists() else None
    run = rebuilt(config, directory, data_dir or "data", task if data_dir is None else None)
    params = checkpoint.load_params(directory / "params", records.key(identity(config)))
    check_params(run, params, directory)
    return run, params


def check_params(run: Run, params: Any, directory: Path) -> None:
    """Refuse, with ValueError, parameters that are not of the shapes of the run's model."""
    expected = jax.eval_shape(lambda: init_params(run, jnp.uint32(0)))
    if jax.tree.structure(params) != jax.tree.structure(expected) or any(
        a.shape != b.shape for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True)
    ):
        raise ValueError(f"{directory} holds parameters of another model than its config.json says; train it anew")


def description(task: Any) -> dict[str, Any]:
    """A task without its arrays, of which only shapes and types are kept, as JSON can hold it."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(task):
        value = getattr(task, field.name)
        if field.metadata.get("pytree_node", True):
            shapes = jax.tree.map(lambda leaf: {"shape": list(leaf.shape), "dtype": str(leaf.dtype)}, value)
            found[field.name] = {"arrays": shapes}
        else:
            found[field.name] = {"value": value}
    return {"fields": found}


def task_of(config: Mapping[str, Any], described: Mapping[str, Any]) -> Any:
    """The task that `description` is of, with nothing but the shapes of its arrays."""

    def is_shape(tree: Any) -> bool:
        return isinstance(tree, dict) and set(tree) == {"shape", "dtype"}

    def tuples(value: Any) -> Any:
        return tuple(map(tuples, value)) if isinstance(value, list) else value

    def rebuild(field: Mapping[str, Any]) -> Any:
        if "value" in field:
            return tuples(field["value"])
        struct = lambda leaf: jax.ShapeDtypeStruct(tuple(leaf["shape"]), leaf["dtype"])  # noqa: E731
        return jax.tree.map(struct, field["arrays"], is_leaf=is_shape)

    return tasks.TASKS[config["task"]["name"]](**{k: rebuild(field) for k, field in described["fields"].items()})


def load(directory: str | Path, data_dir: str | Path = "data", index: int = 0) -> tuple[Run, Any]:
    """The run and the best parameters of one replica of a workdir, or of what `--export` wrote; nothing is written.

    The task of an export has its data where `data_dir` has the same. Raises ValueError, in one line, for anything else,
    and for parameters that are not those of the config's model.
    """
    directory = Path(directory)
    exported = (directory / "params").exists()
    if not (directory / "config.json").exists() or not (exported or (directory / "group.json").exists()):
        raise ValueError(
            f"{directory} is no run: it must hold config.json, and group.json and checkpoints/ as --workdir leaves "
            f"them or params/ as --export does"
        )
    if exported:
        return load_exported(directory, data_dir if has_data(directory, data_dir) else None)
    run = rebuilt(of_replica(directory, index), directory, data_dir)
    params = jax.device_put(saved_params(directory, index, "best"))
    check_params(run, params, directory)
    return run, params


def has_data(directory: Path, data_dir: str | Path) -> bool:
    """Whether the data that an exported model was trained on can be had."""
    config = records.read_json(directory / "config.json", records.CONFIG, MEND)
    try:
        return config["versions"].get("data") == versions(config, data_dir).get("data")
    except (OSError, ImportError, ValueError, KeyError):
        return False


def rebuilt(config: Mapping[str, Any], directory: str | Path, data_dir: str | Path, task: Any = None) -> Run:
    """The run of a config.json that was read in `directory`, on `task` where it is given."""
    try:
        recorded = config["versions"]
        if task is None:
            run = build(config, data_dir)
        else:
            check(config)
            apart = {**config, "task": {"name": config["task"]["name"]}}
            run = assemble(config, task, {**versions(apart), "data": recorded["data"]})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{directory}/config.json is of another format than train.py writes ({type(error).__name__}: {error}); "
            f"check out the revision that wrote it"
        ) from error
    if run.config["versions"] != recorded:
        raise ValueError(
            f"{directory} was made by versions {recorded} and this is {run.config['versions']}; "
            f"check out the revision in the run's environment.json"
        )
    return run


def define_flags() -> None:
    """Called where this file is the program: experiments import it and have flags of their own."""
    config_flags.DEFINE_config_file("config", None, "A config file and, after a colon, its mixer; see above.")
    flags.DEFINE_string("workdir", None, "Where the run's files go, and where it goes on from.", required=True)
    flags.DEFINE_string("data_dir", "data", "Where real data are prepared, once, and read from.")
    flags.DEFINE_float("save_seconds", 20.0, "The longest time between checkpoints.", lower_bound=0)
    flags.DEFINE_bool("tensorboard", True, "Write TensorBoard files too.")
    flags.DEFINE_bool("regroup", False, "Go on with a run on fewer devices than it was begun on.")
    flags.DEFINE_string("export", None, "Write one replica of the finished or stopped run to this new directory.")
    flags.DEFINE_integer("replica", 0, "Which one --export takes.")
    flags.DEFINE_enum("which", "best", ["best", "last"], "Which of its parameters --export takes.")
    flags.DEFINE_bool("distributed", False, "Train with the other processes of the cluster, which JAX finds.")
    flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, where JAX knows of no cluster.")
    flags.DEFINE_integer("processes", None, "How many processes train together.", lower_bound=1)
    flags.DEFINE_integer("process", None, "Which of them this is, from 0.", lower_bound=0)


def main() -> None:
    args: Any = flags.FLAGS
    for name in ("workdir", "data_dir", "export"):
        if args[name].value == "":
            raise ValueError(f"--{name}= names no directory")
        if args[name].value:
            args[name].value = os.path.expanduser(args[name].value)  # which a shell does not do after "="
    if args.export:
        export(Path(args.workdir), Path(args.export), args.replica, args.which)
        print(f"replica {args.replica} of {args.workdir} is in {args.export}")
        return
    if args.config is None:
        known = sorted(path.stem for path in (Path(__file__).parent / "configs").glob("[a-z]*.py"))
        raise ValueError(f"give --config=configs/NAME.py:MIXER, with NAME one of {', '.join(known)}")
    with distributed.joined(args.distributed, args.coordinator, args.processes, args.process):
        fit_and_tell(args)


def fit_and_tell(args: Any) -> None:
    replicas = args.config.replicas
    members = max(1, len(replicas.seeds)) * max(1, len(replicas.learning_rates))
    machine.prepare(-(-members // (args.processes or 1)) if not args.distributed else 1)
    distributed.check_even()
    result = train(
        args.config,
        args.workdir,
        data_dir=args.data_dir,
        name=args.config.model.mixer,
        save_seconds=args.save_seconds,
        tensorboard=args.tensorboard,
        regroup=args.regroup,
    )
    if jax.process_index() > 0:
        return
    rule, score = result["baseline"]
    print(f"{result['status']}: {result['steps']} steps in {result['seconds']:.0f} s; {result['metric']}:")
    for index, member in enumerate(result["replicas"]):
        told = "diverged before its first evaluation" if member["test"] is None else f"test {member['test']:.4f}"
        died = "" if member["died_at"] is None else f", diverged at step {member['died_at']}"
        print(
            f"  replica {index}  seed {member['seed']}  rate {member['learning_rate']:g}  {told} "
            f"at step {member['best_step']}{died}"
        )
    print(f"  chance {result['chance']:.4f}; {rule} {score:.4f}; files in {args.workdir}")


if __name__ == "__main__":
    define_flags()
    command.run(main)
