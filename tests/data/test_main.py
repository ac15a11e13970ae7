"""python -m data: what it lists, what it says of files, and what it refuses."""

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import pytest

import data
import tasks
from data import __main__ as command

CONFIGS = command.CONFIGS


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    command.main(words)
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line on standard error."""
    with pytest.raises(SystemExit) as stop:
        command.main(words)
    assert stop.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("error: ")


def test_the_list_has_every_data_set_and_every_kind_of_files(capsys: pytest.CaptureFixture[str]):
    lines = said(capsys, "list").splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(data.DATASETS)]] == list(data.DATASETS)
    assert [line.split()[0] for line in lines[-4:]] == [f"configs/{config}.py" for config in CONFIGS]
    assert all(len(line.split(maxsplit=1)[1]) > 20 for line in lines if line.startswith("  "))


def write_table(path: Path, header: str = "seq,kind") -> Path:
    rows = [f"{'ACGT'[i % 4]}{'TGCA'[i // 4 % 4]}{'CATG'[i // 16 % 4]},{'yes' if i % 3 else 'no'}" for i in range(60)]
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_table_is_described_and_nothing_is_prepared(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = write_table(tmp_path / "genes.csv")
    out = said(capsys, "describe", str(path), "--task=labelled", "--sequence_column=seq", "--label_column=kind")
    assert "60 labelled sequences" in out
    assert "--config=configs/labelled.py:lstm" in out
    assert "--config.task.sequence_column=seq" in out
    assert out == said(
        capsys, "describe", str(path), "--task=classification", "--sequence_column=seq", "--label_column=kind"
    )
    assert list(tmp_path.iterdir()) == [path]


def test_a_split_that_is_taken_from_training_is_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    labelled, pairs, text = (tmp_path / name for name in ("labelled.csv", "pairs.csv", "text.csv"))
    splits = ["test" if i % 4 == 0 else "train" for i in range(200)]
    for path, header in ((labelled, "sequence,label,part"), (pairs, "source,target,part"), (text, "text,x,part")):
        path.write_text("\n".join([header, *(f"ab{i},{'pq'[i % 2]},{split}" for i, split in enumerate(splits))]) + "\n")
        assert "is given as validation: " in said(capsys, "describe", str(path), "--split_column=part")


def test_files_of_a_folder_that_are_left_out_are_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "a.txt").write_text("".join(f"Line {i} of it.\n" for i in range(3000)))
    (tmp_path / "a.png").write_bytes(b"picture")
    assert "not read here (.png): 1." in said(capsys, "describe", str(tmp_path))


def test_what_a_file_is_is_seen_by_its_name_or_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert command.guess_config(str(write_table(tmp_path / "a.csv", "sequence,label"))) == "labelled"
    assert command.guess_config(str(write_table(tmp_path / "b.csv", "source,target"))) == "pairs"
    (tmp_path / "c.fasta").write_text(">a x\nACGT\n")
    assert command.guess_config(str(tmp_path / "c.fasta")) == "labelled"
    (tmp_path / "d.txt").write_text("some text\n")
    assert command.guess_config(str(tmp_path / "d.txt")) == "text"
    line = refused(capsys, "describe", str(write_table(tmp_path / "e.csv", "when,load")))
    assert "a table with the columns when, load: say what it is by --task=text, labelled, pairs or series" in line


def test_wrong_words_are_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = str(write_table(tmp_path / "genes.csv"))
    labelled = ("describe", path, "--task=labelled")
    for words, message in (
        (("describe",), "describe: name a file, a folder or a pattern"),
        (("describe", path, "--task=labeled"), "--task=labeled: did you mean labelled? must be one of"),
        ((*labelled, "--sequence_colum=seq"), "--sequence_colum: configs/labelled.py reads no such field"),
        ((*labelled, "--vocab_size=many"), "--vocab_size=many: must be a number"),
        ((*labelled, "--cut=perhaps"), "--cut=perhaps: must be true or false"),
        ((*labelled, "seq"), "'seq' is no flag: write --field=value"),
        ((*labelled,), "task.sequence_column=sequence"),
        (("describe", str(tmp_path / "nope.csv"), "--task=labelled"), "nope.csv: there is no such file"),
    ):
        assert message in refused(capsys, *words)


def test_a_description_of_what_is_refused_ends_with_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = str(write_table(tmp_path / "genes.csv", "sequence,label"))
    with pytest.raises(SystemExit) as stop:
        command.main(("describe", path, "--class_weights=1,2,3"))
    out, err = capsys.readouterr()
    assert stop.value.code == 1
    assert out.splitlines()[-1].startswith("  to be mended: task.class_weights=")
    assert not err
    assert "to be mended" not in said(capsys, "describe", path, "--class_weights=1,2")


@pytest.mark.parametrize("config", CONFIGS)
def test_help_of_a_kind_lists_its_fields(config: str, capsys: pytest.CaptureFixture[str]):
    out = said(capsys, "describe", "--help", f"--task={config}")
    assert out == said(capsys, "describe", f"--task={CONFIGS[config]}", "notes.txt", "-h")
    flags = [line.split()[0] for line in out.splitlines()[1:]]
    defaults = command.option_defaults(config)
    assert flags == [f"--{name}={'' if default == () else default}" for name, default in defaults.items()]
    assert "--split_column=" in flags
    assert sum(len(line.split()) > 1 for line in out.splitlines()[1:]) >= 5, "no comments were read"


def test_help_of_no_kind_is_refused_and_help_of_all_is_general(capsys: pytest.CaptureFixture[str]):
    assert "--task=labeled: did you mean labelled" in refused(capsys, "describe", "--task=labeled", "--help")
    with pytest.raises(SystemExit) as stop:
        command.main(("--help",))
    assert stop.value.code == 0
    assert "--task=TASK --help lists" in capsys.readouterr().out


@pytest.mark.parametrize("config", CONFIGS)
def test_a_config_has_every_option_of_its_kind_and_settings_of_its_task(config: str):
    """With the defaults that the kind has; a tuple may be given as a text with commas."""
    fields: dict[str, Any] = importlib.import_module(f"configs.{config}").get_config().task.to_dict()
    task = fields.pop("name")
    assert task == CONFIGS[config]
    defaults = command.option_defaults(config)
    defaults = {name: default for name, default in defaults.items() if name != "stream" or name in fields}
    settings = {
        field.name for field in dataclasses.fields(tasks.TASKS[task]) if not field.metadata.get("pytree_node", True)
    }
    assert fields.keys() - settings <= {"path", *defaults}
    assert {"path", *defaults} <= fields.keys()
    for name, default in defaults.items():
        assert fields[name] == ("" if default == () else default), name
