"""What the records know of every mixer: its scores by task, and what it costs, for the page "Which one?".

Scores are those of studies that vary the mixer. Costs come from the benchmark (a training step's time and temporary
memory) and the study `score_cost` (a streamed token's time, and whether a state grows).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import models
from experiments.ablation import study, trial_scores
from experiments.ablation.intervals import Interval, fit_exponent, format_interval
from experiments.ablation.record_files import RECORDS_DIR, read_record
from experiments.ablation.record_table import OUTDATED_MARK, outdated_records
from experiments.ablation.study import Labels, Overrides, Study
from experiments.ablation.trials import TrialRecord
from experiments.reporting.mixer_ranking import Costs, Curve, Exponent, Point, Row, Score
from experiments.reporting.study_report import read_study_record

SCALE, COST_STUDY = "quick", "score_cost"
MIXER_AXES = ("mixer", "model")
WIDTH = 128  # of the benchmark's models
TOKEN_SETUP = {
    "cpu": "streamed tokens: one sequence, one block of width 64, of a hybrid two",
    "gpu": f"streamed tokens: one sequence, two layers of width {WIDTH}",
}
DIGITS = 6  # of what the page holds, as many as a record keeps


class Question(NamedTuple):
    """A task whose scores a study has for several mixers.

    `labels` picks the task in the study, `metrics` says at which lengths, in tokens, it was scored, and `page` shows
    the result, below docs/results/.
    """

    kind: str
    title: str
    study: str
    labels: Labels
    metrics: Mapping[int, str]
    page: str


FURTHER, TEXT = "further-studies", "applications"
NEEDLE = {67: "test", 259: "test@256", 1027: "test@1024"}  # a fact and a question are three tokens more
TRACKING = {65: "test", 513: "test@512"}  # the first token says that a sequence begins
QUESTIONS = (
    Question("recall", "8 pairs, all mixers at equal parameters", "mixers", {"task": "recall"}, {32: "test"}, "mixers"),
    Question("recall", "8 pairs, states of three sizes", "recall_against_state", {}, {32: "test"}, FURTHER),
    Question("recall", "pairs in context (MAD)", "mad", {"task": "in-context recall"}, {31: "test"}, FURTHER),
    Question("recall", "keys of several tokens (MAD)", "mad", {"task": "fuzzy recall"}, {48: "test"}, FURTHER),
    Question("long noise", "one fact, then text, then a question", "needle", {}, NEEDLE, FURTHER),
    Question("long noise", "pairs among noise (MAD)", "mad", {"task": "noisy recall"}, {31: "test"}, FURTHER),
    Question("copying", "ten digits after 20 steps", "mixers", {"task": "copy memory"}, {40: "test"}, "mixers"),
    Question("copying", "ten digits after 54 steps", "score_memory", {}, {74: "test"}, "scorecard"),
    Question("copying", "what is no noise (MAD)", "mad", {"task": "selective copy"}, {33: "test"}, FURTHER),
    Question("state tracking", "parity", "state_tracking", {"group": "z2"}, TRACKING, FURTHER),
    Question("state tracking", "counting to five", "state_tracking", {"group": "z5"}, TRACKING, FURTHER),
    Question("state tracking", "permutations of three", "state_tracking", {"group": "s3"}, TRACKING, FURTHER),
    Question("state tracking", "permutations of four", "state_tracking", {"group": "s4"}, TRACKING, FURTHER),
    Question("state tracking", "even permutations of five", "state_tracking", {"group": "a5"}, TRACKING, FURTHER),
    Question("compressing", "a sequence in one vector (MAD)", "mad", {"task": "compression"}, {16: "test"}, FURTHER),
    Question(
        "compressing", "translation through one vector", "score_context", {},
        {2 * words + 1: f"test@{words}" for words in (2, 4, 8, 12)}, "scorecard",
    ),
    Question("memorizing", "fixed pairs (MAD)", "mad", {"task": "memorization"}, {32: "test"}, FURTHER),
    Question("text", "Shakespeare, by characters", "applications", {"data": "shakespeare"}, {64: "test"}, TEXT),
    Question("text", "Python, by characters", "applications", {"data": "python"}, {64: "test"}, TEXT),
    Question("text", "Irish tunes, by characters", "applications", {"data": "irish"}, {64: "test"}, TEXT),
    Question("text", "the Bible, by words", "applications", {"data": "bible"}, {32: "test"}, TEXT),
)  # fmt: skip


class Answer(NamedTuple):
    """A question with its rows, and the mixers without a record for it."""

    question: Question
    metric: str
    less_is_better: bool
    chance: float | None
    rule: str
    rows: Sequence[Row]
    missing: Sequence[str]


class Hardware(NamedTuple):
    """A machine with its costs by mixer; `setup` says how they were measured."""

    name: str
    setup: str
    costs: Costs


# ---- from records ---------------------------------------------------------------------------------------------------


def find_mixer(label: Labels, overrides: Mapping[str, Mapping[Any, Overrides]]) -> tuple[str, Overrides]:
    """Return the mixer of a setting, and all that the axis of mixers changes for it."""
    axis = next(axis for axis in MIXER_AXES if axis in label)
    fields = overrides[axis][label[axis]]
    return fields["mixer"], fields


def label_row(labels: Labels, mixer: str) -> str:
    """Return what to call a setting: "delta, 16 units", and with its mixer where its label does not begin with it."""
    axis = next(axis for axis in MIXER_AXES if axis in labels)
    name = str(labels[axis])
    plain = [text.replace("_", " ") for text in (name, mixer)]
    name = name if plain[0].startswith(plain[1]) else f"{mixer}, {name}"
    units = f", {labels['model.hidden_size']} units" if "model.hidden_size" in labels else ""
    return name.replace("rglru,attention", "rglru + attention") + units


def score_rows(
    question: Question,
    loaded: Study,
    trials: Sequence[TrialRecord],
    outdated: Sequence[TrialRecord],
    growth: Mapping[str, Exponent],
) -> list[Row]:
    """Return the settings of a question with their scores; `growth` is that of each mixer's state with length."""
    overrides = study.axis_overrides(loaded, loaded.scales[SCALE])
    reported = [t for t in trial_scores.reported_records(trials) if question.labels.items() <= t.labels.items()]
    marked = [trial.labels for trial in outdated]
    rows = []
    for labels in trial_scores.distinct_settings(reported):
        own = [trial for trial in reported if trial.labels == labels]
        mixer, fields = find_mixer(labels, overrides)
        is_windowed = any(name.endswith(".window") for name in fields)  # whose cache grows to the window only
        scores = [make_score(n, trial_scores.estimate_metric(own, labels, m)) for n, m in question.metrics.items()]
        floats = Point(min(question.metrics), own[0].result["state_floats"])
        state = Curve([floats], None if is_windowed else growth.get(mixer))
        is_plain = set(fields) == {"mixer"} and "model.hidden_size" not in labels
        rows.append(Row(label_row(labels, mixer), mixer, is_plain, labels in marked, scores, state))
    return rows


def make_score(length: int, estimate: Interval) -> Score:
    """Return a mean and its interval as the page shows them."""
    if not estimate.n:
        return Score(length, None, None, None, "all diverged")
    low, high = (rounded(end) for end in estimate[1:3])
    return Score(length, rounded(estimate.mean), low, high, format_interval(estimate))


def rounded(value: float) -> float | None:
    """Return a number with DIGITS digits; None for nan."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def fit_curve(points: Sequence[Point], remark: str = "", memory_limit: int | None = None) -> Curve:
    """Return points with the power of length fitted to them, if there are two."""
    lengths = [point.length for point in points]
    power = make_exponent(fit_exponent(lengths, [p.value for p in points])) if len(set(lengths)) > 1 else None
    return Curve(sorted(points), power, remark, memory_limit)


def make_exponent(fit: Interval) -> Exponent:
    """Return a fit as the page shows it; one without scatter (where low and high may be nan) is given as exact."""
    exact = fit.n > 2 and not fit.high - fit.low > 1e-6
    text = f"{fit.mean:z.2f}" if exact else format_interval(fit, 2)
    low, high = (rounded(fit.mean if exact else end) for end in (fit.low, fit.high))
    return Exponent(float(f"{fit.mean:z.6f}"), low, high, text)


def study_curves(trials: Sequence[TrialRecord], metric: str, outdated: Sequence[TrialRecord] = ()) -> dict[str, Curve]:
    """Return a curve of each mixer of score_cost: means over seeds, with their intervals."""
    reported, marked = trial_scores.reported_records(trials), [trial.labels for trial in outdated]
    curves = {}
    for labels in trial_scores.distinct_settings(reported):
        own = [trial for trial in reported if trial.labels == labels]
        points = []
        for length in sorted({x for trial in own for x in trial.get_curve(metric)}):
            estimate = trial_scores.estimate_metric(own, labels, f"{metric}@{length:g}")
            if estimate.n and (value := rounded(estimate.mean)) is not None:
                points.append(Point(int(length), value, rounded(estimate.low), rounded(estimate.high)))
        curves[labels["mixer"]] = fit_curve(points, OUTDATED_MARK if labels in marked else "")
    return curves


def state_growth(trials: Sequence[TrialRecord]) -> dict[str, Exponent]:
    """Return the power of length that each mixer's state grows with, from score_cost."""
    return {mixer: curve.exponent for mixer, curve in study_curves(trials, "state").items() if curve.exponent}


Rows = Sequence[Mapping[str, str]]  # of the benchmark


def benchmark_curves(rows: Rows, what: str, column: str) -> dict[str, Curve]:
    """Return a curve of each mixer against length: this project's `what`, per sequence, at WIDTH.

    Of rows of one length the last counts. With quartiles of repeated timings where the column is time.
    """
    curves: dict[str, dict[int, Point]] = {}
    limits: dict[str, int] = {}
    remarks: dict[str, str] = {}
    for row in rows:
        is_plain = row["options"] == "" or row["dtype"] != "float32"  # attention's kernel for bfloat16
        if (row["what"], row["library"], row["width"]) != (what, "ours", str(WIDTH)) or not is_plain:
            continue
        mixer, length, batch = row["mixer"], int(row["length"]), float(row["batch"])
        if not row["seconds"] and "memory" in row["note"].lower():
            limits[mixer] = length
        value, low, high = (rounded(float(row[name] or "nan") / batch) for name in (column, "low", "high"))
        if value is None:
            continue
        is_time = column == "seconds"
        curves.setdefault(mixer, {})[length] = Point(length, value, low if is_time else None, high if is_time else None)
        remarks[mixer] = "" if row["dtype"] == "float32" else row["dtype"]
    return {
        mixer: fit_curve(list(points.values()), remarks[mixer], limits.get(mixer)) for mixer, points in curves.items()
    }


def newest_rows(benchmark: Rows, peers: Rows, speed: Rows) -> list[Mapping[str, str]]:
    """Return the rows of training steps: a mixer's of `speed`, which is younger than its code, or else the others'."""
    renewed = {row["mixer"] for row in speed if row["library"] == "ours" and row["seconds"]}
    older = [row for row in (*benchmark, *peers) if row["section"] in ("step", "peers")]
    return [*(row for row in older if row["mixer"] not in renewed), *speed]


def read_answers(growth: Mapping[str, Exponent]) -> list[Answer]:
    """Return every question with the rows of its record."""
    records = {}
    for name in dict.fromkeys(question.study for question in QUESTIONS):
        loaded = study.load_study(name)
        trials = read_study_record(name, loaded, SCALE)
        records[name] = loaded, trials, outdated_records(trials, loaded, loaded.scales[SCALE])
    answers = []
    for question in QUESTIONS:
        loaded, trials, outdated = records[question.study]
        answers.append(make_answer(question, loaded, trials, outdated, growth))
    return answers


def make_answer(
    question: Question,
    loaded: Study,
    trials: Sequence[TrialRecord],
    outdated: Sequence[TrialRecord],
    growth: Mapping[str, Exponent],
) -> Answer:
    """Return a question with its rows. Raises ValueError where the record has none."""
    rows = score_rows(question, loaded, trials, outdated, growth)
    result = next((t.result for t in trials if question.labels.items() <= t.labels.items()), None)
    if result is None:
        raise ValueError(f"{question.study} has no trials of {question.title}; make its record anew with --record")
    rule, score = result["baseline"]
    missing = [name for name in models.MIXERS if name not in {row.mixer for row in rows}]
    return Answer(
        question, result["metric"], trial_scores.max_or_min(result) is min, rounded(result["chance"]),
        f"{rule}: {score:.3g}", rows, missing,
    )  # fmt: skip


def read_hardware(cost: Sequence[TrialRecord], outdated: Sequence[TrialRecord]) -> list[Hardware]:
    """Return the machines of the benchmark with what they took."""
    benchmark, peers, speed, cuda = (
        read_record(RECORDS_DIR / f"{name}.csv") for name in ("benchmark", "peers", "speed", "benchmark-cuda")
    )
    steps = newest_rows(benchmark, peers, speed)
    cpu = {
        "step": benchmark_curves(steps, "step", "seconds"),
        "token": study_curves(cost, "stream time", outdated),
        "memory": benchmark_curves(steps, "step", "temporary_bytes"),
    }
    ours = [row for row in cuda if row["section"] in ("step", "token")]
    gpu = {
        "step": benchmark_curves(ours, "step", "seconds"),
        "token": benchmark_curves(ours, "token", "seconds"),
        "memory": benchmark_curves(ours, "step", "temporary_bytes"),
    }
    return [
        Hardware(f"CPU: {name_machine(benchmark)}", f"{step_setup(steps)}; {TOKEN_SETUP['cpu']}", cpu),
        Hardware(f"GPU: {name_machine(cuda)}", f"{step_setup(ours)}; {TOKEN_SETUP['gpu']}", gpu),
    ]


def step_setup(rows: Rows) -> str:
    """Return how training steps were timed: sizes of batches, with their lengths."""
    lengths: dict[str, set[int]] = {}
    for row in rows:
        if (row["what"], row["library"], row["width"]) == ("step", "ours", str(WIDTH)):
            lengths.setdefault(row["batch"], set()).add(int(row["length"]))
    batches = [f"{batch} of {', '.join(f'{n:,}' for n in sorted(some))} tokens" for batch, some in lengths.items()]
    return f"training steps: two layers of width {WIDTH}, batches of {'; of '.join(batches)}, shown per sequence"


def name_machine(rows: Rows) -> str:
    """Return the machine of a benchmark's record: "AMD EPYC, 2 cores"."""
    return next((row["note"].split(";")[0] for row in rows if row["section"] == "rates"), "not measured")
