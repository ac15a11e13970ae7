#!/bin/sh
# music21 10.5.1: in an ABC tune that changes its meter, all bars keep the duration of the first meter.
#
# Expected: bars after "M:3/4" have a barDuration of 3 quarters. Seen: 4, that of the "M:4/4" at the head, though the
# standard (ABC 2.1, 3.2) lets M: stand in the tune's body; so a full bar of three quarters counts as one that lacks one.
# The guard here: experiments/measures/abc_notation.py counts bars from the text itself.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check music21==10.5.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import music21

TUNE = "X:1\nT:Two meters\nM:4/4\nL:1/4\nK:C\nCDEF|GABc|\nM:3/4\nCDE|FGA|\n"
score = music21.converter.parseData(TUNE, format="abc")
bars = [(bar.number, float(bar.duration.quarterLength), float(bar.barDuration.quarterLength))
        for bar in score.recurse().getElementsByClass("Measure")]
print("music21", music21.__version__)
for number, played, full in bars:
    print(f"bar {number}: {played} quarters in it, {full} in a full one")
late = [full for _, played, full in bars if played == 3]
sys.exit(0 if late and all(full == 4 for full in late) else "the surprise is gone: the new meter counts")
PYTHON
