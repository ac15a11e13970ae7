"""Train one model on one task, as one replica or as many at once.

  python train.py --config=configs/recall.py:lstm --workdir=runs/recall-lstm
  python train.py --config=configs/recall.py:attention --config.model.depth=4 --workdir=runs/deep
  python train.py --config=configs/digits.py:gru --config.ensemble.seeds=0,1,2 \\
      --config.ensemble.learning_rates=1e-3,3e-3 --workdir=runs/digits-gru      (six replicas, one program)
  python train.py --workdir=runs/digits-gru --export=best-gru --replica=2       (one of them, to keep)

A config is a file and, after the colon, a mixer, or several with commas between that take turns block by block.
Mixers: dense, rnn, irnn, lstm, gru, slstm, mlstm, mingru, minlstm, lru, rglru, s4d, s6, linear, gla, delta,
gated_delta, tcn, attention (python -m models says where each is from and what it costs).
Files: adding, associations, bible, copy_memory, copy_string, counting, curve, digits, fashion_mnist, flip_flop,
formal_language, induction, irish, mnist, peptides, permuted_digits, phonemes, python, recall, selective_copy,
shakespeare, splice, titles, translation, verses, word_problem (in configs/).
Any field can be set from here, as --config.GROUP.FIELD=VALUE; configs/__init__.py says what each one is:

  task       name, and what that task takes: recall has pairs, symbols, max_length
  model      mixer depth width hidden_size feedforward activation norm residual final_norm positions tied dropout pool
             max_length causal bridge bridge_heads memory memory_rule dtype; and what one mixer has of its own, as
             model.lstm.disabled_gates:
             attention(heads bias groups window similarity normaliser placed shared form) rnn(solver) irnn(solver)
             lstm(forget_bias open solver) gru(solver) slstm(start) mlstm(heads start)
             lru(smallest largest phase) rglru(kernel scale_first) s4d(size) s6(size kernel)
             linear(heads feature nu kernel) gla(heads feature nu kernel) delta(heads feature nu kernel negative)
             gated_delta(heads feature nu kernel negative) tcn(layers kernel block)
  optimizer  learning_rate warmup weight_decay clip b1 b2
  training   steps batch shortest steps_per_call eval_every
  replicas   seeds learning_rates how

The workdir then holds config.json (every field as it was used), environment.json (versions, device, revision),
group.json (who trains together, and how), metrics.jsonl, checkpoints/, tensorboard/ and, once finished, result.json;
on real data also task.json (its letters or words and its shapes).
Stop it any way you like, kill -9 included: the same command goes on where it was, to the same bits.

One run over several processes: the same command in each, with a workdir that all of them see (process 0 writes; one
Ctrl-C or SIGTERM stops all, and where one dies all end). --distributed alone will do where JAX knows the cluster, as
on TPUs and under SLURM; elsewhere every process is told where process 0 is, how many there are, and which it is:

  python train.py --config=... --workdir=/shared/run --coordinator=host0:1234 --processes=2 --process=0     (or 1)
"""

if __name__ == "__main__":
    from training import startup

    startup.catch_interrupts()

import os
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import config_flags

from data import DEFAULT_DATA_DIR
from training import cli, distributed, runtime
from training.export import export_member, load, load_exported
from training.loop import train

__all__ = ["load", "load_exported", "train"]


def define_flags() -> None:
    """Called where this file is the program: experiments import it and have flags of their own."""
    config_flags.DEFINE_config_file("config", None, "A config file and, after a colon, its mixer; see above.")
    flags.DEFINE_string("workdir", None, "Where the run's files go, and where it goes on from.", required=True)
    flags.DEFINE_string("data_dir", DEFAULT_DATA_DIR, "Where real data are prepared, once, and read from.")
    flags.DEFINE_float("save_seconds", 20.0, "The longest time between checkpoints.", lower_bound=0)
    flags.DEFINE_bool("tensorboard", True, "Write TensorBoard files too.")
    flags.DEFINE_bool("regroup", False, "Go on with a run on fewer devices than it was begun on.")
    flags.DEFINE_string("export", None, "Write one replica of the finished or stopped run to this new directory.")
    flags.DEFINE_integer("replica", 0, "Which one --export takes.")
    flags.DEFINE_enum("which", "best", ["best", "last"], "Which of its parameters --export takes.")
    flags.DEFINE_bool("distributed", False, "Train with the other processes of the cluster, which JAX finds.")
    flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, where JAX knows of no cluster.")
    flags.DEFINE_integer("processes", None, "How many processes train together.", lower_bound=1)
    flags.DEFINE_integer("process", None, "Which of them this is, from 0.", lower_bound=0)


def main() -> None:
    args: Any = flags.FLAGS
    for name in ("workdir", "data_dir", "export"):
        if args[name].value == "":
            raise ValueError(f"--{name}= names no directory")
        if args[name].value:
            args[name].value = os.path.expanduser(args[name].value)  # which a shell does not do after "="
    if args.export:
        export_member(Path(args.workdir), Path(args.export), args.replica, args.which)
        print(f"replica {args.replica} of {args.workdir} is in {args.export}")
        return
    if args.config is None:
        known = sorted(path.stem for path in (Path(__file__).parent / "configs").glob("[a-z]*.py"))
        raise ValueError(f"give --config=configs/NAME.py:MIXER, with NAME one of {', '.join(known)}")
    with distributed.process_group(args.distributed, args.coordinator, args.processes, args.process):
        train_and_report(args)


def train_and_report(args: Any) -> None:
    ensemble = args.config.ensemble
    members = max(1, len(ensemble.seeds)) * max(1, len(ensemble.learning_rates))
    runtime.configure_runtime(-(-members // (args.processes or 1)) if not args.distributed else 1)
    distributed.check_uniform_devices()
    result = train(
        args.config,
        args.workdir,
        data_dir=args.data_dir,
        name=args.config.model.mixer,
        save_seconds=args.save_seconds,
        tensorboard=args.tensorboard,
        allow_fewer_devices=args.regroup,
    )
    if jax.process_index() > 0:
        return
    rule, score = result["baseline"]
    print(f"{result['status']}: {result['steps']} steps in {result['seconds']:.0f} s; {result['metric']}:")
    for index, member in enumerate(result["members"]):
        told = "diverged before its first evaluation" if member["test"] is None else f"test {member['test']:.4f}"
        died = "" if member["died_at"] is None else f", diverged at step {member['died_at']}"
        print(
            f"  replica {index}  seed {member['seed']}  rate {member['learning_rate']:g}  {told} "
            f"at step {member['best_step']}{died}"
        )
    print(f"  chance {result['chance']:.4f}; {rule} {score:.4f}; files in {args.workdir}")


if __name__ == "__main__":
    define_flags()
    cli.run_command(main)
