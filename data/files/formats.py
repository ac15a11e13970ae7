"""What a file holds, by its suffix without that of a compression (`corpus.jsonl.gz` is JSON lines), and which split it
belongs to by where it lies."""

import re
from collections.abc import Sequence
from pathlib import Path

CODECS = {".gz": "gzip", ".zst": "zstd"}
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".arrow", ".array_record")
FASTA_SUFFIXES = (".fasta", ".fa", ".faa", ".fna")
TOKEN_SUFFIXES = (".bin", ".npy")
TEXT_SUFFIXES = (
    ".txt", ".text", ".md", ".rst", ".tex", ".org", ".adoc", ".html", ".htm", ".xml", ".json", ".yaml", ".yml",
    ".toml", ".ini", ".cfg", ".log", ".srt", ".vtt", ".abc", ".py", ".pyi", ".ipynb", ".c", ".h", ".cc", ".cpp", ".hpp",
    ".cu", ".cs", ".java", ".kt", ".scala", ".js", ".jsx", ".ts", ".tsx", ".css", ".go", ".rs", ".rb", ".php", ".pl",
    ".r", ".jl", ".lua", ".hs", ".ml", ".swift", ".sh", ".sql", ".f90", ".m", ".lisp", ".clj", ".ex", ".erl",
)  # fmt: skip
KNOWN_SUFFIXES = (*TEXT_SUFFIXES, *TABLE_SUFFIXES, *FASTA_SUFFIXES, *TOKEN_SUFFIXES)
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
JSON_HINT = "write one object a line in FILE.jsonl, as jq -c '.[]' FILE.json does of an array"
# What Hugging Face's datasets and tensorflow-datasets leave beside their data.
METADATA_FILES = {"dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json", "features.json"}


def data_suffix(path: Path) -> str:
    """Suffix that says what a file holds, such as ".csv" of data.csv.gz; lower case, and "" if there is none."""
    if found := re.fullmatch(r".+(\.array_record)-\d+-of-\d+", path.name):
        return found[1]
    name = Path(path.name)
    return (Path(name.stem) if name.suffix.lower() in CODECS else name).suffix.lower()


def file_splits(paths: Sequence[Path]) -> list[str]:
    """Names of the splits that files belong to, "" for none.

    They are those of the folders of Hugging Face's DatasetDict, of the files of tensorflow-datasets, or, if every file
    is named after a split, and one after training, of the files: train.csv and dev.csv, or test-00000-of-00002.parquet.
    """
    placed = [_placed_split(path) for path in paths]
    if any(placed):
        return placed
    named = [_named_split(path) for path in paths]
    known = {SPLIT_NAMES.get(name.lower()) for name in named}
    return named if all(named) and "train" in known and len(known) > 1 else placed


def _placed_split(path: Path) -> str:
    if found := re.fullmatch(r".+-([^-]+)\.array_record-\d+-of-\d+", path.name):
        return found[1]
    return path.parent.name if (path.parent.parent / "dataset_dict.json").is_file() else ""


def _named_split(path: Path) -> str:
    """The first part of a file's name if that is a split, or if the rest says that the file is one of several."""
    stem = path.name.partition(".")[0]
    shard = re.fullmatch(r"(.+?)-\d+-of-\d+(-[0-9a-f]+)?", stem)
    name = shard[1] if shard else stem
    return name if shard or name.lower() in SPLIT_NAMES else ""
