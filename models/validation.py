"""Refuse what can't be a model."""

from collections.abc import Mapping
from typing import Any

from models import associative_memory, seq2seq
from models.associative_memory import MEMORIES
from models.feedforward import ACTIVATIONS
from models.mixers.attention import FORMS, PLACED, SHARED
from models.mixers.convolution import BLOCKS, CONVOLUTIONS, FARTHEST_TAP, MOST_TAPS
from models.mixers.linear_attention import FEATURES, LinearAttention
from models.mixers.recurrent import SOLVERS
from models.mixers.xlstm import STARTS
from models.ops.normalizers import NORMALISERS
from models.ops.position_encodings import ADDED, DRAWN_FROM, POSITIONS, SCORED
from models.ops.similarity import SIMILARITIES
from models.registry import MIXERS, inners, module, one_of, options, pattern
from models.seq2seq import BRIDGES

# What no field may pass, so that nothing is traced that could not be held; `parameters` counts what all of them make.
LARGEST = {"depth": 1024, "width": 2**16, "hidden_size": 2**18, "max_length": 2**24}
LARGEST_OPTIONS = {
    "heads": 2**16,
    "kv_heads": 2**16,
    "dpfp_nu": 2**10,
    "state_size": 2**12,
    "layers": 64,
    "kernel": MOST_TAPS,
}
LARGEST_OPTIONS |= {"window": 2**24}
NUMBERS = 2**31  # in one array: its places are counted in 32 bits
# What a memory has no use for, at the values that say nothing; `hidden_size`, `max_length` and `positions` are left
# alone, since the first two are filled in and the last may be the config file's.
UNUSED_BY_MEMORY: dict[str, Any] = {"depth": 2, "feedforward": 2.0, "activation": "gelu", "norm": "pre"}
UNUSED_BY_MEMORY |= {"residual": True, "final_norm": True, "tie_embeddings": False, "dropout": 0.0, "pool": "last"}
UNUSED_BY_MEMORY |= {"causal": True, "encoder_decoder": "", "cross_attention_heads": 1}


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
    if any(type(hidden_size) is not int or hidden_size < 0 for hidden_size in inners(model)) or len(
        inners(model)
    ) != len(names):
        raise ValueError(
            f"model.hidden_size={model['hidden_size']}: must be 0 or more, one number for all mixers or one for each"
        )
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
    if model.get("encoder_decoder"):
        check_bridge(model)
    if model.get("associative_memory"):
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
    for name, hidden_size in zip(names, inners(model), strict=True):
        check_options(name, hidden_size or (model["width"] if name == "attention" else 0), model)
    check_idle(model, names)


def check_sizes(model: Mapping[str, Any], names: list[str]) -> None:
    """Refuse what is too large to be traced, or held in one array."""
    for name, most in LARGEST.items():
        for value in inners(model) if name == "hidden_size" else [model[name]]:
            if value > most:
                raise ValueError(f"model.{name}={value}: must be {most:,} or less")
    if LARGEST["hidden_size"] < model["feedforward"] * model["width"] < float("inf"):
        raise ValueError(
            f"model.feedforward={model['feedforward']}: times model.width={model['width']}, the feed-forward layers' "
            f"hidden width must be {LARGEST['hidden_size']:,} or less"
        )
    for name in dict.fromkeys(names):
        for option, most in LARGEST_OPTIONS.items():
            if (value := model.get(name, {}).get(option, 0)) > most:
                raise ValueError(f"model.{name}.{option}={value}: must be {most:,} or less; use fewer")
    if "dense" in names and model["max_length"] ** 2 >= NUMBERS:
        raise ValueError(f"model.max_length={model['max_length']}: dense's parameters grow with its square; use less")


def check_idle(model: Mapping[str, Any], names: list[str]) -> None:
    """Refuse fields that are not at their defaults and do nothing in this model: they would only change its key."""
    if not model.get("associative_memory") and model.get("update_rule", "sum") != "sum":
        raise idle("update_rule", model["update_rule"], "sum", "with a model.associative_memory")
    heads = model.get("cross_attention_heads", 1)  # where config files set it, it may also stand beside no bridge
    if model.get("encoder_decoder", "") == "" and (heads < 1 or model["width"] % heads):
        raise idle("cross_attention_heads", heads, 1, "with a model.encoder_decoder that attends, as scaled")
    if model["activation"] != "gelu" and not model["feedforward"]:
        raise idle("activation", model["activation"], "gelu", "with feed-forward layers, model.feedforward above 0")
    if model.get("associative_memory"):
        for name, usual in UNUSED_BY_MEMORY.items():
            if model.get(name, usual) != usual:
                raise idle(name, model[name], usual, "without a model.associative_memory")
    for name in (name for name in MIXERS if name in model):
        usual, own = options(name), model[name]
        if model.get("associative_memory") or name not in names:
            for option, value in own.items():
                if value != usual.get(option, value):
                    acts = (
                        "without a model.associative_memory"
                        if model.get("associative_memory")
                        else f"with {name} in model.mixer"
                    )
                    raise idle(f"{name}.{option}", value, usual[option], acts)
        elif own.get("dpfp_nu", 1) != 1 and own.get("feature") != "dpfp":
            raise idle(f"{name}.nu", own["dpfp_nu"], 1, f"with model.{name}.feature=dpfp")
        elif "f" in own.get("disabled_gates", "") and own.get("forget_bias", 1.0) != usual["forget_bias"]:
            raise idle(
                f"{name}.forget_bias",
                own["forget_bias"],
                usual["forget_bias"],
                f"without f in model.{name}.disabled_gates",
            )


def idle(field: str, value: Any, usual: Any, acts: str) -> ValueError:
    """What says that `field` does nothing here, and where it acts."""
    return ValueError(f"model.{field}={value}: does nothing here, it acts {acts}; use {usual}")


def check_bridge(model: Mapping[str, Any]) -> None:
    """Refuse what can't be an encoder–decoder."""
    one_of("model.encoder_decoder", model["encoder_decoder"], BRIDGES)
    seq2seq.check(model["encoder_decoder"], model["cross_attention_heads"], model["width"])
    if not model["causal"]:
        raise ValueError(
            "model.causal=False: a decoder is causal; an encoder (model.encoder_decoder) looks both ways anyway"
        )


def check_memory(model: Mapping[str, Any]) -> None:
    """Refuse what can't be a memory of associations."""
    memory, rule = model["associative_memory"], model["update_rule"]
    one_of("model.associative_memory", memory, MEMORIES)
    one_of("model.update_rule", rule, associative_memory.RULES)
    if memory == "softmax" and rule != "sum":
        raise ValueError(f"model.update_rule={rule}: writes to a matrix, which softmax has none of; use sum")
    for name, only in (("encoder_decoder", ""), ("dtype", "float32")):
        if model[name] != only:
            raise ValueError(
                f"model.{name}={model[name]}: does not go with model.associative_memory={memory}; use {only or 'none'}"
            )


def check_options(name: str, hidden_size: int, model: Mapping[str, Any]) -> None:
    """Refuse options of one mixer that can't be, or not with this `hidden_size` (0: not known yet)."""
    own = model.get(name, {})
    if not model["causal"] and name != "attention":
        if hidden_size % 2:
            raise ValueError(
                f"model.hidden_size={hidden_size}: {name} reads both ways, each with half of it; use {hidden_size + 1}"
            )
        hidden_size //= 2
    least = {
        "heads": 1,
        "layers": 1,
        "state_size": 1,
        "dpfp_nu": 1,
        "kernel": 0 if module(name) is LinearAttention else 1,
    }
    for option, lowest in least.items():
        if own.get(option, lowest) < lowest:
            raise ValueError(f"model.{name}.{option}={own[option]}: must be {lowest} or more")
    if "gate_init" in own:
        one_of(f"model.{name}.gate_init", own["gate_init"], STARTS[name])
    if "feature" in own:
        one_of(f"model.{name}.feature", own["feature"], FEATURES)
    if "solver" in own:
        one_of(f"model.{name}.solver", own["solver"], SOLVERS)
        if own["solver"] in ("newton", "quasi") and model["dtype"] != "float32":
            raise ValueError(
                f"model.{name}.solver={own['solver']}: does not converge with products in {model['dtype']}; use "
                f"sequential, or model.dtype=float32"
            )
    if unknown := sorted(set(own.get("disabled_gates", "")) - set("ifo")):
        raise ValueError(
            f"model.{name}.disabled_gates={own['disabled_gates']}: {unknown[0]} is none of the gates i, f and o"
        )
    if not abs(own.get("forget_bias", 0.0)) < float("inf"):  # which nan is not
        raise ValueError(f"model.{name}.forget_bias={own['forget_bias']}: must be a number")
    if name == "lru":
        if not 0 <= own["min_radius"] < own["max_radius"] < 1:
            raise ValueError(
                f"model.lru.min_radius={own['min_radius']}, max_radius={own['max_radius']}: must be two "
                f"radii from 0 to below "
                f"1, the smaller first"
            )
        if not 0 < own["max_phase"] <= 6.2832:
            raise ValueError(f"model.lru.max_phase={own['max_phase']}: must be an angle above 0, up to 2π = 6.2832")
    if name == "tcn":
        one_of("model.tcn.block", block := own.get("block", "single"), BLOCKS)  # an older record does not have it
        if CONVOLUTIONS[block] * (own["kernel"] - 1) * 2 ** min(own["layers"], 32) > 2 * FARTHEST_TAP:
            raise ValueError(
                f"model.tcn.layers={own['layers']}: with kernel={own['kernel']} its last layer would reach more than "
                f"{FARTHEST_TAP:,} steps back; use fewer"
            )
    heads = own.get("heads", 1)
    if hidden_size % heads:
        raise ValueError(
            f"model.{name}.heads={heads}: must divide the inner width {hidden_size}; {divisors(hidden_size, heads)}"
        )
    features = 2 * (hidden_size or model["width"]) // heads  # a matched inner width is never above this
    if own.get("feature") == "dpfp" and own["dpfp_nu"] >= features:
        raise ValueError(
            f"model.{name}.dpfp_nu={own['dpfp_nu']}: the features of a head of {features // 2} can be rolled by "
            f"{features - 1} "
            f"places at most; use fewer"
        )
    if name == "attention":
        check_attention(dict(own), hidden_size // heads, model["positions"], model["dtype"])


def check_attention(own: dict[str, Any], size: int, positions: str, dtype: str) -> None:
    """Refuse options of attention, with heads of this size, that can't be or don't go together."""
    own = options("attention") | own  # an older record does not have them all
    heads, groups = own["heads"], own["kv_heads"]
    one_of("model.attention.similarity", own["similarity"], SIMILARITIES)
    one_of("model.attention.normalizer", own["normalizer"], NORMALISERS)
    one_of("model.attention.position_injection", own["position_injection"], PLACED)
    one_of("model.attention.implementation", own["implementation"], FORMS)
    if own["tied_projections"] not in SHARED:
        raise ValueError(
            f"model.attention.tied_projections={own['tied_projections']}: must be empty or one of "
            f"{', '.join(SHARED[1:])}"
        )
    for option in ("kv_heads", "window"):
        if own[option] < 0:
            raise ValueError(f"model.attention.{option}={own[option]}: must be 0 or more")
    if groups and heads % groups:
        raise ValueError(f"model.attention.kv_heads={groups}: must divide the {heads} heads; {divisors(heads, groups)}")
    if own["tied_projections"] and groups not in (0, heads):
        raise ValueError(
            f"model.attention.tied_projections={own['tied_projections']}: keys and values must be as wide as queries; "
            f"use kv_heads=0, not {groups}"
        )
    if own["position_injection"] != "embedding" and positions not in ADDED:
        raise ValueError(
            f"model.attention.position_injection={own['position_injection']}: says where positions are added, and "
            f"model.positions={positions} "
            f"adds none; use one of {', '.join(ADDED)}"
        )
    if positions == "rope" and size % 2:
        raise ValueError(f"model.positions=rope: the head size {size} must be even; change heads or width")
    if positions == "hard_alibi" and heads < 2:
        raise ValueError(
            "model.positions=hard_alibi: limits half of the heads, so model.attention.heads must be 2 or more"
        )
    if own["implementation"] == "cudnn":
        check_cudnn(own, dtype, positions)
    if positions == "transformer_xl" and own["similarity"] not in ("dot", "scaled"):
        raise ValueError(
            f"model.positions=transformer_xl: is made of dot products; with it, model.attention.similarity must be dot "
            f"or scaled, not {own['similarity']}"
        )


def check_cudnn(own: Mapping[str, Any], dtype: str, positions: str) -> None:
    """Refuse what cuDNN's kernel can't do."""
    can = {"model.dtype": (dtype, ("bfloat16",)), "model.positions": (positions, ("none", *ADDED, "rope"))}
    for name, values in {"similarity": ("scaled", "dot"), "normalizer": ("softmax",), "window": (0,)}.items():
        can[f"model.attention.{name}"] = (own[name], values)
    for field, (value, values) in can.items():
        if value not in values:
            raise ValueError(
                f"model.attention.implementation=cudnn: does not go with {field}={value}, only with "
                f"{', '.join(map(str, values))}; use implementation=blocks"
            )


def divisors(number: int, wanted: int) -> str:
    """The divisors of `number` that are nearest to `wanted`, which is none, on either side: "2 and 4 do"."""
    all_of_them = [n for n in range(1, number + 1) if number % n == 0]
    near = [n for n in all_of_them if n < wanted][-1:] + [n for n in all_of_them if n > wanted][:1]
    return f"{' and '.join(map(str, near))} {'do' if len(near) > 1 else 'does'}"
