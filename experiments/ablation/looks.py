"""The looks at a study that runs until it is decided: with how many seeds, and how sure a verdict must then be.

Who looks four times is wrong more often than who looks once, so each look asks for more: p ≤ 0.0075 on either side in
place of 0.025 (a constant boundary, as Pocock 1977 has it, for these looks and Student's t). Both are declared here,
before any run; experiments/records/aa.csv has how often the whole procedure is wrong.
"""

from collections.abc import Iterable, Sequence

from experiments.ablation.study import Scale

LOOKS = (3, 5, 8, 12)  # numbers of seeds
LOOK_LEVEL = 0.015  # how often, at most, one look may decide a claim wrongly: one half for, the other against it


def format_looks(looks: Sequence[int]) -> str:
    """Numbers of seeds as a record has them."""
    return ";".join(map(str, looks))


def parse_looks(recorded: Iterable[str]) -> tuple[int, ...]:
    """The looks that the rows of a record say; none if all are empty.

    Raises ValueError where they are not those that were declared, in their order.
    """
    found = set(recorded) or {""}
    declared = {format_looks(LOOKS[:count]): LOOKS[:count] for count in range(len(LOOKS) + 1)}
    if len(found) > 1 or not found <= set(declared):
        raise ValueError(
            f"the record's looks are {' and '.join(one or 'none' for one in sorted(found))}, and declared are "
            f"{format_looks(LOOKS)} seeds, in this order; make it anew with --until=decided --record"
        )
    return declared[found.pop()]


def scale_at_look(scale: Scale, looks: Sequence[int]) -> Scale:
    """The scale with the seeds of the last of `looks`, counted on from its first one; itself if there are none."""
    return scale._replace(seeds=tuple(range(scale.seeds[0], scale.seeds[0] + looks[-1]))) if looks else scale
