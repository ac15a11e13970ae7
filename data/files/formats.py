"""What a file holds, by its suffix without that of a compression (`corpus.jsonl.gz` is JSON lines), and which split it
belongs to by where it lies."""

import re
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
# What Hugging Face's datasets and tensorflow-datasets leave beside their data.
METADATA_FILES = {"dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json", "features.json"}


def data_suffix(path: Path) -> str:
    """Suffix that says what a file holds, such as ".csv" of data.csv.gz; lower case, and "" if there is none."""
    if found := re.fullmatch(r".+(\.array_record)-\d+-of-\d+", path.name):
        return found[1]
    name = Path(path.name)
    return (Path(name.stem) if name.suffix.lower() in CODECS else name).suffix.lower()


def file_split(path: Path) -> str:
    """Name of the split that a file belongs to by the folder of Hugging Face's DatasetDict that it lies in, or by its
    name as tensorflow-datasets gives it; "" for any other file."""
    if found := re.fullmatch(r".+-([^-]+)\.array_record-\d+-of-\d+", path.name):
        return found[1]
    return path.parent.name if (path.parent.parent / "dataset_dict.json").is_file() else ""
