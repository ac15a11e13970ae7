#!/bin/sh
# orbax-checkpoint 0.12.8: restoring float32 into int8 casts without a word, and 300.5 becomes 44.
#
# Expected: an error, as for an array of another shape. Seen: the values are cast to whatever dtype the template names,
# float to integer too.
# The guard here: load_exported compares the shapes of what it read with those of the model, and a checkpoint carries the
# key of the run that wrote it.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check orbax-checkpoint==0.12.8 jax==0.10.2 jaxlib==0.10.2
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

VALUES = [0.4, 1.7, -2.9, 300.5]
here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
directory = Path(tempfile.mkdtemp()) / "saved"
print("orbax-checkpoint", metadata.version("orbax-checkpoint"), "saved", VALUES, "as float32 [4]")
restored = []
with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(directory, {"x": jnp.array(VALUES, jnp.float32)})
    checkpointer.wait_until_finished()
    for shape, dtype in (((4,), np.int8), ((6,), np.float32)):
        template = {"x": jax.ShapeDtypeStruct(shape, dtype, sharding=here)}
        try:
            restored.append(np.asarray(checkpointer.restore(directory, template)["x"]).tolist())
        except ValueError as error:
            restored.append(f"ValueError: {str(error)[:70]}...")
        print(f"asked for {np.dtype(dtype).name} {list(shape)}: {restored[-1]}")
cast, refused = restored
surprise = cast == [0, 1, -2, 44] and isinstance(refused, str)
sys.exit(0 if surprise else "the surprise is gone: the cast is refused")
PYTHON
