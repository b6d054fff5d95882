"""How the learning rate of a run goes up and down."""

import math


def warm_cosine(step: int, total_steps: int, *, peak: float, warmup_steps: int, floor: float = 0.0) -> float:
    """Linear warm-up to `peak` (over a quarter of all steps at most), then a cosine to its share `floor` at the end."""
    warmup = min(warmup_steps, max(1, total_steps // 4))
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, total_steps - warmup)
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)))
