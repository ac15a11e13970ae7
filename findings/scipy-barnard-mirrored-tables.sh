#!/bin/sh
# scipy 1.17.1: barnard_exact gives a table and its mirror image different p-values.
#
# Five of six against none of six, and six of six against one of six: the second is the first with right and wrong, and the
# two samples, exchanged, so Barnard's test, which is symmetric in both, must answer alike. By hand: the tables that are no
# less extreme by the score statistic are 5:0, 6:1 and 6:0, at chances of one half (6 + 6 + 1) / 4096 = 0.00317. Seen:
# 0.00194 for the first, which leaves out 6:1, whose statistic differs from that of 5:0 in the last bit, and 0.00317 for the
# second. Whoever counts seeds that solve a task, five or six of each side, may find "p < 0.0025" where there is none.
# The guard here: experiments/ablation/exact_tests.py counts ties with a tolerance, and its tests sum the error exactly.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check scipy==1.17.1 numpy==2.3.5
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import scipy
from scipy.stats import barnard_exact

table, mirrored = [[5, 0], [1, 6]], [[6, 1], [0, 5]]
p_values = [float(barnard_exact(one, alternative="greater").pvalue) for one in (table, mirrored)]
print("scipy", scipy.__version__, "p of 5:0 of six", p_values[0], "and of 6:1", p_values[1], "by hand", 13 / 2**12)
is_there = abs(p_values[1] - 13 / 2**12) < 1e-5 and p_values[0] < 0.0021
sys.exit(0 if is_there else "the surprise is gone")
PYTHON
