#!/bin/sh
# tensorflow-datasets 4.9.10: testing.mock_data gives other types than the data that it stands for.
#
# Expected: code that passes on mock data passes on real data. Seen, reading as a data source: a Text feature is bytes
# in the files and str in the mock, and a scalar or a label is a Python int in the files and a 0-d array in the mock.
# The guard here: data/builder.py turns both into one type (as_text), and the tests read both.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check tensorflow-datasets==4.9.10 \
    importlib_resources==6.5.2
mkdir "$folder/package" && touch "$folder/package/__init__.py"
cat > "$folder/package/tiny.py" <<'PYTHON'
import numpy as np
import tensorflow_datasets as tfds


class Tiny(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "number": tfds.features.Scalar(dtype=np.int32),
            "label": tfds.features.ClassLabel(num_classes=10),
            "text": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        yield 0, {"number": 1, "label": 2, "text": "abc"}
PYTHON
cd "$folder"
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import sys
import tempfile

import tensorflow_datasets as tfds
from package.tiny import Tiny

tfds.disable_progress_bar()
builder = Tiny(data_dir=tempfile.mkdtemp(), file_format="array_record")
builder.download_and_prepare()
types = lambda: {name: type(value).__name__ for name, value in builder.as_data_source("train")[0].items()}
real = types()
with tfds.testing.mock_data(num_examples=1):
    mock = types()
print("tensorflow-datasets", tfds.__version__)
for name in real:
    print(f"{name}: {real[name]} in the files, {mock[name]} in the mock")
sys.exit(0 if all(real[name] != mock[name] for name in real) else "the surprise is gone")
PYTHON
