"""Settings of studies that ask for a mixer with some of its options, out of the mixers that are registered."""

from collections.abc import Iterable, Mapping
from typing import Any

import models
from experiments.ablation.study import Claim, Overrides, label_overrides


def mixer_fields(mixer: str, **options: Any) -> dict[str, Any]:
    """The fields of a mixer with these options, without those that it doesn't have, or has by default."""
    known = models.mixer_options(mixer) if mixer in models.MIXERS else options
    wanted = {name: value for name, value in options.items() if name in known and value != known.get(name, None)}
    return {"mixer": mixer, **{f"model.{mixer}.{name}": value for name, value in wanted.items()}}


def registered_only(settings: Mapping[str, Overrides]) -> dict[str, Overrides]:
    """Those of the labels' fields whose mixer is registered."""
    return {label: fields for label, fields in settings.items() if fields["mixer"] in models.MIXERS}


def claims_about(grid: Mapping[str, Any], claims: Iterable[Claim]) -> tuple[Claim, ...]:
    """The claims about labels of the grid; of one that names several, those that there are."""
    labels = {axis: set(label_overrides(axis, values)) for axis, values in grid.items()}

    def kept(side: Any) -> Any:
        if not isinstance(side, Mapping):
            return side
        wanted = {axis: value if isinstance(value, tuple) else (value,) for axis, value in side.items()}
        return {axis: tuple(one for one in values if one in labels[axis]) for axis, values in wanted.items()}

    cut = [claim._replace(left=kept(claim.left), right=kept(claim.right)) for claim in claims]
    return tuple(
        claim
        for claim in cut
        if all(all(side.values()) for side in (claim.left, claim.right) if isinstance(side, Mapping))
    )
