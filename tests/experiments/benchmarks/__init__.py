"""What the benchmark's tests share: rows of a work directory, and a worker without a process."""

import json
from typing import Any

from experiments.benchmarks.worker import Session

KEPT = [
    {"rows": [{"section": "rates", "key": "", "dtype": "float32", "note": "", "products": 1.0, "bytes": 1.0}]},
    {"rows": [{"section": "step", "key": "a cell", "library": name, "seconds": 0.5} for name in ("ours", "torch")]},
]


class InProcessWorker:
    """A `Worker` that answers in this process."""

    def __init__(self, library: str):
        self.session = Session(library)

    def ask(self, **question: Any) -> dict[str, Any]:
        return json.loads(json.dumps(self.session.answer(json.loads(json.dumps(question)))))

    def close(self) -> None:
        self.session.timed = None
