"""Exported programs: bit for bit the live model, in a process that has jax and the file formats and not this code."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import adding, associations, recall
from tests import assert_same, tiny_config
from training import export, exported_programs, safetensors_files
from training.builder import Run, build_run, run_fingerprint
from training.trainer import init_params

pytest.importorskip("flatbuffers")
pytest.importorskip("safetensors")

BATCH, STEPS = 3, 8
# What anyone could write who has read program.json.
_CONSUMER = """
import json, sys
import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from safetensors.numpy import load_file

def read(name):
    return export.deserialize(bytearray(open(manifest["programs"][name]["file"], "rb").read()))

manifest, asked = json.load(open("program.json")), np.load("asked.npz")
params, answers = load_file(manifest["weights"]), {}
answers["sequence"] = jax.jit(read("sequence").call)(params, asked["inputs"], asked["lengths"])
if "step" in manifest["programs"]:
    step, batch = jax.jit(read("step").call), len(asked["inputs"])
    state = {
        name: np.full([batch if n == "batch" else n for n in leaf["shape"]], float(leaf["fill"]), leaf["dtype"])
        for name, leaf in manifest["state"].items()
    }
    outputs = []
    for t in range(asked["inputs"].shape[1]):
        y, state = step(params, asked["inputs"][:, t], state)
        outputs.append(y)
    answers |= {"step": np.stack(outputs, axis=1), **{"state/" + name: leaf for name, leaf in state.items()}}
np.savez("answers.npz", **answers)
others = {"flax", "optax", "orbax", "models", "tasks", "training", "data", "configs", "train"}
print(sorted(others & set(sys.modules)))
"""


def build_export(directory: Path, mixer: str, fields: dict[str, Any] | None = None) -> tuple[Run, Any]:
    """An untrained model and its programs, with numbers in its parameters that are not those of the start."""
    run = build_run(tiny_config(mixer, fields))
    return run, save_export(run, directory)


def save_export(run: Run, directory: Path) -> Any:
    random = np.random.default_rng(0)
    params = jax.tree.map(
        lambda p: p + random.normal(0, 0.1, p.shape).astype(np.float32),
        jax.jit(lambda: init_params(run, jnp.uint32(0)))(),
    )
    directory.mkdir(exist_ok=True)
    safetensors_files.save_params(directory / safetensors_files.FILE_NAME, params, run_fingerprint(run.config))
    exported_programs.save_programs(directory, run, params)
    return params


def run_alone(directory: Path, asked: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the programs answer in a process with the installed packages on sys.path, and this repository not."""
    np.savez(directory / "asked.npz", allow_pickle=False, **asked)
    (directory / "consume.py").write_text(_CONSUMER)
    packages = os.pathsep.join([sysconfig.get_path("purelib"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    # -S: no .pth file is read, one of which puts this repository on sys.path.
    process = subprocess.run(
        [sys.executable, "-S", "consume.py"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": packages},
        capture_output=True,
        text=True,
    )
    assert (process.returncode, process.stdout) == (0, "[]\n"), process.stderr
    with np.load(directory / "answers.npz") as answers:
        return dict(answers)


def apply_live(run: Run, params: Any, inputs: Any, positions: Any, segments: Any, state: Any = None) -> Any:
    return run.model.apply({"params": params}, inputs, positions=positions, segments=segments, state=state)


def draw_inputs(run: Run) -> dict[str, np.ndarray]:
    random, lengths = np.random.default_rng(1), np.array([STEPS, 3, 1], np.int32)
    if run.task.channels:
        inputs = random.normal(size=(BATCH, STEPS, run.task.channels)).astype(np.float32)
    else:
        inputs = random.integers(0, run.task.vocabulary, (BATCH, STEPS), np.int32)
    return {"inputs": inputs, "lengths": lengths}


@pytest.mark.parametrize("mixer", ["lstm", "attention"])
def test_alone_they_equal_the_live_model_bit_for_bit(tmp_path: Path, mixer: str):
    run, params = build_export(tmp_path, mixer)
    asked = draw_inputs(run)
    answers = run_alone(tmp_path, asked)

    live = jax.jit(lambda *arguments: apply_live(run, params, *arguments))
    positions = np.broadcast_to(np.arange(STEPS, dtype=np.int32), (BATCH, STEPS))
    whole, _ = live(asked["inputs"], positions, (positions < asked["lengths"][:, None]).astype(np.int32))
    assert_same(answers.pop("sequence"), whole)

    state, outputs, segments = None, [], np.ones((BATCH, 1), np.int32)
    for t in range(STEPS):
        y, state = live(asked["inputs"][:, t : t + 1], positions[:, t : t + 1], segments, state)
        outputs.append(y)
    assert_same(answers.pop("step"), np.concatenate(outputs, axis=1))
    np.testing.assert_array_equal(answers.pop("state/position"), STEPS)
    named = {f"state/{name}": leaf for name, leaf in safetensors_files.flatten_tree(state).items()}
    assert_same(answers, jax.device_get(named))


def test_streams_of_any_number_equal_the_whole_and_end_where_the_cache_does(tmp_path: Path):
    run, _ = build_export(tmp_path, "attention")
    programs = exported_programs.load_programs(tmp_path)
    assert programs.step
    assert programs.sequence
    tokens = draw_inputs(run)["inputs"]
    for batch in (1, BATCH):
        state, outputs = programs.initial_state(batch), []
        for t in range(STEPS):
            y, state = programs.step(tokens[:batch, t], state)
            outputs.append(y)
        whole = programs.sequence(tokens[:batch], np.full(batch, STEPS, np.int32))
        np.testing.assert_allclose(np.stack(outputs, axis=1), whole, rtol=0, atol=1e-5)
    assert programs.manifest["max_steps"] == STEPS
    assert np.isnan(programs.step(tokens[:, 0], state)[0]).all()


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        (recall, {"model.causal": False, **{"task.max_length": 8, "task.pairs": 2}}),
        (adding, {"task.max_length": 8, "model.pool": "mean"}),
    ],
)
def test_a_model_that_cannot_stream_has_a_sequence_alone(tmp_path: Path, config: Any, fields: dict[str, Any]):
    built = config.get_config("gru")
    built.update_from_flattened_dict({"model.width": 8, "model.depth": 1, **fields})
    run = build_run(built)
    params = save_export(run, tmp_path)
    programs = exported_programs.load_programs(tmp_path)
    assert programs.step is None
    assert programs.sequence
    asked = draw_inputs(run)
    answers = programs.sequence(asked["inputs"], asked["lengths"])
    positions = jnp.broadcast_to(jnp.arange(STEPS), (BATCH, STEPS))
    segments = (positions < asked["lengths"][:, None]).astype(jnp.int32)
    np.testing.assert_allclose(
        answers, apply_live(run, params, jnp.asarray(asked["inputs"]), positions, segments)[0], atol=1e-5
    )


def test_a_memory_of_associations_has_no_programs(tmp_path: Path):
    config: Any = associations.get_config("lstm")
    config.model.associative_memory = "linear"
    with pytest.raises(ValueError, match="--export_format=program: a memory of associations has no program"):
        exported_programs.save_programs(tmp_path, build_run(config), {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("mixer", "fields", "steps"),
    [
        ("lstm", {}, None),
        ("attention", {}, STEPS),
        ("attention", {"model.attention.window": 4}, None),
        ("rglru,attention", {"model.depth": 2, "model.max_length": 32}, 32),
        ("lstm", {"model.positions": "learned"}, STEPS),
        ("dense", {}, STEPS),
    ],
)
def test_how_far_a_stream_goes(mixer: str, fields: dict[str, Any], steps: int | None):
    assert exported_programs.max_steps(build_run(tiny_config(mixer, fields))) == steps


# ---- what can't be run ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_rnn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an Elman network; not to be written to."""
    directory = tmp_path_factory.mktemp("programs")
    build_export(directory, "rnn")
    return directory


def change_manifest(directory: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = directory / exported_programs.MANIFEST_NAME
    manifest = json.loads(path.read_text())
    del manifest["checksum"]
    change(manifest)
    path.write_text(json.dumps(manifest))


def replace_program(directory: Path, contents: bytes) -> None:
    """Put something else in place of the programs, and say so in the manifest."""
    (directory / "sequence.jax_export").write_bytes(contents)
    digest = hashlib.sha256(contents).hexdigest()
    change_manifest(directory, lambda manifest: manifest["programs"]["sequence"].update(sha256=digest))


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"!")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: change_manifest(d, lambda m: [p.update(platforms=["tpu"]) for p in m["programs"].values()]),
            r"sequence.jax_export is for tpu and this is cpu; run it there, or export the run again$",
        ),
        (
            lambda d: change_manifest(d, lambda m: m.update(jax="99.1.0")),
            r"program.json is of jax 99.1.0 and this is jax \S+, which can't read .*; install jax 99.1.0 or later$",
        ),
        (lambda d: change_manifest(d, lambda m: m.update(calling_convention=99)), "which can't read what a newer one"),
        (lambda d: change_manifest(d, lambda m: m.pop("state")), "program.json is damaged .*; export the run again$"),
        (lambda d: change_manifest(d, lambda m: m.update(run="of another")), "is of another run than"),
        (lambda d: damage(d / "step.jax_export"), r"step.jax_export is damaged .*; export the run again$"),
        (lambda d: replace_program(d, b"a program"), r"sequence.jax_export of jax \S+ can't be read by jax \S+ \("),
        (lambda d: (d / "step.jax_export").unlink(), "step.jax_export is not there; export the run again$"),
        (lambda d: (d / "program.json").unlink(), "is not there; train.py --export_format=program writes it$"),
        (
            lambda d: safetensors_files.save_params(d / "model.safetensors", {"a": np.zeros(3, np.float32)}),
            "it lacks embed/embedding",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(of_rnn: Path, tmp_path: Path, change: Callable, message: str):
    directory = shutil.copytree(of_rnn, tmp_path / "model")
    change(directory)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        exported_programs.load_programs(directory)
    assert "\n" not in str(error.value)


def test_without_the_package_it_says_how_to_get_it(finished: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(ValueError, match=r"need the package flatbuffers: pip install -e '.\[export\]'"):
        export.export_member(finished[0], tmp_path / "best", 0, "best", ["program"])
    assert not (tmp_path / "best").exists()


def test_an_export_with_programs_is_a_run_to_load_and_programs_to_run(finished: tuple, tmp_path: Path):
    export.export_member(finished[0], tmp_path / "best", 1, "best", ["program"])
    run, params = export.load(tmp_path / "best")
    programs = exported_programs.load_programs(tmp_path / "best")
    assert_same(programs.params, safetensors_files.flatten_tree(params))
    assert programs.manifest["inputs"] == {"vocabulary": run.task.vocabulary}


@pytest.mark.parametrize(
    ("task", "fields", "expected"),
    [
        ("characters", {}, {"tokenizer": "characters", "unknown": None, "end_of_document": None}),
        ("words", {}, {"tokenizer": "words", "unknown": 0, "end_of_document": None}),
        ("text", {}, {"tokenizer": "characters", "unknown": None, "end_of_document": 0}),
    ],
)
def test_text_is_described_as_its_task_reads_it(task: str, fields: dict[str, Any], expected: dict[str, Any]):
    import tasks

    example = tasks.TASKS[task].example().replace(**fields)
    described = exported_programs.describe_text(example)
    assert described == {**expected, "names": list(example.names), "next_tokens": True}


def test_tokens_without_names_are_no_text():
    assert exported_programs.describe_text(build_run(tiny_config()).task) is None
