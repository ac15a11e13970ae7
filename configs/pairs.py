"""From a source to its target, in pairs of your own: an encoder–decoder.

--config.task.path=verses.tsv --config.task.source_column=greek --config.task.target_column=english

CSV, TSV, JSONL, Parquet or Arrow (.gz and .zst too) with a column of sources and one of targets.
`--config.model.encoder_decoder=vector` hands over one vector. `python -m data describe verses.tsv --task=pairs` shows
what comes of a file.
"""

from ml_collections import ConfigDict

from configs import encoder_decoder


def get_config(mixer: str = "gru") -> ConfigDict:
    task = {
        "name": "parallel_text",
        "path": "",  # a file, a folder or a pattern such as data/*.parquet
        # Files of these splits; else a column says train, validation or test, or a hash of the source decides.
        "validation_path": "",
        "test_path": "",
        "split_column": "",
        "source_column": "source",  # the column of sources
        "target_column": "target",  # the column of targets
        "source_tokenizer": "words",  # characters, words, bytes; tokens, as they stand with blanks between
        "target_tokenizer": "words",  # as that of the source
        "vocab_size": 8000,  # words or tokens of either side that are known, the most frequent ones
        "source_max_length": 0,  # tokens of the longest source; 0: as many as the longest has
        "target_max_length": 0,  # tokens of the longest target
        "drop_longer": False,  # longer pairs are left out, not refused
    }
    return encoder_decoder(mixer, task, attention_heads=4)
