"""Real data, prepared once into ArrayRecord files and read back as the keyword arguments of a task.

`TASKS["pixels"](**load_dataset("digits", data_dir))`, `TASKS["characters"](**load_dataset("shakespeare", data_dir),
max_length=128)`.

A module named in `DATASETS` holds

  BUILDER                   a subclass of `data.builder.RecordBuilder`, which gives the records of each split
  FINGERPRINT               `fingerprint_arguments` of what `load_dataset` returns; None for a source that may change,
                            which every process then reads anew, and each state of which lies in a folder of its own
  read_source()             the source as BUILDER uses it; raises FileNotFoundError or ValueError if it isn't right
  task_arguments(records)   keyword arguments of a task from the records of each split; `data.text` and `data.images`
                            make them

Modules are imported only when their data set is loaded: training on a generated task needs none of them, and TensorFlow
itself is never needed.
"""

import contextlib
import functools
import hashlib
import importlib
import importlib.metadata
import io
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.base import suggest_name

# Name (and folder): module. Those that tensorflow-datasets has itself are in data.tfds_catalog.
DATASETS = {
    "digits": "data.sources.digits",
    "shakespeare": "data.sources.shakespeare",
    "python": "data.sources.python",
    "bible": "data.sources.bible",
    "irish": "data.sources.irish",
    "oneill": "data.sources.oneill",
    "peptides": "data.sources.peptides",
    "splice": "data.sources.splice",
    "titles": "data.sources.titles",
    "phonemes": "data.sources.phonemes",
    "verses": "data.sources.verses",
    "mnist_5k": "data.sources.mnist_5k",
    "fashion_mnist": "data.sources.fashion_mnist",
    "tiny_shakespeare": "data.tfds_catalog",
    "mnist": "data.tfds_catalog",
    "imdb_reviews": "data.tfds_catalog",
    "lm1b": "data.tfds_catalog",
    "ted_hrlr_translate": "data.tfds_catalog",
}
SPLITS = ("train", "validation", "test")


def load_dataset(name: str, data_dir: str | Path) -> dict[str, Any]:
    """Load the data set `name` as keyword arguments for its task; prepare it under `data_dir` if it is not there yet.

    Preparing is announced in one line on stderr. It fills a directory `incomplete.…`, which nobody reads, and renames
    it at the end: a killed preparation leaves nothing that looks finished, and of two at once the first one wins.

    Raises ValueError for an unknown name, a changed source or damaged files, FileNotFoundError for a source that is
    not installed, and OSError if `data_dir` can't be written.
    """
    module, root = _source_module(name), Path(data_dir).expanduser().absolute()
    if not hasattr(module, "BUILDER"):
        return module.load_catalog_entry(name, root)
    if module.FINGERPRINT is None:  # the source may change: each state of it is prepared in a folder of its own
        sha256 = _expected_fingerprint(name)
        root = root / name / sha256[:16]
    else:
        sha256 = module.FINGERPRINT
    files = root / name / str(module.BUILDER.VERSION)
    if not files.exists():
        module.read_source()  # raises before anything is written
        print(f"preparing {name} in {files}", file=sys.stderr)
        prepare_files(module.BUILDER, root, files)
    try:
        arguments = module.task_arguments(_read_records(module.BUILDER, root))
        intact = fingerprint_arguments(arguments) == sha256
    except Exception as error:  # whatever a damaged file makes tensorflow-datasets, protobuf or ArrayRecord raise
        raise ValueError(
            f"{files} can't be read: delete it and it is prepared anew ({summarize_error(error)})"
        ) from error
    if not intact:
        raise ValueError(f"{files} holds something else, by its sha256: delete it and it is prepared anew")
    return arguments


def data_fingerprint(name: str, data_dir: str | Path) -> str:
    """First 16 digits of the `fingerprint_arguments` of what `load_dataset(name, data_dir)` returns.

    Nothing is loaded or prepared for it, except for the data sets of `data.tfds_catalog`. Raises as `load_dataset`.
    """
    module, root = _source_module(name), Path(data_dir).expanduser().absolute()
    if hasattr(module, "BUILDER"):
        return _expected_fingerprint(name)[:16]
    known, stamp = _catalog_fingerprints.get((name, root), ("", None))
    if not known or stamp != module.file_stamps(name, root):  # what lies there has changed since
        known = fingerprint_arguments(module.load_catalog_entry(name, root))[:16]
        _catalog_fingerprints[name, root] = known, module.file_stamps(name, root)
    return known


# Of data.tfds_catalog: the fingerprint, and the stamps of the files that it was read from.
_catalog_fingerprints: dict[tuple[str, Path], tuple[str, Any]] = {}


@functools.cache  # the library of a running interpreter stays as it is
def _expected_fingerprint(name: str) -> str:
    """`fingerprint_arguments` of what `load_dataset` returns: as stored, or of what this machine's source makes."""
    module = _source_module(name)
    if module.FINGERPRINT is not None:
        return module.FINGERPRINT
    records: dict[str, list] = {split: [] for split in SPLITS}
    for split, _, record in module.BUILDER.generate_records():
        records[split].append(record)
    return fingerprint_arguments(module.task_arguments(records))


def _source_module(name: str) -> Any:
    """Import the module of the data set `name`. Raises ValueError for an unknown name."""
    if name not in DATASETS:
        raise ValueError(
            f"no data set is called {name!r}: {suggest_name(name, DATASETS)}known are {', '.join(DATASETS)}"
        )
    module: Any = importlib.import_module(DATASETS[name])
    if hasattr(module, "BUILDER"):
        module.BUILDER.name = name  # of its folder; tensorflow-datasets would make one of the class's name
    return module


def prepare_files(builder: Any, root: Path, files: Path) -> None:
    """Write a data set below `root`, unless another process is faster. Raises OSError if `files` aren't there then."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stdout(io.StringIO()):  # tensorflow-datasets announces itself there
            # The default format, tfrecord, would need TensorFlow.
            builder(data_dir=root, file_format="array_record").download_and_prepare()
    except (OSError, RuntimeError) as error:  # RuntimeError is how ArrayRecord says that the disk is full
        if not files.exists():  # else another process was quicker, and ours could not be renamed over its work
            raise OSError(f"{root} can't be written: give another data_dir ({summarize_error(error)})") from error


def _read_records(builder: Any, root: Path) -> dict[str, list[dict[str, Any]]]:
    """All records of each split, in the order of the files."""
    import grain

    prepared = builder(data_dir=root, file_format="array_record")
    return {split: list(grain.MapDataset.source(prepared.as_data_source(split))) for split in SPLITS}


def locate_file(package: str, path: str, install: str) -> Path:
    """Path of a file of an installed package, found without importing the package.

    Raises FileNotFoundError, with the line to `install` it, if it is not there.
    """
    try:
        found = Path(str(importlib.metadata.distribution(package).locate_file(path)))
    except importlib.metadata.PackageNotFoundError:
        found = None
    if found is None or not found.exists():
        raise FileNotFoundError(f"{package} is not installed, or lacks {path}: {install}")
    return found


def verify_checksum(contents: bytes, sha256: str, what: str, install: str) -> None:
    """Raise ValueError unless `contents` have the checksum `sha256`."""
    if (got := hashlib.sha256(contents).hexdigest()) != sha256:
        raise ValueError(f"{what} has sha256 {got[:12]}… and not {sha256[:12]}…: reinstall it with {install}")


def fingerprint_arguments(arguments: Mapping[str, Any]) -> str:
    """SHA-256 over everything that `load_dataset` returns: names, types, shapes and values."""
    total = hashlib.sha256()
    for name, value in sorted(arguments.items()):
        if isinstance(value, Mapping):
            total.update(f"{name} {fingerprint_arguments(value)}".encode())
        elif hasattr(value, "tobytes"):
            total.update(f"{name} {value.dtype} {value.shape}".encode() + value.tobytes())
        else:
            total.update(f"{name} {value!r}".encode())
    return total.hexdigest()


def summarize_error(error: Exception) -> str:
    """Message of an error in one line of bounded length."""
    return textwrap.shorten(
        getattr(error, "strerror", None) or str(error) or type(error).__name__, 160, placeholder="…"
    )
