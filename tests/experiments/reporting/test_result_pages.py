import re

from experiments.ablation import verdicts
from experiments.ablation.record_table import OUTDATED_MARK
from experiments.ablation.verdicts import Verdict
from experiments.reporting import published_results, result_pages
from experiments.reporting.published_results import ReproducedResult
from experiments.reporting.publishing import lost_parts
from experiments.reporting.result_studies import RESULT_NAMES
from tests.experiments.reporting import STUDY, study_trials
from tests.experiments.reporting.test_published_results import NUMBERS, make_result


def judged(*wanted: str) -> list[ReproducedResult]:
    return [make_result(verdicts=[Verdict("it is", one)]) for one in wanted]


def test_a_page_has_question_paper_verdict_pictures_tables_and_what_repeats_it():
    text = result_pages.result_page(make_result(study=STUDY._replace(paper="Someone 1999 (arXiv 1234.56789)")))
    assert text.startswith("# Counting\n\nIs it so?\n\n*Someone 1999 ([arXiv 1234.56789](https://arxiv.org/abs/")
    assert "**✓ Reproduced**, because its one claim surely holds: “a is better” (" in text
    assert "![Counting: published numbers beside ours](counting.svg)" in text
    assert "](../studies/counting.svg)" in text
    assert published_results.study_docstring("counting") in text
    assert re.findall(r"^## (.*)$", text, re.M) == [
        "What was done",
        "Published, and here",
        "Claims",
        "Every setting",
        "To repeat it",
    ]
    assert "from memory, unchecked" in text
    assert "\n    .venv/bin/python -m experiments.reproduce --result=counting\n" in text
    assert "Measured: under 1 minute for 3 seeds" in text


def test_without_a_number_to_compare_a_line_stands_in_the_picture_s_place():
    text = result_pages.result_page(make_result(published=NUMBERS[1:]))
    assert "(counting.svg)" not in text
    assert "No published number has a counterpart here that is in the same unit" in text


def test_the_overview_leads_to_the_pages_that_are_there():
    rows = result_pages.overview_block([make_result()]).splitlines()[2:]
    assert len(rows) == len(RESULT_NAMES)
    linked = [row for row in rows if "](reproduced/" in row]
    assert [row.split(" | ")[0] for row in linked] == ["| [counting](reproduced/counting.md)"]
    assert sum("not run yet" in row for row in rows) == len(RESULT_NAMES) - 1


def test_a_result_whose_record_is_gone_stays_in_the_overview():
    before, after = result_pages.overview_block([make_result()]), result_pages.overview_block([])
    assert lost_parts(before, after) == ["counting"]
    assert lost_parts(after, before) == [], "a result may get a page"


def test_other_seeds_that_were_run_stay_in_the_page():
    others = verdicts.judge_claims(STUDY, study_trials(), "quick")
    with_others = make_result(other_seeds=others, other_trials=study_trials())
    before, after = (result_pages.result_page(result) for result in (with_others, make_result()))
    assert lost_parts(before, after) == ["Claims"]
    assert lost_parts(after, before) == []


def test_the_readme_counts_the_verdicts_of_all_results():
    sentence = result_pages.readme_sentence(judged("reproduced", "contradicted", "undecided", "contradicted"))
    rest = len(RESULT_NAMES) - 4
    told = f"1 is reproduced, 2 are contradicted, 1 is undecided and {rest} {'are' if rest > 1 else 'is'} not run"
    assert f"[{len(RESULT_NAMES)} published results](docs/results/reproduce.md)** {told}" in " ".join(sentence.split())
    assert max(map(len, sentence.splitlines())) <= 120


def test_what_rests_on_older_code_is_marked():
    """In the overview, behind the settings, and at the end of the page."""
    fresh = make_result()
    assert "older code" not in result_pages.result_page(fresh)
    assert OUTDATED_MARK not in result_pages.result_page(fresh)
    old = make_result(
        outdated=[t for t in study_trials() if t.labels == {"mixer": "a", "n": 2}], other_seeds_outdated=4
    )
    text = result_pages.result_page(old)
    label = f"{published_results.verdict_label(fresh)} {OUTDATED_MARK}"
    assert published_results.verdict_label(old) == label
    assert f" {label} |" in result_pages.overview_block([old])
    assert "3 of 18 cells are of older code; 4 cells with other seeds are of older code." in text
    assert f"| a, 2 {OUTDATED_MARK} |" in text
    assert text.count(f"{OUTDATED_MARK}: 3 of 18 cells are of older code") == 1
