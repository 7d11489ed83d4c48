"""Which rows of a service's history tell a stretch of time: the finest that are there, so that no moment is told twice.

Moments are milliseconds, and a stretch is what ends after one of them and not after the other, as in the history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from django.db.models import Q, Sum

from monitoring.models import ROLLUPS, Availability, EndpointInterval, Resolution, RolledUp

MARGIN = 3_600_000
"""Rows are taken only if they are kept for so long yet: a collector prunes while they are read."""

ROWS = 20_000
"""About so many rows of endpoints are in one stretch of cut()."""

_FROM_COARSE = tuple(reversed(Resolution))
_ALWAYS = 0
_WHOLE = dict.fromkeys(Resolution, Resolution.DAY) | {Resolution.POLL: Resolution.HOUR}
"""What stretches begin and end with, where that is free, so that coarser rows can take up where finer ones end."""


class Stretch(NamedTuple):
    resolution: Resolution
    after: int
    until: int


def rows_of(service_id: int, stretch: Stretch) -> Q:
    """Which rows tell it."""
    return Q(service=service_id, resolution=stretch.resolution, end__gt=stretch.after, end__lte=stretch.until)


def borders(service_id: int, now: int, retention: Mapping[Resolution, int]) -> dict[Resolution, int]:
    """From when on the rows of each resolution are complete, on multiples of the next coarser one; the coarser, the earlier."""
    found = {Resolution.DAY: _ALWAYS}
    rolled_up = RolledUp.objects.filter(pk=service_id).first()
    for coarse in reversed(ROLLUPS):
        fine = coarse.finer
        if rolled_up is None:  # nothing was, so that nothing can have been pruned
            found[fine] = _ALWAYS
            continue
        complete = _complete(service_id, coarse, now + MARGIN - retention[fine])
        mark = rolled_up.until(coarse)
        found[fine] = max(found[coarse], mark if complete is None else min(mark, complete))
    return found


def _complete(service_id: int, coarse: Resolution, kept: int) -> int | None:
    """From when on the rows that this resolution adds up are there, of those that are kept; None where none is.

    In the stretch in which the first one lies others may have been pruned. There is nothing without a poll.
    """
    polls = Availability.objects.filter(service=service_id)
    rows = polls.filter(resolution=coarse.finer, end__gt=kept).order_by("end")
    for end in rows.values_list("end", flat=True)[:1]:
        start = _floor(end - 1, coarse)
        within = polls.filter(end__gt=start, end__lte=start + coarse.length, resolution__in=(coarse, coarse.finer))
        number = dict(within.order_by().values_list("resolution").annotate(Sum("polls")))
        whole = start >= kept and number.get(coarse) == number[coarse.finer]
        return start if whole else start + coarse.length
    return None


def parts(after: int, until: int, complete: Mapping[Resolution, int]) -> tuple[list[Stretch], list[Stretch]]:
    """The stretch as rows tell it, ascending, and what is left out: of a rollup's row no part can be taken."""
    found, left_out = [], []
    for resolution in _FROM_COARSE:
        begin, end = max(after, complete[resolution]), until
        if resolution is not Resolution.POLL:
            end = min(until, complete[resolution.finer])
        if begin >= end:
            continue
        first, last = _ceil(begin, resolution), _floor(end, resolution)
        if first < last:
            found.append(Stretch(resolution, first, last))
            left_out += [Stretch(resolution, begin, first), Stretch(resolution, last, end)]
        else:
            left_out.append(Stretch(resolution, begin, end))
    return found, [one for one in left_out if one.after < one.until]


def beginning(since: int, complete: Mapping[Resolution, int]) -> int:
    """Where to begin: a row in which `since` lies is taken whole, and what lies before it can be told later."""
    return _floor(since, _WHOLE[finest(since, complete)])


def finest(at: int, complete: Mapping[Resolution, int]) -> Resolution:
    """The resolution whose rows tell what follows this moment."""
    return next(one for one in Resolution if complete[one] <= at)


def around(stretch: Stretch) -> Stretch:
    """The stretch with the whole of the rows in which it begins and ends."""
    return stretch._replace(after=_floor(stretch.after, stretch.resolution), until=_ceil(stretch.until, stretch.resolution))


def cut(service_id: int, stretch: Stretch) -> Stretch:
    """The beginning of a stretch, of a size that is soon written."""
    rows = EndpointInterval.objects.filter(service=service_id, resolution=stretch.resolution, end__gt=stretch.after)
    enough = rows.order_by("end").values_list("end", flat=True)[ROWS : ROWS + 1]
    for end in enough:
        return stretch._replace(until=min(stretch.until, _ceil(end, _WHOLE[stretch.resolution])))
    return stretch


def without(after: int, until: int, known: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """What of this is in none of those, ascending."""
    found = []
    for known_after, known_until in sorted(known):
        if known_after >= until:
            break
        if known_after > after:
            found.append((after, known_after))
        after = max(after, known_until)
    return [*found, (after, until)] if after < until else found


def _floor(moment: int, resolution: Resolution) -> int:
    return moment // resolution.length * resolution.length if resolution else moment


def _ceil(moment: int, resolution: Resolution) -> int:
    return -_floor(-moment, resolution)
