"""What an attribute of several pairs says of them: what they share and show, and in how many left out it comes."""

from __future__ import annotations

from collections.abc import Mapping

from .transfer_gain import is_little

# Keys of an attribute's info, whose values are shares from 0 to 1.
# The share of their edits that the pairs have in common.
COMMON_SHARE = "common_share"
# The share of the pairs in which the attribute comes.
SHOWN_SHARE = "shown_share"
# The share of the pairs left out of learning in which it comes (core/recipes/left_out.py).
LEFT_OUT_SHARE = "left_out_share"
# How many pictures of the user's own the pairs are of, a whole number; pairs that are drawn from noise do not say it.
PICTURES = "pictures"
# From which share of left-out pairs on an attribute is one for other pictures: means of both embedded models reach .92
# and more (docs/results/pairs.md, *Tried on pairs left out*).
ENOUGH_LEFT_OUT = 0.8
# What is said of pairs that reach the largest gain, and of attributes that come in few pairs left out.
OTHER_WAYS = (
    "too little for other pictures: where an attribute lies elsewhere in each of them, a mean of pairs does not bring "
    "it; learn a readout, or from a pair of the picture itself"
)


def common_note(info: Mapping[str, str]) -> str | None:
    """Return what to say of the share that pairs have in common; None where an attribute's info does not say one."""
    share = share_in(info, COMMON_SHARE)
    if share is None:
        return None
    text = f"the pairs have {share:.0%} of their edits in common"
    # Where it was tried on pairs left out, that says more.
    return f"{text}, {OTHER_WAYS}" if is_little(share) and share_in(info, LEFT_OUT_SHARE) is None else text


def shown_note(info: Mapping[str, str]) -> str | None:
    """Return what to say of pairs that do not show the attribute; None where all do, or nobody was asked."""
    share = share_in(info, SHOWN_SHARE)
    if share is None or share == 1:
        return None
    return (
        f"by the model's own account the attribute comes in {share:.0%} of its pairs only: many pictures of the source "
        "prompt have it already, or the target prompt does not bring it; other wordings may do better"
    )


def left_out_note(info: Mapping[str, str]) -> str | None:
    """Return in how many pairs left out an attribute comes; None where that was not tried."""
    share = share_in(info, LEFT_OUT_SHARE)
    if share is None:
        return None
    text = f"tried on pairs left out of learning, it comes in {share:.0%} of them"
    return f"{text}, {OTHER_WAYS}" if comes_seldom(info) else text


def pictures_note(info: Mapping[str, str]) -> str | None:
    """Return what to say of pairs of a few pictures, of which none could be left out; None where one was."""
    count = info.get(PICTURES, "")
    if not count.isdecimal() or share_in(info, LEFT_OUT_SHARE) is not None:
        return None
    return f"all pairs are of {int(count[:9])} of your pictures, too few to leave one out: in others it may not come"


def comes_seldom(info: Mapping[str, str]) -> bool:
    """Return whether an attribute was tried on pairs left out, and came in too few of them for other pictures."""
    share = share_in(info, LEFT_OUT_SHARE)
    return share is not None and share < ENOUGH_LEFT_OUT


def notes(info: Mapping[str, str]) -> list[str]:
    """Return all that there is to say."""
    said = (note(info) for note in (common_note, shown_note, pictures_note, left_out_note))
    return [note for note in said if note is not None]


def share_in(info: Mapping[str, str], key: str) -> float | None:
    """Return the share that an attribute's info says under a key; None where it says none from 0 to 1."""
    try:
        share = float(info.get(key, "nan"))
    except ValueError:
        return None
    return share if 0 <= share <= 1 else None
