"""Parameters as safetensors, arrays by name that other programs read too. The package is used in this file alone.

A name is the path of a parameter: "mixer_0/input/kernel". The header's metadata have the key of the run, as "run".
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from training import files

FILE_NAME = "model.safetensors"
_METADATA = {"format": "flax", "made_by": "recur-or-attend"}
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def import_safetensors() -> Any:
    """Import the package. Raises ValueError, in one line, if it is not installed."""
    try:
        import safetensors.numpy
    except ImportError:
        raise ValueError(f"{FILE_NAME} needs the package safetensors: pip install -e '.[export]'") from None
    return safetensors


def flatten_tree(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree by their paths, with slashes between."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in jax.tree.leaves_with_path(tree)
    }


def unflatten_tree(leaves: Mapping[str, Any], like: Any) -> Any:
    """The pytree of `flatten_tree`, with the structure of `like`."""
    return jax.tree.unflatten(jax.tree.structure(like), [leaves[name] for name in flatten_tree(like)])


def save_params(path: Path, params: Any, run_key: str = "") -> None:
    """Save parameters to `path`, whole or not at all. Raises OSError, in one line, if they can't be written."""
    safetensors = import_safetensors()
    # In C order: safetensors 0.8.0 writes the bytes of other arrays, such as a transposed one, as they lie in memory.
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in flatten_tree(params).items()}
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with files.with_path(path):
            part.touch()
            mode = part.stat().st_mode
            safetensors.numpy.save_file(arrays, part, {**_METADATA, "run": run_key})
            part.chmod(mode)  # 0.8.0 leaves a file that its owner alone may read
            os.replace(part, path)
    except safetensors.SafetensorError as error:
        raise OSError(f"{path} could not be written ({_shorten(error)})") from error
    finally:
        part.unlink(missing_ok=True)


def load_params(path: Path, expected: Any, run_key: str = "") -> Any:
    """Load parameters with the structure, shapes and dtypes of `expected`, to the default device.

    Raises ValueError, in one line, if the file can't be read, holds other names, shapes or dtypes, or is from another
    run than that of `run_key`. Nothing is read of a file that holds others.
    """
    safetensors = import_safetensors()
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; train.py --export_format=safetensors writes it")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names = file.keys()
            slices = {name: file.get_slice(name) for name in names}
            found = {name: _describe(slices[name].get_dtype(), slices[name].get_shape()) for name in names}
            owner = (file.metadata() or {}).get("run", "")
            _check_arrays(path, found, flatten_tree(expected))
            if run_key and owner not in ("", run_key):
                raise ValueError(f"{path} is of another run than the config.json beside it; export that run again")
            arrays = {name: file.get_tensor(name) for name in names}
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} can't be read ({_shorten(error)}); export the run again") from error
    return jax.device_put(unflatten_tree(arrays, expected))


def _check_arrays(path: Path, found: Mapping[str, str], expected: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the first that differ, unless names, shapes and dtypes are those of `expected`."""
    if missing := [name for name in expected if name not in found]:
        raise ValueError(f"{path} is of another model: it lacks {_name_first(missing)}")
    if unknown := [name for name in found if name not in expected]:
        raise ValueError(f"{path} is of another model: that has no {_name_first(unknown)}")
    for name, leaf in expected.items():
        wanted = _describe(str(leaf.dtype), leaf.shape)
        if found[name] != wanted:
            raise ValueError(f"{path} is of another model: {name} is {found[name]}, not {wanted}")


def _name_first(names: list[str], count: int = 3) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _describe(dtype: str, shape: Any) -> str:
    """An array in words: "float32[8, 16]"."""
    return f"{_DTYPES.get(dtype, dtype)}{list(shape)}"


def _shorten(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
