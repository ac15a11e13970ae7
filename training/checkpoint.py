"""Save and restore the state of a run, and parameters. Orbax is used in this file alone."""

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

_MAX_TO_KEEP = 2  # so that a run survives a damaged checkpoint


@contextlib.contextmanager
def silence_orbax() -> Iterator[None]:
    """Drop Orbax's warnings about what is intended here: reading only, and no metadata of our own."""

    def is_kept(record: logging.LogRecord) -> bool:
        return record.levelno > logging.WARNING or "orbax" not in record.pathname

    logger = logging.getLogger("absl")
    logger.addFilter(is_kept)
    try:
        yield
    finally:
        logger.removeFilter(is_kept)


class Checkpoints:
    """The checkpoints of one run, in `directory`/STEP. They are written in the background, each whole or not at all.

    A checkpoint carries its step and the run's key, `run_key`. One with another key is not read.
    """

    def __init__(self, directory: Path, *, read_only: bool = False, run_key: str = ""):
        import orbax.checkpoint as ocp  # takes a second or two, and --help does not need it
        from orbax.checkpoint import checkpoint_managers as policies

        self.ocp, self.run_key = ocp, run_key
        self.directory = Path(directory).absolute()
        with silence_orbax():
            self.manager = ocp.CheckpointManager(
                self.directory,
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=policies.LatestN(_MAX_TO_KEEP),
                    cleanup_tmp_directories=not read_only,
                    read_only=read_only,
                ),
            )

    def latest_step(self) -> int | None:
        """The newest step, or None if there is no checkpoint."""
        return self.manager.latest_step()

    def save(self, step: int, state: Any) -> None:
        """Copy `state` from the devices and write it in the background. A step that exists is left alone.

        Fields that are None are left out, so that a field that is added later leaves older checkpoints as they are.
        Arrays without elements are too, since Orbax refuses them; `restore` takes them from `like`.

        Raises OSError, in one line, if this checkpoint or the one before can't be written.
        """
        if step not in self.manager.all_steps():
            with self._translate_write_errors():
                owner = {"run": self.run_key, "step": step}
                args = self.ocp.args.StandardSave(_drop_empty_arrays(_drop_absent_fields(state)))
                self.manager.save(step, args=args, force=True, custom_metadata=owner)

    def restore(self, step: int, like: Any) -> Any:
        """Restore the state of `step`, with the shapes, dtypes and shardings of `like`.

        Raises ValueError, in one line, if it can't be read.
        """
        self._check_owner(step)
        fields = _drop_absent_fields(like)
        abstract = jax.tree.map(self.ocp.tree.to_shape_dtype_struct, _drop_empty_arrays(fields))
        with self._translate_read_errors(step):
            restored = self.manager.restore(step, args=self.ocp.args.StandardRestore(abstract))
        restored = jax.tree.map(lambda own, saved: own if saved is None else saved, fields, restored)
        return like._replace(**restored) if hasattr(like, "_replace") else restored

    def restore_numpy(self, step: int | None = None) -> Any:
        """Restore the newest state, or that of `step`, as nested dicts of numpy arrays, whatever devices it was on.

        Raises ValueError, in one line, if there is none or it can't be read.
        """
        step = self.latest_step() if step is None else step
        if step is None:
            raise ValueError(f"{self.directory} holds no checkpoint yet")
        self._check_owner(step)
        saved = self.directory / str(step) / "default"
        with silence_orbax(), self._translate_read_errors(step), self.ocp.PyTreeCheckpointer() as checkpointer:
            shapes = checkpointer.metadata(saved).item_metadata.tree
            arrays = jax.tree.map(lambda _: self.ocp.RestoreArgs(restore_type=np.ndarray), shapes)
            return checkpointer.restore(saved, restore_args=arrays)

    def _check_owner(self, step: int) -> None:
        """Raise ValueError for a checkpoint of another run or another step. Those of older code say neither."""
        with silence_orbax(), self._translate_read_errors(step):
            owner: Any = self.manager.metadata(step).custom_metadata or {}
        path = self.directory / str(step)
        if self.run_key and owner.get("run", self.run_key) != self.run_key:
            raise ValueError(
                f"{path} is of another run than config.json describes; put back what was changed from a copy, or start "
                f"anew in another directory"
            )
        if owner.get("step", step) != step:
            raise ValueError(f"{path} is the checkpoint of step {owner['step']}; give it its own name again")

    def wait_until_written(self) -> None:
        """Wait until all checkpoints are on disk. Raises OSError, in one line, if one can't be written."""
        with self._translate_write_errors():
            self.manager.wait_until_finished()

    def close(self) -> None:
        """Wait until all checkpoints are on disk and stop Orbax's threads. Raises OSError if one can't be written."""
        try:
            self.wait_until_written()
        finally:
            self.manager.close()

    @contextlib.contextmanager
    def _translate_read_errors(self, step: int) -> Iterator[None]:
        """Turn the many kinds of errors that Orbax and TensorStore raise for missing bytes into one ValueError."""
        try:
            yield
        except Exception as error:
            other_steps = [other for other in self.manager.all_steps() if other != step]
            advice = f"to go on from step {max(other_steps)}" if other_steps else "to start anew"
            raise ValueError(
                f"checkpoint {self.directory / str(step)} can't be read ({_shorten(error)}); delete that directory "
                f"{advice}"
            ) from error

    @contextlib.contextmanager
    def _translate_write_errors(self) -> Iterator[None]:
        """Turn errors of writing into one OSError. TensorStore names the system's reason at the end of a long line."""
        try:
            yield
        except Exception as error:
            code = re.search(r"os_error_code='(\d+)'", str(error))
            reason = getattr(error, "strerror", None) or (os.strerror(int(code[1])) if code else str(error))
            steps = self.manager.all_steps()
            advice = f"the same command goes on from step {max(steps)}" if steps else "nothing was saved before"
            raise OSError(
                f"no checkpoint could be written to {self.directory} ({' '.join(reason.split())}); {advice}"
            ) from error


def _drop_absent_fields(state: Any) -> Any:
    """A named tuple as a dict, as Orbax stores it, without the fields that are None. Anything else as it is."""
    if not hasattr(state, "_asdict"):
        return state
    return {name: value for name, value in state._asdict().items() if value is not None}


def _drop_empty_arrays(tree: Any) -> Any:
    """None in place of every array that has no elements, as the past of a convolution of one tap."""
    return jax.tree.map(lambda leaf: leaf if np.size(leaf) else None, tree)


def _shorten(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


def take_member(state: Any, member: int) -> Any:
    """Take one member of an ensemble's state: every leaf loses its leading axis."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[member], state)


def save_params(directory: Path, params: Any, run_key: str = "") -> None:
    """Save one model's parameters, with the key of their run, as an ordinary Orbax checkpoint."""
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(Path(directory).absolute(), params, custom_metadata={"run": run_key})


def load_params(directory: Path, run_key: str = "") -> Any:
    """Load what `save_params` saved, to the default device.

    Raises ValueError, in one line, if it can't be read, or is from another run than that of `run_key`.
    """
    import orbax.checkpoint as ocp

    try:
        with silence_orbax(), ocp.StandardCheckpointer() as checkpointer:
            owner: Any = checkpointer.metadata(Path(directory).absolute()).custom_metadata or {}
            params = jax.device_put(checkpointer.restore(Path(directory).absolute()))
    except Exception as error:  # of many kinds, as in `Checkpoints._translate_read_errors`
        raise ValueError(
            f"{directory} can't be read ({_shorten(error)}); train.py --export writes such a directory"
        ) from error
    if run_key and owner.get("run") not in (None, "", run_key):
        raise ValueError(f"{directory} is of another run than the config.json beside it; export that run again")
    return params
