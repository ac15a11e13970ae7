#!/bin/sh
# music21 10.5.1: of an ABC tune with one bar line no bars are made.
#
# Expected: "CDEF|GABc" has two bars, as it has in every ABC player. Seen: none; with a second bar line at its end, two.
# The guard here: experiments/measures/abc_notation.py counts bars from the text itself.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check music21==10.5.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import music21

print("music21", music21.__version__)
bars = []
for body in ("CDEF|GABc", "CDEF|GABc|"):
    score = music21.converter.parseData(f"X:1\nT:Two bars\nM:4/4\nL:1/4\nK:C\n{body}\n", format="abc")
    bars.append(len(list(score.recurse().getElementsByClass("Measure"))))
    print(f"{body}: {len(list(score.recurse().notes))} notes, {bars[-1]} bars")
sys.exit(0 if bars == [0, 2] else "the surprise is gone: one bar line makes bars")
PYTHON
