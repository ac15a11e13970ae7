"""The source of Python's own standard library, without its tests: some 12 million characters that are always there.

What there is depends on the version of Python, which therefore is the version of this data set; figures of two versions
are not to be compared; another text under the same version is prepared in a folder of its own. Licence: PSF.

A package is in one split as a whole. Of the windows of 64 characters at the beginning of a line in the test modules
1.1 % are in a training module too (Python 3.11.7): licences, and code that was copied between modules.
"""

import platform
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data import text
from data.builder import RecordBuilder, assign_split

FINGERPRINT = None  # depends on the Python that runs
_EXCLUDED_DIRS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
SEPARATOR = "\n\n"


class Python(RecordBuilder):
    """One record per module: its path below the library, and its text in ASCII codes, with ? for other characters."""

    VERSION = tfds.core.Version(platform.python_version().split("+")[0].rstrip("abcr"))
    FEATURES = {"module": tfds.features.Text(), "text": tfds.features.Tensor(shape=(None,), dtype=np.uint8)}

    @staticmethod
    def generate_records() -> Iterator[tuple[str, str, dict[str, Any]]]:
        for module, code in read_source().items():
            # By the name before the first dot or slash: a package goes as a whole.
            whole = Path(module).parts[0].removesuffix(".py")
            yield assign_split(whole), module, {"module": module, "text": text.ascii_codes(code, unknown="?")}


BUILDER = Python


def read_source() -> dict[str, str]:
    """Source of each module by path, with tabs and line ends as they are. Raises FileNotFoundError if there is none."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        if not _EXCLUDED_DIRS & set(parts) and (code := path.read_text("utf-8", "replace").strip("\n")):
            found["/".join(parts)] = code
    if not found:
        raise FileNotFoundError(f"{root} holds no source of Python's standard library, as some packagings leave it out")
    return found


def task_arguments(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Arguments of `tasks.Characters`."""
    return text.encode_characters(records, "module", SEPARATOR)
