"""How a request is answered, and why its answer ended where it did: words that callers see, so they are stable."""

from __future__ import annotations

from typing import Final, Literal

Policy = Literal["single", "mean", "mean_logit"]
ExitReason = Literal["last_stage", "deadline", "degraded"]

DEFAULT_POLICY: Final[Policy] = "mean"
