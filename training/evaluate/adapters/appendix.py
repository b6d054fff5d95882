"""Smaller sections of the adapters page: single sources, rates, times, features, machines."""

from collections.abc import Mapping, Sequence

from training.adapters.settings import RESERVED
from training.evaluate.adapters.aims import NOT_YET
from training.evaluate.adapters.branches import Branches
from training.evaluate.adapters.findings import spread
from training.evaluate.adapters.report import AdaptersReport
from training.evaluate.markdown import markdown_table, points


def cell(values: Sequence[float]) -> str:
    """Percent with half of the interval, and how many seeds."""
    found = spread(values)
    reach = "" if found.low is None or found.high is None else f" ± {points(found.high - found.mean)}"
    return f"{points(found.mean)}{reach} ({found.n})"


def single_sources(report: AdaptersReport) -> str:
    """Adapters fitted on one reserved source and tested on it."""
    found = [each for each in report.groups if each.fitted in RESERVED and each.fitted in each.scores]
    if not found:
        return f"{NOT_YET.capitalize()}."
    sources = sorted({each.fitted for each in found})
    by_place = {(each.label, each.fitted): each.scores[each.fitted] for each in found}
    rows = []
    for label in dict.fromkeys(each.label for each in found):
        scores = [by_place.get((label, source)) for source in sources]
        cells = [
            NOT_YET if each is None else cell(each[report.sources[source].metric])
            for each, source in zip(scores, sources, strict=True)
        ]
        rows.append([f"`{label}`", *cells])
    return markdown_table(["design", *sources], rows)


def rates_table(report: AdaptersReport) -> str:
    """Losses on calibrate rows by rate: how the rates were chosen."""
    if not report.tried:
        return f"{NOT_YET.capitalize()}."
    rates = sorted({rate for each in report.tried for rate, _ in each.rates})
    rows = []
    for each in report.tried:
        losses = dict(each.rates)
        cells = [_loss(losses[rate], rate == each.best) if rate in losses else "" for rate in rates]
        rows.append([f"`{each.label}`", each.fitted, str(each.epochs), *cells, "yes" if each.at_edge else ""])
    note = (
        "Loss on the calibrate rows of what a design is fitted on, by a seed that is used for nothing else; the lowest "
        "is chosen. No test row has a say in it. Designs that are missing here take the rate of what they vary."
    )
    header = ["design", "fitted on", "epochs", *(f"{rate:g}" for rate in rates), "at the edge"]
    return f"{note}\n\n{markdown_table(header, rows)}"


def _loss(loss: float | None, chosen: bool) -> str:
    text = "lost" if loss is None else f"{loss:.3f}"
    return f"**{text}**" if chosen else text


def form_table(seconds: Mapping[str, float]) -> str:
    """Seconds of every form of the ensemble, and relative to one branch."""
    one = seconds["One-branch"]
    rows = [[form, f"{each:.2e}", f"{each / one:.2f}"] for form, each in seconds.items()]
    return markdown_table(["form", "seconds", "relative"], rows)


def timing_table(report: AdaptersReport) -> str:
    """Table 7."""
    timing = report.timing
    if timing is None:
        return f"{NOT_YET.capitalize()}."
    note = (
        f"{timing.machine}, {timing.threads} threads: fastest of {timing.runs} forward passes of {timing.batch} inputs "
        f"of {timing.tokens} positions, width {timing.width}. Served towers do not pay it: there it is merged."
    )
    return f"{note}\n\n{form_table(timing.seconds)}"


def features_section(report: AdaptersReport) -> str:
    """Whether adapters pull pictures and captions together, in figures."""
    if report.features is None:
        return f"{NOT_YET.capitalize()}."
    clouds = report.features.clouds
    rows = [[f"`{each.label}`", f"{each.cosine:.3f}", f"{each.gap:.3f}"] for each in clouds]
    note = (
        f"{len(clouds[0].pictures)} test pictures of {report.features.source} and a caption of each; fits of seed 0 "
        "(n = 1)."
    )
    header = ["design", "mean cosine of a picture and its caption", "distance between both means"]
    return f"{note}\n\n{markdown_table(header, rows)}{_branches_note(report.features.branches)}"


def _branches_note(found: Branches | None) -> str:
    if found is None:
        return ""
    shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in found.together.items())
    return (
        "\n\n(b) What the three scales of `msa` make of the same pictures in the last block, mean over patches: the "
        f"nearest neighbour of a point is of its own scale for {shares} (33 % if scales said the same). "
        f"The paper draws t-SNE; these are principal axes, which hold {100 * found.explained:.0f} % of the variance."
    )


def machines_table(report: AdaptersReport) -> str:
    """How many units each machine computed, and how long they took there."""
    if not report.machines:
        return f"{NOT_YET.capitalize()}."
    rows = [[machine, str(count)] for machine, count in report.machines.items()]
    return f"Pack {report.pack[:12]}.\n\n{markdown_table(['machine', 'units'], rows)}"
