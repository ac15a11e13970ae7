import pytest

from tests.models.fingerprints import TOLERANCE, Versioned, difference, fingerprint, read_store, versioned_models

MODELS = list(versioned_models())


@pytest.mark.parametrize("model", MODELS, ids=[model.name for model in MODELS])
def test_numbers_change_only_with_version(model: Versioned):
    """VERSION is part of every result's key: results of other numbers must not be taken for the same experiment."""
    stored, version = read_store().get(model.name), getattr(model.versioned, "VERSION")  # noqa: B009
    assert isinstance(version, int)
    if stored is None:
        pytest.skip("no fingerprint is stored yet; python -m tests.models.fingerprints stores it")
    owner, renew = f"{model.versioned.__name__}.VERSION", "run python -m tests.models.fingerprints and commit the file"
    assert stored["version"] == version, (
        f"{owner} is {version}, the stored fingerprint is of {stored['version']}: {renew}"
    )
    change = difference(stored, fingerprint(model))
    assert change <= TOLERANCE, (
        f"the numbers of {model.name} are not those stored for {owner} = {version} (they differ by {change:.2g} of the "
        f"largest): if that is intended, raise {owner}, then {renew}"
    )


def test_no_fingerprint_is_left_of_a_model_that_is_gone():
    assert read_store().keys() <= {model.name for model in MODELS}, "run python -m tests.models.fingerprints"
