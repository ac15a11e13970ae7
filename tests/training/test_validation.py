"""Configs that can't be trained: one line that says what is wrong, before anything is written."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests import tiny_config
from tests.training import refusal_line
from training import loop

TRANSLATION = {"name": "translation", "eval_lengths": (15,)}


@pytest.mark.parametrize(
    ("mixer", "fields", "says"),
    [
        ("attention", {"model.attention.heads": 0}, "model.attention.heads=0: must be 1 or more"),
        ("attention", {"model.attention.heads": 3}, "heads=3: must divide the inner width 8; 2 and 4 do"),
        ("rnn", {"model.mixer": "lsmt"}, "model.mixer=lsmt: must be one of .*; did you mean lstm?"),
        ("rnn", {"model.depth": -1}, "model.depth=-1: must be 0 or more"),
        ("rnn", {"model.width": -8}, "model.width=-8: must be 1 or more"),
        ("rnn", {"model.dropout": float("nan")}, "model.dropout=nan: must be at least 0 and below 1"),
        ("rnn", {"model.positions": "learned", "model.max_length": 4}, "model.max_length=4: the task has .* of 8"),
        ("rnn", {"model.mixer": "lstm"}, "this config was made for another mixer .* --config=FILE:lstm"),
        (
            "rnn",
            {"model.causal": False, "task": TRANSLATION},
            "causal=False: the targets of Translation are the tokens",
        ),
        ("rnn", {"model.positions": "learned", "task": TRANSLATION}, "learned: there are 21 .* model.max_length=31"),
        ("rnn", {"training.steps": 42}, "training.steps=42: must be a multiple of training.steps_per_call=5"),
        ("rnn", {"training.eval_every": 7}, "training.eval_every=7: must be a multiple of"),
        ("rnn", {"training.steps": 0}, "training.steps=0: must be a number from 1 to 2147483647"),
        ("rnn", {"training.batch_size": -4}, "training.batch_size=-4: must be a number from 1 to 2147483647"),
        ("rnn", {"training.min_length": -1}, "training.min_length=-1: must be a number from 0 to 2147483647"),
        ("rnn", {"training.min_length": 3}, "training.min_length=3: the task's sequences have 4 steps at least"),
        (
            "rnn",
            {"optimizer.grad_clip_norm": float("inf")},
            r"optimizer.grad_clip_norm=inf: must be a number from 1e-12 to 3.4e\+38",
        ),
        ("rnn", {"training.min_length": 9}, "training.min_length=9: the task's sequences have 8 steps at most"),
        ("rnn", {"optimizer.learning_rate": -1.0}, "optimizer.learning_rate=-1.0: must be a number from 1e-12 to"),
        ("rnn", {"optimizer.learning_rate": 0.0}, "optimizer.learning_rate=0.0: must be a number from 1e-12 to"),
        (
            "rnn",
            {"optimizer.learning_rate": float("inf")},
            "optimizer.learning_rate=inf: must be a number from 1e-12 to",
        ),
        ("rnn", {"ensemble.learning_rates": (1e-3, "x")}, "ensemble.learning_rates=x: must be a number"),
        ("rnn", {"ensemble.learning_rates": (1e-3, 1e-3)}, "learning_rates=.*: each may be given once"),
        ("rnn", {"ensemble.seeds": ()}, "seeds=.*: give one or more whole numbers"),
        ("rnn", {"ensemble.seeds": (0, 1, 0)}, "seeds=.*: each may be given once"),
        ("rnn", {"ensemble.seeds": (2**31,)}, "seeds=.*: give one or more whole numbers from 0 to 2147483647"),
        ("rnn", {"ensemble.seeds": (True,)}, "seeds=.*: give one or more whole numbers from 0 to 2147483647"),
        ("rnn", {"ensemble.learning_rates": (True,)}, "ensemble.learning_rates=True: must be a number"),
        ("rnn", {"ensemble.mode": "both"}, "ensemble.mode=both: must be one of auto, map, vmap, autotune"),
        ("rnn", {"optimizer.b1": 1.0}, "optimizer.b1=1.0: must be at least 0 and below 1"),
        ("rnn", {"optimizer.b2": 1 - 1e-9}, "optimizer.b2=0.99.*: must be at least 0 and below 1, in float32 too"),
        ("rnn", {"optimizer.learning_rate": 1e-300}, "optimizer.learning_rate=1e-300: must be a number from 1e-12 to"),
        ("rnn", {"optimizer.learning_rate": 1e39}, r"learning_rate=1e\+39: must be a number from 1e-12 to 3.4e\+38"),
        (
            "rnn",
            {"optimizer.grad_clip_norm": 1e-300},
            "optimizer.grad_clip_norm=1e-300: must be a number from 1e-12 to",
        ),
        (
            "rnn",
            {"optimizer.weight_decay": 1e39},
            r"optimizer.weight_decay=1e\+39: must be a number from 0 to 3.4e\+38",
        ),
        ("rnn", {"ensemble.learning_rates": (1e-3, 1e-3 + 1e-12)}, "learning_rates=.*: each may be given once"),
        ("rnn", {"training.steps": 2**31 * 5}, "training.steps=10737418240: must be a number from 1 to 2147483647"),
        (
            "rnn",
            {"training.batch_size": 2**40},
            "training.batch_size=1099511627776: must be a number from 1 to 2147483647",
        ),
        (
            "rnn",
            {"optimizer.warmup_steps": 2**31},
            "optimizer.warmup_steps=2147483648: must be a number from 0 to 2147483647",
        ),
        (
            "rnn",
            {"training.batch_size": 2**31 - 1, "model.width": 4096},
            "1 × .* parameters and batches of 2147483647 × 8 st",
        ),
        ("lstm", {"model.width": 16384, "model.depth": 8}, "1 × .* parameters .* need at least .* GiB, and this"),
        ("rnn", {"model.width": 10**9}, "model.width=1000000000: must be"),
        ("rnn", {"model.width": 10**30}, "model.width=1000000000000000000000000000000: must be"),
        ("rnn", {"optimizer.warmup_steps": -1}, "optimizer.warmup_steps=-1: must be a number from 0 to"),
        ("rnn", {"optimizer.weight_decay": float("nan")}, "optimizer.weight_decay=nan: must be a number from 0 to"),
        (
            "rnn",
            {"optimizer.grad_clip_norm": float("nan")},
            "optimizer.grad_clip_norm=nan: must be a number from 1e-12 to",
        ),
        ("rnn", {"task.name": "recal"}, "task.name=recal: must be one of .*; did you mean recall?"),
        ("rnn", {"task.pairs": 9}, "task.pairs=9: 16 symbols hold 7 distinct keys"),
        ("rnn", {"task.pears": 2}, "task: .*pears"),
        ("rnn", {"optimizer.clip": 2.0}, "optimizer.clip: no such field"),
        ("rnn", {"training.batch": 2}, "training.batch: no such field; did you mean batch_size?"),
        ("rnn", {"model.dept": 2}, "model.dept: no such field; did you mean depth?"),
        ("rnn", {"task.dataset": "digit"}, "no data set is called 'digit': did you mean digits?"),
    ],
)
def test_a_config_that_cannot_be_trained(
    mixer: str, fields: dict, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "claim_workdir", None)  # it is refused before anything is written
        line = refusal_line(changed_config(mixer, fields), tmp_path / "run", capsys)

    assert re.search(says.replace("?", r"\?"), line), line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seconds", [float("nan"), -1.0])
def test_a_time_between_checkpoints_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], seconds: float):
    line = refusal_line(tiny_config(), tmp_path / "run", capsys, save_seconds=seconds)
    assert line == f"error: save_seconds={seconds}: must be 0 or more"
    assert not list(tmp_path.iterdir())


def changed_config(mixer: str, fields: dict[str, Any]) -> dict[str, Any]:
    """`tiny` as plain dicts, in which any value may be put."""
    config = tiny_config(mixer).to_dict()
    for name, value in fields.items():
        *parents, last = name.split(".")
        group = config
        for parent in parents:
            group = group[parent]
        group[last] = value
    return config
