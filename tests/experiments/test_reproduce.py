from types import SimpleNamespace

import pytest

from experiments import reproduce
from experiments.reporting.published_results import read_result
from experiments.reporting.result_studies import RESULT_NAMES


def run(monkeypatch: pytest.MonkeyPatch, **flags) -> None:
    given = {
        "all": False,
        "result": None,
        "record": False,
        "mixers": [],
        "other_seeds": False,
        "scale": "quick",
        "config": None,
        "until": None,
    } | flags
    monkeypatch.setattr(reproduce, "flags", SimpleNamespace(FLAGS=SimpleNamespace(**given)))
    reproduce.main()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"scale": "fulll"}, "--scale=fulll: must be one of smoke, quick, standard, full; did you mean full?"),
        ({"record": True}, "--mixers, --other_seeds, --record and --until are of a run: give --result=NAME or --all"),
        ({"until": "decided"}, "--record and --until are of a run: give --result=NAME or --all too"),
        ({"result": "counting", "record": True, "mixers": ["gla"]}, "--record: writes the result as it is defined"),
        ({"result": "count"}, "--result=count: must be one of"),
    ],
)
def test_what_can_not_be_asked_for_is_said_before_anything_is_run(monkeypatch, flags, message):
    monkeypatch.setattr(reproduce, "run_result", lambda *_: pytest.fail("run"))
    with pytest.raises(ValueError, match=message.replace("?", r"\\?")):
        run(monkeypatch, **flags)


def test_all_results_are_listed_with_and_without_a_record(monkeypatch, capsys):
    read = []
    monkeypatch.setattr(reproduce, "read_result", lambda name, scale: read.append(name))
    run(monkeypatch)
    result = read_result("parallel")
    assert result
    reproduce.print_results([result])
    nothing, one = capsys.readouterr().out.split(RESULT_NAMES[0])[1:]
    assert read == list(RESULT_NAMES)
    assert nothing.count("– not run") == len(RESULT_NAMES)
    assert one.count("– not run") == len(RESULT_NAMES) - 1
    assert result.study.paper in one
