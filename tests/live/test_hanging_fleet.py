"""A fleet of a thousand real addresses, of which three hundred accept a connection and never answer."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator

import pytest

from monitoring.collector.polling import poll_services
from monitoring.collector.transport import raise_descriptor_limit
from monitoring.models import Baseline, Instance, Service

pytestmark = pytest.mark.django_db

SERVICES, HANGING = 1000, 300
TIMEOUT = 3.0
DOCUMENT = json.dumps({"metrics": {"GET/": {"count": 1, "avg_duration": 0.5, "status_codes": {"200": 1}}}})
ANSWER = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(DOCUMENT)}\r\n\r\n{DOCUMENT}"


class Server:
    """Answers on one port of all of 127.0.0.0/8; what is asked for /hanging gets no answer."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        assert self.ready.wait(30)

    def run(self) -> None:
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(asyncio.start_server(self.serve, "0.0.0.0", 0, backlog=2000))
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        self.loop.run_forever()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/hanging " in head:
            await reader.read()
        else:
            writer.write(ANSWER.encode())
        writer.close()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.stop)
        self.thread.join(10)

    def stop(self) -> None:
        for task in asyncio.all_tasks():
            task.cancel()
        self.loop.call_soon(self.loop.stop)


@pytest.fixture
def server() -> Iterator[Server]:
    raise_descriptor_limit()
    made = Server()
    yield made
    made.close()


def test_the_round_ends_within_the_timeout_and_five_seconds(server: Server) -> None:
    """At that deadline nobody would be waited for any more, and be reported as such; here everybody's outcome is known before."""
    for number in range(SERVICES):
        path = "hanging" if number % 10 < 3 else "metrics"
        service = Service.objects.create(name=f"service-{number:04}", timeout=TIMEOUT)
        Instance.objects.create(service=service, url=f"http://127.2.{number // 250}.{number % 250 + 1}:{server.port}/{path}")
    report = poll_services(list(Service.objects.prefetch_related("instances")), deadline=TIMEOUT + 5)
    errors = [one.error for one in report.services if one.error]
    assert len(errors) == HANGING
    assert all(error.endswith(f"No answer within {TIMEOUT:g} s.") for error in errors), {error[-60:] for error in errors}
    assert Baseline.objects.count() == SERVICES - HANGING
