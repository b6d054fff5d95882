"""What retrieval is held to, each aim beside what was found; every word follows from the report."""

from dataclasses import dataclass

from training.evaluate.markdown import points
from training.evaluate.retrieval.pairs import WORDS
from training.evaluate.retrieval.report import DirectionReport, K, RetrievalReport, SetReport
from training.evaluate.statistics import Score

MOST_LOST = 0.005
MOST_GFLOPS = 0.6


@dataclass(frozen=True)
class Verdict:
    """Both aims on one set and kind of query."""

    found: SetReport
    direction: DirectionReport

    @property
    def beats_best(self) -> bool:
        """Whether the committee finds more than the best single backbone does."""
        return self.direction.gain("nlc", "best").value > 0

    @property
    def surely(self) -> bool:
        """Whether that gain is above 0 in 97.5 % of the resamples."""
        return self.direction.gain("nlc", "best").low > 0

    @property
    def loses_little(self) -> bool:
        return self.direction.gain("cascade", "nlc").value >= -MOST_LOST

    @property
    def is_cheap(self) -> bool:
        return self.direction.committees["cascade"].gflops_share <= MOST_GFLOPS

    @property
    def cascade_holds(self) -> bool:
        return self.loses_little and self.is_cheap


def verdicts(report: RetrievalReport) -> tuple[Verdict, ...]:
    return tuple(Verdict(found, direction) for found in report.sets for direction in found.directions)


def title(found: SetReport) -> str:
    """A set in a few words."""
    return f"{found.source} among {found.directions[0].items:,}" if found.synthetic else found.source


def headline_sentences(report: RetrievalReport) -> str:
    """Which aims are reached and which are missed: one sentence over all, one for each set and kind of query."""
    found = verdicts(report)
    best, cascade = sum(each.beats_best for each in found), sum(each.cascade_holds for each in found)
    surely = sum(each.beats_best and each.surely for each in found)
    return "\n".join(
        [
            f"- **More than the best single backbone finds** (recall at {K}; the best in hindsight, set by set): "
            f"reached in {best} of {len(found)} cases, {surely} of them beyond doubt (95% interval above 0).",
            f"- **The cascade within {points(MOST_LOST)} points of the committee for at most {100 * MOST_GFLOPS:.0f} % "
            f"of its GFLOPs**: reached in {cascade} of {len(found)} cases.",
            *(f"- {_sentence(each)}" for each in found),
            *(f"- {_together(each)}" for each in report.sets),
        ]
    )


def _sentence(verdict: Verdict) -> str:
    direction = verdict.direction
    nlc, cascade = direction.committees["nlc"], direction.committees["cascade"]
    best = direction.best[K]
    over = direction.gain("nlc", "best")
    held = "reached" if verdict.beats_best else "**missed**"
    held += ", within doubt" if verdict.beats_best and not verdict.surely else ""
    return (
        f"{title(verdict.found)}, {WORDS[direction.kind]}: the committee finds {points(nlc.recall[K].value)} %, "
        f"`{best}` {points(direction.backbones[best].recall[K].value)} % ({difference(over)} points; {held}). The "
        f"cascade finds {points(cascade.recall[K].value)} % ({difference(direction.gain('cascade', 'nlc'))}) for "
        f"{points(cascade.gflops_share)} % of the GFLOPs, {100 * direction.escalated.value:.0f} % of its queries "
        f"escalated ({_why(verdict)})."
    )


def _together(found: SetReport) -> str:
    """Both kinds of query, as prefix and thresholds were chosen: what counts there is the mean of the two."""
    lost = sum(each.gain("cascade", "nlc").value for each in found.directions) / len(found.directions)
    gflops = sum(each.committees["cascade"].gflops_share for each in found.directions) / len(found.directions)
    return (
        f"{title(found)}, mean over both kinds of query: the cascade is {100 * lost:+.1f} points from the committee "
        f"for {points(gflops)} % of its GFLOPs."
    )


def _why(verdict: Verdict) -> str:
    if verdict.cascade_holds:
        return "reached"
    reasons = [
        *([] if verdict.loses_little else ["it loses more"]),
        *([] if verdict.is_cheap else ["it costs more"]),
    ]
    return f"**missed**: {' and '.join(reasons)}"


def difference(score: Score) -> str:
    """A difference of two shares in points, with its interval."""
    return f"{100 * score.value:+.1f} [{100 * score.low:+.1f}, {100 * score.high:+.1f}]"
