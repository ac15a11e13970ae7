#!/bin/sh
# modlamp 4.3.3: in AMPvsUniProt.csv the first letter alone tells three quarters of the peptides' classes.
#
# Expected: the classes differ in what makes a peptide antimicrobial. Seen: 61 % of the UniProt sequences begin with M,
# as every protein is begun, and 2 % of the antimicrobial ones, which are cut out of longer proteins; so "begins with M"
# is right about 80 % of the rows.
# The guard here: data/sources/peptides.py says so, and the task's baseline is a nearest neighbor, which has to be beaten.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps modlamp==4.3.3
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib import metadata

file = metadata.distribution("modlamp").locate_file("modlamp/data/AMPvsUniProt.csv")
with open(file) as lines:
    rows = [line.split(", ") for line in list(lines)[1:]]
begin = {label: [sequence[0] == "M" for sequence, given in rows if int(given) == label] for label in (0, 1)}
right = (sum(begin[0]) + begin[1].count(False)) / len(rows)
print("modlamp", metadata.version("modlamp"))
for label, name in ((0, "UniProt"), (1, "antimicrobial")):
    print(f"{name}: {sum(begin[label]) / len(begin[label]):.0%} begin with M")
print(f'"begins with M: not antimicrobial" is right about {right:.0%}')
sys.exit(0 if right > 0.7 else "the surprise is gone")
PYTHON
