"""The times of a series' rows: read, and numbered by a regular step, so that a missing one shows as a gap."""

import datetime
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, Shaped

_MICROSECONDS = {"s": 10**6, "min": 60 * 10**6, "h": 3600 * 10**6, "d": 86_400 * 10**6, "w": 7 * 86_400 * 10**6}
_MONTHS = {"mo": 1, "q": 3, "y": 12}
FREQUENCY = re.compile(r"(?=.)(\d*\.?\d+(?:[eE][-+]?\d+)?)?(s|min|h|d|w|mo|q|y)?")
FREQUENCY_RULE = "must be auto, none, a number, or one with a unit of s min h d w mo q y, such as 15min"
_EPOCH = datetime.datetime(1970, 1, 1)
_TOLERANCE = 0.01  # of a step, by which numbers may miss the grid

Times = Shaped[np.ndarray, "N"]  # float64 numbers, or int64 microseconds since 1970


class Step(NamedTuple):
    """A regular step of time: `size` of a unit, "number", "microseconds" or "months"."""

    size: float
    unit: str

    def __str__(self) -> str:
        if self.unit == "number":
            return f"{self.size:g}"
        units = _MONTHS if self.unit == "months" else _MICROSECONDS
        fitting = [(unit, size) for unit, size in units.items() if self.size % size == 0]
        unit, size = fitting[-1] if fitting else ("s", 10**6)
        if unit == "w":  # a step of days is told as such
            unit, size = "d", _MICROSECONDS["d"]
        return f"{self.size / size:g}{unit}"


def parse_time(cell: Any) -> float | int:
    """A time as a number (float) or as microseconds since 1970 (int), from a number, a date, or ISO 8601 text.

    A time with an offset from UTC is taken at UTC. Raises ValueError, saying what is wrong, for anything else.
    """
    if isinstance(cell, str):
        text = cell.strip()
        if not text:
            raise ValueError("is empty")
        try:
            cell = float(text) if "_" not in text else text
        except ValueError:
            cell = _parse_iso(text)
    if isinstance(cell, datetime.datetime):
        naive = cell.astimezone(datetime.UTC).replace(tzinfo=None) if cell.tzinfo else cell
        return round((naive - _EPOCH) / datetime.timedelta(microseconds=1))
    if isinstance(cell, datetime.date):
        return (cell - _EPOCH.date()).days * _MICROSECONDS["d"]
    if cell is None:
        raise ValueError("is empty")
    try:
        number = float(cell)
    except (TypeError, ValueError):
        raise ValueError(f"is {str(cell)!r}, which is neither a number nor an ISO 8601 date") from None
    if not np.isfinite(number):
        raise ValueError(f"is {str(cell)!r}, which is no time")
    return number


def _parse_iso(text: str) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(f"{text}-01" if re.fullmatch(r"\d{4}-\d{2}", text) else text)
    except ValueError:
        raise ValueError(
            f"is {text!r}, which is neither a number nor an ISO 8601 date such as 2024-03-09 or 2024-03-09T13:00"
        ) from None


def format_time(time: float | int, is_date: bool) -> str:
    """A time as a person writes it."""
    return (_EPOCH + datetime.timedelta(microseconds=int(time))).isoformat() if is_date else f"{time:.15g}"


def parse_frequency(text: str, is_date: bool) -> Step:
    """The step that `task.frequency` names, such as "15min", or "0.5" where times are numbers.

    Raises ValueError where it is a step of dates and times are numbers, or the other way round.
    """
    found = FREQUENCY.fullmatch(text)
    if not found or float(found[1] or 1) <= 0:
        raise ValueError(f"task.frequency={text}: {FREQUENCY_RULE}")
    size, unit = found[1], found[2]
    if is_date != bool(unit):
        kinds = ("dates, so give a unit, such as 1h", "numbers, so give a number")
        raise ValueError(f"task.frequency={text}: the times are {kinds[not is_date]}")
    if not unit:
        return Step(float(size or 1), "number")
    if unit in _MONTHS:
        return Step(float(size or 1) * _MONTHS[unit], "months")
    return Step(float(size or 1) * _MICROSECONDS[unit], "microseconds")


def find_step(series: Sequence[Times]) -> Step | None:
    """The regular step of the times of some series, each of which rises; None if they are not regular.

    It is the most frequent difference, of which all others must be multiples; dates may also go by calendar months.
    """
    differences = np.concatenate([np.diff(times) for times in series]) if series else np.empty(0)
    if not len(differences):
        return None
    candidates: list[Step | None] = [_common_difference(differences)]
    if differences.dtype == np.int64:
        candidates.append(_common_months(series))
    for step in candidates:
        if step and all(lies_on_grid(times, step).all() for times in series):
            return step
    return None


def _common_difference(differences: Times) -> Step:
    """The most frequent difference; of numbers, the mean of those that are equal in six digits."""
    if differences.dtype == np.int64:
        sizes, counts = np.unique(differences, return_counts=True)
        return Step(float(sizes[counts.argmax()]), "microseconds")
    rounded = np.round(differences / np.median(differences), 6)
    sizes, counts = np.unique(rounded, return_counts=True)
    return Step(float(differences[rounded == sizes[counts.argmax()]].mean()), "number")


def _common_months(series: Sequence[Times]) -> Step | None:
    differences = np.concatenate([np.diff(_months(times)) for times in series])
    if differences.min() < 1:
        return None
    sizes, counts = np.unique(differences, return_counts=True)
    return Step(float(sizes[counts.argmax()]), "months")


def lies_on_grid(times: Times, step: Step) -> Bool[np.ndarray, "N"]:
    """Which times are a whole number of steps after the first; of months, at the same place in them, or at the end."""
    if step.unit == "months":
        months = _months(times)
        starts = _month_starts(months)
        place, left = times - starts, _month_starts(months + 1) - times
        day = _MICROSECONDS["d"]
        same = (place == place[0]) | ((left == left[0]) & (left <= day) & (left[0] <= day))
        return same & ((months - months[0]) % step.size == 0)
    ratio = (times - times[0]) / step.size
    if step.unit == "number":
        return np.abs(ratio - np.round(ratio)) <= _TOLERANCE
    return ratio == np.round(ratio)


def number_steps(times: Times, step: Step) -> Int64[np.ndarray, "N"]:
    """The number of steps from the first time to each."""
    if step.unit == "months":
        months = _months(times)
        return np.round((months - months[0]) / step.size).astype(np.int64)
    return np.round((times - times[0]) / step.size).astype(np.int64)


def _months(times: Times) -> Int64[np.ndarray, "N"]:
    return times.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)


def _month_starts(months: Int64[np.ndarray, "N"]) -> Int64[np.ndarray, "N"]:
    return months.astype("datetime64[M]").astype("datetime64[us]").astype(np.int64)
