"""The ValueErrors that refuse a field of `config.model`: one line each, naming the field and what would be right."""

import difflib
from collections.abc import Iterable
from typing import Any


def validate_choice(field: str, value: str, choices: Iterable[str]) -> None:
    """Raise ValueError, naming the nearest known name, unless `value` is one of `choices`."""
    choices = list(choices)
    if value not in choices:
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{field}={value}: must be one of {', '.join(choices)}{hint}")


def idle_field_error(field: str, value: Any, default: Any, acts: str) -> ValueError:
    """The error for a field that has no effect in this model; `acts` says where it would have one."""
    return ValueError(f"model.{field}={value}: does nothing here, it acts {acts}; use {default}")


def suggest_divisors(number: int, wanted: int) -> str:
    """The divisors of `number` next to `wanted`, which is not one, in words: "2 and 4 do"."""
    divisors = [n for n in range(1, number + 1) if number % n == 0]
    nearest = [n for n in divisors if n < wanted][-1:] + [n for n in divisors if n > wanted][:1]
    return f"{' and '.join(map(str, nearest))} {'do' if len(nearest) > 1 else 'does'}"
