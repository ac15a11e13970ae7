"""A trained model as programs that run without this code: StableHLO, written and read by jax.export.

An export holds, beside model.safetensors, up to two programs and program.json, which says what they take and give:

    step       (params, inputs[B] or [B, C], state) → (outputs[B, O], state)         one step of every sequence
    sequence   (params, inputs[B, T] or [B, T, C], lengths[B]) → outputs[B, T, O] or [B, O]     whole sequences

Params and state are dicts of arrays by name: the parameters are those of model.safetensors, and the state is described
in program.json, with the value that fills each array before the first step. B is any number of sequences. T is the
longest sequence of the task; `lengths` says how many steps of each are real, and outputs after them mean nothing.
Outputs are in float32: logits, or predicted numbers.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import models
from models.ops.position_encodings import ADDITIVE_POSITIONS
from tasks.real import tokenization
from tasks.real.words import is_character_level
from training import files
from training.builder import Run, assemble_run, run_fingerprint
from training.safetensors_files import FILE_NAME, flatten_tree, load_params, unflatten_tree

MANIFEST_NAME = "program.json"
PLATFORMS = ("cpu", "cuda", "tpu")
_MANIFEST_SCHEMA = {
    "type": "object",
    "required": ["jax", "calling_convention", "weights", "run", "programs", "state"],
    "properties": {
        "jax": {"type": "string", "pattern": r"^\d+\.\d+\.\d+(\.|$)"},
        "calling_convention": {"type": "integer"},
        "programs": {
            "type": "object",
            "additionalProperties": {"type": "object", "required": ["file", "sha256", "platforms"]},
        },
        "state": {
            "type": "object",
            "additionalProperties": {"type": "object", "required": ["shape", "dtype", "fill"]},
        },
    },
}
_HINT = "export the run again"


def import_jax_export() -> Any:
    """Import jax.export. Raises ValueError, in one line, without the package that it needs and JAX does not install."""
    try:
        import flatbuffers  # noqa: F401
    except ImportError:
        raise ValueError("exported programs need the package flatbuffers: pip install -e '.[export]'") from None
    from jax import export

    return export


# ---- writing --------------------------------------------------------------------------------------------------------


def save_programs(directory: Path, run: Run, params: Any) -> None:
    """Write a model's programs and their program.json to `directory`, where its model.safetensors is.

    A model that can't stream, since it looks both ways or reads whole rows, gets no `step`. The step of a model with a
    cache or a window of its own goes as far as `max_steps` in program.json.

    Raises ValueError for an associative memory.
    """
    export = import_jax_export()
    if isinstance(run.model, models.AssociativeMemory):
        raise ValueError(
            "--export_format=program: a memory of associations has no program for any number of rows; use safetensors"
        )
    run = _without_cudnn(run)
    channels = run.task.channels
    (batch,) = export.symbolic_shape("batch")
    item = (channels,) if channels else ()
    dtype = jnp.float32 if channels else jnp.int32
    weights = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), flatten_tree(params))
    length = run.task.max_length
    whole = jax.ShapeDtypeStruct((batch, length, *item), dtype), jax.ShapeDtypeStruct((batch,), jnp.int32)
    functions: dict[str, tuple[Callable, tuple]] = {"sequence": (make_sequence(run, params), whole)}
    state: dict[str, Any] = {}
    if can_stream(run):
        state = initial_state(run)
        shapes = {
            name: jax.ShapeDtypeStruct((batch, *leaf.shape[1:]) if leaf.ndim else (), leaf.dtype)
            for name, leaf in state.items()
        }
        functions["step"] = make_step(run, params), (jax.ShapeDtypeStruct((batch, *item), dtype), shapes)
    programs, convention = {}, 0
    for name, (function, arguments) in functions.items():
        exported = export.export(jax.jit(function), platforms=PLATFORMS)(weights, *arguments)
        contents = bytes(exported.serialize())
        file = f"{name}.jax_export"
        files.write_atomically(directory / file, contents)
        programs[name] = {
            "file": file,
            "sha256": hashlib.sha256(contents).hexdigest(),
            "platforms": list(exported.platforms),
        }
        convention = exported.calling_convention_version
    manifest = {
        "jax": jax.__version__,
        "calling_convention": convention,
        "weights": FILE_NAME,
        "run": run_fingerprint(run.config),
        "programs": programs,
        "inputs": {"channels": channels} if channels else {"vocabulary": run.task.vocabulary},
        "outputs": run.task.outputs,
        "per": run.task.target_level,
        "length": length,
        "max_steps": max_steps(run),
        "state": {name: _describe_leaf(name, leaf) for name, leaf in state.items()},
        "text": describe_text(run.task),
    }
    files.write_json(directory / MANIFEST_NAME, manifest)


def _without_cudnn(run: Run) -> Run:
    """The same run, with attention that every platform can compute."""
    model = run.config["model"]
    if model.get("attention", {}).get("implementation") != "cudnn":
        return run
    portable = {**model, "attention": {**model["attention"], "implementation": "auto"}}
    return assemble_run({**run.config, "model": portable}, run.task, run.config["versions"])._replace(config=run.config)


def can_stream(run: Run) -> bool:
    """Whether a model takes one step after another."""
    network = run.model
    if not isinstance(network, models.Skeleton) or (network.per == "sequence" and network.pool == "mean"):
        return False
    return run.config["model"]["causal"]


def initial_state(run: Run, batch: int = 1) -> dict[str, Array]:
    """What `step` begins with: the state of every block by name, and the "position" of the next step."""
    return {**flatten_tree(_initial_blocks(run, batch)), "position": jnp.zeros(batch, jnp.int32)}


def _initial_blocks(run: Run, batch: int) -> tuple[Any, ...]:
    """The state before the first step as the network itself takes it: that of each block."""
    network: Any = run.model
    mixers = (network.mixers[block % len(network.mixers)] for block in range(network.depth))
    return tuple(mixer(width=network.width, dtype=network.dtype).initial_state(batch) for mixer in mixers)


def make_step(run: Run, params: Any) -> Callable:
    """The function that `step` is compiled from."""
    network: Any = run.model
    blocks = jax.eval_shape(lambda: _initial_blocks(run, 1))

    def step(weights: dict[str, Array], inputs: Array, state: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        positions = state["position"][:, None]
        outputs, after = network.apply(
            {"params": unflatten_tree(weights, params)},
            inputs[:, None],
            state=unflatten_tree(state, blocks),
            positions=positions,
            segments=jnp.ones_like(positions),
        )
        outputs = outputs[:, 0] if network.per == "token" else outputs
        return outputs, {**flatten_tree(after), "position": state["position"] + 1}

    return step


def make_sequence(run: Run, params: Any) -> Callable:
    """The function that `sequence` is compiled from."""

    def sequence(weights: dict[str, Array], inputs: Array, lengths: Array) -> Array:
        positions = jnp.broadcast_to(jnp.arange(inputs.shape[1]), inputs.shape[:2])
        outputs, _ = run.model.apply(
            {"params": unflatten_tree(weights, params)},
            inputs,
            positions=positions,
            segments=(positions < lengths[:, None]).astype(jnp.int32),
        )
        return outputs

    return sequence


def max_steps(run: Run) -> int | None:
    """How many steps `step` can take: None where there is no end to them."""
    model = run.config["model"]
    mixers = set(models.parse_layer_pattern(model["mixer"])) if model["depth"] else set()
    has_cache = "attention" in mixers and not model["attention"]["window"]
    bound_positions = model["positions"] in ("learned", "randomised") and model["positions"] in ADDITIVE_POSITIONS
    return model["max_length"] if has_cache or bound_positions or "dense" in mixers else None


def describe_text(task: Any) -> dict[str, Any] | None:
    """How tokens become text, for a task whose tokens have names; None for others.

    `tokenizer` is characters, bytes, words, none, or the contents of a tokenizer.json; see tasks.real.tokenization.
    """
    names = getattr(task, "names", None)
    if names is None:
        return None
    is_text = hasattr(task, "tokenizer")
    tokenizer = task.tokenizer if is_text else "characters" if is_character_level(names) else "words"
    unknown = {"words": tokenization.UNKNOWN_WORD if is_text else 0}.get(tokenizer)
    has_documents = is_text and tokenizer != tokenization.NO_TOKENIZER
    return {
        "tokenizer": tokenizer,
        "names": list(names),
        "unknown": unknown,
        "end_of_document": 0 if has_documents else None,
        "next_tokens": bool(task.next_tokens),
    }


def _describe_leaf(name: str, leaf: Array) -> dict[str, Any]:
    """The shape of a leaf of the state, its dtype, and the number that it is filled with before the first step."""
    values = np.unique(np.asarray(leaf, np.complex64))
    if len(values) > 1 or values.imag.any():
        raise ValueError(f"the state {name} does not begin with one number, which is all that {MANIFEST_NAME} can say")
    fill = float(values.real[0]) if len(values) else 0.0
    shape = ["batch", *leaf.shape[1:]] if leaf.ndim else []
    return {"shape": shape, "dtype": str(leaf.dtype), "fill": fill if math.isfinite(fill) else str(fill)}


# ---- reading --------------------------------------------------------------------------------------------------------


class LoadedPrograms(NamedTuple):
    """The programs of an export, compiled at their first call, and the parameters that they take.

    `step` and `sequence` are as the module's docstring has them, without `params`; None where there is none.
    """

    manifest: dict[str, Any]
    params: dict[str, Array]
    step: Callable[..., tuple[Array, dict[str, Array]]] | None
    sequence: Callable[..., Array] | None

    def initial_state(self, batch: int = 1) -> dict[str, Array]:
        """The state before the first step of so many sequences."""
        return {
            name: jnp.full([batch if n == "batch" else n for n in leaf["shape"]], float(leaf["fill"]), leaf["dtype"])
            for name, leaf in self.manifest["state"].items()
        }


def load_programs(directory: str | Path) -> LoadedPrograms:
    """Load the programs that `save_programs` wrote.

    Raises FileNotFoundError or ValueError, in one line, if there are none, if they were exported for other platforms
    than this one or by a newer JAX, if a file is damaged, or if the parameters are not theirs.
    """
    export, directory = import_jax_export(), Path(directory)
    path = directory / MANIFEST_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; train.py --export_format=program writes it")
    manifest = files.read_json(path, _MANIFEST_SCHEMA, _HINT)
    _check_version(path, manifest, export.maximum_supported_calling_convention_version)
    programs, expected = {}, {}
    for name, entry in manifest["programs"].items():
        exported = _read_program(export, directory, entry, manifest["jax"])
        ((expected, *_), _) = jax.tree.unflatten(exported.in_tree, exported.in_avals)
        programs[name] = jax.jit(exported.call)
    params = load_params(directory / manifest["weights"], expected, manifest["run"])
    step, sequence = (_bind_params(programs.get(name), params) for name in ("step", "sequence"))
    return LoadedPrograms(manifest, params, step, sequence)


def _bind_params(program: Callable | None, params: dict[str, Array]) -> Callable | None:
    return None if program is None else lambda *arguments: program(params, *arguments)


def _check_version(path: Path, manifest: Mapping[str, Any], newest_convention: int) -> None:
    """Raise ValueError for programs of a newer JAX, which promises to read those of older ones alone."""
    theirs = tuple(int(part) for part in manifest["jax"].split(".")[:3])
    if theirs > jax.__version_info__[:3] or manifest["calling_convention"] > newest_convention:
        raise ValueError(
            f"{path} is of jax {manifest['jax']} and this is jax {jax.__version__}, which can't read what a newer one "
            f"wrote; install jax {manifest['jax']} or later"
        )


def _read_program(export: Any, directory: Path, entry: Mapping[str, Any], version: str) -> Any:
    """Read one program, after a look at its platforms and its checksum."""
    path, platform = directory / entry["file"], export.default_export_platform()
    if platform not in entry["platforms"]:
        raise ValueError(
            f"{path} is for {', '.join(entry['platforms'])} and this is {platform}; run it there, or export "
            f"the run again"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; {_HINT}")
    contents = path.read_bytes()
    if hashlib.sha256(contents).hexdigest() != entry["sha256"]:
        raise ValueError(f"{path} is damaged (its checksum is that of something else); {_HINT}")
    try:
        return export.deserialize(bytearray(contents))
    except Exception as error:  # of many kinds
        reason = " ".join(str(error).split())[:160]
        raise ValueError(
            f"{path} of jax {version} can't be read by jax {jax.__version__} ({reason}); {_HINT}"
        ) from error
