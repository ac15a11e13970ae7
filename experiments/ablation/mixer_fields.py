"""Settings of studies that ask for mixers with an option on, where they have it."""

from typing import Any

import models


def mixer_fields(mixer: str, **options: Any) -> dict[str, Any]:
    """The fields of a mixer with these options, without those that it doesn't have, or has by default."""
    known = models.mixer_options(mixer)
    wanted = {name: value for name, value in options.items() if name in known and value != known[name]}
    return {"mixer": mixer, **{f"model.{mixer}.{name}": value for name, value in wanted.items()}}
