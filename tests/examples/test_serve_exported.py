"""examples/serve_exported.py, copied away and run where there is nothing but jax and what it names."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tasks.real import tokenization
from tests import ROOT
from training import export, loop

pytest.importorskip("flatbuffers")
pytest.importorskip("safetensors")

PROMPT, TOKENS = "ROMEO:\n", 12


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """A character model that was trained for seconds, exported; and a copy of the example beside it."""
    from configs.shakespeare import get_config

    root = tmp_path_factory.mktemp("serve")
    config: Any = get_config("gru")
    fields = {"model.width": 16, "model.depth": 1, "task.max_length": 16, "optimizer.learning_rate": 1e-2}
    fields |= {"training.steps": 60, "training.steps_per_call": 30, "training.eval_every": 60}
    config.update_from_flattened_dict(fields)
    loop.train(config, root / "run", data_dir=data_dir, tensorboard=False)
    export.export_member(root / "run", root / "model", 0, "best", ["program"])
    shutil.copy(ROOT / "examples" / "serve_exported.py", root)
    return root


def serve(root: Path, *flags: str) -> tuple[int, str, str]:
    """Run the copy with the installed packages on sys.path, and this repository not: .pth files are not read."""
    packages = os.pathsep.join([sysconfig.get_path("purelib"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    process = subprocess.run(
        [sys.executable, "-S", "-X", "importtime", "serve_exported.py", *flags],
        cwd=root,
        env={**os.environ, "PYTHONPATH": packages},
        capture_output=True,
        text=True,
    )
    lines = process.stderr.splitlines()
    imported = {line.rsplit("|", 1)[1].split(".")[0].strip() for line in lines if line.startswith("import time:")}
    assert not imported & {"flax", "optax", "orbax", "models", "tasks", "training", "data", "configs", "train"}
    return process.returncode, process.stdout, "\n".join(li for li in lines if not li.startswith("import time:"))


def test_it_writes_what_the_live_model_would(exported: Path):
    run, params = export.load_exported(exported / "model")
    tokens, state = run.task.encode(PROMPT), None
    prompted = len(tokens)
    apply = jax.jit(run.model.apply)
    for place in range(prompted + TOKENS - 1):
        positions = np.full((1, 1), place)
        inputs = {"state": state, "positions": positions, "segments": np.ones_like(positions)}
        logits, state = apply({"params": params}, np.full((1, 1), tokens[place]), **inputs)
        if place >= prompted - 1:
            tokens.append(int(logits.argmax()))
    flags = (f"--prompt={PROMPT}", f"--tokens={TOKENS}", "--temperature=0")
    expected = "".join(run.task.names[token] for token in tokens)
    assert serve(exported, "model", *flags) == (0, f"{expected}\n", "")


def test_errors_are_one_line(exported: Path, tmp_path: Path):
    shutil.copytree(exported / "model", tmp_path / "model")
    shutil.copy(exported / "serve_exported.py", tmp_path)
    assert serve(tmp_path, "nothing")[::2] == (
        1,
        "error: nothing/program.json is not there; train.py --export_format=program writes it",
    )
    assert serve(tmp_path, "model", "--prompt=Ω")[::2] == (1, "error: --prompt: the model knows no 'Ω'")
    for flag, problem in (
        ("tokens=0", "1 or more"),
        ("temperature=-1", "a positive"),
        ("temperature=nan", "a positive"),
    ):
        assert serve(tmp_path, "model", f"--{flag}")[2].startswith(f"error: --{flag}: must be "), problem
    path = tmp_path / "model" / "program.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "jax": "99.0.0"}))
    assert serve(tmp_path, "model")[2].startswith("error: model is of jax 99.0.0, which is newer than this one, ")


def test_damaged_files_are_refused_in_one_line(exported: Path, tmp_path: Path):
    from examples import serve_exported

    def refuse(directory: Path) -> None:
        with pytest.raises(ValueError, match=r"^[^\n]* is damaged \([^\n]*\); export the model again$"):
            serve_exported.load_step(directory)

    for name in ("program.json", "weights.safetensors"):
        model = shutil.copytree(exported / "model", tmp_path / name)
        files = {path.name: path for path in model.iterdir()}
        path = files.get(name) or model / json.loads(files["program.json"].read_text())["weights"]
        path.write_bytes(path.read_bytes()[:-20])
        refuse(model)
    manifest = json.loads((exported / "model" / "program.json").read_text())
    for missing in ("programs", "state", "jax", "weights"):
        model = shutil.copytree(exported / "model", tmp_path / missing)
        (model / "program.json").write_text(json.dumps({k: v for k, v in manifest.items() if k != missing}))
        refuse(model)


def describe(tokenizer: str, names: str | list[str], unknown: int | None = None, end: int | None = 0) -> dict[str, Any]:
    return {"tokenizer": tokenizer, "names": list(names), "unknown": unknown, "end_of_document": end}


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        (describe("characters", "␄aábç"), "cab".replace("c", "ç")),
        (describe("bytes", ["␄", *(f"{byte:02x}" for byte in range(256))]), "größer, Ω"),
        (describe("words", ["␄", "<unk>", "the", "fox", "isn't", ","], unknown=1), "The fox, isn't THE zebra"),
        (describe("none", list("0123"), end=None), "3 1 2"),
    ],
    ids=["characters", "bytes", "words", "none"],
)
def test_its_tokens_are_those_of_the_task(text: dict[str, Any], prompt: str):
    from examples import serve_exported

    kind, names = text["tokenizer"], text["names"]
    tokens = serve_exported.encode(prompt, text)
    assert tokens == tokenization.encode_text(prompt, kind, names)
    documents = tokens if kind == "none" else [*tokens, 0, *tokens]
    assert serve_exported.decode(documents, text) == tokenization.decode_tokens(documents, kind, names)


def test_a_tokenizer_json_is_read_by_its_own_package():
    tokenizers = pytest.importorskip("tokenizers")
    from examples import serve_exported

    contents = tokenizers.Tokenizer(tokenizers.models.WordLevel({"to": 0, "be": 1, "?": 2}, unk_token="?"))
    contents.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    text = describe(contents.to_str(), ["␄", "to", "be", "?"])
    tokens = serve_exported.encode("to be", text)
    assert tokens == tokenization.encode_text("to be", contents.to_str(), text["names"]) == [1, 2]
    assert serve_exported.decode([*tokens, 0, *tokens], text) == "to be\n\nto be"
