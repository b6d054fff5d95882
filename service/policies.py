"""Words that callers see, so they are stable: how a request is answered, why its answer ended, what jobs make."""

from __future__ import annotations

from typing import Final, Literal

Policy = Literal["cascade", "nlc", "mean", "mean_logit", "single"]
ExitReason = Literal["confident", "last_stage", "deadline", "budget", "degraded"]
ArtefactKind = Literal["controller", "cascade"]
JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Votes = Literal["by_default", "when_asked"]
"""Whether a backbone is a member of the committee."""
LogLevel = Literal["debug", "info", "warning", "error"]

FieldType = Literal["string", "integer", "number", "boolean"]
Metric = Literal["cosine", "ip"]
"""`cosine`: every backbone's part of an item has length one. `ip`: ready embeddings keep the length they come with."""
Modality = Literal["image", "text", "unknown"]
"""What an embedding is of; a ready one need not say."""
QueryKind = Literal["text", "image"]
"""Of which there is a controller each."""
GalleryState = Literal["loading", "ready", "failed"]
ItemChange = Literal["created", "updated", "unchanged"]
SearchPolicy = Literal["single", "mean", "nlc", "cascade"]
SearchExit = Literal["full", "confident", "escalated", "degraded"]

FALLBACK_POLICY: Final[Policy] = "mean"
"""For labels that nothing was fitted for, where no generic controller is shipped."""
