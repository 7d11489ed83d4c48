"""The counters of an instance's last poll, as they are kept until the next: JSON without names.

Only this project reads and writes it, with every poll of every instance: it takes a third of the time of the metrics document's
strict form.
"""

from __future__ import annotations

import json
from itertools import chain

from monitoring.wire import EndpointMetrics, MetricsDocument

_FORMAT = 1


class BaselineError(ValueError):
    """What is stored is no baseline."""


def dump(document: MetricsDocument) -> str:
    """`[format, started_at, [[method, route, count, sum, max, [code, count, ...], [bucket, count, ...] or null], ...]]`."""
    endpoints = [
        (
            one.method,
            one.route,
            one.count,
            one.duration_sum,
            one.duration_max,
            list(chain.from_iterable(one.status_codes.items())),
            None if one.buckets is None else list(chain.from_iterable(one.buckets.items())),
        )
        for one in document.endpoints.values()
    ]
    return json.dumps((_FORMAT, document.started_at, endpoints), separators=(",", ":"), allow_nan=False)


def load(text: str) -> MetricsDocument:
    """The document, as far as the next interval needs it. Raises BaselineError."""
    try:
        number, started_at, rows = json.loads(text)
        if number != _FORMAT:
            raise BaselineError(f"format {number!r}")
        endpoints = {
            method + route: EndpointMetrics(
                method,
                route,
                count,
                duration_sum,
                duration_max,
                dict(zip(codes[::2], codes[1::2], strict=True)),
                None if buckets is None else dict(zip(buckets[::2], buckets[1::2], strict=True)),
            )
            for method, route, count, duration_sum, duration_max, codes, buckets in rows
        }
    except (ValueError, TypeError) as error:
        raise BaselineError(str(error)) from error
    return MetricsDocument(None, endpoints, started_at)
