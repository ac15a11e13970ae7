"""The page "Which one?": its figures are the records', nothing is left out, and its script ranks as Python does."""

import csv
import importlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
from experiments.ablation import study
from experiments.reporting import mixer_evidence, which_one
from experiments.reporting.mixer_evidence import QUESTIONS, SCALE, Answer, Hardware, benchmark_curves, newest_rows
from experiments.reporting.mixer_ranking import MARGIN, Choice
from experiments.reporting.study_report import read_study_record
from tests import ROOT
from tests.experiments.inspection.test_browser import BEFORE, browse
from tests.experiments.reporting import make_trial
from training.builder import build_task

RECORDS = ROOT / "experiments/records"


@pytest.fixture(scope="module")
def evidence() -> tuple[list[Answer], list[Hardware]]:
    """What the records in the repository say, where the trials of one mixer of `mixers` count as outdated."""

    def outdated(trials: Any, loaded: Any, scale: Any) -> list[Any]:
        return [trial for trial in trials if trial.labels.get("mixer") == "gru" and "task" in trial.labels]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mixer_evidence, "outdated_records", outdated)
        cost = read_study_record("score_cost", study.load_study("score_cost"), SCALE)
        marked = [trial for trial in cost if trial.labels["mixer"] == "lstm"]
        return mixer_evidence.read_answers(mixer_evidence.state_growth(cost)), mixer_evidence.read_hardware(
            cost, marked
        )


def read_rows(name: str) -> list[dict[str, str]]:
    with (RECORDS / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_score_is_the_mean_of_its_records_seeds(evidence: tuple[list[Answer], list[Hardware]]):
    for answer in evidence[0]:
        question = answer.question
        rows = [row for row in read_rows(f"studies/{question.study}-{SCALE}") if row["part"] == "report"]
        rows = [row for row in rows if all(row[axis] == label for axis, label in question.labels.items())]
        axes = [axis for axis in ("mixer", "model", "model.hidden_size") if axis in rows[0]]
        settings: dict[tuple[str, ...], list[dict[str, str]]] = {}
        for row in rows:
            settings.setdefault(tuple(row[axis] for axis in axes), []).append(row)
        assert len(answer.rows) == len(settings)
        for shown, own in zip(answer.rows, settings.values(), strict=True):
            for score, metric in zip(shown.scores, question.metrics.values(), strict=True):
                values = [float(row[metric]) for row in own if row[metric] and not row["died_at"]]
                if not values:
                    assert score.mean is None
                    continue
                assert score.mean == pytest.approx(np.mean(values), rel=1e-5)
                mean, low, high = score.interval
                assert low <= mean <= high
                assert float(score.text.split()[0]) == pytest.approx(score.mean, abs=6e-4)
            assert shown.state.points[0].value == float(own[0]["state_floats"])


def test_every_cost_is_one_of_a_record(evidence: tuple[list[Answer], list[Hardware]]):
    benchmark = [row for name in ("benchmark", "peers", "speed", "benchmark-cuda") for row in read_rows(name)]
    ours = [row for row in benchmark if row["library"] == "ours" and row["width"] == "128"]
    known = {
        (what, row["mixer"], int(row["length"]), float(f"{float(row[column]) / float(row['batch']):.6g}"))
        for what, column in (("step", "seconds"), ("token", "seconds"), ("memory", "temporary_bytes"))
        for row in ours
        if row[column] and row["what"] == what.replace("memory", "step")
    }
    costs = read_rows(f"studies/score_cost-{SCALE}")
    for mixer in {row["mixer"] for row in costs}:
        for length in (int(name.split("@")[1]) for name in costs[0] if name.startswith("stream time@")):
            values = [float(row[f"stream time@{length}"]) for row in costs if row["mixer"] == mixer]
            known.add(("token", mixer, length, float(f"{np.mean(values):.6g}")))
    points = [
        (name, mixer, point.length, point.value)
        for machine in evidence[1]
        for name, curves in machine.costs.items()
        for mixer, curve in curves.items()
        for point in curve.points
    ]
    assert points
    assert set(points) <= known


def test_no_mixer_is_passed_over(evidence: tuple[list[Answer], list[Hardware]]):
    """In each answer every mixer is ranked, left out with a reason, or named as not measured; in Markdown too."""
    answers, (cpu, _) = evidence
    for answer in answers:
        assert {row.mixer for row in answer.rows} | set(answer.missing) >= set(models.MIXERS)
        assert not {row.mixer for row in answer.rows} & set(answer.missing)
        labels = [row.label for row in answer.rows]
        assert len(set(labels)) == len(labels)
    for default in which_one.DEFAULTS:
        text = which_one.default_answer(default, answers, cpu)
        answer = next(one for one in answers if one.question.title == default.title)
        for name in [*(row.label for row in answer.rows), *answer.missing]:
            assert re.search(rf"(\| |; |: |, ){re.escape(name)}(?![\w])", text), name


def test_lengths_are_those_of_the_tasks():
    """Of those that need no data: the greatest length is that of the task, in tokens, or of its longest test."""
    for question in QUESTIONS:
        if question.study == "applications":
            continue
        loaded = study.load_study(question.study)
        grid = study.axis_overrides(loaded, loaded.scales[SCALE])
        chosen = [grid[axis][label] for axis, label in question.labels.items()]
        fields = {name: value for some in (loaded.fixed, *chosen) for name, value in some.items()}
        config = importlib.import_module(f"configs.{fields['config']}").get_config("lstm")
        config.task.update({name[5:]: value for name, value in fields.items() if name.startswith("task.")})
        longest = build_task(config.task).max_length
        tested = {"needle": 1024 - 64, "state_tracking": 512 - 64}.get(question.study, 0)  # beyond training
        assert max(question.metrics) == longest + tested, question.title


def test_outdated_trials_are_marked(evidence: tuple[list[Answer], list[Hardware]]):
    answers, (cpu, _) = evidence
    answer = next(one for one in answers if one.question.study == "mixers")
    ranking = which_one.rank_answer(answer, cpu, Choice(32))
    cells = {one.row.label: which_one.rank_cells(one, Choice(32)) for one in ranking.ranks}
    assert cells["gru"][1][0] == "gru †"
    assert "†" not in cells["attention"][1][0]
    assert cells["lstm"][5][1].endswith("; †")
    assert "†" not in cells["gru"][5][1]
    assert cells["delta with convolution and gate"][1][0].endswith(" ‡")


def test_a_figure_beyond_the_measured_lengths_is_marked(evidence: tuple[list[Answer], list[Hardware]]):
    answers, machines = evidence
    length = 10**6
    for answer in answers:
        for machine in machines:
            for one in which_one.rank_answer(answer, machine, Choice(length)).ranks:
                _, _, score, state, *figures = which_one.rank_cells(one, Choice(length))
                assert score[1].startswith("measured at ")
                assert re.match(r"extrapolated|measured at [\d,]+(, of one size| only)", state[1])
                for text, source in figures:
                    assert source.startswith("extrapolated from ") if text != "–" else "measured" in source, source


def test_the_page_states_the_margin_of_a_tie():
    assert f"is at most {MARGIN:g} away,\n   ties" in (ROOT / "docs/which-one.md").read_text()


def benchmark_row(**fields: str) -> dict[str, str]:
    names = ("section", "what", "library", "width", "options", "dtype", "batch", "seconds", "note")
    row = dict(zip(names, ("step", "step", "ours", "128", "", "float32", "32", "3.2", ""), strict=True))
    return {"low": "1.6", "high": "6.4", "temporary_bytes": "320", "length": "64", **row, **fields}


def test_costs_are_per_sequence_and_of_the_newest_run():
    old = [benchmark_row(mixer=mixer, length=n) for mixer in ("lstm", "gru") for n in ("64", "4096")]
    peers = [benchmark_row(section="peers", mixer="gru", seconds="6.4"), benchmark_row(mixer="rnn", library="torch")]
    speed = [benchmark_row(section="before", mixer="lstm", seconds="9.6"),
             benchmark_row(section="before", mixer="lstm", library="before")]  # fmt: skip
    curves = benchmark_curves(newest_rows(old, peers, speed), "step", "seconds")
    assert {mixer: [(p.length, p.value) for p in curve.points] for mixer, curve in curves.items()} == {
        "gru": [(64, 0.2), (4096, 0.1)], "lstm": [(64, 0.3)],
    }  # fmt: skip
    assert curves["lstm"].points[0][2:] == (0.05, 0.2)
    assert benchmark_curves(old, "step", "temporary_bytes")["lstm"].points[0] == (64, 10.0, None, None)


def test_a_step_that_did_not_fit_into_memory_says_so():
    failed = benchmark_row(mixer="dense", length="4096", seconds="", temporary_bytes="", note="Out of memory")
    rows = [benchmark_row(mixer="dense"), failed]
    assert benchmark_curves(rows, "step", "seconds")["dense"].memory_limit == 4096


def test_a_cost_of_several_seeds_is_their_mean_with_its_interval():
    trials = [
        make_trial({"mixer": "lstm"}, seed, 0.0, {f"stream time@{n}": n * (1 + seed / 10) for n in (128, 512, 2048)})
        for seed in range(3)
    ]
    curve = mixer_evidence.study_curves(trials, "stream time")["lstm"]
    assert [(point.length, point.value) for point in curve.points] == [(128, 140.8), (512, 563.2), (2048, 2252.8)]
    half = 4.302653 * 12.8 / 3**0.5  # Student's t with two degrees of freedom
    assert curve.points[0][2:] == pytest.approx((140.8 - half, 140.8 + half), rel=1e-5)
    assert curve.exponent == (1, 1, 1, "1.00")


# ---- in a browser ---------------------------------------------------------------------------------------------------

USE = """<script>
const form = document.querySelector("#chooser form");
const used = CHOICES.map((choice) => {
  for (const name in choice) form.elements[name].value = choice[name];
  form.elements.tokens.dispatchEvent(new Event("input", { bubbles: true }));
  const cells = (row) => [...row.children].map((cell) => {
    const small = cell.querySelector("small")?.textContent ?? "";
    return [cell.textContent.slice(0, cell.textContent.length - small.length), small];
  });
  return {
    rows: [...document.querySelectorAll("#chooser tbody tr")].map(cells),
    others: [...document.querySelectorAll("#chooser .others p")].map((one) => one.textContent),
    summary: document.querySelector("#chooser .summary").textContent,
  };
});
const fields = [...document.querySelectorAll("#chooser select, #chooser input")];
const unlabelled = fields.filter((one) => !one.labels.length);
const told = document.createElement("pre");
told.id = "seen";
told.textContent = JSON.stringify({
  used, wrong, unlabelled: unlabelled.length, shown: !document.getElementById("chooser").hidden,
  resources: performance.getEntriesByType("resource").map((one) => one.name),
});
document.body.append(told);
</script>"""


def form_choices(answers: list[Answer]) -> list[dict[str, str]]:
    """Every task at two lengths, with each of the other fields once at least."""
    base = {"fixed": "", "budget": "", "streaming": "", "hardware": "0"}
    lengths = [("32", {}), ("4096", {"streaming": "yes"})]
    choices = [{**base, "question": str(i), "tokens": n, **more} for i in range(len(answers)) for n, more in lengths]
    more = [{"fixed": "yes"}, {"budget": "600"}, {"hardware": "1"}, {"hardware": "1", "streaming": "yes"}]
    return choices + [{**base, "question": str(i), "tokens": "300", **one} for i in (0, 1, 4, 9) for one in more]


@pytest.fixture(scope="module")
def page(evidence: tuple[list[Answer], list[Hardware]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The form alone, as a page."""
    path = tmp_path_factory.mktemp("which_one") / "page.html"
    head = '<meta charset="utf-8"><link rel="icon" href="data:,">'
    path.write_text(f"<!doctype html><html><head>{head}{BEFORE}</head><body>{which_one.render_form(*evidence)}</body>")
    return path


def test_choosing_ranks_as_the_python_function_does(evidence: tuple[list[Answer], list[Hardware]], page: Path):
    answers, machines = evidence
    choices = form_choices(answers)
    used = page.with_name("used.html")
    used.write_text(page.read_text().replace("</body>", f"{USE.replace('CHOICES', json.dumps(choices))}</body>"))
    seen = browse(used)
    assert seen["wrong"] == []
    assert seen["resources"] == []
    assert seen["unlabelled"] == 0
    assert seen["shown"]
    orders = set()
    for fields, told in zip(choices, seen["used"], strict=True):
        answer, machine = answers[int(fields["question"])], machines[int(fields["hardware"])]
        budget = float(fields["budget"]) if fields["budget"] else None
        choice = Choice(int(fields["tokens"]), budget, fields["fixed"] == "yes", fields["streaming"] == "yes")
        ranking = which_one.rank_answer(answer, machine, choice)
        assert told["rows"] == [list(map(list, which_one.rank_cells(one, choice))) for one in ranking.ranks]
        others = [f"Left out, since {reason}: {'; '.join(some)}." for reason, some in ranking.left_out.items()]
        others += [f"Not measured on this task: {', '.join(answer.missing)}."] if answer.missing else []
        assert told["others"] == others
        assert told["summary"].startswith(f"{which_one.question_line(answer)} {len(ranking.ranks)} of ")
        orders.add(tuple(row[1][0] for row in told["rows"]))
    assert len(orders) > len(answers), "choosing changes the ranking"


def test_the_form_asks_for_nothing_and_fits_a_phone(page: Path):
    assert not re.search(r"https?:|@import|url\(|<img|<iframe|<script src", page.read_text())
    frame = page.with_name("frame.html")
    frame.write_text(
        f'<iframe src="{page.name}" style="width:360px;height:900px;border:0"></iframe>'
        """<script>window.onload = () => {
          const page = document.querySelector("iframe").contentDocument.documentElement;
          document.body.insertAdjacentHTML("beforeend", `<pre id="seen">${page.scrollWidth - page.clientWidth}</pre>`);
        };</script>"""
    )
    assert browse(frame, "--allow-file-access-from-files") == 0
