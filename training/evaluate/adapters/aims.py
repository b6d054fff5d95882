"""What adapter ensembles are held to, and what the paper claims of them, each beside what was found; every word follows
from the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from training.adapters.settings import Setting
from training.evaluate.adapters.findings import SETTINGS, Findings, Spread
from training.evaluate.adapters.plans import matched_label

NOT_YET: Final = "not measured yet"
ENSEMBLES: Final = ("both-bottleneck-ensemble", "both-pyramid", "msa", "msa-lo")
"""Designs that are ensembles, and for which there is a single bottleneck of equal size."""
MOST_BEHIND: Final = 0.02
MOST_ADDED: Final = 0.05

ALL_SETTINGS: Final = (Setting.ADAPTATION, Setting.REGULAR, Setting.ZERO_SHOT)
REACHED, MISSED = "reached", "**missed**"


@dataclass(frozen=True)
class Claim:
    """The paper finds `one` above `other` in `settings`."""

    where: str
    one: str
    other: str
    settings: tuple[Setting, ...] = ALL_SETTINGS


CLAIMS: Final = (
    Claim("figure 4", "clip-adapter", "zero-shot"),
    Claim("figure 4", "both-bottleneck", "clip-adapter"),
    Claim("figure 4", "both-pyramid", "clip-adapter"),
    Claim("figure 4", "both-pyramid", "both-bottleneck-ensemble"),
    Claim("figure 4", "both-pyramid", "att-pyramid", (Setting.ADAPTATION,)),
    Claim("figure 4", "both-pyramid", "ffn-pyramid", (Setting.ADAPTATION,)),
    Claim("figure 4", "both-bottleneck", "att-bottleneck", (Setting.ADAPTATION,)),
    Claim("table 1", "without-msa", "zero-shot"),
    Claim("table 1", "msa", "without-msa"),
    Claim("table 1", "msa-vision", "msa-language"),
    Claim("table 1", "msa-lo", "without-msa"),
    Claim("table 1", "msa", "msa-lo", (Setting.ADAPTATION, Setting.REGULAR)),
    Claim("tables 4 and 6", "msa-lm", "msa-l"),
    Claim("tables 4 and 6", "msa-ls", "msa-l"),
    Claim("tables 4 and 6", "msa", "msa-lm"),
    Claim("tables 4 and 6", "msa", "msa-ls"),
    Claim("figure 1", "ffn-pyramid", "ffn-rb", (Setting.ADAPTATION,)),
    Claim("figure 1", "ffn-pyramid", "ffn-mlp", (Setting.ADAPTATION,)),
    Claim("figure 1", "ffn-rb", "on-top", (Setting.ADAPTATION,)),
    Claim("figure 1", "ffn-pyramid-n4", "ffn-pyramid-n1", (Setting.ADAPTATION,)),
    Claim("figure 1", "ffn-mlp-n1", "ffn-mlp-n4", (Setting.ADAPTATION,)),
)
"""Orderings that the paper states in words, or that every column of a table shows. It says nothing of chance."""


def difference(found: Spread) -> str:
    """A difference of shares in points, with its interval and seeds."""
    reach = "" if found.low is None or found.high is None else f" [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    return f"{100 * found.mean:+.1f}{reach} (n = {found.n})"


def verdict(found: Spread) -> str:
    """Whether the paper's ordering holds."""
    if found.low is None:
        return "a single seed decides nothing"
    if found.is_above or found.is_below:
        return "holds" if found.is_above else "**does not hold: the order is reversed**"
    return "holds, within doubt" if found.mean > 0 else "does not show: reversed, within doubt"


def best_ensemble(findings: Findings) -> str | None:
    """The ensemble with the lowest loss on calibrate rows in the setting adaptation: no test row has a say in it."""
    fitted = SETTINGS[Setting.ADAPTATION][0]
    losses = {label: findings.calibrate(label, fitted) for label in ENSEMBLES}
    known = {label: loss for label, loss in losses.items() if loss is not None}
    return min(known, key=lambda label: known[label]) if known else None


def aim_sentences(findings: Findings) -> list[str]:
    """The aims, one after another."""
    best = best_ensemble(findings)
    chosen = "" if best is None else f" (`{best}`, by the loss on calibrate rows)"
    return [
        f"**The best ensemble{chosen} above CLIP-Adapter, adaptation**: {_above(findings, best, 'clip-adapter')}",
        f"**The same above a single bottleneck of equal size, adaptation**: "
        f"{_above(findings, best, None if best is None else matched_label(best))}",
        f"**MSA-Lo within {100 * MOST_BEHIND:.0f} points of MSA, adaptation**: {_close(findings)}",
        f"**MSA-Lo adds at most {100 * MOST_ADDED:.0f} % to ViT-B/16**: {_small(findings)}",
    ]


def _above(findings: Findings, one: str | None, other: str | None) -> str:
    found = None if one is None or other is None else findings.gain(one, other, Setting.ADAPTATION)
    if found is None or found.low is None:
        return f"{NOT_YET}."
    held = REACHED if found.is_above else MISSED
    return f"{difference(found)} points over `{other}`: {held}."


def _close(findings: Findings) -> str:
    found = findings.gain("msa-lo", "msa", Setting.ADAPTATION)
    if found is None or found.low is None:
        return f"{NOT_YET}."
    if found.mean < -MOST_BEHIND:
        return f"{difference(found)} points: {MISSED}."
    doubt = "" if found.low >= -MOST_BEHIND else ", within doubt"
    return f"{difference(found)} points: {REACHED}{doubt}."


def _small(findings: Findings) -> str:
    share = findings.report.paper_share
    return f"{100 * share:.1f} % by count: {REACHED if share <= MOST_ADDED else MISSED}."


def ensemble_sentences(findings: Findings) -> list[str]:
    """Every ensemble against both baselines, in every setting that has figures."""
    lines = []
    for setting in ALL_SETTINGS:
        for label in ENSEMBLES:
            over = [
                f"{difference(found)} over `{other}`"
                for other in ("clip-adapter", matched_label(label))
                if (found := findings.gain(label, other, setting)) is not None
            ]
            if over:
                lines.append(f"{setting}, `{label}`: {', '.join(over)} points.")
    return lines


def claim_rows(findings: Findings) -> list[list[str]]:
    """Where the paper says it, what it says, and by setting what was found."""
    rows = []
    for claim in CLAIMS:
        cells = [_found(findings, claim, setting) for setting in ALL_SETTINGS]
        rows.append([claim.where, f"`{claim.one}` above `{claim.other}`", *cells])
    return rows


def _found(findings: Findings, claim: Claim, setting: Setting) -> str:
    if setting not in claim.settings:
        return ""
    found = findings.gain(claim.one, claim.other, setting)
    return NOT_YET if found is None else f"{difference(found)}: {verdict(found)}"


def claim_sentences(findings: Findings) -> list[str]:
    """How many of the paper's orderings hold, by setting."""
    lines = []
    for setting in ALL_SETTINGS:
        asked = [claim for claim in CLAIMS if setting in claim.settings]
        gains = [found for each in asked if (found := findings.gain(each.one, each.other, setting)) is not None]
        lines.append(f"{setting}: {_counted(gains, len(asked))}")
    return lines


def _counted(gains: Sequence[Spread], asked: int) -> str:
    judged = [found for found in gains if found.low is not None]
    if not judged:
        return f"{NOT_YET} ({asked} orderings)."
    surely, reversed_ = sum(found.is_above for found in judged), sum(found.is_below for found in judged)
    leaning = sum(found.mean > 0 and not found.is_above for found in judged)
    left = len(judged) - surely - reversed_ - leaning
    rest = "" if len(judged) == asked else f"; {asked - len(judged)} of {asked} are {NOT_YET}"
    return (
        f"of {len(judged)} orderings that were measured {surely} hold beyond the seeds' interval, {leaning} lean the "
        f"paper's way, {left} the other, and {reversed_} are reversed beyond it{rest}."
    )
