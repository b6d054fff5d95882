"""Which aims are missed and what was tried to mend that, in words that follow from the report."""

from collections.abc import Sequence

from training.evaluate.adapters.aims import MISSED, NOT_YET, REACHED
from training.evaluate.adapters.findings import Spread
from training.evaluate.experts.aims import MOST_LOST, is_reached
from training.evaluate.experts.findings import Findings
from training.evaluate.experts.grid import CLIPTEX, FT, RATES, SCHEDULE, Recipe, rate_label, tried_with
from training.evaluate.experts.measures import CALIBRATED, LINEAR_PROBES, probe_title


def reason_sentences(findings: Findings) -> list[str]:
    """For every backbone whether its aims are reached; where not, on what, and which of what was tried mends it."""
    lines = []
    for tower in findings.report.towers:
        reached = is_reached(findings, tower)
        if reached is None:
            lines.append(f"`{tower}`: not every aim is measured yet, by two seeds at least.")
        elif reached:
            doubt = ", what is known without examples within doubt" if _is_doubted(findings, tower) else ""
            lines.append(f"`{tower}`: every aim is {REACHED}{doubt}.")
        else:
            lines.append(f"`{tower}`: {_missed(findings, tower)}")
    return lines


def _is_doubted(findings: Findings, tower: str) -> bool:
    kept = [findings.kept(tower, CLIPTEX.label, FT.label, search=search) for search in (False, True)]
    return any(each is not None and each.low is not None and each.low < -MOST_LOST for each in kept)


def _missed(findings: Findings, tower: str) -> str:
    short = [probe for probe in LINEAR_PROBES if not _is_above(findings, tower, CLIPTEX, probe)]
    forgot = [
        what
        for search, what in ((False, "zero-shot accuracy"), (True, "recall at 1"))
        if (kept := findings.kept(tower, CLIPTEX.label, FT.label, search=search)) is not None and kept.mean < -MOST_LOST
    ]
    if not short:
        return f"the dense tasks are {REACHED}, {' and '.join(forgot)} {MISSED}."
    also = f"; {' and '.join(forgot)} {MISSED} as well" if forgot else ""
    mends = [f"{probe_title(probe)} ({_mended(findings, tower, probe)})" for probe in short]
    return f"{MISSED} on {'; '.join(mends)}{also}."


def _mended(findings: Findings, tower: str, probe: str) -> str:
    """Which of what was tried is above its own baseline there, of that which was measured."""
    planned = tried_with(tower, findings.report.towers)
    tried = [each for each in planned if (gain := _tried_gain(findings, tower, each, probe)) and gain.low is not None]
    if not tried:
        return f"what else was planned is {NOT_YET}"
    mended = [each.words for each in tried if _is_above(findings, tower, each, probe)]
    if mended:
        return f"reached with {_listed(mended)}"
    gains = [gain for each in tried if (gain := _tried_gain(findings, tower, each, probe)) is not None]
    fewest, ahead = min(gain.n for gain in gains), sum(gain.mean > 0 for gain in gains)
    return (
        f"by none of the {len(tried)} other ways that were tried beyond the interval of their {fewest} seeds; "
        f"ahead on average: {ahead}"
    )


def _tried_gain(findings: Findings, tower: str, recipe: Recipe, probe: str) -> Spread | None:
    return findings.gain(tower, recipe.label, recipe.against, probe)


def _listed(words: Sequence[str]) -> str:
    return "; with ".join(words)


def _is_above(findings: Findings, tower: str, recipe: Recipe, probe: str) -> bool:
    gain = _tried_gain(findings, tower, recipe, probe)
    return gain is not None and gain.is_above


def tried_sentences(findings: Findings) -> list[str]:
    """What each deviation changes on the dense tasks, beside CLIPTeX as it is, and what it costs."""
    towers = findings.report.towers
    return [
        f"`{tower}`, {each.words} (`{each.label}`): {_tried(findings, tower, each)}"
        for tower in towers
        for each in tried_with(tower, towers)
    ]


def _tried(findings: Findings, tower: str, recipe: Recipe) -> str:
    gains = [findings.gain(tower, recipe.label, recipe.against, probe) for probe in LINEAR_PROBES]
    judged = [gain for gain in gains if gain is not None and gain.low is not None]
    if not judged:
        return f"{NOT_YET}."
    surely, leaning = sum(gain.is_above for gain in judged), sum(gain.mean > 0 for gain in judged)
    usual = [findings.gain(tower, recipe.label, CLIPTEX.label, probe) for probe in LINEAR_PROBES]
    beside = [gain for gain in usual if gain is not None]
    better = sum(gain.mean > 0 for gain in beside)
    over = f"; its mean is above that of CLIPTeX as it is on {better} of {len(beside)}" if beside else ""
    above = f"above its own CLIP-FT on {leaning} of {len(judged)} dense tasks"
    return f"{above}, on {surely} beyond the seeds' interval{over}."


def rate_sentences(findings: Findings) -> list[str]:
    """By backbone which peak rate serves CLIP-FT best on calibrate rows, and whether it is the study's."""
    lines = []
    for tower in findings.report.towers:
        found = {rate: findings.mean(tower, rate_label(rate), CALIBRATED) for rate in RATES}
        known = {rate: each.mean for rate, each in found.items() if each is not None}
        if len(known) < 2:
            lines.append(f"`{tower}`: {NOT_YET}.")
            continue
        said = ", ".join(f"{100 * recall:.1f} at {rate:g}" for rate, recall in known.items())
        best = max(known, key=lambda rate: known[rate])
        same = "which the study has" if best == SCHEDULE.peak_lr else f"while the study has {SCHEDULE.peak_lr:g}"
        lines.append(f"`{tower}`: {said}; the best is {best:g}, {same} (n = 1).")
    return lines
