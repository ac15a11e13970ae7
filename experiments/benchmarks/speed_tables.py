"""Tables of every mixer's speed in one row: now, beside another library, beside an earlier revision, and its memory."""

import textwrap
from collections.abc import Iterable

import models
from experiments.benchmarks.cell import TOKENS_PER_CALL
from experiments.benchmarks.revisions import LENGTHS, MEMORY_BATCH, MEMORY_LENGTH
from experiments.benchmarks.tables import (
    RecordRow,
    agreement_table,
    format_ratio,
    format_table,
    format_time,
    select_rows,
)
from experiments.reporting.html_report import Table

_LENGTH = 256  # of the columns for one length


def mixer_table(benchmark: list[RecordRow], speed: list[RecordRow]) -> Table:
    """Every mixer's training step: our time and share of the roofline, the fastest other library that has the same
    model, and what an earlier revision of this code took.

    Our time is from `speed` where that has the mixer, else from `benchmark`.
    """
    own = select_rows(benchmark, "step", library="ours", length=_LENGTH, width=128, batch=32, options="")
    measured = {row["mixer"] for row in [*own, *speed] if row["mixer"]}
    body = []
    for mixer in (mixer for mixer in models.MIXERS if mixer in measured):
        now = select_rows(speed, "before", library="ours", mixer=mixer, length=_LENGTH)
        (row, *_) = [*now, *(row for row in own if row["mixer"] == mixer)]
        share = f"{100 * float(row['share']):.0f} %" if row["share"] else "–"
        ratios = " / ".join(_ratio_to_earlier(speed, mixer, length) for length in LENGTHS)
        time = format_time(row) if row["seconds"] else "–"
        body.append([mixer, time, share, _fastest_peer(benchmark, mixer), ratios, *_memory(speed, mixer)])
    header = ["mixer", "a step", "of the roofline", "fastest other library: theirs / ours"]
    header += [f"before / now at {', '.join(map(str, LENGTHS))}", f"memory at {MEMORY_LENGTH:,}", "now / before"]
    return Table("Every mixer", header, body, _note_on_revisions(speed))


def _note_on_revisions(speed: Iterable[RecordRow]) -> str:
    note = f"Length {_LENGTH} unless said otherwise, width 128, batch 32; memory is what XLA plans for a step of "
    note += f"{MEMORY_BATCH} sequences."
    machines = [row["note"] for row in speed if row["section"] == "rates"]
    return f"{note} Before and now: {machines[0]}." if machines else note


def _ratio_to_earlier(speed: list[RecordRow], mixer: str, length: int) -> str:
    rows = select_rows(speed, "before", library="before", mixer=mixer, length=length)
    return f"{float(rows[0]['ratio']):.2f} ×" if rows and rows[0]["ratio"] else "–"


def renew_rows(benchmark: list[RecordRow], peers: list[RecordRow]) -> list[RecordRow]:
    """The rows of `benchmark`, with those of `peers` in the place of what they measure again, as of its sections."""

    def measured(row: RecordRow) -> tuple[str, ...]:
        return tuple(row[name] for name in ("what", "mixer", "length", "width", "batch"))

    again = [{**row, "section": row["what"]} for row in peers if row["section"] == "peers"]
    replaced = {measured(row) for row in again}
    kept = [row for row in benchmark if row["section"] not in ("step", "token") or measured(row) not in replaced]
    return [*kept, *again]


def _fastest_peer(rows: list[RecordRow], mixer: str) -> str:
    """The other library with the lowest ratio at this length, and that ratio."""
    others = select_rows(rows, "step", mixer=mixer, length=_LENGTH, width=128)
    others = [row for row in others if row["ratio"] and not row["library"].startswith("ours")]
    if not others:
        return "–"
    fastest = min(others, key=lambda row: float(row["ratio"]))
    return f"{fastest['library']}: {float(fastest['ratio']):.2f} ×"


def _memory(speed: list[RecordRow], mixer: str) -> tuple[str, str]:
    """Temporary memory of a step at MEMORY_LENGTH, and its ratio to the earlier revision's."""
    now, before = (
        select_rows(speed, "before", library=library, mixer=mixer, length=MEMORY_LENGTH)
        for library in ("ours", "before")
    )
    if not now or not now[0]["temporary_bytes"]:
        return "–", "–"
    size = float(now[0]["temporary_bytes"])
    earlier = float(before[0]["temporary_bytes"] or 0) if before else 0
    return f"{size / 2**20:.0f} MiB", f"{size / earlier:.2f}" if earlier else "–"


def revision_table(speed: list[RecordRow]) -> Table:
    """Every timed cell beside the earlier revision's, and the memory of those that are not timed."""
    body = []
    for row in (row for row in speed if row["section"] == "before" and row["library"] == "before"):
        (now, *_) = select_rows(speed, "before", library="ours", mixer=row["mixer"], length=row["length"])
        ratio = format_ratio(row) if row["ratio"] else row["note"] or "–"
        memory = [f"{float(r['temporary_bytes']) / 2**20:.0f}" if r["temporary_bytes"] else "–" for r in (now, row)]
        body.append([row["mixer"], row["length"], row["batch"], format_time(now), format_time(row), ratio, *memory])
    header = ["mixer", "length", "batch", "now", "before", "before / now", "MiB now", "MiB before"]
    return Table("A training step now and before", header, body, _note_on_revisions(speed))


def peer_table(rows: list[RecordRow]) -> Table:
    """Every mixer that PyTorch and packages for it have, beside each of them."""
    of_section = select_rows(rows, "peers")
    others = list(dict.fromkeys(row["library"] for row in of_section if row["library"] != "ours"))
    body = []
    for what, mixer, length in dict.fromkeys((row["what"], row["mixer"], row["length"]) for row in of_section):
        cell = select_rows(of_section, "peers", what=what, mixer=mixer, length=length)
        by_library = {row["library"]: row for row in cell}
        cells = [_format_peer(by_library.get(library)) for library in others]
        name = f"{mixer}, a token" if what == "token" else mixer
        body.append([name, length, format_time(by_library["ours"]), *cells])
    note = (
        "Width 128, batch 32, two layers, from the same weights; of a token, one sequence. Ratios are to the fastest "
    )
    note += "of ours, medians of pairs timed in turn; ours-shared splits the batch over the cores, and ours-loop has "
    note += f"{TOKENS_PER_CALL} tokens a call."
    return Table("Beside PyTorch and packages for it", ["mixer", "length", "ours", *others], body, note)


def _format_peer(row: RecordRow | None) -> str:
    if row is None or not row["seconds"]:
        return str(row["note"]) if row and row["note"] else "–"
    return f"{format_time(row)}, {format_ratio(row) if row['ratio'] else row['note']}"


def format_document(speed: list[RecordRow], speed_again: list[RecordRow], peers: list[RecordRow]) -> str:
    """The Markdown of these records' tables, and of the second run's agreement with the first."""
    parts = []
    if speed:
        parts += ["## From `experiments/records/speed.csv`", f"### {format_table(revision_table(speed))}"]
    if speed and speed_again:
        parts.append(f"### {format_table(agreement_table(speed, speed_again))}")
    if peers:
        parts += ["## From `experiments/records/peers.csv`", f"### {format_table(peer_table(peers))}"]
    return "\n\n".join(parts)


def readme_sentence(benchmark: list[RecordRow], cuda: list[RecordRow]) -> str:
    """What the README says of speed."""
    ratios = [
        ratio for mixer in ("rnn", "lstm", "gru", "attention") for ratio in _ratios_to_torch(benchmark, mixer).values()
    ]
    sentence = (
        f"- **On two cores a training step** of RNNs and attention is {min(ratios):.2g} to {max(ratios):.2g} times "
    )
    sentence += "as fast as PyTorch's"
    behind = [length for length, ratio in sorted(_ratios_to_torch(cuda, "lstm").items()) if ratio < 1]
    if behind:
        sentence += f"; on a GPU, cuDNN's LSTM is ahead from {behind[0]} steps on"
    sentence += " ([speed](docs/results/benchmark.md))."
    return textwrap.fill(sentence, 118, subsequent_indent="  ", break_on_hyphens=False)


def _ratios_to_torch(rows: list[RecordRow], mixer: str) -> dict[int, float]:
    """PyTorch's faster over our faster, by length."""
    found: dict[int, float] = {}
    for row in select_rows(rows, "step", mixer=mixer, width=128, batch=32):
        if row["library"].startswith("torch") and row["ratio"]:
            length, ratio = int(row["length"]), float(row["ratio"])
            found[length] = min(ratio, found.get(length, ratio))
    return found
