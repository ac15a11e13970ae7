"""Split of a record by a hash of its contents."""

import hashlib


def assign_split(what: str | bytes, train: float = 0.8, validation: float = 0.1) -> str:
    """Split of a record by a hash of `what`, so that neither a version nor another record can move it.

    `train` and `validation` are about the shares of the splits; the rest is for the test.
    """
    contents = what.encode() if isinstance(what, str) else what
    share = int.from_bytes(hashlib.sha256(contents).digest()[:8]) / 2**64
    return "train" if share < train else "validation" if share < train + validation else "test"
