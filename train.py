"""Train one model on one task, once or as an ensemble of seeds and learning rates in one program.

  python train.py --config=configs/recall.py:lstm --workdir=runs/recall-lstm
  python train.py --config=configs/recall.py:attention --config.model.depth=4 --workdir=runs/deep
  python train.py --config=configs/recall.py:attention --config.model.depth=4 --dry_run    (sizes and a batch only)
  python train.py --config=configs/digits.py:gru --config.ensemble.seeds=0,1,2 \\
      --config.ensemble.learning_rates=1e-3,3e-3 --workdir=runs/digits-gru      (six members, one program)
  python train.py --config=configs/recall.py:lstm --config.optimizer.learning_rate=1e-4 \\
      --init_from=runs/recall-lstm --init_which=last --workdir=runs/further     (a new run, from those parameters)
  python train.py --workdir=runs/digits-gru --export=best-gru --member=2        (one of them, to keep)

A config is a file and, after the colon, a mixer; or several mixers with commas between, which take turns block by
block.
{mixers}
{files}
Four of these are for files of yours, which --config.task.path names; each says in configs/ what its fields mean:

{own_files}

  python train.py --config=configs/text.py:lstm --config.task.path=notes.txt --workdir=runs/notes

Any other field can be set from here, as --config.GROUP.FIELD=VALUE; configs/__init__.py says what each one means:

{fields}

The workdir then holds config.json (every field as it was used), environment.json (versions, device, revision),
group.json (the ensemble, and how it runs), metrics.jsonl, checkpoints/, tensorboard/ and, once finished, result.json;
on real data also task.json (its letters or words, and its shapes).
Stop a run in any way, kill -9 included: the same command resumes it, and ends with the same bits.

To train in several processes, start the same command in each, with a workdir that all of them see. Process 0 writes;
one Ctrl-C or SIGTERM stops all, and if one dies, all end. Where JAX knows the cluster, as on TPUs and under SLURM,
--distributed is enough; elsewhere tell every process where process 0 is, how many there are, and which one it is:

  python train.py --config=... --workdir=/shared/run --coordinator=host0:1234 --processes=2 --process=0     (or 1)
"""

if __name__ == "__main__":
    from training import startup

    startup.catch_interrupts()

from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import config_flags

from training import cli, distributed, runtime, train_flags, usage
from training.batch_preview import preview_batch
from training.dry_run import describe_run
from training.ensemble import count_members
from training.export import export_member, load, load_exported
from training.loop import train
from training.result import RunResult
from training.runtime import DEFAULT_DATA_DIR
from training.warm_start import build_child

__all__ = ["load", "load_exported", "train"]


def define_flags() -> None:
    """Define the flags of this command. Other commands import this file and have flags of their own."""
    config_flags.DEFINE_config_file("config", None, "A config file and, after a colon, its mixer; see above.")
    cli.define_directory("workdir", None, "The directory of the run's files. A run that is there is resumed.")
    cli.define_directory("data_dir", str(DEFAULT_DATA_DIR), "Where real data are prepared, once, and read from.")
    flags.DEFINE_bool("dry_run", False, "Print parameters, shapes, memory and a batch, and write nothing.")
    flags.DEFINE_float("save_seconds", 20.0, "The longest time between checkpoints.", lower_bound=0)
    flags.DEFINE_bool("tensorboard", True, "Write TensorBoard files too.")
    flags.DEFINE_bool("allow_fewer_devices", False, "Resume a run on fewer devices than it was begun on.")
    cli.define_directory("export", None, "Write one member of a finished or stopped run to this new directory.")
    flags.DEFINE_integer("member", None, "The member that --export takes, by default 0; the one of --init_from.")
    flags.DEFINE_list("export_format", ["orbax"], "What --export writes: orbax, safetensors, program; docs/export.md.")
    flags.DEFINE_enum("params", "best", ["best", "last"], "The parameters that --export takes.")
    train_flags.define_train_flags()
    flags.adopt_module_key_flags(train_flags)  # for --help
    flags.DEFINE_bool("distributed", False, "Train with the other processes of the cluster, which JAX finds.")
    flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, if JAX knows of no cluster.")
    flags.DEFINE_integer("processes", None, "How many processes train together.", lower_bound=1)
    flags.DEFINE_integer("process", None, "Which of them this is, from 0.", lower_bound=0)


def main() -> None:
    """Export, describe or train, as the flags say."""
    args: Any = flags.FLAGS
    if args.workdir is None and not args.dry_run:
        raise ValueError("give --workdir=DIR, the directory of the run's files")
    if args.export and args.workdir:
        export_member(Path(args.workdir), Path(args.export), args.member or 0, args.params, args.export_format)
        print(f"member {args.member or 0} of {args.workdir} is in {args.export}")
        return
    if args.config is None:
        names = ", ".join(usage.list_config_files())
        raise ValueError(f"give --config=configs/NAME.py:MIXER, with NAME one of {names}")
    if args.dry_run:
        run, parent = build_child(args.config, args.data_dir, train_flags.init_source(args))
        print(describe_run(run, parent, 1e12 * args.peak_tflops), preview_batch(run), sep="\n\n")
        return
    with distributed.process_group(args.distributed, args.coordinator, args.processes, args.process):
        train_and_report(args)


def train_and_report(args: Any) -> None:
    """Train as the flags say; process 0 prints the result."""
    members = max(1, count_members(args.config))  # without seeds it is refused, but later
    runtime.configure_runtime(1 if args.distributed else -(-members // (args.processes or 1)))
    distributed.check_uniform_devices()
    result = train(
        args.config,
        args.workdir,
        data_dir=args.data_dir,
        name=args.config.model.mixer,
        save_seconds=args.save_seconds,
        tensorboard=args.tensorboard,
        allow_fewer_devices=args.allow_fewer_devices,
        **train_flags.train_options(args),
    )
    if jax.process_index() == 0:
        print(format_result(result))
        print(f"  files in {args.workdir}")


def format_result(result: RunResult) -> str:
    """A result in lines for a person: one for the run, one per member, and one for the baselines."""
    lines = [f"{result['status']}: {result['steps']} steps in {result['seconds']:.0f} s; {result['metric']}:"]
    for index, member in enumerate(result["members"]):
        test = "diverged before its first evaluation" if member["test"] is None else f"test {member['test']:.4f}"
        further = {name: score for name, score in member["scores"].items()
                   if name != "validation" and not name.startswith("test")}  # fmt: skip
        test += "".join(f"  {name} {score:.4f}" for name, score in further.items())
        died = "" if member["died_at"] is None else f", diverged at step {member['died_at']}"
        named = {"weight_decay": "weight decay", "momentum": "momentum"}
        own = "".join(f"  {text} {member[name]:g}" for name, text in named.items() if name in member)
        lines.append(
            f"  member {index}  seed {member['seed']}  rate {member['learning_rate']:g}{own}  {test} "
            f"at step {member['best_step']}{died}"
        )
    rule, score = result["baseline"]
    return "\n".join([*lines, f"  chance {result['chance']:.4f}; {rule} {score:.4f}"])


if __name__ == "__main__":
    __doc__ = usage.fill_usage(__doc__ or "")  # absl prints it for --help
    define_flags()
    cli.run_command(main)
