"""The page "Which one?": mixers ranked for a task, a length and a state, from the records of studies and benchmark.

Its form is a piece of HTML with a script and all data in it. The answers to a few questions stand in Markdown.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.ablation import study
from experiments.ablation.record_table import OUTDATED_MARK, outdated_records
from experiments.reporting.html_report import make_environment, markdown_table
from experiments.reporting.mixer_evidence import (
    COST_STUDY,
    SCALE,
    Answer,
    Hardware,
    read_answers,
    read_hardware,
    state_growth,
)  # fmt: skip
from experiments.reporting.mixer_ranking import (
    CONSTANT,
    COSTS,
    MARGIN,
    Choice,
    Figure,
    Rank,
    Ranking,
    format_quantity,
    rank_mixers,
)  # fmt: skip
from experiments.reporting.publishing import Publication
from experiments.reporting.study_report import read_study_record, record_path

PAGE, TEMPLATE = "docs/which-one.html", Path(__file__).with_name("which_one.html.jinja")


class Default(NamedTuple):
    """A question that the page answers as it opens, without JavaScript: a heading, and what is chosen."""

    heading: str
    title: str
    choice: Choice


DEFAULTS = (
    Default("A fact far back in a stream of 4,096 tokens, with a fixed state", "one fact, then text, then a question",
            Choice(4096, fixed=True, streaming=True)),
    Default("Recall of pairs within 1,024 floats of state", "8 pairs, states of three sizes", Choice(32, budget=1024)),
    Default("Parity of 512 bits, with a fixed state", "parity", Choice(512, fixed=True, streaming=True)),
)  # fmt: skip
SHOWN = 10  # rows of an answer's table


UNITS = {"step": ("ms", 1e3), "token": ("µs", 1e6), "memory": ("MiB", 2.0**-20), "state": ("floats", 1.0)}
HEADER = ("rank", "mixer", "score", "state", "training step", "streamed token", "temporary memory")


def figure_text(figure: Figure, name: str) -> str:
    """Return a figure with its unit and range: "33.1 ms [32.9, 33.4]", or a dash."""
    unit, factor = UNITS[name]
    if figure.value is None:
        return "–"
    value, *ends = (format_quantity(factor * (figure.value if x is None else x)) for x in figure[:3])
    size = f" ({format_quantity(4 * figure.value)} bytes)" if name == "state" else ""
    spread = f" [{ends[0]}, {ends[1]}]" if set(ends) != {value} else ""
    return f"{value} {unit}{spread}{size}"


def rank_cells(one: Rank, choice: Choice) -> list[tuple[str, str]]:
    """Return the cells of a table's row: what each says, and where it comes from."""
    row, length = one.row, one.score.length
    score = "measured" if length == choice.length else f"measured at {length:,}"
    score += "; may be as good as rank 1" if one.unsettled else ""
    marks = f"{'' if row.plain else ' ‡'}{f' {OUTDATED_MARK}' if row.outdated else ''}"
    figures = [(figure_text(figure, name), figure.source) for name, figure in one.costs.items()]
    return [
        (one.rank, "tie" if "–" in one.rank else ""),
        (row.label + marks, ""),
        (one.score.text, score),
        (figure_text(one.state, "state"), one.state.source),
        *figures,
    ]


def rank_answer(answer: Answer, hardware: Hardware, choice: Choice) -> Ranking:
    """Return the ranking of a question's rows."""
    return rank_mixers(answer.rows, hardware.costs, choice, less_is_better=answer.less_is_better)


def default_answer(default: Default, answers: Sequence[Answer], hardware: Hardware) -> str:
    """Return an answer in Markdown: a table of the first, and the names of all others."""
    answer = next(one for one in answers if one.question.title == default.title)
    ranking = rank_answer(answer, hardware, default.choice)
    cells = [rank_cells(one, default.choice) for one in ranking.ranks]
    table = [
        [f"{text}<br><small>{source}</small>" if source else text for text, source in row] for row in cells[:SHOWN]
    ]
    lines = [f"## {default.heading}", f"{question_line(answer)} {choice_line(default.choice)} {hardware.name}."]
    lines.append(markdown_table(HEADER, table))
    rest = [f"{row[1][0]} {row[2][0]}" for row in cells[SHOWN:]]
    if rest:
        lines.append(f"Behind them: {'; '.join(rest)}.")
    lines += [f"Left out, since {reason}: {'; '.join(labels)}." for reason, labels in ranking.left_out.items()]
    if answer.missing:
        lines.append(f"Not measured on this task: {', '.join(answer.missing)}.")
    return "\n\n".join(lines)


def question_line(answer: Answer) -> str:
    """Return what is scored, and what is no achievement in it."""
    question, better = answer.question, ", less is better" if answer.less_is_better else ""
    chance = "" if answer.chance is None else f"; chance {answer.chance:.3g}"
    return f"{question.kind.capitalize()}: {question.title} ({answer.metric}{better}{chance}; {answer.rule})."


def choice_line(choice: Choice) -> str:
    """Return what was chosen, in words."""
    parts = [f"Length {choice.length:,}"]
    parts += ["a state of one size"] if choice.fixed else []
    parts += [] if choice.budget is None else [f"at most {choice.budget:,.0f} floats of state"]
    parts += ["token by token" if choice.streaming else "whole sequences"]
    return f"{', '.join(parts)}."


def record_file(answer: Answer) -> str:
    """Return the name of the file of a question's record."""
    return record_path(answer.question.study, SCALE).name


def records_table(answers: Sequence[Answer]) -> str:
    """Return every question with its record, the page of the result and the number of mixers, in Markdown."""
    rows = []
    for answer in answers:
        q = answer.question
        record = f"[{record_file(answer)}](../experiments/records/studies/{record_file(answer)})"
        lengths = ", ".join(f"{n:,}" for n in q.metrics)
        mixers = str(len({row.mixer for row in answer.rows}))
        rows.append([q.kind, q.title, lengths, mixers, record, f"[{q.page}](results/{q.page}.md)"])
    return markdown_table(["kind", "task", "lengths", "mixers", "record", "page"], rows)


def page_data(answers: Sequence[Answer], hardware: Sequence[Hardware]) -> str:
    """Return what the script of the page reads, as JSON, one line for each question and machine."""
    questions = [
        {
            **answer.question._asdict(),
            "record": record_file(answer),
            "text": question_line(answer),
            "less": answer.less_is_better,
            "rows": [{**row._asdict(), "state": row.state._asdict()} for row in answer.rows],
            "missing": answer.missing,
        }
        for answer in answers
    ]
    machines = [
        {**one._asdict(), "costs": {name: {m: c._asdict() for m, c in one.costs[name].items()} for name in COSTS}}
        for one in hardware
    ]
    separator = ",\n"
    lists = {"questions": questions, "hardware": machines}
    lines = [f'"{name}":[\n{separator.join(map(_json, items))}\n]' for name, items in lists.items()]
    settings = {"margin": MARGIN, "constant": CONSTANT, "units": UNITS, "header": HEADER, "mark": OUTDATED_MARK}
    settings["start"] = form_values(answers, DEFAULTS[0])
    lines.append(f'"settings":{_json(settings)}')
    return f"{{{separator.join(lines)}}}"


def form_values(answers: Sequence[Answer], default: Default) -> dict[str, str]:
    """Return what the fields of the form hold for a question that the page answers."""
    choice = default.choice
    return {
        "question": str([answer.question.title for answer in answers].index(default.title)),
        "tokens": str(choice.length),
        "fixed": "yes" if choice.fixed else "",
        "budget": "" if choice.budget is None else f"{choice.budget:g}",
        "streaming": "yes" if choice.streaming else "",
    }


def _json(data: Any) -> str:
    from jinja2.utils import htmlsafe_json_dumps

    return htmlsafe_json_dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def render_form(answers: Sequence[Answer], hardware: Sequence[Hardware]) -> str:
    """Return the form as a piece of HTML that needs nothing else."""
    from markupsafe import Markup

    kinds: dict[str, list[tuple[int, str]]] = {}
    for number, answer in enumerate(answers):
        kinds.setdefault(answer.question.kind, []).append((number, answer.question.title))
    return (
        make_environment(TEMPLATE.parent)
        .get_template(TEMPLATE.name)
        .render(
            kinds=kinds,
            hardware=hardware,
            header=HEADER,
            data=Markup(page_data(answers, hardware)),
            script=Markup(TEMPLATE.with_name("which_one.js").read_text("utf-8")),
        )
    )


def build_which_one() -> Publication:
    """Return the answers of docs/which-one.md, the table of its records, and its form. Raises ValueError for a missing
    record."""
    loaded = study.load_study(COST_STUDY)
    cost = read_study_record(COST_STUDY, loaded, SCALE)
    outdated = outdated_records(cost, loaded, loaded.scales[SCALE])
    answers, hardware = read_answers(state_growth(cost)), read_hardware(cost, outdated)
    return {
        "which_one": "\n\n".join(default_answer(default, answers, hardware[0]) for default in DEFAULTS),
        "which_one_records": records_table(answers),
        PAGE: render_form(answers, hardware),
    }
