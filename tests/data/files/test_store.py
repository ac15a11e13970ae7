import os
import pickle
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

from data.files import store_writer
from data.files.store import Store, StoreWriter, open_or_prepare


def write_numbers(writer: StoreWriter, total: int = 100, stop_at: int | None = None) -> dict:
    """Append the records 0, 1, …, with a checkpoint after every tenth."""
    for number in range(writer.resumed or 0, total):
        if number == stop_at:
            raise KeyboardInterrupt
        writer.append("test" if number % 5 == 4 else "train", b"%d" % number)
        if number % 10 == 9:
            writer.checkpoint(number + 1, number)
    return {"total": total}


def folder_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def numbers(tmp_path: Path) -> Store:
    return open_or_prepare(tmp_path / "numbers", write_numbers)


def test_records_are_read_in_the_order_asked_for_across_files(numbers: Store):
    train = [b"%d" % number for number in range(100) if number % 5 != 4]
    assert numbers.is_new
    assert numbers.content == {"total": 100}
    assert (numbers.count("train"), numbers.count("validation"), numbers.count("test")) == (80, 0, 20)
    assert numbers.bytes_of("train") == sum(map(len, train))
    assert list(numbers.read_all("train")) == train
    assert list(numbers.read_all("validation")) == []
    order = np.array([79, 0, 3, 3, 41, 8, 7, 60, 22, 79])
    assert numbers.read("train", order) == [train[i] for i in order]
    starts, counts = np.array([7, 0, 79, 30]), np.array([2, 80, 1, 25])
    expected = [train[start : start + count] for start, count in zip(starts, counts, strict=True)]
    assert numbers.read_ranges("train", starts, counts) == expected
    assert pickle.loads(pickle.dumps(numbers)).read("test", np.array([19])) == [b"99"]
    with pytest.raises(IndexError, match="train has 80 records"):
        numbers.read("train", np.array([80]))
    with pytest.raises(IndexError):
        numbers.read("train", np.array([-1]))


@pytest.mark.parametrize("stop_at", [0, 5, 10, 57, 99])
def test_a_stopped_preparation_goes_on_to_the_same_bytes(tmp_path: Path, numbers: Store, stop_at: int):
    stopped = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        open_or_prepare(stopped, lambda writer: write_numbers(writer, stop_at=stop_at))
    assert not stopped.exists()
    began_at = []

    def go_on(writer: StoreWriter) -> dict:
        began_at.append(writer.resumed)
        return write_numbers(writer)

    open_or_prepare(stopped, go_on)
    assert began_at == [stop_at // 10 * 10 or None]
    assert folder_bytes(stopped) == folder_bytes(numbers.folder)


def test_what_a_kill_left_half_written_is_never_read(tmp_path: Path, numbers: Store):
    folder = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        open_or_prepare(folder, lambda writer: write_numbers(writer, stop_at=33))
    unfinished = tmp_path / "killed.unfinished"
    (unfinished / "train-00003.array_record").write_bytes(b"half")
    (unfinished / "progress.part").write_bytes(b"{")
    open_or_prepare(folder, write_numbers)
    assert folder_bytes(folder) == folder_bytes(numbers.folder)


@pytest.mark.parametrize("damage", ["progress.json", "train-00001.array_record"])
def test_a_damaged_checkpoint_begins_anew(tmp_path: Path, numbers: Store, damage: str):
    folder = tmp_path / "damaged"
    with pytest.raises(KeyboardInterrupt):
        open_or_prepare(folder, lambda writer: write_numbers(writer, stop_at=33))
    path = tmp_path / "damaged.unfinished" / damage
    path.write_bytes(path.read_bytes()[:-1])
    open_or_prepare(folder, write_numbers)
    assert folder_bytes(folder) == folder_bytes(numbers.folder)


def test_a_manifest_that_was_not_renamed_is_taken_over(tmp_path: Path, numbers: Store):
    numbers.folder.rename(tmp_path / "numbers.unfinished")

    def refuse(writer: StoreWriter) -> dict:
        raise AssertionError("nothing is to be prepared")

    assert open_or_prepare(tmp_path / "numbers", refuse).count("train") == 80


def test_a_flipped_byte_is_noticed_in_one_line(numbers: Store):
    path = numbers.folder / "train-00003.array_record"
    contents = bytearray(path.read_bytes())
    contents[contents.index(b"30")] ^= 1  # the shard's first record
    path.write_bytes(contents)
    message = rf"^{numbers.folder} can't be read: delete it and it is prepared anew \(.*hash.*\)$"
    with pytest.raises(ValueError, match=message):
        list(Store(numbers.folder).read_all("train"))
    with pytest.raises(ValueError, match=r"train-00003\.array_record holds something else"):
        Store(numbers.folder).check()
    assert Store(numbers.folder).read("train", np.array([0])) == [b"0"]


def test_missing_or_short_files_are_noticed_at_opening(numbers: Store):
    path = numbers.folder / "test-00002.array_record"
    contents = path.read_bytes()
    path.write_bytes(contents[:-1])
    with pytest.raises(ValueError, match=r"delete it and it is prepared anew \(test-00002\.array_record is missing"):
        Store(numbers.folder)
    path.unlink()
    with pytest.raises(ValueError, match="test-00002"):
        Store(numbers.folder)
    path.write_bytes(contents)
    manifest = numbers.folder / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"100", b"101"))
    with pytest.raises(ValueError, match=r"manifest.json is missing, damaged"):
        Store(numbers.folder)


def test_the_second_of_two_processes_waits_and_reads(tmp_path: Path, capfd: pytest.CaptureFixture):
    is_inside, may_go_on, prepared = threading.Event(), threading.Event(), []

    def prepare(writer: StoreWriter) -> dict:
        prepared.append(writer)
        is_inside.set()
        may_go_on.wait(10)
        return write_numbers(writer)

    first = threading.Thread(target=open_or_prepare, args=(tmp_path / "both", prepare))
    second = threading.Thread(target=open_or_prepare, args=(tmp_path / "both", prepare))
    first.start()
    is_inside.wait(10)
    second.start()
    message = ""
    for _ in range(100):
        message += capfd.readouterr().err  # which may lose what is written at that very moment: the end of the line
        if message.rstrip().endswith("both"):
            break
        threading.Event().wait(0.05)
    may_go_on.set()
    first.join(10)
    second.join(10)
    assert message.rstrip() == f"waiting for another process that prepares {tmp_path / 'both'}"
    assert len(prepared) == 1
    assert Store(tmp_path / "both").count("train") == 80


def test_checkpoints_are_due_by_the_source_alone(tmp_path: Path):
    seen = []
    writer = StoreWriter(tmp_path / "due", progress=lambda done, total: seen.append((done, total)))
    writer.total_bytes = 10 << 30
    assert not writer.is_checkpoint_due(store_writer.CHECKPOINT_BYTES - 1)
    assert writer.is_checkpoint_due(store_writer.CHECKPOINT_BYTES)
    writer.checkpoint({}, 8 << 30)
    assert not writer.is_checkpoint_due((8 << 30) + (512 << 20) - 1)
    assert writer.is_checkpoint_due((8 << 30) + (512 << 20))
    assert seen[0] == (store_writer.CHECKPOINT_BYTES - 1, 10 << 30)


def test_a_refused_source_leaves_nothing_behind(tmp_path: Path):
    def refuse(writer: StoreWriter) -> dict:
        writer.append("train", b"record")
        raise ValueError("task.path: is no text")

    with pytest.raises(ValueError, match="is no text"):
        open_or_prepare(tmp_path / "refused", refuse)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_os_error(tmp_path: Path):
    """A limit on the size of files stands for the full disk."""
    code = f"""
        import resource, signal
        from pathlib import Path
        from data.files.store import StoreWriter

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 17, 1 << 17))
        writer = StoreWriter(Path({str(tmp_path)!r}) / "full")
        try:
            for _ in range(64):
                writer.append("train", bytes(1 << 14))
            writer.checkpoint(None, 0)
        except OSError as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    found = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=60)
    assert "train-00000.array_record can't be written" in found.stdout, found.stderr
    assert found.stdout.count("\n") == 1
