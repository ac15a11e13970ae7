"""The cost of every mixer at a given width, computed from the models themselves; nothing is trained or timed.

  python -m models                             all mixers, each with as many parameters as attention at width 64
  python -m models --width=128 --length=1024
  python -m models --only=lstm,mingru,attention

One line per mixer: parameters; floats of state carried from token to token; the critical path (the longest chain of
dependent operations) over a sequence of --length; floating-point operations per token of a training step (forward and
backward) and for one streamed token, whose cache or window holds --length; the platforms for which its forward pass,
its gradient and a streamed step lower ("run" marks the one that this machine has); the paper that it comes from.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

import models
from models import cost

PLATFORMS = ("cpu", "cuda", "tpu")
_COLUMN_WIDTHS = (12, 11, 8, 8, 12, 13, 19, 0)
COST_COLUMNS = ("mixer", "parameters", "state", "depth", "train/token", "stream/token", "lowers for", "source")


def mixer_programs(name: str, width: int, length: int, hidden_size: int = 0) -> dict[str, tuple[Any, tuple]]:
    """A mixer's forward pass, its gradient and one streamed step, each with the shapes of its arguments.

    `hidden_size` 0 is the one that matches attention's parameters.
    """
    options = models.mixer_options(name)
    hidden_size = hidden_size or models.match_hidden_size(name, width, length, **options)
    module: Any = models.MIXERS[name](width=width, hidden_size=hidden_size, max_length=length, **options)

    def forward(params: Any, x: jax.Array, state: Any = None, place: jax.Array | None = None) -> Any:
        steps = jnp.broadcast_to(jnp.arange(x.shape[1]) if place is None else place, x.shape[:2])
        return module.apply(params, x, state=state, positions=steps, segments=jnp.ones_like(steps))

    def gradient(params: Any, x: jax.Array) -> Any:
        return jax.grad(lambda params, x: forward(params, x)[0].sum(), (0, 1))(params, x)

    x, token = (jax.ShapeDtypeStruct((1, steps, width), jnp.float32) for steps in (length, 1))
    steps = jnp.zeros((1, 1), jnp.int32)
    params = jax.eval_shape(
        lambda: module.init(
            jax.random.key(0, impl="threefry2x32"), jnp.zeros((1, 1, width)), positions=steps, segments=steps
        )
    )
    state = jax.eval_shape(lambda params, x: forward(params, x)[1], params, token)
    place = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    return {
        "forward": (forward, (params, x)),
        "gradient": (gradient, (params, x)),
        "step": (forward, (params, token, state, place)),
    }


def lowering_platforms(function: Any, shapes: tuple) -> tuple[str, ...]:
    """The platforms that JAX can lower a function for; whether it runs there is not tested."""
    return jax.export.export(jax.jit(function), platforms=PLATFORMS)(*shapes).platforms


def cost_rows(names: list[str], width: int, length: int) -> Iterator[tuple[str, ...]]:
    here = {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())
    for name in names:
        programs = mixer_programs(name, width, length)
        (forward, shapes), (gradient, _), (step, (params, token, state, place)) = programs.values()
        lowered = set.intersection(*(set(lowering_platforms(*program)) for program in programs.values()))
        yield (
            name,
            f"{cost.count_params(params):,}",
            f"{cost.count_state_floats(state):,}",
            f"{cost.critical_path(forward, *shapes):,}",
            f"{cost.count_flops(gradient, *shapes) // length:,}",
            f"{cost.count_flops(step, params, token, state, place):,}",
            " ".join(
                platform + (" (run)" if platform == here else "") for platform in PLATFORMS if platform in lowered
            ),
            models.MIXERS[name].paper,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m models", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, default=64, help="features of a token; 64 unless given")
    parser.add_argument("--length", type=int, default=256, help="tokens in a sequence; 256 unless given")
    parser.add_argument("--only", default=",".join(models.MIXERS), help="mixers, with commas between")
    args = parser.parse_args()
    try:
        names = args.only.split(",")
        for name in names:
            models.validate_choice("--only", name, models.MIXERS)
        for option in ("width", "length"):
            if getattr(args, option) < 1:
                raise ValueError(f"--{option}={getattr(args, option)}: must be 1 or more")
        if args.width % (heads := models.mixer_options("attention")["heads"]):  # whose parameters all are matched to
            raise ValueError(f"--width={args.width}: must be a multiple of attention's {heads} heads")
        title = f"width {args.width}, length {args.length}; each as near to attention's parameters as its units allow"
        print(f"{title}\n", flush=True)
        for row in ((*COST_COLUMNS,), *cost_rows(names, args.width, args.length)):
            cells = [f"{cell:{side}{n}}" for cell, side, n in zip(row, "<>>>>><<", _COLUMN_WIDTHS, strict=True)]
            print("  ".join(cells).rstrip(), flush=True)
        print("\nlowered for a platform is not run there: only (run) is the one that this machine has")
    except ValueError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
