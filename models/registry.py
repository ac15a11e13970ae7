"""Every sequence mixer by name, with its class and its paper.

To add a mixer: subclass `Mixer` (models/mixers/base.py states the contract) and name it in MIXERS below. Its own fields
become `config.model.NAME.OPTION`, the shared tests cover it, and `python -m models` shows what it costs.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import flax.linen as nn

from models.mixers.attention import Attention
from models.mixers.base import Mixer
from models.mixers.bidirectional import Bidirectional
from models.mixers.convolution import TemporalConvolution
from models.mixers.delta_product import GatedDeltaProduct
from models.mixers.dense_window import DenseWindow
from models.mixers.hgrn2 import HGRN2
from models.mixers.kimi_delta import KimiDeltaAttention
from models.mixers.linear_attention import LinearAttention
from models.mixers.linear_recurrence import LRU, RGLRU, MinimalRNN
from models.mixers.loglinear import LogLinearAttention
from models.mixers.mamba2 import Mamba2
from models.mixers.parallel_cells import ParallelRecurrence
from models.mixers.recurrent import Recurrence
from models.mixers.rwkv7 import RWKV7
from models.mixers.state_space import S4D, S6
from models.mixers.xlstm import MLSTM, SLSTM
from models.ops.position_encodings import SCORE_POSITIONS

# Fields of a mixer that are filled in from the model, and so are not options of its own.
COMMON_FIELDS = {"width", "hidden_size", "max_length", "dtype", "dropout", "causal", "positions", "depth_fraction"}
COMMON_FIELDS |= {"depth_index", "name", "parent"}


@dataclass(frozen=True, eq=False)
class MixerEntry:
    """A mixer as it is registered; `entry(width=…, hidden_size=…, **options)` makes the module."""

    mixer_class: type[Mixer]
    paper: str  # authors, year and arXiv number
    year: int | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)  # fields that make the class this mixer: no options
    defaults: Mapping[str, Any] = field(default_factory=dict)  # of options, where they differ from the class's
    without: tuple[str, ...] = ()  # options of the class that have no effect in this mixer

    def __call__(self, **fields: Any) -> Mixer:
        return self.mixer_class(**{**self.fixed, **self.defaults, **fields})

    @property
    def options(self) -> dict[str, Any]:
        """The options with their defaults."""
        excluded = COMMON_FIELDS | self.fixed.keys() | set(self.without)
        fields = (f for f in dataclasses.fields(self.mixer_class) if f.name not in excluded)
        return {f.name: self.defaults.get(f.name, f.default) for f in fields}


_WITHOUT_LSTM_OPTIONS = ("forget_bias", "disabled_gates")
_WITHOUT_DELTA_OPTIONS = ("allow_negative_eigenvalues",)
_IDEA_I = "MIT 6.S191, lecture 2, Idea I: the whole window into one network"
_PARARNN = "Danieli et al. 2025 (ParaRNN), arXiv 2510.21450"
_DELTA_PAPERS = "Schlag et al. 2021, arXiv 2102.11174; Yang et al. 2024, arXiv 2406.06484"
MIXERS: dict[str, MixerEntry] = {
    "dense": MixerEntry(DenseWindow, _IDEA_I),
    "rnn": MixerEntry(
        Recurrence,
        "Elman 1990, Finding structure in time",
        1990,
        fixed={"cell": "rnn"},
        without=_WITHOUT_LSTM_OPTIONS,
    ),
    "irnn": MixerEntry(
        Recurrence,
        "Le, Jaitly and Hinton 2015, arXiv 1504.00941",
        2015,
        fixed={"cell": "irnn"},
        without=_WITHOUT_LSTM_OPTIONS,
    ),
    "lstm": MixerEntry(Recurrence, "Hochreiter and Schmidhuber 1997; Gers et al. 2000", 1997, fixed={"cell": "lstm"}),
    "gru": MixerEntry(
        Recurrence, "Cho et al. 2014, arXiv 1406.1078", 2014, fixed={"cell": "gru"}, without=_WITHOUT_LSTM_OPTIONS
    ),
    "paragru": MixerEntry(ParallelRecurrence, _PARARNN, 2025, fixed={"cell": "gru"}),
    "paralstm": MixerEntry(ParallelRecurrence, _PARARNN, 2025, fixed={"cell": "lstm"}),
    "slstm": MixerEntry(SLSTM, "Beck et al. 2024 (xLSTM), arXiv 2405.04517", 2024),
    "mlstm": MixerEntry(MLSTM, "Beck et al. 2024 (xLSTM), arXiv 2405.04517", 2024),
    "mingru": MixerEntry(MinimalRNN, "Feng et al. 2024, arXiv 2410.01201", 2024, fixed={"cell": "mingru"}),
    "minlstm": MixerEntry(MinimalRNN, "Feng et al. 2024, arXiv 2410.01201", 2024, fixed={"cell": "minlstm"}),
    "lru": MixerEntry(LRU, "Orvieto et al. 2023, arXiv 2303.06349", 2023),
    "rglru": MixerEntry(RGLRU, "De et al. 2024 (Griffin), arXiv 2402.19427", 2024),
    "s4d": MixerEntry(S4D, "Gu et al. 2022, arXiv 2206.11893", 2022),
    "s6": MixerEntry(S6, "Gu and Dao 2023 (Mamba), arXiv 2312.00752", 2023),
    "linear": MixerEntry(
        LinearAttention,
        "Katharopoulos et al. 2020, arXiv 2006.16236",
        2020,
        fixed={"rule": "sum"},
        defaults={"feature": "elu"},
        without=_WITHOUT_DELTA_OPTIONS,
    ),
    "gla": MixerEntry(
        LinearAttention,
        "Yang et al. 2023, arXiv 2312.06635",
        2023,
        fixed={"rule": "gated"},
        without=_WITHOUT_DELTA_OPTIONS,
    ),
    "delta": MixerEntry(LinearAttention, _DELTA_PAPERS, 2021, fixed={"rule": "delta"}, defaults={"kernel": 4}),
    "gated_delta": MixerEntry(
        LinearAttention,
        "Yang et al. 2024, arXiv 2412.06464",
        2024,
        fixed={"rule": "gated_delta"},
        defaults={"kernel": 4},
    ),
    "mamba2": MixerEntry(Mamba2, "Dao and Gu 2024, arXiv 2405.21060", 2024),
    "hgrn2": MixerEntry(HGRN2, "Qin et al. 2024, arXiv 2404.07904", 2024),
    "rwkv7": MixerEntry(RWKV7, "Peng et al. 2025, arXiv 2503.14456", 2025),
    "gated_delta_product": MixerEntry(GatedDeltaProduct, "Siems et al. 2025, arXiv 2502.10297", 2025),
    "loglinear": MixerEntry(LogLinearAttention, "Guo et al. 2025, arXiv 2506.04761", 2025),
    "kda": MixerEntry(KimiDeltaAttention, "Kimi Team 2025 (Kimi Linear), arXiv 2510.26692", 2025),
    "tcn": MixerEntry(TemporalConvolution, "Bai, Kolter and Koltun 2018, arXiv 1803.01271", 2018),
    "attention": MixerEntry(Attention, "Vaswani et al. 2017, arXiv 1706.03762", 2017),
}


@dataclass(frozen=True, eq=False)
class Hybrid:
    """A published stack of two mixers, `--config=FILE:NAME`; of each paper's block only the mixers and their order."""

    pattern: str  # config.model.mixer
    paper: str
    positions: str  # config.model.positions; attention's scores have them, a recurrence needs none
    attention: Mapping[str, Any] = field(default_factory=dict)  # its options


# The local attention of Griffin and Samba sees everything here: set model.attention.window to 1,024 or 2,048, as the
# papers have it, where sequences are longer than that.
HYBRIDS: dict[str, Hybrid] = {
    "griffin": Hybrid(
        "rglru,rglru,attention", "De et al. 2024, arXiv 2402.19427: one key and value head", "rope", {"kv_heads": 1}
    ),
    "jamba": Hybrid(
        "s6,s6,s6,s6,attention,s6,s6,s6",
        "Lieber et al. 2024, arXiv 2403.19887: a key and value head for four of queries; without its experts",
        "none",
        {"kv_heads": 1},
    ),
    "samba": Hybrid("s6,attention", "Ren et al. 2024, arXiv 2406.07522", "rope"),
    "kimi_linear": Hybrid(
        "kda,kda,kda,attention", "Kimi Team 2025, arXiv 2510.26692: attention without latents and experts", "none"
    ),
}


# ---- what the table says of a mixer ---------------------------------------------------------------------------------


def mixer_options(mixer: str) -> dict[str, Any]:
    """The options of a mixer, with their defaults."""
    return MIXERS[mixer].options


def mixer_class(mixer: str) -> type[Mixer]:
    """The class of a mixer."""
    return MIXERS[mixer].mixer_class


def mixer_version(mixer: str) -> int:
    """A mixer's VERSION, raised by hand whenever its numbers change; for a pattern, the sum over its mixers."""
    return sum(mixer_class(name).VERSION for name in dict.fromkeys(parse_layer_pattern(mixer)))


def has_field(mixer: str, name: str) -> bool:
    """Whether the mixer's class has the field `name`."""
    return name in field_defaults(mixer)


def field_defaults(mixer: str) -> dict[str, Any]:
    """The fields of the mixer's class, with their defaults there."""
    return {f.name: f.default for f in dataclasses.fields(mixer_class(mixer))}


# ---- what `config.model` says of its mixers -------------------------------------------------------------------------


def parse_layer_pattern(mixer: str) -> list[str]:
    """The mixers of a stack, in turn from block to block; "rglru,rglru,attention" is Griffin's. Mostly there is one."""
    return mixer.split(",")


def hidden_sizes(model: Mapping[str, Any]) -> list[int]:
    """The hidden size of each mixer in the pattern; `model.hidden_size` is one for all, or a list with one for each."""
    given = model["hidden_size"]
    return list(given) if isinstance(given, (list, tuple)) else [given] * len(parse_layer_pattern(model["mixer"]))


def mixer_kwargs(model: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The fields of the mixer `name`: its options, and positions and dropout if it handles them itself."""
    kwargs = dict(model.get(name, {}))
    if has_field(name, "positions"):
        kwargs["positions"] = model["positions"] if attention_handles_positions(model) else "none"
    if has_field(name, "dropout"):
        kwargs["dropout"] = model["dropout"]
    return kwargs


def attention_handles_positions(model: Mapping[str, Any]) -> bool:
    """Whether attention handles the positions, and not the skeleton."""
    injection = model.get("attention", {}).get("position_injection", "embedding")
    return model["positions"] in SCORE_POSITIONS or injection != "embedding"


def causal_or_bidirectional(name: str, causal: bool, **fields: Any) -> Callable[..., nn.Module]:
    """The causal mixer `name`; or if not `causal`, attention without the causal mask, and any other mixer wrapped in
    `Bidirectional`."""
    if has_field(name, "causal"):
        return partial(MIXERS[name], causal=causal, **fields)
    constructor = partial(MIXERS[name], **fields)
    return constructor if causal else partial(Bidirectional, mixer=constructor)
