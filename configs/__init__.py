"""What to train: one ml_collections file a task or data set, with the mixer as its argument.

`--config=configs/recall.py:lstm` calls `get_config("lstm")` of `configs/recall.py`. A new config starts from `base`.
"""

from ml_collections import ConfigDict, FieldReference

import models


def base(mixer: str) -> ConfigDict:
    """The fields of every config, with the values that a config need not mention.

    A default that changes needs train.VERSION raised: what equals its default is in no run's key. Raises ValueError for
    a mixer that does not exist.
    """
    names = list(dict.fromkeys(models.parse_layer_pattern(mixer)))
    for name in names:
        models.validate_choice("--config=FILE:MIXER, MIXER", name, models.MIXERS)
    return ConfigDict(
        {
            # A name in tasks.TASKS; the other fields are its own. `dataset` names real data in data.DATASETS.
            "task": {"name": ""},
            "model": {
                "mixer": mixer,  # a name in models.MIXERS, or several with commas between: block by block, over again
                "depth": 2,  # blocks; 0: none, each token for itself
                "width": 64,  # features of a token
                # of the mixer: state size, or features of all heads; 0: as many parameters as attention; or one each
                "hidden_size": FieldReference(0, field_type=object),
                "feedforward": 2.0,  # its hidden width as a multiple of width; 0: no feed-forward layers
                "activation": "gelu",  # gelu, relu, tanh, silu, identity
                "norm": "pre",  # pre, post, none
                "residual": True,
                "final_norm": True,
                # added: sinusoidal, learned, randomised; in attention: rope, alibi, hard_alibi, t5, transformer_xl
                "positions": "none",
                "tie_embeddings": False,  # the head shares the embedding
                "dropout": 0.0,
                "pool": "last",  # last, mean: what a label for a whole sequence is read from
                "max_length": 0,  # of learned positions, dense's window and attention's cache; 0: the task's
                "encoder_decoder": "",  # vector, dot, scaled, cosine, additive, general; "": no encoder
                "cross_attention_heads": 1,  # of the bridge's attention
                # in place of all mixers, keys of `width` numbers: softmax, linear, dpfp1 to 3, favor64, 128, 512
                "associative_memory": "",
                "update_rule": "sum",  # how it is written to: sum, delta
                "causal": True,  # False: attention sees the whole sequence, other mixers read it both ways
                "dtype": "float32",  # of the products; bfloat16 on accelerators
                **{name: models.mixer_options(name) for name in names},  # what only this mixer has, as attention.heads
            },
            "optimizer": {  # AdamW, with a linear warm-up and a cosine down to 0
                "learning_rate": 3e-3,
                "warmup_steps": 100,  # steps
                "weight_decay": 0.01,
                "grad_clip_norm": 1.0,  # largest norm of the gradient
                "b1": 0.9,
                "b2": 0.98,
            },
            "training": {
                "steps": 2000,
                "batch_size": 32,
                "min_length": 0,  # lengths are drawn from shortest … the task's, evenly; 0: all are the task's
                "steps_per_call": 50,  # compiled together; loss is logged, and a run can stop, once a call
                "eval_every": 500,  # steps, a multiple of steps_per_call
            },
            "ensemble": {  # seeds × learning rates are trained together, in one program
                "seeds": (0,),
                "learning_rates": (),  # empty: optimizer.learning_rate alone
                "mode": "auto",  # map: one after another on a device; vmap: side by side; auto: by device; measured
            },
        }
    )
