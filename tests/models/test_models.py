from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from configs import base
from models.cost import count_params


def model(mixer: str, /, **fields: Any) -> dict[str, Any]:
    config: Any = base(mixer)
    made = config.model.to_dict()
    for name in models.parse_layer_pattern(mixer):
        made[name] |= fields.pop(name, {})
    assert set(fields) <= set(made)
    return made | fields


@cache
def size(mixer: str, width: int, window: int) -> int:
    """Parameters of the whole network."""
    network = models.build_model(
        models.resolve_model(model(mixer, width=width), window), vocabulary=64, channels=0, outputs=64, per="token"
    )
    return count_params(jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 1), jnp.int32)))


@pytest.mark.parametrize(("width", "window"), [(32, 64), (64, 32), (128, 32)])
@pytest.mark.parametrize("mixer", models.MIXERS)
def test_parameters_are_matched_within_5_percent(mixer: str, width: int, window: int):
    assert size(mixer, width, window) / size("attention", width, window) == pytest.approx(1, abs=0.05)


def test_attention_itself_is_left_at_its_width():
    assert models.resolve_model(model("attention", width=48), 32)["hidden_size"] == 48
    assert models.match_hidden_size("attention", 20, 7) == 20
    assert models.resolve_model(model("attention", width=48, positions="rope"), 32)["hidden_size"] == 48


@pytest.mark.parametrize(
    ("own", "positions"),
    [
        ({"kv_heads": 1}, "none"),
        ({"kv_heads": 2}, "none"),
        ({"tied_projections": "qk"}, "none"),
        ({"tied_projections": "qkv"}, "none"),
        ({"similarity": "general"}, "none"),
        ({"similarity": "additive", "bias": False}, "none"),
        ({}, "transformer_xl"),
        ({"kv_heads": 1}, "rope"),
        ({"output_gate": True}, "none"),
        ({"differential": True}, "rope"),
        ({"differential": True, "output_gate": True, "heads": 2}, "none"),
    ],
    ids=str,
)
def test_attention_is_matched_with_plain_attention_whatever_its_options(own: dict[str, Any], positions: str):
    made = models.resolve_model(model("attention", attention=own, positions=positions), 32)
    found = models.params_at_hidden_size(
        "attention", 64, 32, made["hidden_size"], True, **models.mixer_kwargs(made, "attention")
    )
    assert found / (4 * 64 * 65) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("mixer", "hidden_size"),
    [*((name, 0) for name in models.MIXERS if name != "dense"), ("gru", 24), ("mlstm", 24), ("attention", 24)],
)
def test_an_encoder_has_as_many_parameters_as_its_decoder(mixer: str, hidden_size: int):
    made = models.resolve_model(model(mixer, encoder_decoder="dot", hidden_size=hidden_size), 32)
    sizes: dict[str, Any] = {"vocabulary": 8, "channels": 0, "outputs": 8, "per": "token", "separator": 1}
    network = models.build_model(made, **sizes)
    params = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 8), jnp.int32))["params"]
    # A unit of the matrix memories is two directions of four heads.
    there, here = (count_params(params[part]["mixer_0"]) for part in ("encoder", "decoder"))
    assert there / here == pytest.approx(1, abs=0.08 if hidden_size == 0 else 0.2)


def test_resolve_fills_in_only_what_is_zero():
    """`max_length` with the task's, `hidden_size` with what matches; what is given stays, and so does the caller's
    dict."""
    given = model("lstm", hidden_size=5, max_length=40)
    assert models.resolve_model(given, 32) == given
    zeros = model("lstm")
    made = models.resolve_model(zeros, 32)
    assert {name for name in made if made[name] != zeros[name]} == {"hidden_size", "max_length"}
    assert made["max_length"] == 32
    assert zeros["hidden_size"] == zeros["max_length"] == 0
    assert models.resolve_model(made, 32) == made


def test_build_makes_what_the_fields_say():
    fields = {"depth": 3, "width": 8, "feedforward": 1.5, "positions": "rope", "dtype": "bfloat16", "causal": False}
    made = models.resolve_model(model("attention", **fields, attention={"heads": 2, "bias": False}), 16)
    network = models.build_model(made, vocabulary=5, channels=0, outputs=7, per="sequence")
    assert (network.depth, network.width, network.hidden, network.outputs, network.per) == (3, 8, 12, 7, "sequence")
    mixer: Any = network.mixers[0](width=8, dtype=network.dtype)
    assert (mixer.heads, mixer.bias, mixer.causal, mixer.positions, mixer.max_length) == (2, False, False, "rope", 16)
    assert mixer.dtype == jnp.bfloat16
    added = models.build_model(
        model("attention", positions="learned"), vocabulary=5, channels=0, outputs=5, per="token"
    )
    other: Any = added.mixers[0](width=8)
    assert (added.positions, other.positions) == ("learned", "none")


def test_the_slstm_starts_by_the_place_of_its_block():
    """As its authors' does: the exponent goes from 0.3 in the first block to 1.6 in the last, reading both ways too."""
    for causal in (True, False):
        made = models.resolve_model(model("slstm", depth=3, causal=causal), 16)
        network = models.build_model(made, vocabulary=5, channels=0, outputs=5, per="token")
        params = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
        for block, exponent in enumerate((0.3, 0.95, 1.6)):
            mixer = params[f"mixer_{block}"]
            for one in [mixer] if causal else [mixer["forward"], mixer["backward"]]:
                forget = np.split(one["input"]["bias"], 4)[1]
                expected = 5 - 12 * np.linspace(0, 1, len(forget)) ** exponent
                np.testing.assert_allclose(forget, expected, atol=1e-4)


def test_a_pattern_is_a_stack_block_by_block_and_over_again():
    """As Griffin's two recurrences and one attention; each mixer with its own options and its own inner width."""
    fields: dict[str, Any] = {"depth": 5, "width": 32, "attention": {"heads": 2}, "rglru": {"kernel": 3}}
    made = models.resolve_model(model("rglru,rglru,attention", **fields), 16)
    recurrent = models.match_hidden_size("rglru", 32, 16, kernel=3)
    assert made["hidden_size"] == [recurrent, recurrent, 32]
    network = models.build_model(made, vocabulary=5, channels=0, outputs=5, per="token")
    params = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
    which = ["rglru" if "decay" in params[f"mixer_{block}"] else "attention" for block in range(5)]
    assert which == ["rglru", "rglru", "attention", "rglru", "rglru"]
    assert params["mixer_0"]["kernel"].shape == (3, recurrent)
    assert models.mixer_version("rglru,attention") == models.mixer_version("rglru") + models.mixer_version("attention")
    assert models.mixer_version("rglru,rglru,attention") == models.mixer_version("rglru,attention")
    one = models.resolve_model(model("attention,attention", width=32), 16)
    assert one["hidden_size"] == 32
    assert models.resolve_model(model("attention", causal=False, width=32), 16)["hidden_size"] == 32


def test_what_is_not_causal_reads_both_ways():
    made = models.resolve_model(model("gru", width=32, causal=False), 16)
    assert made["hidden_size"] % 2 == 0
    network = models.build_model(made, vocabulary=5, channels=0, outputs=5, per="token")
    params = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
    assert set(params["mixer_0"]) == {"forward", "backward"}


def test_a_mixer_s_own_fields_are_its_options():
    assert models.mixer_options("lstm")["disabled_gates"] == ""
    assert "disabled_gates" not in models.mixer_options("gru")
    assert models.mixer_options("linear") != models.mixer_options("gla")
    for name in models.MIXERS:
        assert not models.mixer_options(name).keys() & models.COMMON_FIELDS


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("lstm", {"mixer": "lsmt"}, r"model\.mixer=lsmt: must be one of dense, .*attention; did you mean lstm\?"),
    ("lstm", {"mixer": "zzz"}, r"model\.mixer=zzz: must be one of [a-z0-9_, ]+$"),
    ("attention", {"attention": {"heads": 0}}, r"model\.attention\.heads=0: must be 1 or more"),
    ("attention", {"attention": {"heads": -2}}, r"model\.attention\.heads=-2: must be 1 or more"),
    ("attention", {"attention": {"heads": 3}}, r"heads=3: must divide the inner width 64; 2 and 4 do"),
    ("attention", {"hidden_size": 9, "attention": {"heads": 2}}, r"heads=2: must divide the inner width 9; 1 and 3 do"),
    (
        "attention",
        {"positions": "rope", "width": 12},
        r"model\.positions=rope: the head size 3 must be a multiple of 2; model.attention.heads=4: 3 and 6 do",
    ),
    ("lstm", {"positions": "rope"}, r"model\.positions=rope: acts on .* lstm has none of; use none, sinusoidal, le"),
    ("dense", {"positions": "alibi"}, r"model\.positions=alibi: .* dense has none of; use none"),
    ("gru", {"positions": "rotary"}, r"model\.positions=rotary: must be one of none, sinusoidal, learned, rope, alibi"),
    ("lstm", {"width": 0}, r"model\.width=0: must be 1 or more"),
    ("lstm", {"depth": -1}, r"model\.depth=-1: must be 0 or more"),
    ("lstm", {"hidden_size": -4}, r"model\.hidden_size=-4: must be 0 or more"),
    ("lstm", {"feedforward": -0.5}, r"model\.feedforward=-0\.5: must be 0 or more"),
    ("lstm", {"max_length": -1}, r"model\.max_length=-1: must be 0 or more"),
    ("lstm", {"max_length": 31}, r"model\.max_length=31: the task has sequences of 32; give 32 or more"),
    ("lstm", {"dropout": 1}, r"model\.dropout=1: must be at least 0 and below 1"),
    ("lstm", {"dropout": -0.1}, r"model\.dropout=-0\.1: must be at least 0"),
    ("lstm", {"activation": "rellu"}, r"model\.activation=rellu: must be one of gelu, .*; did you mean relu\?"),
    ("lstm", {"norm": "prenorm"}, r"model\.norm=prenorm: must be one of pre, post, none"),
    ("lstm", {"pool": "max"}, r"model\.pool=max: must be one of last, mean"),
    ("lstm", {"dtype": "float16"}, r"model\.dtype=float16: must be one of float32, bfloat16; did you mean \w+\?"),
    (
        "lstm",
        {"causal": False, "hidden_size": 7},
        r"model\.hidden_size=7: lstm reads both ways, each with half of it; use 8",
    ),
    (
        "lstm",
        {"hidden_size": [4, 4]},
        r"model\.hidden_size=\[4, 4\]: must be 0 or more, one number for all mixers or one for each",
    ),
    ("lstm", {"mixer": "lstm,gur"}, r"model\.mixer=gur: must be one of .*; did you mean gru\?"),
    ("gla", {"hidden_size": 6}, r"model\.gla\.heads=4: must divide the inner width 6; 3 and 6 do"),
    (
        "mlstm",
        {"hidden_size": 12, "causal": False},
        r"model\.mlstm\.heads=4: must divide the inner width 6; 3 and 6 do",
    ),
    ("lstm", {"lstm": {"disabled_gates": "ig"}}, r"model\.lstm\.disabled_gates=ig: g is none of the gates i, f and o"),
    (
        "gru",
        {"gru": {"solver": "newtn"}},
        r"model\.gru\.solver=newtn: must be one of sequential, autodiff, newton, quasi; did you",
    ),
    (
        "gru",
        {"gru": {"solver": "quasi"}, "dtype": "bfloat16"},
        r"model\.gru\.solver=quasi: does not converge with products in bfloat16; use sequential, or .*float32",
    ),
    (
        "lru",
        {"lru": {"min_radius": 0.9, "max_radius": 0.5}},
        r"model\.lru\.min_radius=0\.9, max_radius=0\.5: must be two radii",
    ),
    ("s6", {"s6": {"state_size": 0}}, r"model\.s6\.state_size=0: must be 1 or more"),
    ("tcn", {"tcn": {"kernel": 0}}, r"model\.tcn\.kernel=0: must be 1 or more"),
    ("delta", {"delta": {"kernel": -1}}, r"model\.delta\.kernel=-1: must be 0 or more"),
    (
        "slstm",
        {"slstm": {"gate_init": "powerlw"}},
        r"slstm\.gate_init=powerlw: must be one of powerlaw, linspace, plain; did",
    ),
    (
        "mlstm",
        {"mlstm": {"gate_init": "powerlaw"}},
        r"model\.mlstm\.gate_init=powerlaw: must be one of linspace, plain",
    ),
    ("linear", {"linear": {"feature": "relu"}}, r"model\.linear\.feature=relu: must be one of identity, elu, dpfp"),
    ("lstm", {"mixer": "attention"}, r"model\.mixer=attention: .* made for another mixer .* --config=FILE:attention"),
    ("lstm,gru,rnn", {}, r"model\.mixer=lstm,gru,rnn: 3 mixers take turns in 2 blocks, .* give model\.depth=3 or more"),
    ("rnn", {"feedforward": float("inf")}, r"model\.feedforward=inf: .* must be a number of units, 1 or more"),
    ("rnn", {"feedforward": float("nan")}, r"model\.feedforward=nan: .* must be a number of units, 1 or more"),
    (
        "rnn",
        {"feedforward": 0.005},
        r"model\.feedforward=0\.005: times model\.width=64, .* 1 or more, or 0 for no such",
    ),
    ("lstm", {"lstm": {"forget_bias": float("nan")}}, r"model\.lstm\.forget_bias=nan: must be a number"),
    ("lru", {"lru": {"max_phase": 0.0}}, r"model\.lru\.max_phase=0\.0: must be an angle above 0"),
    ("lru", {"lru": {"max_phase": float("nan")}}, r"model\.lru\.max_phase=nan: must be an angle above 0"),
    ("tcn", {"tcn": {"layers": 40}}, r"model\.tcn\.layers=40: with kernel=3 .* 1,048,576 steps back; use fewer"),
    ("tcn", {"tcn": {"layers": 20}}, r"model\.tcn\.layers=20: with kernel=3 .* 1,048,576 steps back; use fewer"),
    ("tcn", {"tcn": {"block": "double"}}, r"model\.tcn\.block=double: must be one of bai, single"),
    ("tcn", {"tcn": {"layers": 10**9}}, r"model\.tcn\.layers=1000000000: .*; use fewer"),
    (
        "linear",
        {"linear": {"feature": "dpfp", "dpfp_nu": 500}},
        r"model\.linear\.dpfp_nu=500: .* \d+ places at most; use fewer",
    ),
    (
        "lstm",
        {"update_rule": "dleta"},
        r"model\.update_rule=dleta: does nothing here, .* with a model\.associative_memory; use sum",
    ),
    (
        "lstm",
        {"cross_attention_heads": 0},
        r"model\.cross_attention_heads=0: does nothing here, it acts with a model\.encoder_decoder .*; use 1",
    ),
    ("lstm", {"pool": "mean"}, r"model\.pool=mean: does nothing here, it acts where a whole sequence has one label"),
    ("lstm", {"feedforward": 0.0, "activation": "relu"}, r"model\.activation=relu: does nothing .*; use gelu"),
    (
        "linear",
        {"linear": {"dpfp_nu": 2}},
        r"model\.linear\.dpfp_nu=2: .* it acts with model\.linear\.feature=dpfp; use 1",
    ),
    ("lstm", {"lstm": {"disabled_gates": "f", "forget_bias": 3.0}}, r"model\.lstm\.forget_bias=3\.0: .* without f in"),
    ("lstm,attention", {"mixer": "lstm", "attention": {"heads": 2}}, r"attention\.heads=2: .* with attention in model"),
    (
        "lstm",
        {"associative_memory": "linear", "depth": 3},
        r"model\.depth=3: does nothing here, it acts without a model\.associative_memory",
    ),
    (
        "attention",
        {"associative_memory": "linear", "attention": {"heads": 2}},
        r"heads=2: .* acts without a model\.associative_memory; use 4",
    ),
    ("lstm", {"width": 10**9}, r"model\.width=1000000000: must be 65,536 or less"),
    ("lstm", {"width": 10**30}, r"model\.width=1000000000000000000000000000000: must be 65,536 or less"),
    ("attention", {"max_length": 2**31}, r"model\.max_length=2147483648: must be 16,777,216 or less"),
    ("lstm", {"hidden_size": 2**31}, r"model\.hidden_size=2147483648: must be 262,144 or less"),
    ("lstm", {"depth": 10**9}, r"model\.depth=1000000000: must be 1,024 or less"),
    ("lstm", {"feedforward": 1e300}, r"model\.feedforward=1e\+300: .* hidden width must be 262,144 or less"),
    *(
        (name, {name: {"kernel": 10**6}}, rf"model\.{name}\.kernel=1000000: must be 1,024 or less")
        for name in ("rglru", "s6", "linear", "gla", "delta", "gated_delta", "tcn")
    ),
    ("tcn", {"tcn": {"kernel": 1, "layers": 10**6}}, r"model\.tcn\.layers=1000000: must be 64 or less"),
    ("attention", {"attention": {"heads": 10**30}}, r"model\.attention\.heads=10+: must be 65,536 or less"),
    ("dense", {"max_length": 10**5}, r"model\.max_length=100000: dense's parameters grow with its square"),
    ("lstm", {"tie_embeddings": True}, r"model\.tie_embeddings: .* not with 8 tokens in and 9 outputs"),
]


@pytest.mark.parametrize(("mixer", "fields", "message"), BAD, ids=[f"{m}-{f}" for m, f, _ in BAD])
def test_what_can_not_be_a_model_is_refused(mixer: str, fields: dict[str, Any], message: str):
    """In one line that names the field and says what would be right."""
    with pytest.raises(ValueError, match=message) as caught:
        models.build_model(
            models.resolve_model(model(mixer, **fields), 32), vocabulary=8, channels=0, outputs=9, per="token"
        )
    assert "\n" not in str(caught.value)


def test_a_memory_s_unused_fields_are_said_with_their_defaults():
    usual = base("lstm").to_dict()["model"]
    assert {name: usual[name] for name in models.UNUSED_BY_MEMORY} == models.UNUSED_BY_MEMORY


@pytest.mark.parametrize("name", ["gru", "attention", "tcn"])
def test_parameters_are_counted_before_any_is_made(name: str):
    made = models.resolve_model(model(name, width=16), 8)
    network = models.build_model(made, vocabulary=8, channels=0, outputs=8, per="token")
    tokens = jax.ShapeDtypeStruct((1, 8), jnp.int32)
    params = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 8), jnp.int32))
    assert models.count_model_params(network, tokens) == count_params(params)
    large = models.build_model({**made, "width": 2**16}, vocabulary=2**16, channels=0, outputs=8, per="token")
    with pytest.raises(ValueError, match=r"embed.embedding would have 4,294,967,296 numbers, and an array can have"):
        models.count_model_params(large, tokens)


def test_a_convolution_may_reach_as_far_as_it_can_carry():
    """Two convolutions of a block reach twice as far as one."""
    for block, layers in (("bai", 19), ("single", 20)):
        models.validate_model(model("tcn", tcn={"layers": layers, "block": block}))
        with pytest.raises(ValueError, match=f"layers={layers + 1}: with kernel=3 its last layer"):
            models.validate_model(model("tcn", tcn={"layers": layers + 1, "block": block}))


@pytest.mark.parametrize("mixer", models.MIXERS)
def test_real_inputs_have_no_table_to_tie(mixer: str):
    with pytest.raises(ValueError, match=r"model\.tie_embeddings: .* not with 0 tokens in and 1 outputs"):
        models.build_model(
            models.resolve_model(model(mixer, tie_embeddings=True, hidden_size=8), 8),
            vocabulary=0,
            channels=2,
            outputs=1,
            per="sequence",
        )
