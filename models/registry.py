"""Every sequence mixer under one interface, by name."""

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn

from models.mixers.attention import Attention
from models.mixers.bidirectional import Bidirectional
from models.mixers.convolution import TemporalConvolution
from models.mixers.dense_window import DenseWindow
from models.mixers.linear_attention import LinearAttention
from models.mixers.linear_recurrence import LRU, RGLRU, MinimalRNN
from models.mixers.recurrent import Recurrence
from models.mixers.state_space import S4D, S6
from models.mixers.xlstm import MLSTM, SLSTM
from models.ops.position_encodings import SCORE_POSITIONS

# The fields of a mixer that are no options of its own: what every mixer has, and what makes it this one.
COMMON_FIELDS = {"width", "hidden_size", "max_length", "dtype", "dropout", "causal", "positions", "place"}
COMMON_FIELDS |= {"cell", "rule", "name", "parent"}
MIXERS: dict[str, Callable[..., nn.Module]] = {
    "dense": DenseWindow,
    "rnn": partial(Recurrence, cell="rnn"),
    "irnn": partial(Recurrence, cell="irnn"),
    "lstm": partial(Recurrence, cell="lstm"),
    "gru": partial(Recurrence, cell="gru"),
    "slstm": SLSTM,
    "mlstm": MLSTM,
    "mingru": partial(MinimalRNN, cell="mingru"),
    "minlstm": partial(MinimalRNN, cell="minlstm"),
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


def parse_layer_pattern(mixer: str) -> list[str]:
    """The mixers of a stack, block by block and over again: "rglru,rglru,attention" is Griffin's; most have one."""
    return mixer.split(",")


def mixer_options(mixer: str) -> dict[str, Any]:
    """The fields that are a mixer's own, with their defaults."""
    made = MIXERS[mixer]
    bound = made.keywords if isinstance(made, partial) else {}
    fields: Any = dataclasses.fields(mixer_class(mixer))  # pyright: ignore[reportArgumentType]
    return {
        f.name: bound.get(f.name, f.default)
        for f in fields
        if f.name not in COMMON_FIELDS and option_applies(mixer, f.name)
    }


def mixer_class(mixer: str) -> type[nn.Module]:
    """The class that makes it."""
    made: Any = MIXERS[mixer]
    return getattr(made, "func", made)


def option_applies(mixer: str, option: str) -> bool:
    """Whether an option of a module that several mixers share does anything in this one."""
    only = getattr(mixer_class(mixer), "ONLY", {})
    return option not in only or mixer in only[option]


def mixer_version(mixer: str) -> int:
    """The mixer's VERSION, raised by hand whenever its numbers change; of a pattern, those of its mixers added up."""
    return sum(getattr(mixer_class(name), "VERSION") for name in dict.fromkeys(parse_layer_pattern(mixer)))  # noqa: B009


def mixer_kwargs(model: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What `model` says of the mixer `name` alone: its options, the positions that attention sees to, and the dropout
    that a convolution's blocks have inside."""
    more = {}
    if mixer_class(name) is Attention:
        more = {"positions": model["positions"] if attention_handles_positions(model) else "none"}
    elif mixer_class(name) is TemporalConvolution:
        more = {"dropout": model["dropout"]}
    return {**model.get(name, {}), **more}


def attention_handles_positions(model: Mapping[str, Any]) -> bool:
    """Whether attention sees to the positions, and not the skeleton."""
    return (
        model["positions"] in SCORE_POSITIONS
        or model.get("attention", {}).get("position_injection", "embedding") != "embedding"
    )


def causal_or_bidirectional(name: str, causal: bool, **own: Any) -> Callable[..., nn.Module]:
    """The mixer `name`, which sees what came before; or, if not `causal`, all of the sequence, itself or twice."""
    if mixer_class(name) is Attention:
        return partial(MIXERS[name], causal=causal, **own)
    made = partial(MIXERS[name], **own)
    return made if causal else partial(Bidirectional, made)


def hidden_sizes(model: Mapping[str, Any]) -> list[int]:
    """The inner width of each mixer in the pattern: `model.hidden_size` is one for all, or a list of one each."""
    given = model["hidden_size"]
    return list(given) if isinstance(given, (list, tuple)) else [given] * len(parse_layer_pattern(model["mixer"]))


def validate_choice(field: str, value: str, choices: Iterable[str]) -> None:
    """Raise ValueError, naming the nearest known name, unless `value` is one of `choices`."""
    choices = list(choices)
    if value not in choices:
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{field}={value}: must be one of {', '.join(choices)}{hint}")
