"""Save and restore a run, and hand out one of its replicas. All of Orbax that this project uses is in this file."""

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

_MAX_TO_KEEP = 2  # the newest checkpoints, so that one lost to a bad disk does not lose the run


@contextlib.contextmanager
def silence_orbax() -> Iterator[None]:
    """Orbax warns of what is meant: that nothing is to be written, and that we add no metadata of our own."""

    def kept(record: logging.LogRecord) -> bool:
        return record.levelno > logging.WARNING or "orbax" not in record.pathname

    logger = logging.getLogger("absl")
    logger.addFilter(kept)
    try:
        yield
    finally:
        logger.removeFilter(kept)


class Checkpoints:
    """The checkpoints of one run, in `directory`/STEP; written in the background, each whole or not at all.

    `run` is the run's key, which each checkpoint carries beside its step; one with another is not read.
    """

    def __init__(self, directory: Path, *, read_only: bool = False, run_key: str = ""):
        import orbax.checkpoint as ocp  # takes a second or two, which `--help` need not wait for
        from orbax.checkpoint import checkpoint_managers as policies

        self.ocp, self.run = ocp, run_key
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
        """The newest step, or None where there is none."""
        return self.manager.latest_step()

    def save(self, step: int, state: Any) -> None:
        """Copy `state` from the devices now and write it while the caller goes on.

        Raises OSError, in one line, where it or the one before it could not be written.
        """
        if step not in self.manager.all_steps():
            with self._translate_write_errors():
                whose = {"run": self.run, "step": step}
                self.manager.save(step, args=self.ocp.args.StandardSave(state), force=True, custom_metadata=whose)

    def restore(self, step: int, like: Any) -> Any:
        """The state saved at `step`, with the shapes, types and shardings of `like`.

        Raises ValueError, in one line, where it can't be read.
        """
        self._check_owner(step)
        abstract = jax.tree.map(self.ocp.tree.to_shape_dtype_struct, like)
        with self._translate_read_errors(step):
            return self.manager.restore(step, args=self.ocp.args.StandardRestore(abstract))

    def restore_numpy(self, step: int | None = None) -> Any:
        """The newest state, or that of `step`, as nested dicts of numpy arrays, on however many devices it was made.

        Raises ValueError, in one line, where there is none or it can't be read.
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
        """Raise ValueError, in one line, for a checkpoint of another run or of another step; an older one says
        neither."""
        with silence_orbax(), self._translate_read_errors(step):
            whose: Any = self.manager.metadata(step).custom_metadata or {}
        path = self.directory / str(step)
        if self.run and whose.get("run", self.run) != self.run:
            raise ValueError(f"{path} is of another run than config.json describes; put back what was changed from a "
                             f"copy, or start anew in another directory")  # fmt: skip
        if whose.get("step", step) != step:
            raise ValueError(f"{path} is the checkpoint of step {whose['step']}; give it its own name again")

    def wait_until_written(self) -> None:
        """Until what was saved is on disk. Raises OSError, in one line, where it could not be written."""
        with self._translate_write_errors():
            self.manager.wait_until_finished()

    def close(self) -> None:
        self.manager.close()

    @contextlib.contextmanager
    def _translate_read_errors(self, step: int) -> Iterator[None]:
        """Orbax and TensorStore raise many kinds of error for one and the same: bytes are missing."""
        try:
            yield
        except Exception as error:
            others = [s for s in self.manager.all_steps() if s != step]
            rest = f"to go on from step {max(others)}" if others else "to start anew"
            why = " ".join(str(error).split())[:160]
            raise ValueError(
                f"checkpoint {self.directory / str(step)} can't be read ({why}); delete that directory {rest}"
            ) from error

    @contextlib.contextmanager
    def _translate_write_errors(self) -> Iterator[None]:
        """Nor is a full disk an OSError to TensorStore, which names the system's reason at the end of a long line."""
        try:
            yield
        except Exception as error:
            code = re.search(r"os_error_code='(\d+)'", str(error))
            why = getattr(error, "strerror", None) or (os.strerror(int(code[1])) if code else str(error))
            done = self.manager.all_steps()
            rest = f"the same command goes on from step {max(done)}" if done else "nothing was saved before"
            raise OSError(
                f"no checkpoint could be written to {self.directory} ({' '.join(why.split())}); {rest}"
            ) from error


def take_member(state: Any, member: int) -> Any:
    """One replica of a state, without the leading axis."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[member], state)


def save_params(directory: Path, params: Any, run_key: str = "") -> None:
    """An ordinary checkpoint: the parameters of one model, to be read by `load_params` or by Orbax itself; with the key
    of the run that they are from."""
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(Path(directory).absolute(), params, custom_metadata={"run": run_key})


def load_params(directory: Path, run_key: str = "") -> Any:
    """The parameters that `save_params` wrote, on the default device.

    Raises ValueError, in one line, where they can't be read, or are from another run than `run_key` says.
    """
    import orbax.checkpoint as ocp

    try:
        with silence_orbax(), ocp.StandardCheckpointer() as checkpointer:
            whose: Any = checkpointer.metadata(Path(directory).absolute()).custom_metadata or {}
            params = jax.device_put(checkpointer.restore(Path(directory).absolute()))
    except Exception as error:  # of many kinds, as in `Checkpoints._translate_read_errors`
        why = " ".join(str(error).split())[:160]
        raise ValueError(f"{directory} can't be read ({why}); train.py --export writes such a directory") from error
    if run_key and whose.get("run") not in (None, "", run_key):
        raise ValueError(f"{directory} is of another run than the config.json beside it; export that run again")
    return params
