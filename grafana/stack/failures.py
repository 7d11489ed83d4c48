"""A middleware that logs failures within their request: a returned one is logged by Django only when its trace is over."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

_logger = logging.getLogger(__name__)


def log_failures(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if response.status_code >= 500 and response.get("Content-Type") == "application/json":
            _logger.error(
                "%s %s: %s %s", request.method, request.path, response.status_code, json.loads(response.content)["error"]
            )
        return response

    return middleware
