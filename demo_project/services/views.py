"""What a test server answers, as JSON."""

from __future__ import annotations

import random
import time

import requests
from django.conf import settings
from django.http import HttpRequest, JsonResponse

from demo_project.services.behaviour import SERVICES, draw_failure, draw_work
from monitoring.instrument.outgoing import TracingSession

_behaviour = SERVICES[settings.DEMO_SERVICE]
_chance = random.Random()
_session = TracingSession()
_session.trust_env = False  # its neighbours are on this machine, whatever proxy the environment names


def ping(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"service": settings.DEMO_SERVICE, "message": "pong"})


def process(request: HttpRequest) -> JsonResponse:
    """Work a while, and ask the services behind this one: 500 where the work fails, 502 or 504 where one of those fails.

    All of them are asked, even when the first has failed, so that each trace tells of every service.
    """
    time.sleep(draw_work(_behaviour, _chance))
    answers = [_ask(url) for url in settings.DEMO_CALLS]
    body: dict[str, object] = {"service": settings.DEMO_SERVICE, "calls": [answer for _status, answer in answers]}
    if draw_failure(_behaviour, _chance):
        return JsonResponse({**body, "error": "The work failed, as it does now and then in this demo."}, status=500)
    status = max((status for status, _answer in answers), default=200)
    if status != 200:
        body["error"] = "A service that this one depends on did not answer as it should."
    return JsonResponse(body, status=status)


def _ask(url: str) -> tuple[int, dict[str, object]]:
    """The status that this call makes of our answer, 200, 502 or 504, and what we tell of it."""
    try:
        response = _session.get(url, timeout=_behaviour.timeout)
    except requests.Timeout:
        return 504, {"url": url, "error": f"no answer within {_behaviour.timeout:g} s"}
    except requests.RequestException as error:
        return 502, {"url": url, "error": type(error).__name__}
    return (200 if response.ok else 502), {"url": url, "status": response.status_code}
