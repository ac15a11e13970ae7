import pytest

from data.sources import irish, oneill


def test_tunes_of_another_book():
    try:
        tunes = oneill.read_source()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert len(tunes) == len(set(tunes)) > 1900
    assert all(tune.startswith("X:") and "\nK:" in tune for tune in tunes)
    assert not set(tunes) & set(irish.read_source())
