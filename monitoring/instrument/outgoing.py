"""Calls to other services that carry the trace on."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import requests

from monitoring.instrument.propagation import TRACE_HEADERS, may_propagate, outgoing_headers
from monitoring.instrument.tracing import current_span


class TracingSession(requests.Session):
    """A requests.Session whose requests carry the current trace; outside a request it is a plain one."""

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        # Not in request(): redirects and requests that the caller prepared come through send() only.
        span = current_span()
        if span is not None:
            request = request.copy()  # the caller's stays as it was
            if may_propagate(span, urlsplit(request.url or "").hostname or ""):
                request.headers.update(outgoing_headers(span))
            elif span.trace_id in request.headers.get("traceparent", ""):
                for name in TRACE_HEADERS:  # a redirect took them along to a host that must not see them
                    request.headers.pop(name, None)
        return super().send(request, **kwargs)
