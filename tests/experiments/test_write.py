"""Texts and tunes of small untrained models, whose words mean nothing and whose form can be checked."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
import train
from configs import base
from experiments import measures, tunes, write
from tasks.characters import Characters
from tasks.words import Words

TUNE = "X:1\nT:A tune\nM:4/4\nL:1/8\nK:C\nCDEF GABc|c2BA G4|CDE2|"
TEXT = {name: np.arange(40, dtype=np.uint8) % 6 for name in ("train", "validation", "test")}


def made(mixer: str, **fields: Any) -> tuple[train.Run, Any]:
    """A run on six characters in windows of eight, and its first parameters."""
    config: Any = base(mixer)
    config.task = {"name": "recall"}
    config.model.width, config.model.depth = 8, 2
    config.model.update(fields)
    model = models.resolve(config.model.to_dict(), 8)
    network: Any = models.build(model, vocabulary=6, channels=0, outputs=6, per="token")
    task = Characters(TEXT, "abcde\n", max_length=8)
    run = train.Run({**config.to_dict(), "model": model}, task, network, None)  # pyright: ignore[reportArgumentType]
    return run, network.init(jax.random.key(0), jnp.zeros((1, 8), jnp.int32))["params"]


@pytest.mark.parametrize("mixer", ["gru", "mingru", "attention"])
def test_at_temperature_0_it_is_the_likeliest_token_after_all_before(mixer: str):
    """Streamed after a prompt, beyond the window of training: the same as the whole sequence read anew each time."""
    run, params = made(mixer, positions="alibi" if mixer == "attention" else "none")
    new = write.written(run, params, [1, 2, 3], count=1, tokens=9, temperature=0.0, seed=0)[0].tolist()
    network, text = write.with_room(run, 12).model, [1, 2, 3]
    read: Any = jax.jit(partial(network.apply, {"params": params}))
    for token in new:
        padded = jnp.asarray([text + [0] * (12 - len(text))], jnp.int32)
        segments = (jnp.arange(12) < len(text)).astype(jnp.int32)[None]
        logits, _ = read(padded, positions=jnp.arange(12)[None], segments=segments)
        assert token == int(logits[0, len(text) - 1].argmax())
        text.append(token)


def test_seeds_and_samples_differ():
    run, params = made("gru")
    one = partial(write.written, run, params, [1], tokens=12, temperature=1.0)
    first = one(count=3, seed=0)
    assert first.shape == (3, 12)
    assert len({tuple(row) for row in first.tolist()}) == 3
    np.testing.assert_array_equal(first, one(count=3, seed=0))
    assert (first != one(count=3, seed=1)).any()


def test_a_model_that_ends_somewhere():
    run, _ = made("attention", positions="learned")
    with pytest.raises(ValueError, match=r"^model.positions=learned ends at 8 tokens; ask for fewer$"):
        write.with_room(run, 9)
    run, _ = made("dense")
    with pytest.raises(ValueError, match=r"^the mixer dense ends at 8 tokens; ask for fewer$"):
        write.with_room(run, 9)


def test_tokens_as_text():
    assert write.spelt(Characters(TEXT, "abcdef", 8).names, [0, 5, 2]) == "afc"
    assert write.spelt(Words(TEXT, ("?", "the", "cat"), 8).names, [1, 2, 0]) == "the cat ?"


# ---- tunes ----------------------------------------------------------------------------------------------------------


def test_what_is_heard_in_a_tune():
    """Two bars of eight quavers, and one of half as many."""
    assert tunes.heard(TUNE) == tunes.Heard(notes=8 + 4 + 3, bars=3, full=2)


@pytest.mark.parametrize(
    ("tune", "says"),
    [
        ("hello", "it has no field X:"),
        (TUNE.replace("K:C\n", ""), "it has no field K:"),
        (TUNE.split("CDEF")[0], "it has no note"),
        (TUNE + "\n" + TUNE.replace("X:1", "X:2"), "it is more than one tune: a second field X: begins another"),
        (TUNE + "##qq^^^^", r"music21 can't read it \(.*\)"),
    ],
)
def test_what_is_no_tune(tune: str, says: str):
    with pytest.raises(ValueError, match=f"^{says}$") as caught:
        tunes.heard(tune)
    assert "\n" not in str(caught.value)


def test_a_tune_can_be_played(tmp_path: Path):
    path = tunes.play(TUNE, tmp_path / "tune.mid")
    assert path.read_bytes()[:4] == b"MThd"
    assert len(tunes.imported().converter.parse(str(path)).flatten().notes) == 15


def test_shares_are_counted():
    found = write.counted([TUNE, "hello", TUNE, "X:"])
    assert str(found) == "2 of 4 tunes parse (50 %); of their 6 bars 67 % are full"
    assert found.good == [TUNE, TUNE]
    assert (found.parsed, found.filled) == (0.5, 4 / 6)
    none = write.counted(["x"])
    assert str(none) == "0 of 1 tunes parse (0 %)"
    assert np.isnan(none.filled)


def test_tunes_are_measured(monkeypatch: pytest.MonkeyPatch):
    """Half of what is written is a tune of three bars, two of them full; the test set is four such bars, all full."""
    names = "".join(sorted(set("\n" + TUNE)))
    whole = TUNE.replace("CDE2|", "CDEF GABc|")
    text = {subset: np.asarray([names.index(c) for c in f"{whole}\n\n{whole}"]) for subset in TEXT}
    run = made("gru")[0]._replace(task=Characters(text, names, max_length=8))
    rest = [names.index(c) for c in TUNE.removeprefix(write.BEGIN) + "\n\n"]
    rows = np.asarray([rest, rest[::-1]] * (measures.SEQUENCES // 2))
    monkeypatch.setattr(write, "written", lambda *_: rows)
    found = measures.take(run, ["tunes that parse", "full bars", "full bars lost"], [(None, 0)])
    assert found == [{"tunes that parse": 0.5, "full bars": 2 / 3, "full bars lost": 1 - 2 / 3}]


def test_a_tune_ends_at_a_blank_line():
    assert write.cut(TUNE + "\n\nX:2\nT:more") == TUNE
