import numpy as np

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
