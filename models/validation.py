"""Refuse what can't be a model."""

from collections.abc import Mapping
from typing import Any

from models import associative_memory, seq2seq
from models.associative_memory import ASSOCIATIVE_MEMORIES
from models.feedforward import ACTIVATIONS
from models.mixers.attention import ATTENTION_IMPLEMENTATIONS, POSITION_INJECTIONS, TIED_PROJECTIONS
from models.mixers.convolution import CONVOLUTIONS_PER_BLOCK, MAX_KERNEL_SIZE, MAX_TAP_OFFSET, TCN_BLOCKS
from models.mixers.linear_attention import FEATURE_MAPS, LinearAttention
from models.mixers.recurrent import SOLVERS
from models.mixers.xlstm import XLSTM_INITS
from models.ops.normalizers import NORMALIZERS
from models.ops.position_encodings import ADDITIVE_POSITIONS, POSITION_ENCODINGS, RANDOM_POSITION_LIMIT, SCORE_POSITIONS
from models.ops.similarity import SIMILARITIES
from models.registry import MIXERS, hidden_sizes, mixer_class, mixer_options, parse_layer_pattern, validate_choice
from models.seq2seq import ENCODER_DECODERS

# What no field may pass, so that nothing is traced that could not be held; `parameters` counts what all of them make.
_MAX_SIZES = {"depth": 1024, "width": 2**16, "hidden_size": 2**18, "max_length": 2**24}
_MAX_OPTIONS = {
    "heads": 2**16,
    "kv_heads": 2**16,
    "dpfp_nu": 2**10,
    "state_size": 2**12,
    "layers": 64,
    "kernel": MAX_KERNEL_SIZE,
}
_MAX_OPTIONS |= {"window": 2**24}
MAX_ARRAY_SIZE = 2**31  # in one array: its places are counted in 32 bits
# What a memory has no use for, at the values that say nothing; `hidden_size`, `max_length` and `positions` are left
# alone, since the first two are filled in and the last may be the config file's.
UNUSED_BY_MEMORY: dict[str, Any] = {"depth": 2, "feedforward": 2.0, "activation": "gelu", "norm": "pre"}
UNUSED_BY_MEMORY |= {"residual": True, "final_norm": True, "tie_embeddings": False, "dropout": 0.0, "pool": "last"}
UNUSED_BY_MEMORY |= {"causal": True, "encoder_decoder": "", "cross_attention_heads": 1}


def validate_model(model: Mapping[str, Any]) -> None:
    """Refuse, with ValueError, what can't be a model."""
    names = parse_layer_pattern(model["mixer"])
    for name in names:
        validate_choice("model.mixer", name, MIXERS)
        if mixer_options(name) and name not in model:
            raise ValueError(
                f"model.mixer={model['mixer']}: this config was made for another mixer and has no model.{name}; name "
                f"the mixer behind the colon, --config=FILE:{model['mixer']}"
            )
    if len(names) > model["depth"] >= 1:
        raise ValueError(
            f"model.mixer={model['mixer']}: {len(names)} mixers take turns in {model['depth']} blocks, so that some "
            f"never would; give model.depth={len(names)} or more"
        )
    if any(type(hidden_size) is not int or hidden_size < 0 for hidden_size in hidden_sizes(model)) or len(
        hidden_sizes(model)
    ) != len(names):
        raise ValueError(
            f"model.hidden_size={model['hidden_size']}: must be 0 or more, one number for all mixers or one for each"
        )
    _validate_sizes(model, names)
    validate_choice("model.positions", model["positions"], POSITION_ENCODINGS)
    validate_choice("model.activation", model["activation"], ACTIVATIONS)
    validate_choice("model.norm", model["norm"], ("pre", "post", "none"))
    validate_choice("model.pool", model["pool"], ("last", "mean"))
    validate_choice("model.dtype", model["dtype"], ("float32", "bfloat16"))
    for name, least in (("depth", 0), ("width", 1), ("max_length", 0), ("feedforward", 0)):
        if model[name] < least:
            raise ValueError(f"model.{name}={model[name]}: must be {least} or more")
    if not model["feedforward"] < float("inf") or 0 < model["feedforward"] * model["width"] < 0.5:
        raise ValueError(
            f"model.feedforward={model['feedforward']}: times model.width={model['width']}, the feed-forward layers' "
            f"hidden width must be a number of units, 1 or more, or 0 for no such layers"
        )
    if model.get("encoder_decoder"):
        _validate_encoder_decoder(model)
    if model.get("associative_memory"):
        _validate_associative_memory(model)
    if not 0 <= model["dropout"] < 1:
        raise ValueError(f"model.dropout={model['dropout']}: must be at least 0 and below 1")
    if model["positions"] in SCORE_POSITIONS and "attention" not in names:
        raise ValueError(
            f"model.positions={model['positions']}: acts on attention's scores, which {model['mixer']} has none of; "
            f"use none, {', '.join(ADDITIVE_POSITIONS)}"
        )
    if model["positions"] == "randomised" and model["max_length"] > RANDOM_POSITION_LIMIT:
        raise ValueError(
            f"model.positions=randomised: are drawn from {RANDOM_POSITION_LIMIT}, so model.max_length={model['max_length']} is "
            f"too long; use sinusoidal, or sequences of {RANDOM_POSITION_LIMIT} at most"
        )
    for name, hidden_size in zip(names, hidden_sizes(model), strict=True):
        _validate_mixer_options(name, hidden_size or (model["width"] if name == "attention" else 0), model)
    _refuse_idle_fields(model, names)


def _validate_sizes(model: Mapping[str, Any], names: list[str]) -> None:
    """Refuse what is too large to be traced, or held in one array."""
    for name, most in _MAX_SIZES.items():
        for value in hidden_sizes(model) if name == "hidden_size" else [model[name]]:
            if value > most:
                raise ValueError(f"model.{name}={value}: must be {most:,} or less")
    if _MAX_SIZES["hidden_size"] < model["feedforward"] * model["width"] < float("inf"):
        raise ValueError(
            f"model.feedforward={model['feedforward']}: times model.width={model['width']}, the feed-forward layers' "
            f"hidden width must be {_MAX_SIZES['hidden_size']:,} or less"
        )
    for name in dict.fromkeys(names):
        for option, most in _MAX_OPTIONS.items():
            if (value := model.get(name, {}).get(option, 0)) > most:
                raise ValueError(f"model.{name}.{option}={value}: must be {most:,} or less; use fewer")
    if "dense" in names and model["max_length"] ** 2 >= MAX_ARRAY_SIZE:
        raise ValueError(f"model.max_length={model['max_length']}: dense's parameters grow with its square; use less")


def _refuse_idle_fields(model: Mapping[str, Any], names: list[str]) -> None:
    """Refuse fields that are not at their defaults and do nothing in this model: they would only change its key."""
    if not model.get("associative_memory") and model.get("update_rule", "sum") != "sum":
        raise idle_field_error("update_rule", model["update_rule"], "sum", "with a model.associative_memory")
    heads = model.get("cross_attention_heads", 1)  # where config files set it, it may also stand beside no bridge
    if model.get("encoder_decoder", "") == "" and (heads < 1 or model["width"] % heads):
        raise idle_field_error(
            "cross_attention_heads", heads, 1, "with a model.encoder_decoder that attends, as scaled"
        )
    if model["activation"] != "gelu" and not model["feedforward"]:
        raise idle_field_error(
            "activation", model["activation"], "gelu", "with feed-forward layers, model.feedforward above 0"
        )
    if model.get("associative_memory"):
        for name, usual in UNUSED_BY_MEMORY.items():
            if model.get(name, usual) != usual:
                raise idle_field_error(name, model[name], usual, "without a model.associative_memory")
    for name in (name for name in MIXERS if name in model):
        usual, own = mixer_options(name), model[name]
        if model.get("associative_memory") or name not in names:
            for option, value in own.items():
                if value != usual.get(option, value):
                    acts = (
                        "without a model.associative_memory"
                        if model.get("associative_memory")
                        else f"with {name} in model.mixer"
                    )
                    raise idle_field_error(f"{name}.{option}", value, usual[option], acts)
        elif own.get("dpfp_nu", 1) != 1 and own.get("feature") != "dpfp":
            raise idle_field_error(f"{name}.nu", own["dpfp_nu"], 1, f"with model.{name}.feature=dpfp")
        elif "f" in own.get("disabled_gates", "") and own.get("forget_bias", 1.0) != usual["forget_bias"]:
            raise idle_field_error(
                f"{name}.forget_bias",
                own["forget_bias"],
                usual["forget_bias"],
                f"without f in model.{name}.disabled_gates",
            )


def idle_field_error(field: str, value: Any, usual: Any, acts: str) -> ValueError:
    """What says that `field` does nothing here, and where it acts."""
    return ValueError(f"model.{field}={value}: does nothing here, it acts {acts}; use {usual}")


def _validate_encoder_decoder(model: Mapping[str, Any]) -> None:
    """Refuse what can't be an encoder–decoder."""
    validate_choice("model.encoder_decoder", model["encoder_decoder"], ENCODER_DECODERS)
    seq2seq.validate_encoder_decoder(model["encoder_decoder"], model["cross_attention_heads"], model["width"])
    if not model["causal"]:
        raise ValueError(
            "model.causal=False: a decoder is causal; an encoder (model.encoder_decoder) looks both ways anyway"
        )


def _validate_associative_memory(model: Mapping[str, Any]) -> None:
    """Refuse what can't be a memory of associations."""
    memory, rule = model["associative_memory"], model["update_rule"]
    validate_choice("model.associative_memory", memory, ASSOCIATIVE_MEMORIES)
    validate_choice("model.update_rule", rule, associative_memory.UPDATE_RULES)
    if memory == "softmax" and rule != "sum":
        raise ValueError(f"model.update_rule={rule}: writes to a matrix, which softmax has none of; use sum")
    for name, only in (("encoder_decoder", ""), ("dtype", "float32")):
        if model[name] != only:
            raise ValueError(
                f"model.{name}={model[name]}: does not go with model.associative_memory={memory}; use {only or 'none'}"
            )


def _validate_mixer_options(name: str, hidden_size: int, model: Mapping[str, Any]) -> None:
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
        "kernel": 0 if mixer_class(name) is LinearAttention else 1,
    }
    for option, lowest in least.items():
        if own.get(option, lowest) < lowest:
            raise ValueError(f"model.{name}.{option}={own[option]}: must be {lowest} or more")
    if "gate_init" in own:
        validate_choice(f"model.{name}.gate_init", own["gate_init"], XLSTM_INITS[name])
    if "feature" in own:
        validate_choice(f"model.{name}.feature", own["feature"], FEATURE_MAPS)
    if "solver" in own:
        validate_choice(f"model.{name}.solver", own["solver"], SOLVERS)
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
        validate_choice(
            "model.tcn.block", block := own.get("block", "single"), TCN_BLOCKS
        )  # an older record does not have it
        if CONVOLUTIONS_PER_BLOCK[block] * (own["kernel"] - 1) * 2 ** min(own["layers"], 32) > 2 * MAX_TAP_OFFSET:
            raise ValueError(
                f"model.tcn.layers={own['layers']}: with kernel={own['kernel']} its last layer would reach more than "
                f"{MAX_TAP_OFFSET:,} steps back; use fewer"
            )
    heads = own.get("heads", 1)
    if hidden_size % heads:
        raise ValueError(
            f"model.{name}.heads={heads}: must divide the inner width {hidden_size}; {_nearest_divisors(hidden_size, heads)}"
        )
    features = 2 * (hidden_size or model["width"]) // heads  # a matched inner width is never above this
    if own.get("feature") == "dpfp" and own["dpfp_nu"] >= features:
        raise ValueError(
            f"model.{name}.dpfp_nu={own['dpfp_nu']}: the features of a head of {features // 2} can be rolled by "
            f"{features - 1} "
            f"places at most; use fewer"
        )
    if name == "attention":
        _validate_attention(dict(own), hidden_size // heads, model["positions"], model["dtype"])


def _validate_attention(own: dict[str, Any], size: int, positions: str, dtype: str) -> None:
    """Refuse options of attention, with heads of this size, that can't be or don't go together."""
    own = mixer_options("attention") | own  # an older record does not have them all
    heads, groups = own["heads"], own["kv_heads"]
    validate_choice("model.attention.similarity", own["similarity"], SIMILARITIES)
    validate_choice("model.attention.normalizer", own["normalizer"], NORMALIZERS)
    validate_choice("model.attention.position_injection", own["position_injection"], POSITION_INJECTIONS)
    validate_choice("model.attention.implementation", own["implementation"], ATTENTION_IMPLEMENTATIONS)
    if own["tied_projections"] not in TIED_PROJECTIONS:
        raise ValueError(
            f"model.attention.tied_projections={own['tied_projections']}: must be empty or one of "
            f"{', '.join(TIED_PROJECTIONS[1:])}"
        )
    for option in ("kv_heads", "window"):
        if own[option] < 0:
            raise ValueError(f"model.attention.{option}={own[option]}: must be 0 or more")
    if groups and heads % groups:
        raise ValueError(
            f"model.attention.kv_heads={groups}: must divide the {heads} heads; {_nearest_divisors(heads, groups)}"
        )
    if own["tied_projections"] and groups not in (0, heads):
        raise ValueError(
            f"model.attention.tied_projections={own['tied_projections']}: keys and values must be as wide as queries; "
            f"use kv_heads=0, not {groups}"
        )
    if own["position_injection"] != "embedding" and positions not in ADDITIVE_POSITIONS:
        raise ValueError(
            f"model.attention.position_injection={own['position_injection']}: says where positions are added, and "
            f"model.positions={positions} "
            f"adds none; use one of {', '.join(ADDITIVE_POSITIONS)}"
        )
    if positions == "rope" and size % 2:
        raise ValueError(f"model.positions=rope: the head size {size} must be even; change heads or width")
    if positions == "hard_alibi" and heads < 2:
        raise ValueError(
            "model.positions=hard_alibi: limits half of the heads, so model.attention.heads must be 2 or more"
        )
    if own["implementation"] == "cudnn":
        _validate_cudnn(own, dtype, positions)
    if positions == "transformer_xl" and own["similarity"] not in ("dot", "scaled"):
        raise ValueError(
            f"model.positions=transformer_xl: is made of dot products; with it, model.attention.similarity must be dot "
            f"or scaled, not {own['similarity']}"
        )


def _validate_cudnn(own: Mapping[str, Any], dtype: str, positions: str) -> None:
    """Refuse what cuDNN's kernel can't do."""
    can = {"model.dtype": (dtype, ("bfloat16",)), "model.positions": (positions, ("none", *ADDITIVE_POSITIONS, "rope"))}
    for name, values in {"similarity": ("scaled", "dot"), "normalizer": ("softmax",), "window": (0,)}.items():
        can[f"model.attention.{name}"] = (own[name], values)
    for field, (value, values) in can.items():
        if value not in values:
            raise ValueError(
                f"model.attention.implementation=cudnn: does not go with {field}={value}, only with "
                f"{', '.join(map(str, values))}; use implementation=blocks"
            )


def _nearest_divisors(number: int, wanted: int) -> str:
    """The divisors of `number` that are nearest to `wanted`, which is none, on either side: "2 and 4 do"."""
    all_of_them = [n for n in range(1, number + 1) if number % n == 0]
    near = [n for n in all_of_them if n < wanted][-1:] + [n for n in all_of_them if n > wanted][:1]
    return f"{' and '.join(map(str, near))} {'do' if len(near) > 1 else 'does'}"
