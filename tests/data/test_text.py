import numpy as np
import pytest

from data import text


def test_the_commonest_words_and_ties_by_the_alphabet():
    assert text.most_common_words([["b", "a", "b"], ["c", "a"]], 3) == ("a", "b", "c")
    assert text.most_common_words([["b", "a", "b"], ["c", "a"]], 1) == ("a",)


def test_padded_rows():
    np.testing.assert_array_equal(text.pad_rows([[1, 2], [], [3]], 3), [[1, 2, 0], [0, 0, 0], [3, 0, 0]])


def test_labelled_sequences_in_their_order_and_cut():
    rows = [{"sequence": b"CA", "label": 1}, {"sequence": "ACGT", "label": np.int64(0)}]
    made = text.encode_labelled_letters({"train": rows}, "ACGT", 3)
    np.testing.assert_array_equal(made["inputs"]["train"], [[1, 2, 3], [2, 1, 0]])
    assert made["labels"]["train"].tolist() == [0, 1]
    assert made["names"] == ("", "A", "C", "G", "T")


def test_characters_of_all_splits_one_text_after_the_other():
    rows = {"train": [{"name": "b", "text": np.frombuffer(b"yx", np.uint8)}, {"name": b"a", "text": [122]}],
            "test": [{"name": "c", "text": np.frombuffer(b"w", np.uint8)}]}  # fmt: skip
    made = text.encode_characters(rows, "name", "\n")
    assert made["alphabet"] == "\nwxyz"
    assert "".join(made["alphabet"][i] for i in made["text"]["train"]) == "z\nyx"


def test_characters_of_any_language_are_kept():
    rows = {"train": [{"name": "a", "text": "Größe, Ωμέγα".encode()}], "test": [{"name": "a", "text": "größer"}]}
    made = text.encode_characters(rows, "name", "\n")
    assert made["alphabet"] == "".join(sorted(set("Größe, Ωμέγαgrößer")))
    assert "".join(made["alphabet"][i] for i in made["text"]["train"]) == "Größe, Ωμέγα"
    assert made["text"]["test"].dtype == np.uint8


def test_more_characters_than_have_room_are_refused():
    many = "".join(map(chr, range(1000, 1300))) * 2 + "x"
    with pytest.raises(
        ValueError, match=r"^the text has 301 distinct characters, and 256 at most .* such as x "
    ) as caught:
        text.encode_characters({"train": [{"name": "a", "text": many}]}, "name", "")
    assert "\n" not in str(caught.value)


def test_characters_that_are_not_ascii_never_vanish_silently():
    assert text.ascii_codes("a").dtype == np.uint8
    assert text.ascii_codes("aé…", unknown="?").tobytes() == b"a??"
    with pytest.raises(ValueError, match=r"^'é', '…': not ASCII; store the text in a tfds\.features\.Text\(\), or say"):
        text.ascii_codes("aé…é")
