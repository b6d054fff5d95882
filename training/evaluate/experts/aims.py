"""What CLIPTeX is held to, and what the paper claims of it, each beside what was found; every word follows from the
report."""

from dataclasses import dataclass
from typing import Final

from training.evaluate.adapters.aims import MISSED, NOT_YET, REACHED, verdict
from training.evaluate.adapters.findings import Spread
from training.evaluate.experts.findings import Findings, gain_shown, rank_correlation, value_shown
from training.evaluate.experts.grid import CLIP, CLIP_OWN, CLIPTEX, FT, ROLES, THREE_LAYERS
from training.evaluate.experts.measures import (
    BY_KIND,
    CLASSIFICATION,
    DEEPLAB,
    DENSE_TASKS,
    LINEAR,
    LINEAR_PROBES,
    PSP,
    SSD,
    dense,
    measure_of,
    probe_title,
)

MOST_LOST: Final = 0.005
"""Half a point of zero-shot accuracy, or of recall."""


@dataclass(frozen=True)
class Claim:
    """The paper finds `one` better than `other` by `probe`; main: for every backbone, else for the one of ablations."""

    where: str
    one: str
    other: str
    probe: str
    main: bool = True


def _main_claims() -> list[Claim]:
    found = []
    for kind in (LINEAR, DEEPLAB, PSP):
        for place in ("scenes", "composites"):
            found.append(Claim("table 1", CLIPTEX.label, FT.label, dense("classes", kind, place)))
        found += [Claim("table 3", CLIPTEX.label, FT.label, dense(task, kind)) for task in ("depth", "normals")]
    # Of its ResNet-50 the table says the opposite of the text.
    found.append(Claim("table 2a", CLIPTEX.label, FT.label, SSD, main=False))
    found += [Claim("table 1", FT.label, CLIP_OWN, dense("classes", kind)) for kind in (DEEPLAB, PSP)]
    found.append(Claim("table 2a", FT.label, CLIP_OWN, SSD))
    return found


def _role_claims() -> list[Claim]:
    """Row by row of table 5: every set of experts above none, on every dense task by the linear probe."""
    return [
        Claim("table 5", recipe.label, FT.label, dense(task, LINEAR), main=False)
        for recipe in (*ROLES, CLIPTEX)
        for task in DENSE_TASKS
    ]


CLAIMS: Final = (
    *_main_claims(),
    *_role_claims(),
    # The light head is better for segmentation, the heavy one for depth and normals.
    Claim("table 6", CLIPTEX.label, THREE_LAYERS.label, dense("classes", LINEAR), main=False),
    Claim("table 6", THREE_LAYERS.label, CLIPTEX.label, dense("depth", LINEAR), main=False),
    Claim("table 6", THREE_LAYERS.label, CLIPTEX.label, dense("normals", LINEAR), main=False),
)
"""Orderings that the paper states in words, or that every row of a table shows. It says nothing of chance."""


def aim_sentences(findings: Findings) -> list[str]:
    """The aims, backbone by backbone."""
    lines = []
    for tower in findings.report.towers:
        for probe in LINEAR_PROBES:
            gain = findings.gain(tower, CLIPTEX.label, FT.label, probe)
            warning = _no_better_than_blind(findings, tower, probe)
            lines.append(f"**CLIPTeX above CLIP-FT, {probe_title(probe)}, `{tower}`**: {_above(gain, probe)}{warning}")
        for search, what in ((False, "zero-shot accuracy"), (True, "recall at 1")):
            kept = findings.kept(tower, CLIPTEX.label, FT.label, search=search)
            lines.append(f"**{what.capitalize()} within {100 * MOST_LOST} points, `{tower}`**: {_kept(kept)}")
    return lines


def _above(gain: Spread | None, probe: str) -> str:
    if gain is None:
        return f"{NOT_YET}."
    measure = measure_of(probe)
    if gain.low is None:
        return f"{gain_shown(gain, measure)} {measure.title}: {verdict(gain)}."
    return f"{gain_shown(gain, measure)} {measure.title}: {REACHED if gain.is_above else MISSED}."


def _no_better_than_blind(findings: Findings, tower: str, probe: str) -> str:
    measure, blind, own = measure_of(probe), findings.blind(probe), findings.mean(tower, CLIPTEX.label, probe)
    if blind is None or own is None or (own.mean > blind if measure.higher else own.mean < blind):
        return ""
    found, usual = value_shown(own.mean, measure), value_shown(blind, measure)
    return f" Yet its {found} is no better than the usual answer, {usual}, which looks at no picture."


def _kept(kept: Spread | None) -> str:
    if kept is None:
        return f"{NOT_YET}."
    points = gain_shown(kept, BY_KIND["zero-shot"])
    if kept.low is None:
        return f"{points} points: {verdict(kept)}."
    if kept.mean < -MOST_LOST:
        return f"{points} points: {MISSED}."
    doubt = "" if kept.low >= -MOST_LOST else ", within doubt"
    return f"{points} points: {REACHED}{doubt}."


def is_reached(findings: Findings, tower: str) -> bool | None:
    """Whether all of a backbone's aims are; null while one of them is not measured."""
    gains = [findings.gain(tower, CLIPTEX.label, FT.label, probe) for probe in LINEAR_PROBES]
    kept = [findings.kept(tower, CLIPTEX.label, FT.label, search=search) for search in (False, True)]
    if any(each is None or each.low is None for each in (*gains, *kept)):
        return None
    above = all(each is not None and each.is_above for each in gains)
    return above and all(each is not None and each.mean >= -MOST_LOST for each in kept)


def claim_rows(findings: Findings) -> list[list[str]]:
    """Where the paper says it, what it says, and by backbone what was found."""
    rows = []
    for claim in CLAIMS:
        cells = [_found(findings, claim, tower) for tower in findings.report.towers]
        rows.append([claim.where, f"`{claim.one}` above `{claim.other}`", probe_title(claim.probe), *cells])
    return rows


def _asked(findings: Findings, claim: Claim, tower: str) -> bool:
    return claim.main or tower == findings.report.towers[0]


def _found(findings: Findings, claim: Claim, tower: str) -> str:
    if not _asked(findings, claim, tower):
        return ""
    gain = findings.gain(tower, claim.one, claim.other, claim.probe)
    return NOT_YET if gain is None else f"{gain_shown(gain, measure_of(claim.probe))}: {verdict(gain)}"


def claim_sentences(findings: Findings) -> list[str]:
    """How many of the paper's orderings hold, by backbone."""
    lines = []
    for tower in findings.report.towers:
        asked = [claim for claim in CLAIMS if _asked(findings, claim, tower)]
        gains = [findings.gain(tower, claim.one, claim.other, claim.probe) for claim in asked]
        judged = [gain for gain in gains if gain is not None and gain.low is not None]
        if not judged:
            lines.append(f"`{tower}`: {NOT_YET} ({len(asked)} orderings).")
            continue
        surely, against = sum(gain.is_above for gain in judged), sum(gain.is_below for gain in judged)
        leaning = sum(gain.mean > 0 and not gain.is_above for gain in judged)
        rest = "" if len(judged) == len(asked) else f"; {len(asked) - len(judged)} are {NOT_YET}"
        lines.append(
            f"`{tower}`: of {len(judged)} orderings that were measured {surely} hold beyond the seeds' interval, "
            f"{leaning} lean the paper's way, {len(judged) - surely - leaning - against} the other, and {against} are "
            f"reversed beyond it{rest}."
        )
    return lines


def transfer_sentences(findings: Findings) -> list[str]:
    """Figure 2: how many classes gain, and whether those that experts see more often gain more."""
    lines, seen = [], seen_shares(findings)
    for tower in findings.report.towers:
        gains = findings.class_gains(tower, CLIPTEX.label, FT.label, dense("classes", LINEAR))
        names = [name for name in gains if name in seen]
        if not names:
            lines.append(f"`{tower}`: {NOT_YET}.")
            continue
        up = sum(gains[name].mean > 0 for name in names)
        rank = rank_correlation([seen[name] for name in names], [gains[name].mean for name in names])
        lines.append(
            f"`{tower}`: the IoU of {up} of {len(names)} classes is above CLIP-FT's on average over seeds; the rank "
            f"correlation between how often the experts see a class and what it gains is {rank:+.2f}."
        )
    return lines


def class_rows(findings: Findings) -> list[list[str]]:
    """By class of the experts how often they see it in each set, and what its IoU gains by backbone (figure 2)."""
    report = findings.report
    gains = {
        tower: findings.class_gains(tower, CLIPTEX.label, FT.label, dense("classes", LINEAR)) for tower in report.towers
    }
    rows = []
    for name in sorted(report.taught[1:], key=lambda each: -seen_shares(findings).get(each, 0.0)):
        seen = [f"{100 * shares[name]:.1f}" for shares in report.frequency.values()]
        found = [gains[tower].get(name) for tower in report.towers]
        rows.append(
            [name, *seen, *(NOT_YET if each is None else gain_shown(each, BY_KIND["classes"]) for each in found)]
        )
    return rows


def seen_shares(findings: Findings) -> dict[str, float]:
    """By class the share of all pictures of the fit on which the experts see it."""
    report = findings.report
    counts = {name: report.sets[name].pictures for name in report.frequency}
    total = sum(counts.values())
    return {
        label: sum(counts[name] * shares[label] for name, shares in report.frequency.items()) / total
        for label in report.taught[1:]
        if total
    }


def since_sentences(findings: Findings) -> list[str]:
    """What fine-tuning changes of what is known without examples, with experts and without."""
    lines = []
    for tower in findings.report.towers:
        for label, name in ((FT.label, "CLIP-FT"), (CLIPTEX.label, "CLIPTeX")):
            named, found = (findings.since(tower, label, CLIP, search=search) for search in (False, True))
            if named is None or found is None:
                lines.append(f"`{tower}`, {name}: {NOT_YET}.")
                continue
            points, recall = (gain_shown(each, BY_KIND["zero-shot"]) for each in (named, found))
            lines.append(f"`{tower}`, {name}: {points} points of zero-shot accuracy, {recall} of recall at 1.")
    return lines


def classification_sentences(findings: Findings) -> list[str]:
    """Table 2b: what a linear layer gains, which the paper finds to be little either way."""
    lines = []
    for tower in findings.report.towers:
        for probe in CLASSIFICATION:
            gain = findings.gain(tower, CLIPTEX.label, FT.label, probe)
            if gain is not None:
                lines.append(f"`{tower}`, {probe_title(probe)}: {gain_shown(gain, measure_of(probe))} over CLIP-FT.")
    return lines or [f"{NOT_YET}."]
