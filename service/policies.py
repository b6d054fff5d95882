"""Words that callers see, so they are stable: how a request is answered, why its answer ended, what jobs make."""

from __future__ import annotations

from typing import Final, Literal

Policy = Literal["cascade", "nlc", "mean", "mean_logit", "single"]
ExitReason = Literal["confident", "last_stage", "deadline", "budget", "degraded"]
ArtefactKind = Literal["controller", "cascade"]
JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]

FALLBACK_POLICY: Final[Policy] = "mean"
"""For labels that nothing was fitted for, where no generic controller is shipped."""
