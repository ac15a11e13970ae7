"""A part of the suite again, in a process that compiles as a user's does: with all of LLVM's and XLA's optimizations.

The suite itself compiles quickly (tests.QUICK_XLA_FLAGS), so other instructions run in it than in a user's process.
"""

import os
import subprocess
import sys

import pytest

from tests import ROOT

STREAMED = ("lstm", "s6", "gated_delta-2-8")
# One of each kind of scan or product; outputs, gradients and initial parameters are those that were stored.
STORED = (*STREAMED, "attention-2-rope", "gru", "mingru", "s4d", "linear-2", "gla-2-8-3", "mlstm-2")
TESTS = [
    *(f"models/test_versions.py::test_numbers_change_only_with_version[{name}]" for name in STORED),
    *(f"models/test_mixers.py::test_streaming_equals_one_call[{name}]" for name in STREAMED),
    *(f"models/test_mixers.py::test_gradients_over_64_steps_reach_everything[{name}]" for name in STREAMED),
    "training/test_train.py::test_the_metrics_have_a_row_for_each_call_and_each_split_and_the_loss_falls",
]


@pytest.mark.long
@pytest.mark.timeout(300)
def test_numbers_are_the_same_as_users_compile_them():
    """Those stored, streamed and of a run that learns."""
    words = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *(f"tests/{test}" for test in TESTS)]
    environment = {**os.environ, "XLA_FLAGS": ""}  # which conftest.py leaves as it is
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert f"{len(TESTS)} passed" in done.stdout, done.stdout[-3000:] + done.stderr[-1000:]
