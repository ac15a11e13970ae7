"""Optimizers by name, which parameters decay, and schedules of the learning rate."""

import ast
import inspect
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

import configs
import models
from tasks.base import suggest_name
from training.muon import MatrixCounter, muon_or_adam

SCHEDULES = ("cosine", "linear", "constant", "wsd", "inverse_sqrt")
DECAY_MASKS = ("matrices", "all", "none")
# Optimizers of optax that can't be had here, and why.
_REFUSED = {
    "dpsgd": "it needs the gradient of each sequence by itself",
    "galore": "it chooses what it projects by the number of axes, embeddings and stacks too",
    "lbfgs": "its line search evaluates a batch many times over",
    "noisy_sgd": "it draws its noise with one key, the same for every member",
    "optimistic_adam": "it takes no schedule; optimistic_adam_v2 does",
    "polyak_sgd": "it finds its own learning rate, which every member is given here",
    "rprop": "it reads the learning rate before the first step alone, so no schedule moves it",
    "sophia": "it needs second derivatives of the loss",
    **dict.fromkeys(
        ("schedule_free", "schedule_free_adamw", "schedule_free_sgd"),
        "it evaluates other parameters than it trains; optimizer.ema_decay averages those of any optimizer",
    ),
}
_DEFAULTS = configs.default_fields("attention")["optimizer"]
_ADAMS = ("adamw", "adam", "muon")  # those whose Adam reads b1 and b2
_MOMENTUM_ARGUMENTS = ("momentum", "beta", "b1")  # the first that an optimizer has is its momentum
_MASK_ARGUMENTS = ("mask", "weight_decay_mask")


class StepValues(NamedTuple):
    """What a member brings to a step: numbers, or traced scalars."""

    learning_rate: Any  # of this step: the member's own times `schedule`
    schedule: Any  # the factor of the learning rate
    weight_decay: Any
    momentum: Any = None  # None: that of the config


class Optimizer(NamedTuple):
    """An optimizer of optax, to which each step brings its own numbers.

    `init(params)` is its first state, and `step(gradient, state, params, values, loss)` are the next parameters and the
    next state.
    """

    init: Callable[[Any], Any]
    step: Callable[[Any, Any, Any, StepValues, Any], tuple[Any, Any]]


def resolve_optimizer(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `config.optimizer` as they are used: without a weight decay where the optimizer has none."""
    return {**fields, "weight_decay": fields["weight_decay"] if has_weight_decay(fields["name"]) else 0.0}


def build_optimizer(config: Mapping[str, Any], model: Mapping[str, Any]) -> Optimizer:
    """Build the optimizer of a validated `config`, for the network of the resolved `model` config.

    The learning rate, weight decay and momentum are built into optax's optimizer anew in every step, as traced numbers:
    so members may each have their own, and a schedule does what optax's own do.

    Raises ValueError, in one line, if Muon can't tell the model's matrices.
    """
    fields, is_varied = config["optimizer"], bool(config["ensemble"]["momenta"])
    counter = models.product_matrix_counter(model) if fields["name"] == "muon" else None
    return _assemble_optimizer(fields, counter, is_varied)


def _assemble_optimizer(fields: Mapping[str, Any], counter: MatrixCounter | None, has_momentum: bool) -> Optimizer:
    make = partial(_make_adamw if fields["name"] == "adamw" else _make_named, fields, counter)
    start = StepValues(1.0, 1.0, fields["weight_decay"], 0.9 if has_momentum else None)

    def step(gradient: Any, state: Any, params: Any, values: StepValues, loss: Any) -> tuple[Any, Any]:
        updates, state = optax.with_extra_args_support(make(values)).update(gradient, state, params, value=loss)
        return optax.apply_updates(params, updates), state

    return Optimizer(init=lambda params: make(start).init(params), step=step)


def _make_adamw(fields: Mapping[str, Any], counter: MatrixCounter | None, values: StepValues) -> Any:
    """AdamW as checkpoints have known it from the start: optax's, whose state has other brackets."""
    b1 = fields["b1"] if values.momentum is None else values.momentum
    chain = optax.chain(
        *_gradient_transforms(fields),
        optax.scale_by_adam(b1=b1, b2=fields["b2"], **parse_options(fields["options"])),
        optax.add_decayed_weights(values.weight_decay, mask=_MASKS[fields["decay_mask"]]),
    )

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        direction, state = chain.update(updates, state, params)
        return jax.tree.map(lambda d: -values.learning_rate * d, direction), state

    return optax.GradientTransformation(chain.init, update)


def _make_named(fields: Mapping[str, Any], counter: MatrixCounter | None, values: StepValues) -> Any:
    """The optimizer of optax by its name, with the fields of the config that are arguments of it, and its own."""
    name, mask = fields["name"], _MASKS[fields["decay_mask"]]
    arguments = parse_options(fields["options"])
    if values.momentum is not None:
        arguments |= {momentum_argument(name) or "momentum": values.momentum}
    if name == "muon":
        if "adam_learning_rate" in arguments:
            arguments["adam_learning_rate"] *= values.schedule
        arguments |= {"adam_b1": fields["b1"], "adam_b2": fields["b2"]}
        transform: Any = optax.chain(  # optax would let Adam's part decay whole, biases and all
            muon_or_adam(values.learning_rate, counter or _any_matrix, **arguments),
            optax.add_decayed_weights(-values.learning_rate * values.weight_decay, mask=mask),
        )
    else:
        if name == "adam":
            arguments = {"b1": fields["b1"], "b2": fields["b2"]} | arguments
        if has_weight_decay(name):
            (mask_argument,) = set(_MASK_ARGUMENTS) & _parameters(name).keys()
            arguments |= {"weight_decay": values.weight_decay, mask_argument: mask}
        transform = _optimizer_function(name)(values.learning_rate, **arguments)
    return optax.chain(*_gradient_transforms(fields), transform)


def _gradient_transforms(fields: Mapping[str, Any]) -> list[optax.GradientTransformation]:
    """What becomes of the gradient before the optimizer sees it."""
    clip = optax.clip_by_global_norm(fields["grad_clip_norm"])
    return (
        [clip, optax.add_decayed_weights(fields["l2"], mask=_MASKS[fields["decay_mask"]])] if fields["l2"] else [clip]
    )


def _any_matrix(path: Any) -> int:
    return 1


# ---- names and options ----------------------------------------------------------------------------------------------


@cache
def optimizer_names() -> tuple[str, ...]:
    """The names of all optimizers: functions of optax, and of optax.contrib, of a learning rate."""
    named = {**vars(optax.contrib), **vars(optax)}
    return tuple(
        sorted(
            name
            for name, function in named.items()
            if inspect.isfunction(function)
            and name not in _REFUSED
            and not name.startswith(("_", "scale_by"))
            and "learning_rate" in inspect.signature(function).parameters
        )
    )


def _optimizer_function(name: str) -> Callable[..., Any]:
    return getattr(optax, name, None) or getattr(optax.contrib, name)


def _parameters(name: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(_optimizer_function(name)).parameters


def has_weight_decay(name: str) -> bool:
    """Whether an optimizer has a weight decay, of parameters that can be chosen."""
    return "weight_decay" in _parameters(name) and bool(set(_MASK_ARGUMENTS) & _parameters(name).keys())


def momentum_argument(name: str) -> str | None:
    """The argument that is an optimizer's momentum, or None."""
    return next((argument for argument in _MOMENTUM_ARGUMENTS if argument in _parameters(name)), None)


def parse_options(text: str) -> dict[str, Any]:
    """The values in a text such as "momentum=0.9, nesterov=True, mu_dtype=bfloat16", by name. Raises ValueError."""
    try:
        call: Any = ast.parse(f"options({text})", mode="eval").body
        if call.args or not isinstance(call.func, ast.Name) or any(word.arg is None for word in call.keywords):
            raise ValueError
        options = [(keyword.arg, _read_value(keyword.value)) for keyword in call.keywords]
    except (ValueError, SyntaxError, TypeError, AttributeError):
        raise ValueError(f"optimizer.options={text}: must be like momentum=0.9,nesterov=True") from None
    names = [name for name, _ in options]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"optimizer.options={text}: {repeated[0]} is given twice; give it once")
    return dict(options)


def _read_value(value: ast.expr) -> Any:
    """A value as Python writes it; a bare word is a text, and true and false are what they say in any case."""
    if not isinstance(value, ast.Name):
        return ast.literal_eval(value)
    return {"true": True, "false": False}.get(value.id.lower(), value.id)


def validate_optimizer(config: Mapping[str, Any]) -> None:
    """Raise ValueError for an optimizer that there is not, and for fields that it does not have or can't be built with.

    Ranges of numbers are checked elsewhere.
    """
    fields, ensemble = config["optimizer"], config["ensemble"]
    name = fields["name"]
    if name in _REFUSED:
        raise ValueError(f"optimizer.name={name}: {_REFUSED[name]}")
    models.validate_choice("optimizer.name", name, optimizer_names())
    if fields["weight_decay"] not in (0, _DEFAULTS["weight_decay"]) and not has_weight_decay(name):
        raise ValueError(
            f"optimizer.weight_decay={fields['weight_decay']}: {name} has none; adamw has, or use optimizer.l2, which "
            f"is part of the gradient"
        )
    for beta in ("b1", "b2"):
        if fields[beta] != _DEFAULTS[beta] and name not in _ADAMS:
            raise ValueError(
                f"optimizer.{beta}={fields[beta]}: is of {', '.join(_ADAMS)}; leave it at {_DEFAULTS[beta]}, and give "
                f"what {name} has in optimizer.options"
            )
    options = _validate_options(name, fields["options"])
    momentum = momentum_argument(name)
    if ensemble["momenta"] and momentum is None:
        raise ValueError(f"ensemble.momenta: {name} has no momentum, beta or b1")
    if ensemble["momenta"] and momentum in options:
        raise ValueError(f"optimizer.options={fields['options']}: {momentum} is given by ensemble.momenta; give one")
    if ensemble["weight_decays"] and not has_weight_decay(name):
        raise ValueError(f"ensemble.weight_decays: {name} has no weight decay; adamw has")
    _check_that_it_steps(fields, has_momentum=bool(ensemble["momenta"]))


def _validate_options(name: str, text: str) -> dict[str, Any]:
    """The options in `text`. Raises ValueError for those that the optimizer lacks, or that are fields of the config."""
    options, parameters = parse_options(text), dict(_parameters(name))
    owned = {"learning_rate": "optimizer.learning_rate"}
    if has_weight_decay(name):
        owned |= {"weight_decay": "optimizer.weight_decay", **dict.fromkeys(_MASK_ARGUMENTS, "optimizer.decay_mask")}
    if name in ("adam", "adamw"):
        owned |= {"b1": "optimizer.b1", "b2": "optimizer.b2"}
    if name == "muon":
        owned |= {"adam_b1": "optimizer.b1", "adam_b2": "optimizer.b2", "adam_weight_decay": "optimizer.weight_decay"}
        del parameters["muon_weight_dimension_numbers"]
    for option in options:
        if option in owned and option in parameters:
            raise ValueError(f"optimizer.options={text}: {option} is given by {owned[option]}")
        if option not in parameters:
            known = ", ".join(other for other in parameters if other not in owned) or "none"
            raise ValueError(
                f"optimizer.options={text}: {name} has no {option}; {suggest_name(option, parameters)}it has {known}"
            )
    for option, value in options.items():
        if isinstance(parameters[option].default, bool) and not isinstance(value, bool | int):
            raise ValueError(f"optimizer.options={text}: {option} must be True or False")
    missing = [
        other
        for other, parameter in parameters.items()
        if parameter.default is parameter.empty and other not in options and other not in owned
    ]
    if missing:
        raise ValueError(f"optimizer.options={text}: {name} needs {', '.join(missing)}")
    return options


def _check_that_it_steps(fields: Mapping[str, Any], has_momentum: bool) -> None:
    """Raise ValueError if the optimizer can't take a step; nothing is computed."""
    optimizer = _assemble_optimizer(fields, None, has_momentum)

    def take_step(values: StepValues) -> Any:
        params = {"kernel": jnp.zeros((2, 3))}
        before = optimizer.init(params)
        after = optimizer.step(params, before, params, values, jnp.float32(0))
        if jax.tree.structure(after) != jax.tree.structure((params, before)):
            raise ValueError("its state changes its form")
        return after

    number = jax.ShapeDtypeStruct((), jnp.float32)
    try:
        jax.eval_shape(take_step, StepValues(number, number, number, number if has_momentum else None))
    except Exception as error:  # whatever optax raises for a value of the wrong kind
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ValueError(
            f"optimizer.options={fields['options']}: {fields['name']} can't be used so ({reason})"
        ) from None


# ---- which parameters decay -----------------------------------------------------------------------------------------


def weight_decay_mask(params: Any) -> Any:
    """Mask of the parameters that decay: all matrices, but no biases, no norms, and not the rates of a state.

    A parameter whose name contains "rates" says how fast a state decays or turns, whatever its shape.
    """

    def decays(path: Any, leaf: Array) -> bool:
        return leaf.ndim > 1 and not any(word in path[-1].key for word in ("bias", "rates"))

    return jax.tree.map_with_path(decays, params)


_MASKS: dict[str, Callable[[Any], Any]] = {
    "matrices": weight_decay_mask,
    "all": lambda params: jax.tree.map(lambda _: True, params),
    "none": lambda params: jax.tree.map(lambda _: False, params),
}


# ---- schedules ------------------------------------------------------------------------------------------------------


def learning_rate_schedule(config: Mapping[str, Any], step: Array) -> Array:
    """The factor of the learning rate at a step: a linear warm-up to 1, and then the schedule of the config.

    - cosine, linear: down to 0, as half a cosine or a line, which they would reach one step after the last.
    - constant: 1.
    - wsd (warm-up, stable, decay; Hu et al. 2024, arXiv 2404.06395): 1, and a line down to 0 in the last `decay_share`.
    - inverse_sqrt: √(warm-up steps ÷ steps) (Vaswani et al. 2017, §5.3).
    """
    fields, steps = config["optimizer"], config["training"]["steps"]
    warmup, schedule = fields["warmup_steps"], fields["schedule"]
    rising = (step + 1) / max(warmup, 1)
    if schedule == "constant":
        falling = jnp.ones_like(rising)
    elif schedule == "linear":
        falling = (steps - step) / max(steps - warmup, 1)
    elif schedule == "wsd":
        falling = jnp.minimum(1.0, (steps - step) / count_decay_steps(config))
    elif schedule == "inverse_sqrt":
        falling = jnp.sqrt(max(warmup, 1) / (step + 1))
    else:
        falling = 0.5 * (1 + jnp.cos(jnp.pi * (step - warmup) / max(steps - warmup, 1)))
    return jnp.where(step < warmup, jnp.minimum(rising, 1.0), falling)


def count_decay_steps(config: Mapping[str, Any]) -> int:
    """The steps in which the schedule "wsd" goes down: `decay_share` of all, and 1 at the least."""
    return max(1, round(config["optimizer"]["decay_share"] * config["training"]["steps"]))
