#!/bin/sh
# tensorflow-datasets 4.9.10: preparing a data set raises ModuleNotFoundError: importlib_resources.
#
# Expected: what pip installs with it is enough. Seen: the package imports importlib_resources when a builder that lives
# in a package is prepared, on every version of Python, and requires it only below Python 3.9.
# The guard here: pyproject.toml requires importlib_resources itself.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check tensorflow-datasets==4.9.10
mkdir "$folder/package" && touch "$folder/package/__init__.py"
cat > "$folder/package/tiny.py" <<'PYTHON'
import numpy as np
import tensorflow_datasets as tfds


class Tiny(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict({"number": tfds.features.Scalar(dtype=np.int32)})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        yield 0, {"number": 1}
PYTHON
cd "$folder"
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import sys
import tempfile

import tensorflow_datasets as tfds
from package.tiny import Tiny

print("tensorflow-datasets", tfds.__version__, "Python", sys.version.split()[0])
try:
    Tiny(data_dir=tempfile.mkdtemp(), file_format="array_record").download_and_prepare()
except ModuleNotFoundError as error:
    print(f"ModuleNotFoundError: {error}")
    sys.exit(0 if "importlib_resources" in str(error) else 1)
sys.exit("the surprise is gone: it was prepared")
PYTHON
