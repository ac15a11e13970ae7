"""The room that rows are given in tokens: what labelled sequences and pairs say of it."""

from collections import Counter

MAX_ROOM = 16_384  # tokens that the longest text may make room for; for more, a length has to be given
_TYPICAL = 0.99  # share of the texts that a shorter room is said to hold
_MUCH_LONGER = 4  # times that room from which on it is said


def find_quantile(counts: Counter[int], share: float) -> int:
    """The smallest number that this share of the counted numbers does not exceed."""
    below = 0
    for number in sorted(counts):
        below += counts[number]
        if below >= share * counts.total():
            return number
    return 0


def note_room(items: str, lengths: Counter[int], room: int, tokenizer: str, option: str, remedy: str) -> list[str]:
    """A sentence if one text makes room that nearly no other needs.

    Args:
      items: what the texts are, as "sources".
      lengths: of the training texts, in tokens.
      room: tokens that every row has room for, as many as the longest has.
      tokenizer: what the tokens are called.
      option: of the config, which limits the room.
      remedy: the option that takes rows which are longer.
    """
    typical = find_quantile(lengths, _TYPICAL)
    if not typical or not _MUCH_LONGER * typical < room <= MAX_ROOM:
        return []
    return [
        f"{100 * _TYPICAL:.0f} % of the {items} have no more than {typical:,} {tokenizer}, the longest {room:,}: "
        f"task.{option}={typical} with task.{remedy}=True is faster."
    ]


def find_room_problem(room: int, place: str, tokenizer: str, option: str, remedy: str) -> list[str]:
    """A line if the longest text, at `place`, makes more room than can be meant; the options are as in `note_room`."""
    if room <= MAX_ROOM:
        return []
    return [
        f"task.{option}=0: the longest has {room:,} {tokenizer}{f' ({place})' if place else ''}, and without a limit "
        f"there is room for {MAX_ROOM:,}: give task.{option}=N with task.{remedy}=True, or task.{option}={room} if "
        f"every row is to have room for all of it"
    ]
