"""The class of a labelled sequence of your own, read both ways: rows of a table, or FASTA.

--config.task.path=genes.csv --config.task.sequence_column=seq --config.task.label_column=kind

CSV, TSV, JSONL, Parquet or Arrow (.gz and .zst too) with a column of sequences and one of labels, or FASTA, whose
labels are in its headers or in a table of their own. `python -m data describe genes.csv --task=labelled` shows what
comes of a file, with every class's share.
"""

from ml_collections import ConfigDict

from configs import classification


def get_config(mixer: str = "attention") -> ConfigDict:
    task = {
        "name": "classification",
        "path": "",  # a file, a folder or a pattern such as data/*.parquet
        # Files of these splits; else a column says train, validation or test, or a hash of the sequence decides.
        "validation_path": "",
        "test_path": "",
        "split_column": "",
        "sequence_column": "sequence",  # the column of sequences
        "label_column": "label",  # the column of their classes
        "labels_path": "",  # of FASTA: a table with the columns id and label, where the headers hold no labels
        "tokenizer": "characters",  # characters, words, bytes; tokens, as they stand with blanks between
        "vocab_size": 8000,  # words or tokens that are known, the most frequent ones
        "max_length": 0,  # tokens of the longest sequence; 0: as many as the longest has
        "cut": False,  # longer ones are cut, not refused
        "class_weights": "",  # balanced: rare classes count as much as others in the loss; or numbers, as 1,4
        "metric": "accuracy",  # accuracy, balanced accuracy, macro F1, AUROC (for two classes)
        "extra_metrics": True,  # the others are logged and reported too
        "rule": "most",  # what the model is held against: most, first, places, nearest (tasks/real/classification.py)
        "eval_examples": 4096,  # of validation and test, so many rows are evaluated at most; 0: all
        "stream": "auto",  # training rows stay on disk: yes, no, or auto, if they take more than 256 MiB
    }
    return classification(mixer, task)
