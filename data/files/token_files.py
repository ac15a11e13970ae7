"""Corpora that are tokens already: `.bin` files of uint16 or uint32 without a header, as nanoGPT and others leave them,
and `.npy` files of any whole numbers."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.files.sources import TOKEN_SUFFIXES, data_suffix
from data.files.splits import FIELD_SPLITS, SplitRule, check_splits
from data.files.store_writer import StoreWriter
from data.files.subwords import SubwordTokenizer, read_tokenizer
from data.files.token_stream import TokenWriter
from data.files.tokenizers import smallest_dtype

DTYPES = ("uint16", "uint32")
MAX_RUN = 1 << 16  # consecutive tokens that go to one split together
RUNS = 64  # that a short corpus is cut into, about
_CHUNK = 1 << 22  # tokens that are looked at together
_LLM_C = (20240520, 20240801)  # what the .bin files of llm.c begin with, as int32


class TokenFile(NamedTuple):
    """Tokens of a file, in memory that the system maps onto it."""

    field: str
    path: Path
    tokens: np.ndarray

    @property
    def name(self) -> str:
        """What errors call it."""
        return f"task.{self.field}={self.path}"


def prepare_tokens(options: Any, sources: Mapping[str, Sequence[Path]], writer: StoreWriter) -> dict[str, Any]:
    """Write the tokens of all splits, as `data.files.text.prepare` does those of a text.

    Which tokens are a document isn't known: where no split is given, runs of consecutive tokens go by a hash of their
    number. Raises ValueError, in one line, for what is no such file, and for tokens that the given tokenizer lacks.
    """
    from data.files.text import evaluation_notes

    files = open_token_files(options, sources)
    tokenizer = read_tokenizer(sources["tokenizer_path"][0], shift=0) if "tokenizer_path" in sources else None
    size = sum(file.tokens.nbytes for file in files)
    writer.total_bytes = 2 * size
    state = writer.resumed
    if state is None:
        largest = max(_largest_token(file) for file in files)
        if tokenizer is not None and largest >= len(tokenizer.names):
            raise _foreign_token(files, tokenizer)
        state = {
            "vocabulary": largest + 1, "notes": _unseen_notes(files, largest + 1), "start": [0, 0], "done": size,
            "tokens": None, "runs": None,
        }  # fmt: skip
    names = tokenizer.names if tokenizer is not None else tuple(map(str, range(state["vocabulary"])))
    stream = TokenWriter(writer, smallest_dtype(len(names)), state["tokens"])
    counts, done = dict(state["runs"] or {}), state["done"]
    for file, begin, split, tokens in _read_runs(files, *state["start"]):
        stream.add_tokens(split, tokens)
        counts[split] = counts.get(split, 0) + 1
        done += tokens.nbytes
        if writer.is_checkpoint_due(done):
            kept = {"start": [file, begin + len(tokens)], "done": done, "tokens": stream.state(), "runs": counts}
            writer.checkpoint({**state, **kept}, done)
    check_splits("path", options.path, counts, "token runs")
    token_bytes = None if tokenizer is None else tokenizer.token_bytes
    return {
        "tokens": stream.finish(),
        "names": list(names),
        "token_bytes": None if token_bytes is None else token_bytes.tolist(),
        "tokenizer": "none",
        "notes": [*state["notes"], *evaluation_notes(stream.counts)],
    }


def open_token_files(options: Any, sources: Mapping[str, Sequence[Path]]) -> list[TokenFile]:
    """All files that hold tokens. Raises ValueError, in one line, for one that can't."""
    for field in ("split_column", "column", "document", "tokenizer"):
        default = type(options).__dataclass_fields__[field].default
        if getattr(options, field) != default:
            raise ValueError(
                f"task.{field}={getattr(options, field)}: {sources['path'][0].name} holds tokens and no text: "
                f"leave it out"
            )
    files = []
    for field in ("path", *FIELD_SPLITS):
        for path in sources.get(field, ()):
            name, suffix = f"task.{field}={path}", data_suffix(path)
            if suffix not in TOKEN_SUFFIXES or path.suffix != suffix:
                raise ValueError(f"{name}: must be .bin or .npy, and not packed, as the first file of task.path is")
            tokens = _map_npy(path, name) if suffix == ".npy" else _map_bin(path, name, options.token_dtype)
            files.append(TokenFile(field, path, tokens))
    return files


def _map_bin(path: Path, name: str, dtype: str) -> np.ndarray:
    size, itemsize = path.stat().st_size, np.dtype(dtype).itemsize
    if size == 0:
        raise ValueError(f"{name}: the file is empty")
    if size % itemsize:
        raise ValueError(
            f"{name}: has {size:,} bytes, no multiple of the {itemsize} of {dtype}: set task.token_dtype, or write the "
            f"file anew"
        )
    if size >= 8 and np.fromfile(path, "<i4", 1)[0] in _LLM_C:
        raise ValueError(f"{name}: begins with the header of llm.c: remove it, as with tail -c +1025")
    return np.memmap(path, np.dtype(dtype).newbyteorder("<"), "r")


def _map_npy(path: Path, name: str) -> np.ndarray:
    try:
        tokens = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{name}: is no .npy file, or not whole ({str(error).splitlines()[0]})") from None
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu" or not len(tokens):
        raise ValueError(
            f"{name}: holds {tokens.dtype} {list(tokens.shape)}: save one row of whole numbers, as with tokens.ravel()"
        )
    return tokens


def _chunks(tokens: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for begin in range(0, len(tokens), _CHUNK):
        yield begin, tokens[begin : begin + _CHUNK]


def _largest_token(file: TokenFile) -> int:
    """The largest token of a file. Raises ValueError for what can't be tokens."""
    largest, has_odd = 0, len(file.tokens) < 64
    for begin, tokens in _chunks(file.tokens):
        if (least := int(tokens.min())) < 0:
            place = begin + int(tokens.argmin())
            raise ValueError(f"{file.name}: token {least} at place {place:,}: tokens are 0 or more")
        largest = max(largest, int(tokens.max()))
        has_odd = has_odd or bool(tokens[1::2].any())
    if not has_odd and file.path.suffix == ".bin" and file.tokens.itemsize == 2:
        raise ValueError(f"{file.name}: every second token is 0: set task.token_dtype=uint32")
    if largest >= 1 << 24:
        raise ValueError(f"{file.name}: has a token {largest:,}, of a vocabulary that no model has: is it token_dtype?")
    return largest


def _unseen_notes(files: Sequence[TokenFile], vocabulary: int) -> list[str]:
    """How many tokens of validation and test never occur in training."""
    seen, unseen, times = np.zeros(vocabulary, bool), np.zeros(vocabulary, bool), 0
    for _, _, split, tokens in _read_runs(files):
        if split == "train":
            seen[tokens] = True
    for _, _, split, tokens in _read_runs(files):
        if split != "train":
            strange = tokens[~seen[tokens]]
            unseen[strange] = True
            times += len(strange)
    kinds = int(np.count_nonzero(unseen))
    return [f"Tokens never seen in training: {kinds:,} kinds, which occur {times:,} times."] if kinds else []


def _foreign_token(files: Sequence[TokenFile], tokenizer: SubwordTokenizer) -> ValueError:
    """The error for the first token that a tokenizer lacks."""
    known = len(tokenizer.names)
    for file in files:
        for begin, tokens in _chunks(file.tokens):
            if len(places := np.flatnonzero(tokens >= known)):
                place = int(places[0])
                return ValueError(
                    f"{file.name}: token {int(tokens[place]):,} at place {begin + place:,} is none of the {known:,} of "
                    f"task.tokenizer_path: give the tokenizer that the file was written with"
                )
    raise AssertionError("no token is foreign")


def _read_runs(
    files: Sequence[TokenFile], first_file: int = 0, first_token: int = 0
) -> Iterator[tuple[int, int, str, np.ndarray]]:
    """(number of its file, its first token, split, tokens) of each run, from a place between two on."""
    rule = SplitRule(frozenset(FIELD_SPLITS[file.field] for file in files if file.field in FIELD_SPLITS))
    for number, file in enumerate(files):
        length = min(MAX_RUN, max(1, -(-len(file.tokens) // RUNS)))
        begin = first_token if number == first_file else 0
        for start in range(begin if number >= first_file else len(file.tokens), len(file.tokens), length):
            split = rule.assign_item(FIELD_SPLITS.get(file.field, ""), f"{number}:{start // length}")
            yield number, start, split, np.asarray(file.tokens[start : start + length])
