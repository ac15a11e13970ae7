"""The next token of a text of your own, by character, byte, word, BPE or any tokenizer.json, in windows of 64.

--config.task.path=notes.txt
--config.task.path=src --config.task.tokenizer=bpe --config.task.vocab_size=2000 --config.task.max_length=128

A file, a folder or a pattern of .txt, .md, .py and the like; .jsonl, .csv, .parquet or .arrow with a column of texts
(.gz and .zst too), or a prepared data set of tensorflow-datasets, as tfds:imdb_reviews; or .bin and .npy of tokens.
`python -m data describe notes.txt` shows what comes of a file.
"""

from ml_collections import ConfigDict

from configs import text_model


def get_config(mixer: str = "attention") -> ConfigDict:
    task = {
        "name": "text",
        "path": "",  # a file, a folder or a pattern such as data/*.parquet
        # Files of these splits; else a column says train, validation or test, or a hash of the document decides.
        "validation_path": "",
        "test_path": "",
        "split_column": "",
        "column": "text",  # of a table, the texts; each row is a document
        "document": "auto",  # of a plain text: file, paragraph, line; auto: files of a folder, else runs of paragraphs
        "tokenizer": "characters",  # characters, bytes, words, bpe (byte pairs of this text), or a tokenizer.json
        "tokenizer_path": "",  # the tokenizer.json that the numbers of a .bin or .npy are of, for their names and bytes
        "vocab_size": 8000,  # words that are known, or tokens of bpe
        "token_dtype": "uint16",  # of a .bin: uint16, uint32
        "max_length": 64,  # tokens of a window
        "reset_at_documents": False,  # each document in a window is on its own
        "stream": "auto",  # training tokens stay on disk: yes, no, or auto, if they take more than 256 MiB
    }
    return text_model(mixer, task)
