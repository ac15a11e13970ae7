"""Stream text from an exported model with jax, safetensors and flatbuffers alone: nothing of this code is imported.

  .venv/bin/python train.py --config=configs/shakespeare.py:lstm --workdir=runs/lstm
  .venv/bin/python train.py --workdir=runs/lstm --export=lstm --export_format=program
  python serve_exported.py lstm --prompt="ROMEO." --tokens=400 --temperature=0.7

Copy this file wherever the exported folder goes. program.json says what the program takes: parameters and state by
name, and tokens. A model whose tokens come from a tokenizer.json needs the package tokenizers too.
"""

import argparse
import itertools
import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from safetensors.numpy import load_file

WORDS = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+|[^\w\s]")


def load_step(directory: Path) -> tuple[dict[str, Any], Callable, dict[str, Any]]:
    """The description of an exported model, its `step(tokens, state) → (logits, state)`, and the first state.

    Raises ValueError, in one line, if this machine or this jax can't run it, or a file is not what was written.
    """
    path = directory / "program.json"
    if not path.is_file():
        raise ValueError(f"{path} is not there; train.py --export_format=program writes it")
    try:
        manifest = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); export the model again") from None
    try:
        return read_step(directory, manifest)
    except (ValueError, FileNotFoundError):
        raise
    except Exception as error:  # of json's types, jax's and safetensors' many kinds
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{directory} is damaged ({type(error).__name__}: {reason}); export the model again") from None


def read_step(directory: Path, manifest: dict[str, Any]) -> tuple[dict[str, Any], Callable, dict[str, Any]]:
    """What `load_step` returns, by the contents of program.json."""
    platform, program = export.default_export_platform(), manifest["programs"].get("step")
    if program is None:
        raise ValueError(f"{directory} holds a model that sees whole sequences at once and can't stream")
    if platform not in program["platforms"]:
        raise ValueError(f"{directory} is for {', '.join(program['platforms'])}, and this is {platform}")
    if tuple(int(part) for part in manifest["jax"].split(".")[:3]) > jax.__version_info__[:3]:
        raise ValueError(f"{directory} is of jax {manifest['jax']}, which is newer than this one, {jax.__version__}")
    exported = export.deserialize(bytearray((directory / program["file"]).read_bytes()))
    params = jax.device_put(load_file(directory / manifest["weights"]))
    # The old state is of no use after a step, so the new one may take its memory.
    call = jax.jit(exported.call, donate_argnums=2)
    return manifest, lambda tokens, state: call(params, tokens, state), first_state(manifest)


def first_state(manifest: dict[str, Any]) -> dict[str, Any]:
    """The state before the first token of one text."""
    return {
        name: jnp.full([1 if n == "batch" else n for n in leaf["shape"]], float(leaf["fill"]), leaf["dtype"])
        for name, leaf in manifest["state"].items()
    }


def encode(prompt: str, text: dict[str, Any]) -> list[int]:
    """The tokens of a prompt. Raises ValueError for what has none."""
    kind: str = text["tokenizer"]
    numbers: dict[str, int] = {name: token for token, name in enumerate(text["names"])}
    if kind == "bytes":
        return list(prompt.encode())
    if kind == "words":
        return [numbers[word] if word in numbers else text["unknown"] for word in WORDS.findall(prompt.lower())]
    if kind == "none":
        return [int(word) for word in prompt.split()]
    if kind != "characters":
        return [1 + token for token in read_tokenizer(kind).encode(prompt, add_special_tokens=False).ids]
    if unknown := [character for character in prompt if character not in numbers]:
        raise ValueError(f"--prompt: the model knows no {unknown[0]!r}")
    return [numbers[character] for character in prompt]


def decode(tokens: list[int], text: dict[str, Any]) -> str:
    """The text that tokens spell."""
    kind, end = text["tokenizer"], text["end_of_document"]
    if end is not None and end in tokens:
        place = tokens.index(end)
        return decode(tokens[:place], text) + "\n\n" + decode(tokens[place + 1 :], text)
    if kind == "bytes":
        return bytes(tokens).decode("utf-8", "replace")
    if kind in ("characters", "words", "none"):
        return ("" if kind == "characters" else " ").join(text["names"][token] for token in tokens)
    return read_tokenizer(kind).decode([token - 1 for token in tokens], skip_special_tokens=False)


def read_tokenizer(contents: str) -> Any:
    import tokenizers

    return tokenizers.Tokenizer.from_str(contents)


def sample_tokens(
    step: Callable, state: dict[str, Any], prompt: list[int], temperature: float, random: np.random.Generator
) -> Iterator[int]:
    """The tokens that follow a prompt, one after the other, without an end."""
    for token in prompt[:-1]:
        _, state = step(jnp.array([token], jnp.int32), state)
    token = prompt[-1]
    while True:
        logits, state = step(jnp.array([token], jnp.int32), state)
        scores = np.asarray(logits[0], np.float64)
        if temperature:
            scores = scores / temperature + random.gumbel(size=scores.shape)
        token = int(scores.argmax())
        yield token


def main(directory: Path, prompt: str = "The ", tokens: int = 200, temperature: float = 0.7, seed: int = 0) -> None:
    if tokens < 1:
        raise ValueError(f"--tokens={tokens}: must be 1 or more")
    if not 0 <= temperature < math.inf:
        raise ValueError(f"--temperature={temperature:g}: must be 0, for the likeliest token, or a positive number")
    if seed < 0:
        raise ValueError(f"--seed={seed}: must be 0 or more")
    manifest, step, state = load_step(directory)
    text = manifest["text"]
    if not text or not text["next_tokens"]:
        raise ValueError(f"{directory} holds a model that does not write text")
    given = encode(prompt, text)
    if not given:
        raise ValueError("--prompt: give what the text begins with, a letter or a word at least")
    if manifest["max_steps"] and len(given) + tokens > manifest["max_steps"]:
        raise ValueError(f"--tokens={tokens}: with the prompt there is room for {manifest['max_steps']}; ask for fewer")
    written, shown = list(given), ""
    for token in itertools.islice(sample_tokens(step, state, given, temperature, np.random.default_rng(seed)), tokens):
        written.append(token)
        # A character of which the last bytes are still to come is not shown yet.
        complete = decode(written, text).rstrip("\N{REPLACEMENT CHARACTER}")
        print(complete[len(shown) :], end="", flush=True)
        shown = complete
    print()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--prompt", default="The ")
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--temperature", type=float, default=0.7, help="0: always the likeliest token")
    parser.add_argument("--seed", type=int, default=0)
    try:
        main(**vars(parser.parse_args()))
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {error}")
