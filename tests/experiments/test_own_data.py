"""Files of a user's through the commands: what is run on them, what the page says, and what is refused."""

import sys
from pathlib import Path

import pytest

from experiments import run
from tests.experiments.test_run import call

TINY = {
    "model.width": 8,
    "model.depth": 1,
    "training.steps": 10,
    "training.steps_per_call": 5,
    "training.eval_every": 5,
    "training.batch_size": 8,
    "optimizer.warmup_steps": 2,
    "ensemble.seeds": "0,",
}


def flags_for(monkeypatch: pytest.MonkeyPatch, config: str, *words: str, **task: object) -> list[str]:
    """The words of a command on data of a user's; ml_collections looks for fields in sys.argv."""
    fields = {**{f"task.{name}": value for name, value in task.items()}, **(TINY if task else {})}
    flags = [f"--config=configs/{config}.py", *(f"--config.{name}={value}" for name, value in fields.items()), *words]
    monkeypatch.setattr(sys, "argv", ["run", *flags])
    return flags


def write_table(path: Path) -> Path:
    """Sixty sequences that are yes if they begin with a G."""
    rows = [f"{first}{'ACGT'[i % 4]}{'TGCA'[i // 4 % 4]}{'CATG'[i // 16]},{'yes' if first == 'G' else 'no'}"
            for i, first in enumerate("GATGCG" * 10)]  # fmt: skip
    path.write_text("\n".join(["seq,kind", *rows]) + "\n")
    return path


def test_a_study_on_a_table_says_whose_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    path = write_table(tmp_path / "genes.csv")
    words = [
        "--study=shape",
        "--scale=smoke",
        "--filter=mixer=gru,depth=1,width=16",
        f"--workdir={tmp_path}/w",
        f"--data_dir={tmp_path}/d",
    ]
    fields = {"path": path, "sequence_column": "seq", "label_column": "kind"}
    monkeypatch.setattr(sys.modules[__name__], "TINY", {k: v for k, v in TINY.items() if "model" not in k})
    call(*flags_for(monkeypatch, "labelled", *words, **fields))
    out = capsys.readouterr().out
    page = (tmp_path / "w/shape-on-genes-smoke-some/report.html").read_text()
    for text in (out, page):
        assert str(path) in text
        assert "accuracy, the most frequent class" in text
        assert "fingerprint" in text
        assert "sequences" in text
    assert "Shape on genes.csv" in page
    assert f"--config.task.path={path}" in page
    assert "left out: 1 claim about its own task" in out
    call(*flags_for(monkeypatch, "labelled", *words, **fields))
    assert " s\n" not in capsys.readouterr().out.split("setting")[0]  # all of it was found again
    path.write_text(path.read_text() + "GGGG,yes\n")
    call(*flags_for(monkeypatch, "labelled", *words, **fields))
    assert " s\n" in capsys.readouterr().out.split("setting")[0]  # other data: trained anew


def test_the_same_study_on_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "notes.txt"
    path.write_text("\n\n".join(f"Paragraph {i} of the notes, which says nothing but {i * i}." for i in range(300)))
    words = ["--study=shape", "--scale=smoke", "--filter=mixer=gru,depth=1,width=16", f"--workdir={tmp_path}/w"]
    fields = {"path": path, "max_length": 16, "tokenizer": "bytes"}
    monkeypatch.setattr(sys.modules[__name__], "TINY", {k: v for k, v in TINY.items() if "model" not in k})
    call(*flags_for(monkeypatch, "text", *words, f"--data_dir={tmp_path}/d", **fields))
    page = (tmp_path / "w/shape-on-notes-smoke-some/report.html").read_text()
    for text in (capsys.readouterr().out, page):
        assert str(path) in text
        assert "bits per byte, trigram counts" in text
        assert "documents" in text
    assert "--config.task.tokenizer=bytes" in page


@pytest.mark.parametrize(
    ("config", "words", "message"),
    [
        ("labelled", ["--study=own_data"], r"task\.path: name a file, a folder or a pattern, as --config\.task\.path="),
        ("shakespeare", ["--study=own_data", "--record"], r"--record, --table: a record is of a study on its own task"),
        ("shakespeare", ["--study=shape", "--table"], r"--record, --table: a record is of a study on its own task"),
        ("shakespeare", ["--study=bottleneck"], r"--study=bottleneck: its models are encoder–decoders"),
    ],
)
def test_what_can_not_be_run_on_other_data(
    monkeypatch: pytest.MonkeyPatch, config: str, words: list[str], message: str
):
    with pytest.raises(ValueError, match=message) as caught:
        call(*flags_for(monkeypatch, config, *words))
    assert "\n" not in str(caught.value)


def test_own_data_without_data_says_how_to_name_them():
    with pytest.raises(
        ValueError, match=r"--study=own_data: give --config=configs/text\.py --config\.task\.path=notes"
    ):
        call("--study=own_data")


def test_a_setting_that_does_not_fit_the_data_is_named_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = write_table(tmp_path / "genes.csv")
    fields = {"path": path, "sequence_column": "seq", "label_column": "kind"}
    words = [
        "--study=own_data",
        f"--workdir={tmp_path}/w",
        f"--data_dir={tmp_path}/d",
        "--config.training.min_length=9",
    ]
    monkeypatch.setattr(run.runner, "run_study", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(
        ValueError, match=r"attention: training\.min_length=9: the task's sequences have 4 steps at most"
    ):
        call(*flags_for(monkeypatch, "labelled", *words, **fields))
