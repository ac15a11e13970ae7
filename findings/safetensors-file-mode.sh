#!/bin/sh
# safetensors 0.8.0 on Linux: save_file leaves a file that its owner alone may read, whatever the umask.
#
# Expected: mode 0644 under umask 022, as of any file that a program writes, and as of 0.7.0. Seen: 0600, since it is
# written under another name by the crate tempfile and renamed (https://github.com/safetensors/safetensors/issues/782). A
# model in a shared folder, or in an image that runs as another user, can't be read there.
# The guard here: training/safetensors_files.py gives the file the mode that a new file has, and a test compares.
set -eu
umask 022
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
for version in 0.7.0 0.8.0; do
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "safetensors==$version" numpy==2.3.5
"$folder/venv/bin/python" - "$folder/$version.safetensors" <<'PYTHON'
import os
import stat
import sys

import numpy as np
import safetensors
from safetensors.numpy import save_file

save_file({"a": np.zeros(3, np.float32)}, sys.argv[1])
mode = stat.S_IMODE(os.stat(sys.argv[1]).st_mode)
print("safetensors", safetensors.__version__, f"mode {mode:04o}, and umask 022 gives 0644")
sys.exit(0 if mode == (0o600 if safetensors.__version__ == "0.8.0" else 0o644) else "the surprise is gone")
PYTHON
done
