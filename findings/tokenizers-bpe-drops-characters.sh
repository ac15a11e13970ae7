#!/bin/sh
# tokenizers 0.23.3: byte pairs without an unk_token leave out characters that they don't know, without a word.
#
# Expected: an error, or a token that stands for what is unknown (github.com/huggingface/tokenizers/issues/517: "Seems
# 100% like a bug to me"). Seen: BPE() as in the library's own tutorial, trained on "abc", encodes "axbxc" as "abc".
# The guard here: data/files/subwords.py counts what such a tokenizer.json leaves out, and the count is printed; byte
# pairs that are trained here begin with all bytes, and know everything.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check tokenizers==0.23.3
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import tokenizers

tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
trainer = tokenizers.trainers.BpeTrainer(show_progress=False)
tokenizer.train_from_iterator(["abc"], trainer)
tokens = tokenizer.encode("axbxc").tokens
print("tokenizers", tokenizers.__version__)
print('"axbxc" becomes', tokens)
sys.exit(0 if "".join(tokens) == "abc" else "the surprise is gone")
PYTHON
