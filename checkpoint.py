"""Save and restore a run, and hand out one of its replicas. All of Orbax that this project uses is in this file."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

KEPT = 2  # the newest checkpoints, so that one lost to a bad disk does not lose the run


class Checkpoints:
    """The checkpoints of one run, in `directory`/STEP; written in the background, each whole or not at all."""

    def __init__(self, directory: Path):
        import orbax.checkpoint as ocp  # takes a second or two, which `--help` need not wait for
        from orbax.checkpoint import checkpoint_managers as policies

        self.ocp = ocp
        self.directory = Path(directory).absolute()
        self.manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.LatestN(KEPT), cleanup_tmp_directories=True
            ),
        )

    def latest(self) -> int | None:
        """The newest step, or None where there is none."""
        return self.manager.latest_step()

    def save(self, step: int, state: Any) -> None:
        """Copy `state` from the devices now and write it while the caller goes on."""
        if step not in self.manager.all_steps():
            self.manager.save(step, args=self.ocp.args.StandardSave(state), force=True)

    def restore(self, step: int, like: Any) -> Any:
        """The state saved at `step`, with the shapes, types and shardings of `like`.

        Raises ValueError, in one line, where it can't be read.
        """
        abstract = jax.tree.map(self.ocp.tree.to_shape_dtype_struct, like)
        try:
            return self.manager.restore(step, args=self.ocp.args.StandardRestore(abstract))
        except Exception as error:  # Orbax and TensorStore raise many kinds for one and the same: bytes are missing
            others = [s for s in self.manager.all_steps() if s != step]
            rest = f"to go on from step {max(others)}" if others else "to start anew"
            why = " ".join(str(error).split())[:160]
            raise ValueError(
                f"checkpoint {self.directory / str(step)} can't be read ({why}); delete that directory {rest}"
            ) from error

    def raw(self) -> Any:
        """The newest state as nested dicts of numpy arrays, for whoever has no model at hand to say its shapes.

        Raises ValueError where there is none.
        """
        step = self.latest()
        if step is None:
            raise ValueError(f"{self.directory} holds no checkpoint yet")
        return jax.tree.map(np.asarray, self.manager.restore(step, args=self.ocp.args.StandardRestore()))

    def wait(self) -> None:
        """Until what was saved is on disk. Raises OSError where it could not be written."""
        self.manager.wait_until_finished()

    def close(self) -> None:
        self.manager.close()


def replica(state: Any, index: int) -> Any:
    """One replica of a state, without the leading axis."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], state)


def save_params(directory: Path, params: Any) -> None:
    """An ordinary checkpoint: the parameters of one model, to be read by `load_params` or by Orbax itself."""
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(Path(directory).absolute(), params)


def load_params(directory: Path) -> Any:
    """The parameters that `save_params` wrote."""
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(Path(directory).absolute())
