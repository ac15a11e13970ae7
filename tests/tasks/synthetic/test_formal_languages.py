from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tasks.base import Batch
from tasks.synthetic import formal_languages
from tasks.synthetic.formal_languages import LANGUAGES, FormalLanguage, max_string_length, row_length

NAMES = list(LANGUAGES)
MODULAR = "01234+-*"


@partial(jax.jit, static_argnames=("batch", "max_length"))
def sample(task: FormalLanguage, seed: int, length: int, batch: int = 8, max_length: int = 0) -> Batch:
    return task.sample(jax.random.key(seed), batch, max_length or task.max_length, length)


@jax.jit
def grade(task: FormalLanguage, answers: jax.Array, batch: Batch):
    """The score and the loss of a model that is sure of `answers`, and the score of one sure of anything else."""
    outputs = 99.0 * jax.nn.one_hot(answers, task.outputs)
    return task.score(outputs, batch), task.loss(outputs, batch), task.score(-outputs, batch)


def answered(language: str, string: list[int]) -> list[int]:
    """The answer, step by step and by the definition."""
    if language == "parity":
        return [string.count(1) % 2]
    if language == "even_pairs":
        text = "".join(map(str, string))
        return [sum(text[i : i + 2] in ("01", "10") for i in range(len(text))) % 2]
    if language == "cycle":
        place = 0
        for move in string:
            place = {0: place, 1: (place + 1) % 5, 2: (place - 1) % 5}[move]
        return [place]
    if language == "modular":
        return [eval("".join(MODULAR[symbol] for symbol in string)) % 5]
    if language == "bucket_sort":
        return sorted(string)
    return {"reverse": string[::-1], "duplicate": string + string}[language]


def fits(language: str, length: int) -> int:
    """The symbols of the longest string that a row of `length` tokens has room for, found by trying."""
    room = {"bucket_sort": lambda n: 2 * n, "reverse": lambda n: 2 * n, "duplicate": lambda n: 3 * n}
    sizes = range(1, length, 2 if language == "modular" else 1)
    return max(n for n in sizes if room.get(language, lambda n: n + 1)(n) <= length)


def obeys(task: FormalLanguage, batch: Batch, length: int) -> None:
    """The alphabet, where the answer stands and what it is, where it counts, and what is padding."""
    n, size = fits(task.language, length), LANGUAGES[task.language].alphabet_size
    for row, targets, weights, segments in zip(*(np.asarray(batch[i]).tolist() for i in (0, 1, 2, 4)), strict=True):
        string = [token - 1 for token in row[:n]]
        if task.language == "modular":
            assert set(string[::2]) <= set(range(5))
            assert set(string[1::2]) <= {5, 6, 7}
        assert set(string) <= set(range(size))
        answer = answered(task.language, string)
        padding = [0] * (len(row) - n - len(answer))
        assert row == [symbol + 1 for symbol in string] + [size + 1] * len(answer) + padding
        assert targets == [0] * n + answer + padding
        assert weights == [0.0] * n + [1.0] * len(answer) + [float(p) for p in padding]
        assert segments == [1] * (n + len(answer)) + padding


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(NAMES), st.integers(0, 2**31 - 1), st.data())
def test_every_sequence_obeys_the_definition(language: str, seed: int, data: st.DataObject):
    task = FormalLanguage(language, max_items=15)
    length = data.draw(st.integers(task.min_length, task.max_length))
    batch = sample(task, seed, length)
    obeys(task, batch, length)
    right, loss, wrong = grade(task, batch.targets, batch)
    assert (right, wrong) == (1, 0)
    assert loss < 1e-5


@pytest.mark.parametrize("language", NAMES)
def test_every_length_and_longer_ones_than_the_task_trains_on(language: str):
    task = FormalLanguage(language, max_items=3)
    for length in range(task.min_length, 64):
        obeys(task, sample(task, length, length, max_length=64), length)


@pytest.mark.parametrize("language", NAMES)
def test_the_length_of_a_row_and_the_symbols_in_it_follow_from_each_other(language: str):
    for n in range(1, 50):
        held = n if language != "modular" or n % 2 else n - 1
        if held:
            assert max_string_length(language, row_length(language, n)) == held
            assert max_string_length(language, row_length(language, n) - 1) < held
    for length in range(3, 50):
        assert max_string_length(language, length) == fits(language, length)


@pytest.mark.parametrize(
    ("language", "string", "answer"),
    [
        ("parity", "1011", [1]),
        ("even_pairs", "001110", [0]),
        ("even_pairs", "0101001", [1]),
        ("cycle", "12022", [3]),
        ("cycle", "1112", [2]),
        ("modular", "1+2*3", [2]),
        ("modular", "1-1-1", [4]),
        ("modular", "2*3*4-3*2*2+1", [3]),
        ("bucket_sort", "10204112", [0, 0, 1, 1, 1, 2, 2, 4]),
        ("reverse", "011010", [0, 1, 0, 1, 1, 0]),
        ("duplicate", "011", [0, 1, 1, 0, 1, 1]),
    ],
)
def test_examples(language: str, string: str, answer: list[int]):
    x = [MODULAR.index(symbol) for symbol in string]
    row = jnp.array([x + [0] * 7])  # what is past the end is 0, and says nothing
    got = np.asarray(LANGUAGES[language].answer(row, len(x), jnp.arange(len(answer))))
    assert got.tolist() == [answer] == [answered(language, x)]


@pytest.mark.parametrize("language", NAMES)
def test_strings_are_uniform(language: str):
    task = FormalLanguage(language, max_items=9)
    strings = np.asarray(sample(task, 0, task.max_length, 3_000).inputs)[:, :9] - 1
    if language == "modular":
        found = [
            np.bincount(strings[:, ::2].ravel(), minlength=5),
            np.bincount(strings[:, 1::2].ravel() - 5, minlength=3),
        ]
    else:
        n = LANGUAGES[language].alphabet_size
        found = [np.bincount(place, minlength=n) for place in strings.T]
        found.append(np.bincount(strings[:, 0] * n + strings[:, 1], minlength=n * n))
    assert all(stats.chisquare(counts).pvalue > 1e-4 for counts in found)


@pytest.mark.parametrize("language", NAMES)
@pytest.mark.parametrize("longest", [1, 20])
def test_baseline_and_chance_are_what_the_rules_score(language: str, longest: int):
    task = FormalLanguage(language, longest)
    batch = sample(task, 0, task.max_length, 8_000)
    targets = np.asarray(batch.targets)
    rule = np.zeros_like(targets)
    if language == "bucket_sort":  # what is most often at a place, found on other sequences
        seen = np.asarray(sample(task, 1, task.max_length, 8_000).targets)
        rule[:] = (seen[..., None] == np.arange(5)).sum(axis=0).argmax(axis=1)
    assert float(grade(task, rule, batch)[0]) == pytest.approx(task.baseline[1], abs=0.02)
    guess = np.random.default_rng(0).integers(0, task.outputs, targets.shape)
    assert float(grade(task, guess, batch)[0]) == pytest.approx(task.chance, abs=0.02)


def test_the_value_of_a_simple_rule_is_exact():
    """Against every string there is."""
    moves = np.stack(np.meshgrid(*[[-1, 0, 1]] * 7), axis=-1).reshape(-1, 7)
    assert formal_languages._cycle_zero_probability(7) == pytest.approx(np.mean(moves.sum(axis=1) % 5 == 0))
    three = [
        eval(f"{a}{o}{b}{p}{c}") % 5 for a in range(5) for b in range(5) for c in range(5) for o in "+-*" for p in "+-*"
    ]
    assert formal_languages._modular_zero_probability(5) == pytest.approx(three.count(0) / len(three))
    strings = np.sort(np.stack(np.meshgrid(*[np.arange(5)] * 4), axis=-1).reshape(-1, 4), axis=1)
    most = [np.bincount(place).max() / len(strings) for place in strings.T]
    assert formal_languages._sorted_mode_accuracy(4) == pytest.approx(np.mean(most))


def test_loss_and_score_count_the_answer_alone():
    task = FormalLanguage("reverse", max_items=4)
    batch = sample(task, 0, task.max_length)
    wrong = np.asarray(batch.targets).copy()
    wrong[:, :4] = 1
    assert grade(task, wrong, batch)[0] == 1
    wrong[:, 4] = 1 - wrong[:, 4]
    score, loss, _ = grade(task, wrong, batch)
    assert score == 3 / 4
    assert loss == pytest.approx(99 / 4, rel=1e-5)


@pytest.mark.parametrize(
    ("language", "lengths"),
    [
        ("parity", (6, 6, 51, 52)),
        ("modular", (6, 6, 50, 52)),
        ("bucket_sort", (10, 10, 100, 102)),
        ("duplicate", (15, 15, 150, 153)),
    ],
)
def test_times_ask_for_test_sets(language: str, lengths: tuple[int, ...]):
    task = FormalLanguage(language, max_items=5, eval_length_multipliers=(10, 10.2))
    assert list(task.splits) == ["validation", "test", "test_10", "test_10.2"]
    assert tuple(split.length for split in task.splits.values()) == lengths


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"language": "dyck"},
            r"^task\.language=dyck: must be one of parity, even_pairs, cycle, modular, .*duplicate$",
        ),
        ({"max_items": 0}, r"^task\.max_items=0: must be 1 or more$"),
        (
            {"eval_length_multipliers": (3, 0)},
            r"^task\.eval_length_multipliers=\(3, 0\): times 40 symbols must be 1 or more each$",
        ),
    ],
)
def test_bad_fields(fields: dict, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        FormalLanguage(**fields)
    assert "\n" not in str(caught.value)
