"""Accumulation, smoothing, averages, patience, and what members may have of their own."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tasks
from tasks.base import smoothed_cross_entropy
from tests import assert_close, read_checkpoint, tiny_config
from training import builder, ensemble, export, files, loop, memory, optimizer, trainer


def train_member(fields: dict[str, Any], mixer: str = "rnn", calls: int = 1) -> tuple[builder.Run, trainer.TrainState]:
    """A run, and the state of its member with seed 0 after so many calls of five steps."""
    run = builder.build_run(tiny_config(mixer, fields=fields))
    plan = ensemble.plan_ensemble(run.config)
    state = trainer.init_train_state(run, 0, plan.learning_rates[0], **ensemble.member_values(plan, 0))
    steps = jax.jit(partial(trainer.train_steps, run))
    for _ in range(calls):
        state, _ = steps(state, run.task)
    return run, state


# ---- accumulation ---------------------------------------------------------------------------------------------------


class Uneven(tasks.Recall):
    """Targets that count unequally, and some sequences not at all."""

    def sample(self, key, batch, max_length, length, subset="train"):  # pyright: ignore
        drawn = super().sample(key, batch, max_length, length, subset)
        factors = jnp.where(jnp.arange(batch) % 3 == 0, 0.0, 1.0 + jnp.arange(batch))
        return drawn._replace(weights=drawn.weights * factors[:, None])


class Doubled(Uneven):
    """A loss with weights of its own."""

    def loss_weights(self, batch):  # pyright: ignore
        return batch.weights * jnp.where(batch.targets % 2 == 0, 5.0, 1.0)


@pytest.mark.parametrize("parts", [2, 3, 6])
@pytest.mark.parametrize("task", [tasks.Recall, Uneven, Doubled])
def test_parts_of_a_batch_are_the_whole_batch(task: Any, parts: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(tasks.TASKS, "recall", task)
    fields = {"training.batch_size": 6, "optimizer.grad_clip_norm": 0.1}
    run, _ = train_member(fields, calls=0)
    cut = builder.build_run(tiny_config(fields={**fields, "training.accumulate_steps": parts}))
    state = trainer.init_train_state(run, 0, 0.01)
    after, metrics = jax.jit(partial(trainer.train_step, run))(run.task, state)
    in_parts, metrics_of_parts = jax.jit(partial(trainer.train_step, cut))(cut.task, state)
    assert_close(in_parts.params, after.params, within=1e-6)
    assert_close(metrics_of_parts, metrics, within=1e-5)


def test_parts_without_targets_count_for_nothing(monkeypatch: pytest.MonkeyPatch):
    class Silent(tasks.Recall):
        def sample(self, key, batch, max_length, length, subset="train"):  # pyright: ignore
            drawn = super().sample(key, batch, max_length, length, subset)
            return drawn._replace(weights=drawn.weights * (jnp.arange(batch) == 0)[:, None])

        def score(self, outputs, batch):  # pyright: ignore
            return super().score(outputs, batch) / batch.weights.sum()  # nan without a target

    monkeypatch.setitem(tasks.TASKS, "recall", Silent)
    run = builder.build_run(tiny_config(fields={"training.accumulate_steps": 4}))
    state, metrics = jax.jit(partial(trainer.train_step, run))(run.task, trainer.init_train_state(run, 0, 0.01))
    assert state.alive
    assert all(np.isfinite(value) for value in metrics.values())


# ---- label smoothing and z-loss -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("smoothing", "z_loss"), [(0.1, 0.0), (0.0, 1e-2), (0.2, 1e-3)])
def test_the_smoothed_loss_is_the_cross_entropy_with_smooth_targets_and_the_squared_log_of_z(
    smoothing: float, z_loss: float
):
    task = tasks.Recall(pairs=2, symbols=16, max_length=8)
    batch = task.sample(tasks.random_key(0), 4, 8, 8)
    outputs = jax.random.normal(jax.random.key(1), (4, 8, 16))
    targets = optax.smooth_labels(jax.nn.one_hot(batch.targets, 16), smoothing)
    nats = optax.softmax_cross_entropy(outputs, targets) + z_loss * jax.nn.logsumexp(outputs, axis=-1) ** 2
    expected = (nats * batch.weights).sum() / batch.weights.sum()
    ours = smoothed_cross_entropy(outputs, batch, smoothing, z_loss)
    np.testing.assert_allclose(ours, expected, rtol=1e-6)
    np.testing.assert_allclose(smoothed_cross_entropy(outputs, batch, 0.0, 0.0), task.loss(outputs, batch), rtol=1e-6)


def test_smoothing_is_of_training_alone():
    plain, state = train_member({}, calls=0)
    smoothed, _ = train_member({"training.label_smoothing": 0.3, "training.z_loss": 0.1}, calls=0)
    evaluate = partial(trainer.evaluate_split, split=plain.task.splits["test"], state=state, task=plain.task)
    losses = [evaluate(run, seed=jnp.asarray(trainer.split_seed("test")))["loss"] for run in (plain, smoothed)]
    assert losses[0] == losses[1]
    metrics = [trainer.train_step(run, run.task, state)[1] for run in (plain, smoothed)]
    assert metrics[0]["loss"] < metrics[1]["loss"]
    assert metrics[0]["score"] == metrics[1]["score"]


# ---- the average ----------------------------------------------------------------------------------------------------


def test_the_average_is_optaxs_of_the_parameters_after_each_step():
    run = builder.build_run(tiny_config(fields={"optimizer.ema_decay": 0.9}))
    average = optax.ema(0.9)
    state = trainer.init_train_state(run, 0, 0.01)
    kept, step = average.init(state.params), jax.jit(partial(trainer.train_step, run))
    assert_close(trainer.evaluated_params(state), state.params, within=0)
    for _ in range(4):
        state, _ = step(run.task, state)
        expected, kept = average.update(state.params, kept)
        assert_close(state.ema_params, expected, within=1e-6)


def test_the_average_is_evaluated_kept_and_exported(tmp_path: Path):
    fields = {"optimizer.ema_decay": 0.95, "ensemble.seeds": (0, 1)}
    result = loop.train(tiny_config(fields=fields), tmp_path / "run", tensorboard=False)
    average = jax.tree.map(lambda leaf: leaf[1], read_checkpoint(tmp_path / "run")["ema_params"])
    assert_close(export.load_members(tmp_path / "run", "params")[1], average, within=0)
    best = export.load_members(tmp_path / "run")
    run, params = export.load(tmp_path / "run", member=1)
    assert_close(params, best[1])
    state = trainer.init_train_state(run, 1, 0.01)
    score = trainer.evaluate_split(run, run.task.splits["test"], state._replace(ema_params=params), run.task,
                                   jnp.asarray(trainer.split_seed("test")))["score"]  # fmt: skip
    assert float(score) == pytest.approx(result["members"][1]["test"] or 0, abs=1e-6)
    for which in ("best", "last"):
        export.export_member(tmp_path / "run", tmp_path / which, 1, which)
    assert_close(export.load_exported(tmp_path / "last")[1], average, within=0)


# ---- patience -------------------------------------------------------------------------------------------------------


def test_a_member_stops_after_so_many_evaluations_that_were_not_better():
    run = builder.build_run(tiny_config(fields={"training.patience": 2}))
    state = trainer.init_train_state(run, 0, 0.01)
    scores = [0.3, 0.3, 0.5, 0.4, float("nan"), 0.9]
    stopped = []
    for index, score in enumerate(scores):
        state = state._replace(step=jnp.int32(10 * index))
        state = trainer.keep_best(run, state, {name: jnp.float32(score) for name in state.best_scores})
        stopped.append(int(state.stopped_at))
    assert stopped == [-1, -1, -1, -1, 40, 40]
    assert (state.best_score, state.best_step, state.alive) == (0.5, 20, True)
    after, _ = jax.jit(partial(trainer.train_step, run))(run.task, state)
    assert_close((after.params, after.optimizer), (state.params, state.optimizer), within=0)
    assert (after.step, after.died_at, after.alive) == (51, -1, True)


@pytest.mark.parametrize(("keep", "kept"), [("best", (0.5, 10)), ("last", (0.4, 20))])
def test_the_best_or_the_last_is_kept(keep: str, kept: tuple[float, int]):
    run = builder.build_run(tiny_config(fields={"training.keep": keep}))
    state = trainer.init_train_state(run, 0, 0.01)
    first = state.params
    for index, score in enumerate([0.3, 0.5, 0.4]):
        params = jax.tree.map(lambda leaf, by=index: leaf + by, first)
        state = state._replace(step=jnp.int32(10 * index), params=params)
        state = trainer.keep_best(run, state, {name: jnp.float32(score) for name in state.best_scores})
    expected = jax.tree.map(lambda leaf: leaf + kept[1] // 10, first)
    assert (float(state.best_score), int(state.best_step)) == (pytest.approx(kept[0]), kept[1])
    assert_close(state.best_params, expected, within=0)
    dead = state._replace(alive=jnp.bool_(False), step=jnp.int32(30))
    dead = trainer.keep_best(run, dead, {name: jnp.float32(0.9) for name in state.best_scores})
    assert int(dead.best_step) == kept[1]


def test_members_are_evaluated_on_the_same_sequences_or_each_on_its_own():
    seed = jnp.asarray(trainer.split_seed("test"))
    losses = {}
    for sets in ("shared", "by_seed"):
        run = builder.build_run(tiny_config(fields={"training.eval_sets": sets}))
        state = trainer.init_train_state(run, 0, 0.01)
        for number in (0, 1):  # the same parameters
            member = state._replace(seed=jnp.uint32(number))
            losses[sets, number] = float(
                trainer.evaluate_split(run, run.task.splits["test"], member, run.task, seed)["loss"]
            )
    assert losses["shared", 0] == losses["shared", 1]
    assert losses["by_seed", 0] != losses["by_seed", 1]


def test_a_run_ends_when_all_members_have_stopped(tmp_path: Path):
    """With a learning rate that moves nothing, no evaluation after the first is better."""
    fields = {"training.patience": 2, "optimizer.learning_rate": 1e-12, "ensemble.seeds": (0, 1)}
    config = tiny_config(fields=fields)
    result = loop.train(config, tmp_path, tensorboard=False, save_seconds=0)
    assert (result["status"], result["steps"]) == ("finished", 30)
    assert [(m["stopped_at"], m["died_at"]) for m in result["members"]] == [(30, None)] * 2  # pyright: ignore
    (tmp_path / "result.json").unlink()
    assert loop.train(config, tmp_path, tensorboard=False) == result


# ---- members --------------------------------------------------------------------------------------------------------


def test_members_have_their_own_weight_decay_and_momentum_and_results_say_which(tmp_path: Path):
    fields = {"ensemble.weight_decays": (0.0, 0.5), "ensemble.momenta": (0.8, 0.95), "ensemble.mode": "vmap",
              "optimizer.name": "lion", "optimizer.learning_rate": 1e-3}  # fmt: skip
    result = loop.train(tiny_config(fields=fields), tmp_path / "run")
    group = files.read_json(tmp_path / "run/group.json")
    values = [(0.8, 0.0), (0.8, 0.5), (0.95, 0.0), (0.95, 0.5)]
    assert list(zip(group["momenta"], group["weight_decays"], strict=True)) == values
    assert [(m["momentum"], m["weight_decay"]) for m in result["members"]] == values  # pyright: ignore
    assert len(list((tmp_path / "run/tensorboard").iterdir())) == 4
    saved = read_checkpoint(tmp_path / "run")
    for index, (momentum, decay) in enumerate(values):
        alone = {"optimizer.name": "lion", "optimizer.learning_rate": 1e-3, "optimizer.weight_decay": decay,
                 "optimizer.options": f"b1={momentum}"}  # fmt: skip
        loop.train(tiny_config(fields=alone), tmp_path / f"{index}", tensorboard=False)
        ours = jax.tree.map(lambda leaf, i=index: leaf[i], saved["params"])
        assert_close(ours, jax.tree.map(lambda leaf: leaf[0], read_checkpoint(tmp_path / f"{index}")["params"]), 2e-3)
    run, _ = export.load(tmp_path / "run", member=3)
    assert run.config["ensemble"]["momenta"] == [0.95]
    export.export_member(tmp_path / "run", tmp_path / "one", 3, "best")
    assert export.load_exported(tmp_path / "one")[0].config["ensemble"]["weight_decays"] == [0.5]


def test_without_them_files_have_the_form_that_they_had(tmp_path: Path):
    loop.train(tiny_config(fields={"training.steps": 5, "training.eval_every": 5}), tmp_path, tensorboard=False)
    assert set(files.read_json(tmp_path / "group.json")) == {"mode", "devices", "shards", "seeds", "learning_rates"}
    assert set(read_checkpoint(tmp_path)) == {
        "step", "seed", "learning_rate", "params", "optimizer", "best_params", "best_score", "best_scores",
        "best_step", "alive", "died_at",
    }  # fmt: skip
    key = builder.fingerprint_fields(builder.build_run(tiny_config()).config)
    old = {"learning_rate", "warmup_steps"}
    assert {name for name in key if name.startswith("optimizer.")} == {f"optimizer.{name}" for name in old}


# ---- a whole recipe -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["map", "vmap"])
@pytest.mark.parametrize("name", ["muon", "sgd", "adafactor", "rmsprop"])
def test_a_member_trains_as_it_does_alone(name: str, mode: str):
    fields = {"optimizer.name": name, "ensemble.learning_rates": (1e-2, 3e-3), "ensemble.mode": mode}
    run = builder.build_run(tiny_config("lstm", fields=fields))
    plan = ensemble.plan_ensemble(run.config)
    mesh = ensemble.make_mesh(plan)
    states, _ = ensemble.jit_train_steps(run, plan, mesh)(ensemble.init_ensemble(run, plan, mesh), run.task)
    for index, rate in enumerate(plan.learning_rates):
        alone = trainer.init_train_state(run, 0, rate)
        alone, _ = jax.jit(partial(trainer.train_steps, run))(alone, run.task)
        assert_close(jax.tree.map(lambda leaf, i=index: leaf[i], states.params), alone.params, within=2e-5)
        assert states.alive.all()


# ---- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"optimizer.name": "adamW"}, "optimizer.name=adamW: must be one of .*; did you mean adamw?"),
        ({"optimizer.name": "soap"}, "optimizer.name=soap: must be one of"),
        ({"optimizer.name": "lbfgs"}, "optimizer.name=lbfgs: its line search"),
        ({"optimizer.name": "schedule_free_adamw"}, "evaluates other parameters than it trains"),
        ({"optimizer.name": "sgd", "optimizer.options": "momentun=0.9"}, "sgd has no momentun; did you mean momentum?"),
        ({"optimizer.name": "sgd", "optimizer.options": "momentum"}, "optimizer.options=momentum: must be like"),
        ({"optimizer.name": "sgd", "optimizer.options": "momentum='much'"}, "sgd can't be used so"),
        ({"optimizer.options": "b1=0.9"}, "b1 is given by optimizer.b1"),
        ({"optimizer.name": "lion", "optimizer.options": "weight_decay=1"}, "weight_decay is given by optimizer"),
        ({"optimizer.name": "lion", "optimizer.b1": 0.95}, "optimizer.b1=0.95: is of adamw, adam, muon; leave it"),
        ({"optimizer.name": "sgd", "optimizer.weight_decay": 0.1}, "weight_decay=0.1: sgd has none; .* optimizer.l2"),
        ({"optimizer.schedule": "cosin"}, "optimizer.schedule=cosin: must be one of .*; did you mean cosine?"),
        ({"optimizer.schedule": "wsd", "optimizer.decay_share": 0.9}, "5 steps of warm-up and 36 of decay are 41"),
        ({"optimizer.decay_share": 1.5}, "optimizer.decay_share=1.5: must be a number from 0 to 1"),
        ({"optimizer.decay_mask": "biases"}, "optimizer.decay_mask=biases: must be one of"),
        ({"optimizer.ema_decay": 1.0}, "optimizer.ema_decay=1.0: must be at least 0 and below 1"),
        ({"training.accumulate_steps": 3}, "training.accumulate_steps=3: must divide training.batch_size=4"),
        ({"training.label_smoothing": 1.0}, "training.label_smoothing=1.0: must be at least 0 and below 1"),
        ({"training.z_loss": -1.0}, "training.z_loss=-1.0: must be a number from 0"),
        ({"training.patience": -1}, "training.patience=-1: must be a number from 0"),
        ({"training.patience": 2, "training.keep": "last"}, "training.keep=last: with training.patience the best is"),
        ({"training.keep": "lst"}, "training.keep=lst: must be one of best, last; did you mean last?"),
        ({"training.eval_sets": "own"}, "training.eval_sets=own: must be one of shared, by_seed"),
        ({"ensemble.weight_decays": (0.1, 0.1)}, "ensemble.weight_decays=.*: each may be given once"),
        ({"ensemble.momenta": (1.0,)}, "ensemble.momenta=1.0: must be at least 0 and below 1"),
        ({"ensemble.momenta": (0.9,), "optimizer.name": "adagrad"}, "ensemble.momenta: adagrad has no momentum"),
        ({"ensemble.weight_decays": (0.1,), "optimizer.name": "sgd"}, "ensemble.weight_decays: sgd has no"),
        (
            {"ensemble.momenta": (0.9,), "optimizer.name": "sgd", "optimizer.options": "momentum=0.5"},
            "momentum is given by ensemble.momenta",
        ),
    ],
)  # fmt: skip
def test_a_recipe_that_does_not_fit_together_is_refused_in_one_line(fields: dict[str, Any], says: str):
    with pytest.raises(ValueError, match=says) as error:
        builder.build_run(tiny_config(fields=fields))
    assert "\n" not in str(error.value)


def test_smoothing_is_refused_where_the_loss_is_no_cross_entropy():
    from configs.curve import get_config

    config: Any = get_config()
    for name in ("label_smoothing", "z_loss"):
        config.training.update({"label_smoothing": 0.0, "z_loss": 0.0, name: 0.1})
        with pytest.raises(ValueError, match=f"training.{name}=0.1: is for cross entropies, and the loss of Curve is"):
            builder.build_run(config)


def test_options_are_read_as_python_writes_them():
    read = optimizer.parse_options("momentum=0.9, nesterov=True, mu_dtype=bfloat16, betas=(0.9, 0.95), power=-1e-3")
    expected = {"momentum": 0.9, "nesterov": True, "mu_dtype": "bfloat16", "betas": (0.9, 0.95), "power": -1e-3}
    assert read == expected
    assert optimizer.parse_options("") == {}
    assert optimizer.parse_options("nesterov=false, adaptive=TRUE") == {"nesterov": False, "adaptive": True}
    with pytest.raises(ValueError, match="momentum is given twice; give it once"):
        optimizer.parse_options("momentum=0.9, momentum=0.5")
    for text in ("0.9", "a=b()", "a=1)(", "**x"):
        with pytest.raises(ValueError, match=r"optimizer\.options="):
            optimizer.parse_options(text)


def test_a_word_is_no_switch():
    """Any text is true in Python, so "off" would turn Nesterov's momentum on."""
    fields = {"optimizer.name": "sgd", "optimizer.options": "momentum=0.9, nesterov=off", "optimizer.weight_decay": 0.0}
    with pytest.raises(ValueError, match="nesterov must be True or False"):
        builder.build_run(tiny_config(fields=fields))


def test_the_least_memory_is_of_the_optimizers_own_state():
    sizes = {}
    for name, fields in {"adamw": {}, "sgd": {"optimizer.name": "sgd"}, "ema": {"optimizer.ema_decay": 0.9}}.items():
        run = builder.build_run(tiny_config(fields=fields))
        sizes[name] = memory.estimate_memory(run) / memory.count_run_params(run) / 4
    features = sizes["adamw"] - 5
    assert 0 < features < 1
    assert (sizes["sgd"], sizes["ema"]) == (pytest.approx(3 + features), pytest.approx(6 + features))
