"""A program for tests: collectors as forked processes, and time that runs a thousand times faster for the rollups.

    python -m tests.live.collectors killed TIMES SEED     one collector after the other, each killed at a random moment
    python -m tests.live.collectors together NUMBER ROUNDS   several at once, until they have stored so many intervals

Ends with a round of its own, rolls up what is complete by then, and prints what the history holds as JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connections  # noqa: E402
from django.db.models import Sum  # noqa: E402

from monitoring.collector import baselines, rollups  # noqa: E402
from monitoring.models import (  # noqa: E402
    Availability,
    Baseline,
    EndpointInterval,
    Interval,
    Resolution,
    RolledUp,
)

Resolution.length = property(int)  # type: ignore[assignment, method-assign]  # milliseconds where it says seconds
rollups.LAG = 50
rollups.SPREAD = 1


def collector() -> int:
    """Fork a collector that polls all the time; its pid."""
    connections.close_all()
    pid = os.fork()
    if pid == 0:
        try:
            call_command("collect_metrics", loop=True, every=0.01, verbosity=0)
        finally:
            os._exit(0)
    return pid


def killed(times: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(times):
        pid = collector()
        time.sleep(chance.uniform(0.02, 0.6))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def together(number: int, intervals: int) -> None:
    pids = [collector() for _ in range(number)]
    ends = time.monotonic() + 120
    while Interval.objects.filter(resolution=0).count() < intervals and time.monotonic() < ends:
        time.sleep(0.1)
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    for pid in pids:
        os.waitpid(pid, 0)


def counts() -> dict[str, int]:
    """What the instances had counted by their last stored poll."""
    found = {}
    for baseline in Baseline.objects.select_related("instance__service"):
        for key, endpoint in baselines.load(baseline.document).endpoints.items():
            found[f"{baseline.instance.service.name} {key}"] = endpoint.count
    return found


def history(resolution: Resolution) -> dict[str, int]:
    """What the rows of one resolution add up to."""
    rows = EndpointInterval.objects.filter(resolution=resolution, service__rolled_up__isnull=False)
    summed = rows.values("service__name", "endpoint__method", "endpoint__route").annotate(Sum("count")).order_by()
    return {f"{row['service__name']} {row['endpoint__method']}{row['endpoint__route']}": row["count__sum"] for row in summed}


def main() -> None:
    call_command("collect_metrics", verbosity=0)
    before = counts()
    globals()[sys.argv[1]](*map(int, sys.argv[2:]))
    call_command("collect_metrics", verbosity=0)
    # Up to the future, so that all of it is complete; a little faster still, or it would have to be waited for.
    retention = dict.fromkeys(Resolution, 10**12)
    failed = rollups.keep_up(int(time.time() * 1000) + 10**6, retention)
    rows = [Interval.objects.filter(resolution=0).aggregate(Sum("count"))["count__sum"]]
    rows += [Interval.objects.filter(resolution=one).aggregate(Sum("count"))["count__sum"] for one in list(Resolution)[1:]]
    print(
        json.dumps(
            {
                "grown": {key: count - before[key] for key, count in counts().items()},
                "history": {one.name: history(one) for one in Resolution},
                "totals": rows,
                "polls": [
                    Availability.objects.filter(resolution=one).aggregate(Sum("polls"))["polls__sum"] for one in Resolution
                ],
                "rolled_up": RolledUp.objects.count(),
                "failed": failed,
            }
        )
    )


if __name__ == "__main__":
    main()
