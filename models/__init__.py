"""Every sequence mixer under one interface, and the networks built from them.

A mixer is called as `mixer(x[B, T, D], state=None, positions[B, T], segments[B, T], rng=None) -> (y[B, T, D], state)`.
To add one: write a module with that call, the fields `width`, `inner`, `max_length` and `dtype`, and the class
variables `VERSION` and `causal`; name it in `MIXERS`, and where it comes from in `SOURCES`. Its other fields are its
options, `config.model.NAME.OPTION`. The shared tests then cover it, and `python -m models` shows what it costs.
"""

import dataclasses
import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models import associative, cost, seq2seq
from models.associative import MEMORIES, AssociativeMemory
from models.attention import FORMS, PLACED, SHARED, Attention
from models.bidirectional import Bidirectional
from models.convolution import BLOCKS, CONVOLUTIONS, FARTHEST_TAP, MOST_TAPS, TemporalConvolution
from models.dense import Dense
from models.feedforward import ACTIVATIONS
from models.linear_attention import FEATURES, LinearAttention
from models.linear_recurrence import LRU, RGLRU, Minimal
from models.normalisers import NORMALISERS
from models.positions import ADDED, DRAWN_FROM, POSITIONS, SCORED
from models.recurrence import SOLVERS, Recurrence
from models.seq2seq import BRIDGES, Seq2Seq
from models.similarity import SIMILARITIES
from models.skeleton import Skeleton
from models.state_space import S4D, S6
from models.xlstm import MLSTM, SLSTM, STARTS

# The fields of `config.model` that go to the skeleton as they are.
SKELETON = ["depth", "width", "max_length", "pool", "activation", "norm", "residual", "final_norm", "positions"]
SKELETON += ["tied", "dropout"]
# The fields of a mixer that are no options of its own: what every mixer has, and what makes it this one.
COMMON = {"width", "inner", "max_length", "dtype", "dropout", "causal", "positions", "place"}
COMMON |= {"cell", "rule", "name", "parent"}

# What no field may pass, so that nothing is traced that could not be held; `parameters` counts what all of them make.
LARGEST = {"depth": 1024, "width": 2**16, "inner": 2**18, "max_length": 2**24}
LARGEST_OPTIONS = {"heads": 2**16, "groups": 2**16, "nu": 2**10, "size": 2**12, "layers": 64, "kernel": MOST_TAPS}
LARGEST_OPTIONS |= {"window": 2**24}
NUMBERS = 2**31  # in one array: its places are counted in 32 bits
# What a memory has no use for, at the values that say nothing; `inner`, `max_length` and `positions` are left alone,
# since the first two are filled in and the last may be the config file's.
UNUSED_BY_MEMORY: dict[str, Any] = {"depth": 2, "feedforward": 2.0, "activation": "gelu", "norm": "pre"}
UNUSED_BY_MEMORY |= {"residual": True, "final_norm": True, "tied": False, "dropout": 0.0, "pool": "last"}
UNUSED_BY_MEMORY |= {"causal": True, "bridge": "", "bridge_heads": 1}

MIXERS: dict[str, Callable[..., nn.Module]] = {
    "dense": Dense,
    "rnn": partial(Recurrence, cell="rnn"),
    "irnn": partial(Recurrence, cell="irnn"),
    "lstm": partial(Recurrence, cell="lstm"),
    "gru": partial(Recurrence, cell="gru"),
    "slstm": SLSTM,
    "mlstm": MLSTM,
    "mingru": partial(Minimal, cell="mingru"),
    "minlstm": partial(Minimal, cell="minlstm"),
    "lru": LRU,
    "rglru": RGLRU,
    "s4d": S4D,
    "s6": S6,
    "linear": partial(LinearAttention, rule="sum", feature="elu"),
    "gla": partial(LinearAttention, rule="gated"),
    "delta": partial(LinearAttention, rule="delta", kernel=4),
    "gated_delta": partial(LinearAttention, rule="gated_delta", kernel=4),
    "tcn": TemporalConvolution,
    "attention": Attention,
}

SOURCES = {
    "dense": "the notes' Idea I: the whole window into one network",
    "rnn": "Elman 1990, Finding structure in time",
    "irnn": "Le, Jaitly and Hinton 2015, arXiv 1504.00941",
    "lstm": "Hochreiter and Schmidhuber 1997; Gers et al. 2000",
    "gru": "Cho et al. 2014, arXiv 1406.1078",
    "slstm": "Beck et al. 2024 (xLSTM), arXiv 2405.04517",
    "mlstm": "Beck et al. 2024 (xLSTM), arXiv 2405.04517",
    "mingru": "Feng et al. 2024, arXiv 2410.01201",
    "minlstm": "Feng et al. 2024, arXiv 2410.01201",
    "lru": "Orvieto et al. 2023, arXiv 2303.06349",
    "rglru": "De et al. 2024 (Griffin), arXiv 2402.19427",
    "s4d": "Gu et al. 2022, arXiv 2206.11893",
    "s6": "Gu and Dao 2023 (Mamba), arXiv 2312.00752",
    "linear": "Katharopoulos et al. 2020, arXiv 2006.16236",
    "gla": "Yang et al. 2023, arXiv 2312.06635",
    "delta": "Schlag et al. 2021, arXiv 2102.11174; Yang et al. 2024, arXiv 2406.06484",
    "gated_delta": "Yang et al. 2024, arXiv 2412.06464",
    "tcn": "Bai, Kolter and Koltun 2018, arXiv 1803.01271",
    "attention": "Vaswani et al. 2017, arXiv 1706.03762",
}


def pattern(mixer: str) -> list[str]:
    """The mixers of a stack, block by block and over again: "rglru,rglru,attention" is Griffin's; most have one."""
    return mixer.split(",")


def options(mixer: str) -> dict[str, Any]:
    """The fields that are a mixer's own, with their defaults."""
    made = MIXERS[mixer]
    bound = made.keywords if isinstance(made, partial) else {}
    fields: Any = dataclasses.fields(module(mixer))  # pyright: ignore[reportArgumentType]
    return {f.name: bound.get(f.name, f.default) for f in fields if f.name not in COMMON and applies(mixer, f.name)}


def module(mixer: str) -> type[nn.Module]:
    """The class that makes it."""
    made: Any = MIXERS[mixer]
    return getattr(made, "func", made)


def applies(mixer: str, option: str) -> bool:
    """Whether an option of a module that several mixers share does anything in this one."""
    only = getattr(module(mixer), "ONLY", {})
    return option not in only or mixer in only[option]


def version(mixer: str) -> int:
    """The mixer's VERSION, raised by hand whenever its numbers change; of a pattern, those of its mixers added up."""
    return sum(getattr(module(name), "VERSION") for name in dict.fromkeys(pattern(mixer)))  # noqa: B009


def build(
    model: Mapping[str, Any], *, vocabulary: int, channels: int, outputs: int, per: str, separator: int | None = None
) -> Skeleton | Seq2Seq | AssociativeMemory:
    """The network that a resolved `config.model` describes, for inputs and outputs of these sizes.

    With a `bridge` it is an encoder–decoder, which tells source and target apart by the token `separator`; with a
    `memory` it is that alone, with keys of `width` numbers, and no mixers.
    Raises ValueError, in one line, for a name or number that can't be built.
    """
    check(model)
    if model.get("memory"):  # an older record does not have it
        return build_memory(model, vocabulary, outputs, per)
    if model["pool"] != "last" and (per == "token" or model.get("bridge")):
        raise idle("pool", model["pool"], "last", "where a whole sequence has one label; this task has one a token")
    if model["tied"] and not vocabulary == outputs:
        raise ValueError(
            f"model.tied: the head can share the embedding only where inputs and outputs are the same tokens, "
            f"not with {vocabulary} tokens in and {outputs} outputs"
        )
    sizes: dict[str, Any] = {"vocabulary": vocabulary, "channels": channels, "per": per}
    decoder = skeleton(model, outputs=outputs, **sizes)
    if not model.get("bridge"):  # an older record does not have it
        return decoder
    if separator is None:
        raise ValueError(f"model.bridge={model['bridge']}: this task has no source and target; translation has")
    return Seq2Seq(
        encoder=skeleton({**model, "causal": False, "inner": encoder_inners(model)}, outputs=0, **sizes),
        decoder=decoder,
        bridge=model["bridge"],
        separator=separator,
        heads=model["bridge_heads"],
        halves=True,
    )


def build_memory(model: Mapping[str, Any], vocabulary: int, outputs: int, per: str) -> AssociativeMemory:
    if per != "sequence" or vocabulary != 2 * outputs + 1:
        raise ValueError(f"model.memory={model['memory']}: this task has no rows of keys and values; associations has")
    own = MEMORIES[model["memory"]]
    return AssociativeMemory(outputs, model["width"], rule=model["memory_rule"], **own)


def skeleton(model: Mapping[str, Any], **sizes: Any) -> Skeleton:
    """A skeleton of the mixers that `model` names."""
    names, depth = pattern(model["mixer"]), model["depth"]
    own = {name: model[name] for name in SKELETON}
    if inside(model):
        own["positions"] = "none"
    return Skeleton(
        mixers=tuple(bound(model, block % len(names), block / max(1, depth - 1)) for block in range(depth)),
        hidden=round(model["feedforward"] * model["width"]),
        dtype=jnp.dtype(model["dtype"]),
        **own,
        **sizes,
    )


def bound(model: Mapping[str, Any], index: int, place: float) -> Callable[..., nn.Module]:
    """A mixer of the pattern with everything that `model` says of it; the skeleton adds width and dtype.

    `place` is that of its block in the stack, from 0, the first, to 1, the last.
    """
    name, inner = pattern(model["mixer"])[index], inners(model)[index]
    placed = {"place": place} if module(name) is SLSTM else {}
    made = one_way_or_both(name, model["causal"], **fields(model, name), **placed)
    return partial(made, inner=inner, max_length=model["max_length"])


def fields(model: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What `model` says of the mixer `name` alone: its options, the positions that attention sees to, and the dropout
    that a convolution's blocks have inside."""
    more = {}
    if module(name) is Attention:
        more = {"positions": model["positions"] if inside(model) else "none"}
    elif module(name) is TemporalConvolution:
        more = {"dropout": model["dropout"]}
    return {**model.get(name, {}), **more}


def inside(model: Mapping[str, Any]) -> bool:
    """Whether attention sees to the positions, and not the skeleton."""
    return model["positions"] in SCORED or model.get("attention", {}).get("placed", "embedding") != "embedding"


def one_way_or_both(name: str, causal: bool, **own: Any) -> Callable[..., nn.Module]:
    """The mixer `name`, which sees what came before; or, if not `causal`, all of the sequence, itself or twice."""
    if module(name) is Attention:
        return partial(MIXERS[name], causal=causal, **own)
    made = partial(MIXERS[name], **own)
    return made if causal else partial(Bidirectional, made)


def inners(model: Mapping[str, Any]) -> list[int]:
    """The inner width of each mixer in the pattern: `model.inner` is one for all, or a list of one each."""
    given = model["inner"]
    return list(given) if isinstance(given, (list, tuple)) else [given] * len(pattern(model["mixer"]))


def resolve(model: Mapping[str, Any], max_length: int) -> dict[str, Any]:
    """`config.model` with its zeros filled in: `max_length` with the task's, `inner` with what matches attention.

    Every mixer, and attention whatever its options, then has as many parameters as plain attention at the same width,
    as near as a whole number of units allows.
    """
    model = dict(model)
    check(model)
    model["max_length"] = model["max_length"] or max_length
    if model["max_length"] < max_length:
        raise ValueError(
            f"model.max_length={model['max_length']}: the task has sequences of {max_length}; give {max_length} or more"
        )
    width, longest, causal = model["width"], model["max_length"], model["causal"]
    found = [
        inner or matched_inner(name, width, longest, causal, **fields(model, name))
        for name, inner in zip(pattern(model["mixer"]), inners(model), strict=True)
    ]
    model["inner"] = found if len(set(found)) > 1 else found[0]
    check(model)
    return model


def encoder_inners(model: Mapping[str, Any]) -> list[int]:
    """The inner widths with which the mixers of an encoder, reading both ways, have the decoder's parameters."""
    found = []
    for name, inner in zip(pattern(model["mixer"]), inners(model), strict=True):
        own = fields(model, name)
        decoders = size(name, model["width"], model["max_length"], inner, True, **own)
        found.append(matched_inner(name, model["width"], model["max_length"], False, decoders, **own))
    return found


@lru_cache
def matched_inner(
    mixer: str, width: int, max_length: int, causal: bool = True, target: int | None = None, **own: Any
) -> int:
    """The inner width at which `mixer` has nearly `target` parameters, or those of plain attention at this width.

    Plain attention, whose query, key, value and output have `width`² weights and `width` biases each, keeps its usual
    inner width, which is `width`.
    """
    own = options(mixer) | own
    heads, attention = own.get("heads", 1), module(mixer) is Attention
    if attention and width % heads and target is None:
        return width  # `check` will say what is wrong with it
    unit = heads * (2 if own.get("positions") == "rope" or not (causal or attention) else 1)

    def count(units: int) -> int:
        return size(mixer, width, max_length, units * unit, causal, **own)

    return unit * cost.closest(count, target or 4 * width * width + 4 * width, largest=max(8, 4 * width // unit))


@lru_cache
def size(mixer: str, width: int, max_length: int, inner: int, causal: bool, **own: Any) -> int:
    """The parameters of one mixer."""
    made = one_way_or_both(mixer, causal, **own)(width=width, inner=inner, max_length=max_length)

    def initial() -> Any:  # all of it inside, so that no device is needed yet, nor chosen
        x, steps = jnp.zeros((1, 1, width)), jnp.zeros((1, 1), jnp.int32)
        return made.init(jax.random.key(0, impl="threefry2x32"), x, positions=steps, segments=steps)

    return cost.parameters(jax.eval_shape(initial))


def check(model: Mapping[str, Any]) -> None:
    """Refuse, with ValueError, what can't be a model."""
    names = pattern(model["mixer"])
    for name in names:
        one_of("model.mixer", name, MIXERS)
        if options(name) and name not in model:
            raise ValueError(
                f"model.mixer={model['mixer']}: this config was made for another mixer and has no model.{name}; name "
                f"the mixer behind the colon, --config=FILE:{model['mixer']}"
            )
    if len(names) > model["depth"] >= 1:
        raise ValueError(
            f"model.mixer={model['mixer']}: {len(names)} mixers take turns in {model['depth']} blocks, so that some "
            f"never would; give model.depth={len(names)} or more"
        )
    if any(type(inner) is not int or inner < 0 for inner in inners(model)) or len(inners(model)) != len(names):
        raise ValueError(f"model.inner={model['inner']}: must be 0 or more, one number for all mixers or one for each")
    check_sizes(model, names)
    one_of("model.positions", model["positions"], POSITIONS)
    one_of("model.activation", model["activation"], ACTIVATIONS)
    one_of("model.norm", model["norm"], ("pre", "post", "none"))
    one_of("model.pool", model["pool"], ("last", "mean"))
    one_of("model.dtype", model["dtype"], ("float32", "bfloat16"))
    for name, least in (("depth", 0), ("width", 1), ("max_length", 0), ("feedforward", 0)):
        if model[name] < least:
            raise ValueError(f"model.{name}={model[name]}: must be {least} or more")
    if not model["feedforward"] < float("inf") or 0 < model["feedforward"] * model["width"] < 0.5:
        raise ValueError(
            f"model.feedforward={model['feedforward']}: times model.width={model['width']}, the feed-forward layers' "
            f"hidden width must be a number of units, 1 or more, or 0 for no such layers"
        )
    if model.get("bridge"):
        check_bridge(model)
    if model.get("memory"):
        check_memory(model)
    if not 0 <= model["dropout"] < 1:
        raise ValueError(f"model.dropout={model['dropout']}: must be at least 0 and below 1")
    if model["positions"] in SCORED and "attention" not in names:
        raise ValueError(
            f"model.positions={model['positions']}: acts on attention's scores, which {model['mixer']} has none of; "
            f"use none, {', '.join(ADDED)}"
        )
    if model["positions"] == "randomised" and model["max_length"] > DRAWN_FROM:
        raise ValueError(
            f"model.positions=randomised: are drawn from {DRAWN_FROM}, so model.max_length={model['max_length']} is "
            f"too long; use sinusoidal, or sequences of {DRAWN_FROM} at most"
        )
    for name, inner in zip(names, inners(model), strict=True):
        check_options(name, inner or (model["width"] if name == "attention" else 0), model)
    check_idle(model, names)


def check_sizes(model: Mapping[str, Any], names: list[str]) -> None:
    """Refuse what is too large to be traced, or held in one array."""
    for name, most in LARGEST.items():
        for value in inners(model) if name == "inner" else [model[name]]:
            if value > most:
                raise ValueError(f"model.{name}={value}: must be {most:,} or less")
    if LARGEST["inner"] < model["feedforward"] * model["width"] < float("inf"):
        raise ValueError(
            f"model.feedforward={model['feedforward']}: times model.width={model['width']}, the feed-forward layers' "
            f"hidden width must be {LARGEST['inner']:,} or less"
        )
    for name in dict.fromkeys(names):
        for option, most in LARGEST_OPTIONS.items():
            if (value := model.get(name, {}).get(option, 0)) > most:
                raise ValueError(f"model.{name}.{option}={value}: must be {most:,} or less; use fewer")
    if "dense" in names and model["max_length"] ** 2 >= NUMBERS:
        raise ValueError(f"model.max_length={model['max_length']}: dense's parameters grow with its square; use less")


def check_idle(model: Mapping[str, Any], names: list[str]) -> None:
    """Refuse fields that are not at their defaults and do nothing in this model: they would only change its key."""
    if not model.get("memory") and model.get("memory_rule", "sum") != "sum":
        raise idle("memory_rule", model["memory_rule"], "sum", "with a model.memory")
    heads = model.get("bridge_heads", 1)  # where config files set it, it may also stand beside no bridge
    if model.get("bridge", "") == "" and (heads < 1 or model["width"] % heads):
        raise idle("bridge_heads", heads, 1, "with a model.bridge that attends, as scaled")
    if model["activation"] != "gelu" and not model["feedforward"]:
        raise idle("activation", model["activation"], "gelu", "with feed-forward layers, model.feedforward above 0")
    if model.get("memory"):
        for name, usual in UNUSED_BY_MEMORY.items():
            if model.get(name, usual) != usual:
                raise idle(name, model[name], usual, "without a model.memory")
    for name in (name for name in MIXERS if name in model):
        usual, own = options(name), model[name]
        if model.get("memory") or name not in names:
            for option, value in own.items():
                if value != usual.get(option, value):
                    acts = "without a model.memory" if model.get("memory") else f"with {name} in model.mixer"
                    raise idle(f"{name}.{option}", value, usual[option], acts)
        elif own.get("nu", 1) != 1 and own.get("feature") != "dpfp":
            raise idle(f"{name}.nu", own["nu"], 1, f"with model.{name}.feature=dpfp")
        elif "f" in own.get("open", "") and own.get("forget_bias", 1.0) != usual["forget_bias"]:
            raise idle(
                f"{name}.forget_bias", own["forget_bias"], usual["forget_bias"], f"without f in model.{name}.open"
            )


def idle(field: str, value: Any, usual: Any, acts: str) -> ValueError:
    """What says that `field` does nothing here, and where it acts."""
    return ValueError(f"model.{field}={value}: does nothing here, it acts {acts}; use {usual}")


def parameters(network: nn.Module, inputs: jax.ShapeDtypeStruct) -> int:
    """How many numbers a network has for inputs of this shape; nothing is made, and no device is chosen.

    Raises ValueError for one with an array that is too large to be counted in 32 bits.
    """

    def initial() -> Any:
        return network.init(jax.random.key(0, impl="threefry2x32"), jnp.zeros(inputs.shape, inputs.dtype))

    shapes = jax.eval_shape(initial)
    for path, leaf in jax.tree.leaves_with_path(shapes):
        if math.prod(leaf.shape) >= NUMBERS:
            name = jax.tree_util.keystr(path[1:], simple=True, separator=".")
            raise ValueError(f"{name} would have {math.prod(leaf.shape):,} numbers, and an array can have {NUMBERS:,}")
    return cost.parameters(shapes)


def check_bridge(model: Mapping[str, Any]) -> None:
    """Refuse what can't be an encoder–decoder."""
    one_of("model.bridge", model["bridge"], BRIDGES)
    seq2seq.check(model["bridge"], model["bridge_heads"], model["width"])
    if not model["causal"]:
        raise ValueError("model.causal=False: a decoder is causal; an encoder (model.bridge) looks both ways anyway")


def check_memory(model: Mapping[str, Any]) -> None:
    """Refuse what can't be a memory of associations."""
    memory, rule = model["memory"], model["memory_rule"]
    one_of("model.memory", memory, MEMORIES)
    one_of("model.memory_rule", rule, associative.RULES)
    if memory == "softmax" and rule != "sum":
        raise ValueError(f"model.memory_rule={rule}: writes to a matrix, which softmax has none of; use sum")
    for name, only in (("bridge", ""), ("dtype", "float32")):
        if model[name] != only:
            raise ValueError(
                f"model.{name}={model[name]}: does not go with model.memory={memory}; use {only or 'none'}"
            )


def check_options(name: str, inner: int, model: Mapping[str, Any]) -> None:
    """Refuse options of one mixer that can't be, or not with this `inner` (0: not known yet)."""
    own = model.get(name, {})
    if not model["causal"] and name != "attention":
        if inner % 2:
            raise ValueError(f"model.inner={inner}: {name} reads both ways, each with half of it; use {inner + 1}")
        inner //= 2
    least = {"heads": 1, "layers": 1, "size": 1, "nu": 1, "kernel": 0 if module(name) is LinearAttention else 1}
    for option, lowest in least.items():
        if own.get(option, lowest) < lowest:
            raise ValueError(f"model.{name}.{option}={own[option]}: must be {lowest} or more")
    if "start" in own:
        one_of(f"model.{name}.start", own["start"], STARTS[name])
    if "feature" in own:
        one_of(f"model.{name}.feature", own["feature"], FEATURES)
    if "solver" in own:
        one_of(f"model.{name}.solver", own["solver"], SOLVERS)
        if own["solver"] in ("newton", "quasi") and model["dtype"] != "float32":
            raise ValueError(
                f"model.{name}.solver={own['solver']}: does not converge with products in {model['dtype']}; use "
                f"sequential, or model.dtype=float32"
            )
    if unknown := sorted(set(own.get("open", "")) - set("ifo")):
        raise ValueError(f"model.{name}.open={own['open']}: {unknown[0]} is none of the gates i, f and o")
    if not abs(own.get("forget_bias", 0.0)) < float("inf"):  # which nan is not
        raise ValueError(f"model.{name}.forget_bias={own['forget_bias']}: must be a number")
    if name == "lru":
        if not 0 <= own["smallest"] < own["largest"] < 1:
            raise ValueError(
                f"model.lru.smallest={own['smallest']}, largest={own['largest']}: must be two radii from 0 to below "
                f"1, the smaller first"
            )
        if not 0 < own["phase"] <= 6.2832:
            raise ValueError(f"model.lru.phase={own['phase']}: must be an angle above 0, up to 2π = 6.2832")
    if name == "tcn":
        one_of("model.tcn.block", block := own.get("block", "single"), BLOCKS)  # an older record does not have it
        if CONVOLUTIONS[block] * (own["kernel"] - 1) * 2 ** min(own["layers"], 32) > 2 * FARTHEST_TAP:
            raise ValueError(
                f"model.tcn.layers={own['layers']}: with kernel={own['kernel']} its last layer would reach more than "
                f"{FARTHEST_TAP:,} steps back; use fewer"
            )
    heads = own.get("heads", 1)
    if inner % heads:
        raise ValueError(f"model.{name}.heads={heads}: must divide the inner width {inner}; {divisors(inner, heads)}")
    features = 2 * (inner or model["width"]) // heads  # a matched inner width is never above this
    if own.get("feature") == "dpfp" and own["nu"] >= features:
        raise ValueError(
            f"model.{name}.nu={own['nu']}: the features of a head of {features // 2} can be rolled by {features - 1} "
            f"places at most; use fewer"
        )
    if name == "attention":
        check_attention(dict(own), inner // heads, model["positions"], model["dtype"])


def check_attention(own: dict[str, Any], size: int, positions: str, dtype: str) -> None:
    """Refuse options of attention, with heads of this size, that can't be or don't go together."""
    own = options("attention") | own  # an older record does not have them all
    heads, groups = own["heads"], own["groups"]
    one_of("model.attention.similarity", own["similarity"], SIMILARITIES)
    one_of("model.attention.normaliser", own["normaliser"], NORMALISERS)
    one_of("model.attention.placed", own["placed"], PLACED)
    one_of("model.attention.form", own["form"], FORMS)
    if own["shared"] not in SHARED:
        raise ValueError(f"model.attention.shared={own['shared']}: must be empty or one of {', '.join(SHARED[1:])}")
    for option in ("groups", "window"):
        if own[option] < 0:
            raise ValueError(f"model.attention.{option}={own[option]}: must be 0 or more")
    if groups and heads % groups:
        raise ValueError(f"model.attention.groups={groups}: must divide the {heads} heads; {divisors(heads, groups)}")
    if own["shared"] and groups not in (0, heads):
        raise ValueError(
            f"model.attention.shared={own['shared']}: keys and values must be as wide as queries; "
            f"use groups=0, not {groups}"
        )
    if own["placed"] != "embedding" and positions not in ADDED:
        raise ValueError(
            f"model.attention.placed={own['placed']}: says where positions are added, and model.positions={positions} "
            f"adds none; use one of {', '.join(ADDED)}"
        )
    if positions == "rope" and size % 2:
        raise ValueError(f"model.positions=rope: the head size {size} must be even; change heads or width")
    if positions == "hard_alibi" and heads < 2:
        raise ValueError(
            "model.positions=hard_alibi: limits half of the heads, so model.attention.heads must be 2 or more"
        )
    if own["form"] == "cudnn":
        check_cudnn(own, dtype, positions)
    if positions == "transformer_xl" and own["similarity"] not in ("dot", "scaled"):
        raise ValueError(
            f"model.positions=transformer_xl: is made of dot products; with it, model.attention.similarity must be dot "
            f"or scaled, not {own['similarity']}"
        )


def check_cudnn(own: Mapping[str, Any], dtype: str, positions: str) -> None:
    """Refuse what cuDNN's kernel can't do."""
    can = {"model.dtype": (dtype, ("bfloat16",)), "model.positions": (positions, ("none", *ADDED, "rope"))}
    for name, values in {"similarity": ("scaled", "dot"), "normaliser": ("softmax",), "window": (0,)}.items():
        can[f"model.attention.{name}"] = (own[name], values)
    for field, (value, values) in can.items():
        if value not in values:
            raise ValueError(
                f"model.attention.form=cudnn: does not go with {field}={value}, only with "
                f"{', '.join(map(str, values))}; use form=blocks"
            )


def divisors(number: int, wanted: int) -> str:
    """The divisors of `number` that are nearest to `wanted`, which is none, on either side: "2 and 4 do"."""
    all_of_them = [n for n in range(1, number + 1) if number % n == 0]
    near = [n for n in all_of_them if n < wanted][-1:] + [n for n in all_of_them if n > wanted][:1]
    return f"{' and '.join(map(str, near))} {'do' if len(near) > 1 else 'does'}"


def one_of(field: str, value: str, known: Iterable[str]) -> None:
    """Raise ValueError, naming the nearest known name, unless `value` is one of `known`."""
    known = list(known)
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{field}={value}: must be one of {', '.join(known)}{hint}")
