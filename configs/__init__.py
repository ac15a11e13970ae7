"""What to train: one ml_collections file for each task or data set, with the mixer as its argument.

`--config=configs/recall.py:lstm` calls `get_config("lstm")` of configs/recall.py. A new config file starts from `base`,
or from one of the helpers below it for classification, for text and for encoder-decoders.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict, FieldReference

import models
from tasks.base import suggest_name

# Fields by their names up to 0.1.0.
RENAMED_FIELDS = {
    "replicas": "ensemble",
    "optimizer.clip": "optimizer.grad_clip_norm",
    "optimizer.warmup": "optimizer.warmup_steps",
    "training.batch": "training.batch_size",
    "training.shortest": "training.min_length",
    "model.inner": "model.hidden_size",
    "model.tied": "model.tie_embeddings",
    "model.bridge": "model.encoder_decoder",
    "model.bridge_heads": "model.cross_attention_heads",
    "model.memory": "model.associative_memory",
    "model.memory_rule": "model.update_rule",
    "model.attention.normaliser": "model.attention.normalizer",
    "model.attention.placed": "model.attention.position_injection",
    "model.attention.shared": "model.attention.tied_projections",
    "model.attention.form": "model.attention.implementation",
    "model.attention.groups": "model.attention.kv_heads",
    "model.lstm.open": "model.lstm.disabled_gates",
}


def suggest_field(path: str, known: Iterable[str]) -> str:
    """The words "it is X now; " for the path of a renamed field, else "did you mean X? " if one `known` is close."""
    new = RENAMED_FIELDS.get(path)
    return f"it is {new} now; " if new else suggest_name(path.rpartition(".")[2], known)


def base(mixer: str, *, attention_positions: str = "none") -> ConfigDict:
    """The config of a mixer with the default values of all fields; or of a stack in models.HYBRIDS, by its name, with
    the positions that it has in its paper and as many blocks as its pattern.

    `attention_positions` becomes model.positions if the mixer is attention, or has attention in some of its blocks; a
    recurrence needs no positions. Raises ValueError if there is no such mixer.

    A default that changes needs training.builder.VERSION raised: fields with default values are in no run's key.
    """
    if hybrid := models.HYBRIDS.get(mixer):
        config: Any = base(hybrid.pattern, attention_positions=hybrid.positions)
        config.model.depth = max(config.model.depth, len(models.parse_layer_pattern(hybrid.pattern)))
        config.model.attention.update(hybrid.attention)
        return config
    config = ConfigDict(default_fields(mixer))
    if "attention" in models.parse_layer_pattern(mixer):
        config.model.positions = attention_positions
    return config


def default_fields(mixer: str) -> dict[str, dict[str, Any]]:
    """The fields of `base` and their values, by group, in the order in which people read them."""
    names = list(dict.fromkeys(models.parse_layer_pattern(mixer)))
    known = models.MIXERS if len(names) > 1 else {**models.MIXERS, **models.HYBRIDS}
    for name in names:
        models.validate_choice("--config=FILE:MIXER, MIXER", name, known)
    return {
        # A name in tasks.TASKS. The other fields are the task's own; `dataset` names real data in data.DATASETS.
        "task": {"name": ""},
        "model": {
            "mixer": mixer,  # a name in models.MIXERS; or several with commas between, which take turns by block
            "depth": 2,  # number of blocks; 0: none, each token is on its own
            "width": 64,  # features of a token
            # The mixer's state size, or the features of all its heads. 0: such that it has as many parameters as
            # attention. If the blocks take turns, a tuple may have one for each mixer.
            "hidden_size": FieldReference(0, field_type=object),
            "feedforward": 2.0,  # hidden width of the feed-forward layers as a multiple of width; 0: no such layers
            "activation": "gelu",  # gelu, relu, tanh, silu, identity
            "norm": "pre",  # pre, post, none
            "residual": True,
            "final_norm": True,
            # Added to the tokens: sinusoidal, learned, randomised. In attention: rope, alibi, hard_alibi, t5,
            # transformer_xl.
            "positions": "none",
            "tie_embeddings": False,  # the output layer shares the embedding's weights
            "dropout": 0.0,
            "pool": "last",  # last, mean: what the label of a whole sequence is read from
            "max_length": 0,  # for learned positions, dense, attention's cache and loglinear's levels; 0: the task's
            "causal": True,  # False: attention sees the whole sequence, other mixers read it in both directions
            # Encode the source and decode the target. What the decoder gets of the encoder: vector (its last state), or
            # attention with one of the scores dot, scaled, cosine, additive, general. "": no encoder.
            "encoder_decoder": "",
            "cross_attention_heads": 1,  # of that attention
            # An associative memory in place of all mixers, with keys of `width` numbers: softmax, linear, dpfp1 to
            # dpfp3, favor64, favor128, favor512. "": mixers.
            "associative_memory": "",
            "update_rule": "sum",  # how that memory is written to: sum, delta
            "dtype": "float32",  # of the matrix products; bfloat16 on accelerators
            "remat": False,  # a block's inner results are computed again for the gradient, and not kept: less memory
            **{name: models.mixer_options(name) for name in names},  # the mixer's own options, as attention.heads
        },
        "optimizer": {
            "name": "adamw",  # adamw, adam, sgd, rmsprop, lion, adafactor, muon, or another one of optax
            "options": "",  # its own arguments by name, as momentum=0.9,nesterov=True
            "learning_rate": 3e-3,  # the highest one
            "schedule": "cosine",  # after a linear warm-up: cosine, linear, constant, wsd, inverse_sqrt
            "warmup_steps": 100,
            "decay_share": 0.2,  # of the steps, in which the schedule wsd goes down to 0
            # The rate times weight_decay is taken off the parameters. Optimizers without it, as adam and sgd, have l2:
            # l2 times the parameters is added to their gradient.
            "weight_decay": 0.01,
            "l2": 0.0,
            "decay_mask": "matrices",  # what weight_decay and l2 are of: matrices, all, none
            "grad_clip_norm": 1.0,  # the largest norm of the gradient
            "b1": 0.9,  # of adamw and adam, and of what Muon leaves to Adam; others have options
            "b2": 0.98,
            "ema_decay": 0.0,  # above 0: what is evaluated is an average of the parameters, which forgets at this rate
        },
        "training": {
            "steps": 2000,
            "batch_size": 32,
            "min_length": 0,  # lengths are drawn evenly from min_length to the task's; 0: all have the task's
            "steps_per_call": 50,  # compiled together; after each call the loss is logged and a run can stop
            "eval_every": 500,  # steps; a multiple of steps_per_call
            "accumulate_steps": 1,  # parts of a batch that go through the model one after another, for less memory
            "label_smoothing": 0.0,  # the share of a target that is spread over all classes
            "z_loss": 0.0,  # times the squared log of the softmax's denominator, added to the loss
            "patience": 0,  # a member stops after so many evaluations in a row without a better one; 0: never
            # Whose scores are reported and whose parameters are kept: those of the best validation score, or the last.
            # The last is fair where a test asks for more than validation does, as lengths that were never trained.
            "keep": "best",
            # The sequences of evaluations: shared, the same for every member; or by_seed, each member's own, so that
            # the spread of members has that of test sets in it.
            "eval_sets": "shared",
            # The state goes on from one window of a text to the next: a row of the batch reads the text in order.
            "carry_state": False,
        },
        # Every seed is trained with every learning rate, weight decay and momentum, all in one program.
        "ensemble": {
            "seeds": (0,),
            "learning_rates": (),  # empty: optimizer.learning_rate alone
            "weight_decays": (),
            "momenta": (),  # of the optimizer's momentum, beta or b1
            "mode": "auto",  # map: one after another; vmap: side by side; auto: by device; autotune: as is fastest
        },
        # How many devices share the members, each batch, and each parameter with its optimizer's state. 0: as many as
        # there are for members, and of those left for a batch; 1 for parameters. A batch is spread over batch × params.
        "mesh": {"ensemble": 0, "batch": 0, "params": 0},
    }


def add_missing_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with default values of the fields of training that it lacks, as a config.json of older code does."""
    defaults = default_fields("attention")
    filled = {group: {**defaults[group], **config[group]} for group in ("optimizer", "training", "ensemble")}
    return {**config, **filled}


def classification(mixer: str, task: dict[str, Any], *, steps: int = 1000, eval_every: int = 100) -> ConfigDict:
    """A small model that labels whole sequences: it reads them in both directions and averages over the tokens."""
    config: Any = base(mixer, attention_positions="sinusoidal")
    config.task = task
    config.model.update(width=32, causal=False, pool="mean")
    config.training.update(steps=steps, eval_every=eval_every)
    return config


def text_model(mixer: str, task: dict[str, Any], *, steps: int = 1200) -> ConfigDict:
    """A model of the next character or word of real text, in batches of 16 windows."""
    config: Any = base(mixer, attention_positions="alibi")
    config.task = task
    config.training.update(steps=steps, batch_size=16, eval_every=200)
    return config


def encoder_decoder(mixer: str, task: dict[str, Any], *, attention_heads: int = 1) -> ConfigDict:
    """An encoder-decoder with one block on each side.

    The decoder attends to the encoder with scaled dot products if the mixer is attention, and then with
    `attention_heads` heads; otherwise with additive scores and one head.
    """
    config: Any = base(mixer, attention_positions="sinusoidal")
    is_attention = "attention" in models.parse_layer_pattern(mixer)
    config.task = task
    config.model.update(
        width=64,
        depth=1,
        encoder_decoder="scaled" if is_attention else "additive",
        cross_attention_heads=attention_heads if is_attention else 1,
    )
    config.training.steps = 3000
    return config
