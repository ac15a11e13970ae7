"""Flags of train.py that are arguments of `loop.train`, and their values as such."""

from pathlib import Path
from typing import Any

from absl import flags

from training import cli
from training.warm_start import InitSource


def define_train_flags() -> None:
    """Define the flags."""
    cli.define_directory("init_from", None, "Begin with the parameters of this run or export. The new run is its own.")
    flags.DEFINE_enum("init_which", "best", ["best", "last"], "The parameters that --init_from takes.")
    flags.DEFINE_bool("init_optimizer", False, "Begin with the last optimizer state of --init_from too.")
    flags.DEFINE_list("loggers", [], "Where metrics go too, with commas between: csv, wandb, mlflow.")
    flags.DEFINE_integer("profile", 0, "Profile so many calls after compilation, to WORKDIR/profile.", lower_bound=0)
    flags.DEFINE_float("peak_tflops", 0.0, "What a device does at best, for the speed that --dry_run estimates.", 0)


def train_options(args: Any) -> dict[str, Any]:
    """The arguments of `loop.train` that these flags, and --member, give. Raises ValueError if they don't fit."""
    options = {"loggers": args.loggers, "profile_calls": args.profile}
    source = init_source(args)
    if source is None:
        return options
    return {
        **options,
        "init_from": source.directory,
        "init_which": source.which,
        "init_optimizer": source.optimizer,
        "init_member": source.member,
    }


def init_source(args: Any) -> InitSource | None:
    """What --init_from and the flags beside it name, or None. Raises ValueError if one of those is given alone."""
    if args.init_from is None:
        for name in ("init_which", "init_optimizer"):
            if args[name].present:
                raise ValueError(f"--{name}: give --init_from=RUN too, the run to begin from")
        return None
    return InitSource(Path(args.init_from), args.init_which, args.init_optimizer, args.member)
