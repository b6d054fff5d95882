"""The retrieval report as Markdown. Percentages and points throughout; everything comes from the report alone."""

from training.evaluate.markdown import markdown_table, percent, points
from training.evaluate.retrieval.aims import difference, headline_sentences, title, verdicts
from training.evaluate.retrieval.pairs import WORDS
from training.evaluate.retrieval.report import COMPARISONS, RECALL_AT, Found, K, RetrievalReport, SetReport

REPORT = "retrieval.json"
PICTURES = {
    "frontier": "Recall at 10 against GFLOPs, over all thresholds of the cascade",
    "weights": "Whom the controllers turn to",
}
NAMES = {
    "mean": "mean of logits",
    "mean_cosine": "mean of cosines",
    "nlc": "committee (`nlc`)",
    "cascade": "`cascade`",
    "best": "best backbone",
}


def tables(report: RetrievalReport) -> str:
    """Everything, as one document."""
    parts = [
        "# Searching galleries with the committee",
        f"Written by `python -m training evaluate --suite retrieval` ({report.machine}) from [{REPORT}]({REPORT}): "
        f"{len(report.backbones)} backbones, `{report.shipped.name}`. Percent; in brackets {report.interval}.",
        headline_sentences(report),
        _legend(report),
        f"![{PICTURES['frontier']}](frontier.png)",
    ]
    for found in report.sets:
        parts += [f"## {title(found)}", _about(found), recall_table(found), gain_table(found)]
    if report.realism:
        parts += ["## How hard the synthetic items are", realism_table(report)]
    parts += [f"## {PICTURES['weights']}", weight_table(report), f"![{PICTURES['weights']}](weights.png)"]
    parts += ["## What is shipped", shipped_table(report), folding(report)]
    return "\n\n".join(parts) + "\n"


def _legend(report: RetrievalReport) -> str:
    prefix = ", ".join(f"`{name}`" for name in report.shipped.prefix)
    return (
        "A caption looks for its picture among all pictures of the set (text to image), a picture for any of its "
        "captions among all captions (image to text); ties count against it. GFLOPs are those of embedding the query. "
        "The mean of logits weighs every backbone by its logit scale over its temperature, the mean of cosines weighs "
        "all alike, the committee weighs them by the shipped controllers, query by query. The cascade asks "
        f"{prefix} first, and everybody where these are not sure enough."
    )


def _about(found: SetReport) -> str:
    own = f"{found.pictures:,} pictures, {found.captions:,} captions; {found.novelty}."
    if not found.synthetic:
        return own
    return (
        f"{own} Every gallery holds {found.directions[0].items:,} items, the set's own and synthetic ones: mixtures of "
        "two real items of the source's other splits and a little noise, the same two for every backbone."
    )


def recall_table(found: SetReport) -> str:
    """Every way to search, both kinds of query."""
    rows = []
    first = found.directions[0]
    for name in [*first.backbones, *first.committees]:
        shown = [each.backbones[name] if name in each.backbones else each.committees[name] for each in found.directions]
        cells = [cell for each in shown for cell in _cells(each)]
        rows.append([f"`{name}`" if name in first.backbones else NAMES[name], *cells])
    header = [""]
    for each in found.directions:
        header += [f"{WORDS[each.kind]} R@{k}" for k in RECALL_AT] + ["GFLOPs (share)"]
    return markdown_table(header, rows)


def _cells(found: Found) -> list[str]:
    recalls = [percent(found.recall[k]) for k in RECALL_AT]
    return [*recalls, f"{found.gflops:.3f} ({points(found.gflops_share)} %)"]


def gain_table(found: SetReport) -> str:
    """Differences on the same queries, in points."""
    rows = [
        [
            WORDS[each.kind],
            f"{NAMES[one]} over {NAMES[other]}",
            *(difference(each.gain(one, other, k)) + _whom(other, each.best[k]) for k in RECALL_AT),
        ]
        for each in found.directions
        for one, other in COMPARISONS
    ]
    return markdown_table(["queries", "difference, points", *(f"R@{k}" for k in RECALL_AT)], rows)


def _whom(other: str, best: str) -> str:
    return f" (`{best}`)" if other == "best" else ""


def realism_table(report: RetrievalReport) -> str:
    """Real items beside as many synthetic ones."""
    rows = [
        [each.source, WORDS[each.kind], f"{each.others:,}", points(each.real), points(each.synthetic)]
        for each in report.realism
    ]
    note = (
        f"The committee's recall at {K} where the gallery holds, besides a set's own items, all items of the source's "
        "other splits, and where it holds as many synthetic ones made from these."
    )
    return f"{note}\n\n{markdown_table(['set', 'queries', 'further items', 'real', 'synthetic'], rows)}"


def weight_table(report: RetrievalReport) -> str:
    """Mean share of the score by backbone."""
    rows = [
        [title(found), WORDS[each.kind], *(points(weight) for weight in each.weights.values())]
        for found in report.sets
        if not found.synthetic
        for each in found.directions
    ]
    header = ["set", "queries", *(f"`{name}`" for name in report.backbones)]
    return f"Mean share of a backbone's cosine in the committee's score.\n\n{markdown_table(header, rows)}"


def shipped_table(report: RetrievalReport) -> str:
    """How far up the ladder the controllers came, and what the cascade did where it was chosen."""
    about = report.shipped.about
    rows = []
    for kind, judged in about.controllers.items():
        cascade = about.cascade[kind]
        rows.append(
            [
                WORDS[kind],
                f"{judged.rung}, {judged.strength:g}",
                f"{points(judged.accuracy)} ({points(judged.mean_accuracy)}; {points(judged.best_accuracy)})",
                f"{judged.loss:.3f} ({judged.mean_loss:.3f}; {judged.best_loss:.3f})",
                f"{points(judged.recall)} ({points(judged.mean_recall)})",
                f"{report.shipped.thresholds[kind]:.4f}",
                points(cascade.escalated),
                points(cascade.gflops_share),
                f"{100 * cascade.lost:+.2f} ± {100 * cascade.standard_error:.2f}",
            ]
        )
    sources = ", ".join(
        f"{each.name} ({each.fit_pictures:,} pictures to fit, {each.calibrate_pictures:,} to calibrate)"
        for each in about.sources
    )
    header = ["queries", "rung, strength", "first among the candidates, % (mean of logits; best backbone)"]
    header += [
        "loss, nats (the same)",
        f"R@{K}, % (mean of logits)",
        "threshold",
        "escalated, %",
        "GFLOPs, %",
        f"R@{K} lost, points",
    ]
    note = (
        f"Fitted on {sources}. Accuracy and loss are those of held-out examples of the fit split; recall is of the "
        "calibrate split, as is what the cascade did, whose prefix and thresholds were chosen there."
    )
    return f"{note}\n\n{markdown_table(header, rows)}"


def folding(report: RetrievalReport) -> str:
    return (
        "One inner product with the gateway's folded query vector is the weighted sum of cosines: over all test "
        f"queries and items the largest difference is {report.folding_error:.1e}."
    )


def headline(report: RetrievalReport) -> str:
    """What the first page says: recall at 10 of every set, and which aims are reached."""
    rows = []
    for each in verdicts(report):
        direction = each.direction
        best = direction.best[K]
        cascade = direction.committees["cascade"]
        rows.append(
            [
                title(each.found),
                WORDS[direction.kind],
                f"{points(direction.backbones[best].recall[K].value)} (`{best}`)",
                points(direction.committees["mean"].recall[K].value),
                f"{points(direction.committees['nlc'].recall[K].value)} ({_mark(each.beats_best)})",
                f"{points(cascade.recall[K].value)} for {points(cascade.gflops_share)} % ({_mark(each.cascade_holds)})",
            ]
        )
    header = ["set", "queries", "best backbone", "mean of logits", "committee", "cascade, and its GFLOPs"]
    note = (
        f"Recall at {K}, percent. In parentheses whether the aim is reached: the committee above the best single "
        "backbone; the cascade within half a point of the committee for at most 60 % of its GFLOPs."
    )
    return f"{note}\n\n{markdown_table(header, rows)}"


def _mark(reached: bool) -> str:
    return "reached" if reached else "**missed**"
