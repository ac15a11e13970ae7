"""Optimizers by name: each equals optax's own loop, alone and in an ensemble; what they take, and what is refused."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import assert_close, tiny_config
from training import optimizer
from training.optimizer import StepValues

STEPS, WARMUP, CLIP = 8, 2, 3.0
RATES = (3e-2, 1e-2)
TOY_PARAMS: Any = {
    "mixer_0": {"input": {"kernel": np.cos(np.arange(48.0)).reshape(4, 12), "bias": np.ones(12)}},
    "head": {"kernel": np.sin(np.arange(24.0)).reshape(12, 2)},
}
# Options without which optax's own default can't be used here: the moments of adafactor are factored from 128 on.
OPTIONS = {
    "dadapt_adamw": "estim_lr0=0.01",  # it and the next two would hardly move in eight steps
    "dog": "init_step=('heuristic', 0.01)",
    "prodigy": "estim_lr0=0.01",
    "adafactor": "min_dim_size_to_factor=2, momentum=0.9",
    "lars": "trust_coefficient=0.1",
    "muon": "adam_learning_rate=0.01",
    "rmsprop": "momentum=0.9, nesterov=True",
    "sgd": "momentum=0.9, nesterov=True",
}
WITHOUT_RATES = ("cocob", "dadapt_adamw", "dog", "dowg", "prodigy")  # which are made for a rate of 1


def toy_config(name: str, options: str = "", mixer: str = "gru", **fields: Any) -> dict[str, Any]:
    """A config whose network has the matrices of TOY_PARAMS: the three gates of a GRU, and a head."""
    changed = {f"optimizer.{field}": value for field, value in fields.items()}
    config = tiny_config(mixer, fields={"training.steps": STEPS, "training.steps_per_call": 4,
                                        "training.eval_every": 4, "optimizer.warmup_steps": WARMUP,
                                        "optimizer.grad_clip_norm": CLIP, **changed})  # fmt: skip
    config.optimizer.name, config.optimizer.options = name, options
    return config.to_dict()


def as_arrays() -> Any:
    return jax.tree.map(jnp.asarray, TOY_PARAMS)


def toy_loss(params: Any) -> jax.Array:
    """A problem whose gradients are sometimes clipped and sometimes not."""
    x = jnp.sin(jnp.arange(20.0)).reshape(5, 4)
    hidden = jnp.tanh(x @ params["mixer_0"]["input"]["kernel"] + params["mixer_0"]["input"]["bias"])
    return jnp.square(hidden @ params["head"]["kernel"] - 1 - x[:, :2]).mean() * 4


def optax_schedule(peak: float) -> Callable[[Any], Any]:
    """The default schedule, made of optax's own."""
    rising = optax.linear_schedule(1 / WARMUP, 1, WARMUP - 1)
    joined = optax.join_schedules([rising, optax.cosine_decay_schedule(1, STEPS - WARMUP)], [WARMUP])
    return lambda step: peak * joined(step)


def loop_ours(config: dict[str, Any], rate: Any, weight_decay: Any = None, momentum: Any = None) -> list[Any]:
    """The parameters after each step."""
    model = {**config["model"], "hidden_size": 4}
    ours = optimizer.build_optimizer(config, model)
    decay = config["optimizer"]["weight_decay"] if weight_decay is None else weight_decay

    def step(carry: Any, count: Any) -> Any:
        params, state = carry
        schedule = optimizer.learning_rate_schedule(config, count)
        loss, gradient = jax.value_and_grad(toy_loss)(params)
        values = StepValues(rate * schedule, schedule, decay, momentum)
        after = ours.step(gradient, state, params, values, loss)
        return after, after[0]

    return jax.lax.scan(step, (as_arrays(), ours.init(as_arrays())), jnp.arange(STEPS))[1]


def loop_optax(transform: Any) -> list[Any]:
    """The parameters after each step of the plain loop of optax's documentation."""
    transform = optax.with_extra_args_support(optax.chain(optax.clip_by_global_norm(CLIP), transform))

    def step(carry: Any, _: Any) -> Any:
        params, state = carry
        loss, gradient = jax.value_and_grad(toy_loss)(params)
        updates, state = transform.update(gradient, state, params, value=loss)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    return jax.lax.scan(step, (as_arrays(), transform.init(as_arrays())), length=STEPS)[1]


def make_optax(name: str, rate: float, **changed: Any) -> Any:
    """optax's optimizer as a user would write it, with the values of the config."""
    function = getattr(optax, name, None) or getattr(optax.contrib, name)
    arguments = optimizer.parse_options(OPTIONS.get(name, ""))
    if name in ("adam", "adamw"):
        arguments |= {"b1": 0.9, "b2": 0.98}
    if optimizer.has_weight_decay(name):
        mask = "mask" if "mask" in optimizer._parameters(name) else "weight_decay_mask"
        arguments |= {"weight_decay": 0.01, mask: optimizer.weight_decay_mask}
    if name == "muon":
        return reference_muon(rate)
    # findings/optax-sm3-schedule.sh
    return function(rate if name == "sm3" else optax_schedule(rate), **{**arguments, **changed})


def newton_schulz(matrix: jax.Array) -> jax.Array:
    """The iteration of Muon's authors: five steps on a matrix whose rows are no more than its columns."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (jnp.sqrt(jnp.square(x).sum()) + 1e-8)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def reference_muon(rate: float) -> optax.GradientTransformation:
    """Muon written out: each of three gates of [4, 4] is a matrix; bias and head get Adam at a rate of their own."""
    adam_rate = optax_schedule(0.01)
    decayed = optax.add_decayed_weights(0.01, mask=optimizer.weight_decay_mask)
    adam = optax.scale_by_adam(b1=0.9, b2=0.98)
    schedule = optax_schedule(rate)

    def init(params: Any) -> Any:
        return jnp.int32(0), jax.tree.map(jnp.zeros_like, params["mixer_0"]["input"]["kernel"]), adam.init(params)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        gradient, (count, momentum, adam_state) = updates, state
        g = gradient["mixer_0"]["input"]["kernel"]
        momentum = 0.95 * momentum + 0.05 * g
        ahead = 0.95 * momentum / (1 - 0.95 ** (count + 2)) + 0.05 * g / (1 - 0.95 ** (count + 1))
        gates = [newton_schulz(gate) for gate in jnp.split(ahead, 3, axis=1)]
        direction, adam_state = adam.update(gradient, adam_state)
        updates = jax.tree.map(lambda d: -adam_rate(count) * d, direction)
        updates["mixer_0"]["input"]["kernel"] = -schedule(count) * jnp.concatenate(gates, axis=1)
        decay, _ = decayed.update(jax.tree.map(jnp.zeros_like, params), decayed.init(params), params)
        updates = jax.tree.map(lambda u, d: u - schedule(count) * d, updates, decay)
        return updates, (count + 1, momentum, adam_state)

    return optax.GradientTransformation(init, update)


@pytest.fixture
def double_precision() -> Iterator[None]:
    """Numbers of 64 bits, in which what an optimizer makes of rounding is no difference."""
    with jax.enable_x64(True):
        yield


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("name", optimizer.optimizer_names())
def test_an_optimizer_is_optaxs_own_loop_alone_and_as_a_member(name: str):
    constant: Any = {"schedule": "constant", "warmup_steps": 0} if name == "sm3" else {}
    config = toy_config(name, OPTIONS.get(name, ""), **constant)
    optimizer.validate_optimizer(config)
    rates = [30 * rate for rate in RATES] if name in WITHOUT_RATES else RATES
    expected = [jax.jit(lambda rate=rate: loop_optax(make_optax(name, rate)))() for rate in rates]
    rates, ours = jnp.array(rates), partial(loop_ours, config)
    alone = jax.jit(ours)(rates[0])
    assert not np.allclose(alone["head"]["kernel"][-1], TOY_PARAMS["head"]["kernel"], atol=1e-4)
    assert_close(alone, expected[0], within=1e-6)
    for members in (jax.jit(jax.vmap(ours))(rates), jax.jit(partial(jax.lax.map, ours))(rates)):
        for index, one in enumerate(expected):
            assert_close(jax.tree.map(lambda leaf, i=index: leaf[i], members), one, within=1e-6)
