"""From the start of the process to the first 200 of `/readyz`, and from there to the first answer."""

from __future__ import annotations

import time
from collections.abc import Iterator

from loadtest.scenarios.bench import Bench, Run, warm
from loadtest.tally import spread


def startup(bench: Bench, starts: int) -> Iterator[Run]:
    """`starts` times: seconds to ready, seconds to answer the first request, memory when ready. No load."""
    ready_s, first_s, ready_mib, peak_mib = [], [], [], []
    for _ in range(starts):
        with bench.gateway() as gateway:
            ready_s.append(gateway.ready_s)
            usage = gateway.usage()
            started_s = time.perf_counter()
            warm(gateway, bench.requests(gateway, bench.single()))
            first_s.append(time.perf_counter() - started_s)
            ready_mib.append(usage.rss_mib)
            peak_mib.append(gateway.usage().peak_rss_mib)
    yield {
        "starts": starts,
        "ready_s": spread(ready_s),
        "first_answer_s": spread(first_s),
        "rss_when_ready_mib": spread(ready_mib),
        "peak_rss_mib": spread(peak_mib),
    }
