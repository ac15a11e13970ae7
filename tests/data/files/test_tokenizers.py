import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.files import chunk_cache, tokenizers
from data.files.subwords import SubwordTokenizer, read_tokenizer, train_byte_pairs
from data.files.tokenizers import (
    ByteTokenizer,
    CharacterCounts,
    CharacterTokenizer,
    Tokenizer,
    WordCounts,
    WordTokenizer,
    restore_tokenizer,
)
from tasks.real import tokenization
from tasks.real.words import split_words

TEXTS = [
    "The quick brown fox\njumps over the  lazy dog.\n\n",
    "naïve façade: 日本語 and ␄ <unk> it's 42_000 — 😀!",
    "\n        x = {'a': 1}\t# …\r\n   ",
    "the dog and the fox, the end",
]
any_texts = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), max_size=4)


@pytest.fixture(scope="module")
def byte_pairs() -> SubwordTokenizer:
    pytest.importorskip("tokenizers")
    return train_byte_pairs(TEXTS * 3, 300)


def saved_tokenizer(**parts: Any) -> str:
    """A tokenizer.json of words between blanks, with other parts in place of its own."""
    words = {"the": 0, "fox": 1, "dog": 2, "<unk>": 3}
    spec = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "<unk>"}, **parts,
    }  # fmt: skip
    return json.dumps(spec)


@settings(deadline=None)
@given(any_texts)
def test_bytes_are_utf_8(texts: list[str]):
    tokens, lost = ByteTokenizer().encode_documents(texts)
    assert bytes(tokens) == b"".join(text.encode() + b"\0" for text in texts)
    assert (tokens.dtype, lost) == (np.uint8, 0)


@settings(deadline=None)
@given(any_texts)
def test_characters_are_kept_one_by_one(texts: list[str]):
    counts = CharacterCounts()
    counts.add_texts(texts)
    assert counts.as_dict() == {c: "".join(texts).count(c) for c in sorted(set("".join(texts)))}
    tokenizer = CharacterTokenizer("".join(counts.as_dict()))
    tokens, lost = tokenizer.encode_documents(texts)
    assert [tokenizer.names[token] if token else None for token in tokens] == [
        character for text in texts for character in (*text, None)
    ]
    assert lost == 0
    assert tokenizer.token_bytes is not None
    assert tokenizer.token_bytes[tokens].sum() == len("".join(texts).encode())


def test_a_character_that_is_not_in_the_alphabet_is_refused():
    tokenizer = CharacterTokenizer("abc")
    for strange in ("abz", "ab!", "ab日"):
        for encode in (tokenizer.encode, lambda text: tokenizer.encode_documents(["a", text])):
            with pytest.raises(ValueError, match=f"the alphabet has no '{strange[-1]}'"):
                encode(strange)


def test_large_alphabets_take_two_bytes_a_token():
    alphabet = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
    tokens, _ = CharacterTokenizer(alphabet).encode_documents([alphabet])
    assert tokens.dtype == np.uint16
    assert tokens.tolist() == [*range(1, 301), 0]
    assert CharacterTokenizer("a日").encode("aa").tolist() == [1, 1]


@settings(deadline=None)
@given(any_texts)
def test_words_are_those_that_a_task_splits(texts: list[str]):
    counts = WordCounts()
    counts.add_texts(texts)
    words = counts.most_common(5)
    tokenizer = WordTokenizer(words)
    tokens, _ = tokenizer.encode_documents(texts)
    expected = []
    for text in texts:
        expected += [words.index(word) + 2 if word in words else 1 for word in split_words(text)] + [0]
    assert tokens.tolist() == expected


def test_words_are_counted_and_the_commonest_come_first():
    counts = WordCounts()
    counts.add_texts(["The dog, the fox.", "the dog"])
    counts.add_texts(["a fox", "x" * 101])
    assert counts.most_common(3) == ["the", "dog", "fox"]
    assert counts.counts == {"the": 3, "dog": 2, ",": 1, "fox": 2, ".": 1, "a": 1}


def test_counts_of_words_take_a_fixed_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(WordCounts, "LIMIT", 100)
    counts, generator = WordCounts(), np.random.default_rng(0)
    truth = {"often": 0}
    for _ in range(50):
        words = ["".join(map(chr, 97 + generator.integers(0, 26, 4))) for _ in range(50)]
        counts.add_texts([" ".join(["often"] * 5 + words)])
        truth["often"] += 5
        assert len(counts.counts) <= 100
    assert counts.most_common(1) == ["often"]
    assert truth["often"] - counts.missed <= counts.counts["often"] <= truth["often"]
    assert counts.missed > 0


@settings(deadline=None)
@given(any_texts)
def test_byte_pairs_keep_any_text(byte_pairs: SubwordTokenizer, texts: list[str]):
    tokens, lost = byte_pairs.encode_documents(texts)
    assert lost == 0
    assert tokenization.decode_tokens(tokens.tolist(), byte_pairs.description, byte_pairs.names) == "\n\n".join(
        [*texts, ""] if texts else [""]
    )
    assert byte_pairs.token_bytes is not None
    assert byte_pairs.token_bytes[tokens].sum() == len("".join(texts).encode())


blanks = st.text(st.sampled_from(list(" \n\t\r\x0b\x0c\x1c\x1f\x85\xa0\u2003\u3000\u200bab'sé1_²-あ́")), min_size=1)


@settings(deadline=None, max_examples=300)
@given(st.lists(blanks, min_size=1, max_size=4))
def test_pieces_from_the_cache_are_those_of_the_library(byte_pairs: SubwordTokenizer, texts: list[str]):
    assert byte_pairs._cache is not None
    assert byte_pairs.encode_documents(texts).tokens.tolist() == byte_pairs._encode_whole(texts).tolist()
    alone = [token for text in texts for token in (*byte_pairs.encode(text).tolist(), 0)]
    assert alone == byte_pairs.encode_documents(texts).tokens.tolist()


def test_training_byte_pairs_twice_gives_the_same(byte_pairs: SubwordTokenizer):
    assert train_byte_pairs(iter(TEXTS * 3), 300).identity() == byte_pairs.identity()
    assert byte_pairs.names[0] == "␄"
    assert len(set(byte_pairs.names)) == len(byte_pairs.names) <= 300
    assert " the" in byte_pairs.names


@pytest.mark.parametrize("limit", ["MAX_CHUNKS", "MAX_LENGTH"])
def test_a_cache_that_is_full_forgets_and_goes_on(limit: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chunk_cache, limit, 3)
    cache = chunk_cache.ChunkCache(lambda chunks: [[len(chunk)] * len(chunk) for chunk in chunks], np.dtype(np.uint8))
    for _ in range(3):
        assert cache.encode(["a", "bb", "", "a", "ccc", "dddd"]).tolist() == [1, 2, 2, 1, 3, 3, 3, 4, 4, 4, 4]
        assert len(cache._index) == 5
    assert cache.encode([]).tolist() == []


@pytest.mark.parametrize(
    "make",
    [
        ByteTokenizer,
        lambda: CharacterTokenizer("ab é日"),
        lambda: WordTokenizer(["the", "dog"]),
        lambda: train_byte_pairs(TEXTS, 280),
        lambda: SubwordTokenizer(saved_tokenizer()),
    ],
)
def test_a_tokenizer_is_restored_from_its_identity(make: Callable[[], Tokenizer]):
    pytest.importorskip("tokenizers")
    first = make()
    second = restore_tokenizer(json.loads(json.dumps(first.identity())))
    text = "ab é日" if first.kind == "characters" else "the dog — the fox"
    assert second.names == first.names
    assert second.encode_documents([text, text]).tokens.tolist() == first.encode_documents([text, text]).tokens.tolist()
    assert second.identity() == first.identity()
    if isinstance(first, (ByteTokenizer, CharacterTokenizer, WordTokenizer, SubwordTokenizer)):
        described = tokenization.encode_text(text, first.description, first.names)
        assert described == first.encode(text).tolist()


def test_names_differ_where_the_text_holds_the_sign_of_an_end():
    for tokenizer in (CharacterTokenizer("a␄"), WordTokenizer(["a", "␄"])):
        assert len(set(tokenizer.names)) == len(tokenizer.names)
        assert tokenizer.encode_documents(["␄"]).tokens.tolist() == [tokenizer.names.index("␄"), 0]


# ---- what a tokenizer.json may bring along ---------------------------------------------------------------------------


def test_what_a_tokenizer_does_not_know_is_unknown_and_told():
    tokenizer = SubwordTokenizer(saved_tokenizer())
    assert tokenizer.encode_documents(["the fox", "a dog"]).tokens.tolist() == [1, 2, 0, 4, 3, 0]
    assert tokenizer.unknown == 4
    assert tokenizer.token_bytes is None
    assert tokenizer.names == ("␄", "the", "fox", "dog", "<unk>")


def test_truncation_padding_and_special_tokens_are_switched_off():
    truncation = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    padding = {
        "strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 3, "pad_type_id": 0,
        "pad_token": "<unk>",
    }  # fmt: skip
    special = {"SpecialToken": {"id": "<unk>", "type_id": 0}}
    template = {
        "type": "TemplateProcessing",
        "single": [special, {"Sequence": {"id": "A", "type_id": 0}}, special],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<unk>": {"id": "<unk>", "ids": [3], "tokens": ["<unk>"]}},
    }
    tokenizer = SubwordTokenizer(saved_tokenizer(truncation=truncation, padding=padding, post_processor=template))
    assert tokenizer.encode_documents(["the fox the dog"]).tokens.tolist() == [1, 2, 1, 3, 0]
    described = tokenization.encode_text("the fox the dog", tokenizer.description, tokenizer.names)
    assert described == [1, 2, 1, 3]


def test_dropout_of_merges_is_switched_off(byte_pairs: SubwordTokenizer):
    spec = json.loads(byte_pairs.description)
    spec["model"]["dropout"] = 0.9
    tokenizer = SubwordTokenizer(json.dumps(spec))
    assert tokenizer.encode(TEXTS[0]).tolist() == byte_pairs.encode(TEXTS[0]).tolist()


def test_characters_that_pairs_without_bytes_would_drop_are_counted():
    model = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": {"a": 0, "b": 1, "ab": 2},
        "merges": ["a b"],
    }  # fmt: skip
    tokenizer = SubwordTokenizer(saved_tokenizer(model=model))
    tokens, lost = tokenizer.encode_documents(["abé a", "日b"])
    assert (tokens.tolist(), lost) == ([3, 1, 0, 2, 0], 2)


def test_a_special_token_that_the_text_spells_counts_with_its_bytes(byte_pairs: SubwordTokenizer):
    spec = json.loads(byte_pairs.description)
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    spec["added_tokens"] = [{"id": len(byte_pairs.names) - 1, "content": "<|end|>", **added}]
    text = "the fox  <|end|>\n the dog"
    tokenizer = SubwordTokenizer(json.dumps(spec))
    tokens, lost = tokenizer.encode_documents([text])
    assert len(byte_pairs.names) in tokens
    assert lost == 0
    assert tokenizer.token_bytes is not None
    assert tokenizer.token_bytes[tokens].sum() == len(text)
    assert tokens.tolist() == [*tokenizer.encode(text).tolist(), 0]
    as_numbers = SubwordTokenizer(json.dumps(spec), shift=0)
    assert as_numbers.token_bytes is not None
    assert as_numbers.token_bytes[-1] == 0  # in a corpus of tokens it stands between documents


def test_a_normalizer_is_told():
    tokenizer = SubwordTokenizer(saved_tokenizer(normalizer={"type": "Lowercase"}))
    assert tokenizer.encode_documents(["THE Fox"]).tokens.tolist() == [1, 2, 0]
    assert "Lowercase" in tokenizer.notes()[0]


@pytest.mark.parametrize("contents", ["", "{}", "[1]", '{"model": 3}', "not JSON"])
def test_what_is_no_tokenizer_is_refused_in_one_line(tmp_path: Path, contents: str):
    pytest.importorskip("tokenizers")
    path = tmp_path / "tokenizer.json"
    path.write_text(contents)
    with pytest.raises(ValueError, match=r"task\.tokenizer_path=.*tokenizer.json") as error:
        read_tokenizer(path)
    assert "\n" not in str(error.value)


def test_long_texts_are_cut_at_the_ends_of_lines(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("data.files.subwords._MAX_PIECE", 12)
    tokenizer = SubwordTokenizer(saved_tokenizer())
    tokens = tokenizer.encode_documents(["the fox\nthe dog\n" * 3, "dog " * 9]).tokens
    assert tokens.tolist() == [*[1, 2, 1, 3] * 3, 0, *[3] * 9, 0]


def test_the_smallest_type_holds_all_tokens():
    sizes = {2: np.uint8, 256: np.uint8, 257: np.uint16, 65536: np.uint16, 65537: np.uint32}
    assert {size: tokenizers.smallest_dtype(size) for size in sizes} == sizes
