"""The adapters report as Markdown. Percentages and points throughout; everything comes from the report alone."""

from collections.abc import Sequence
from typing import Final

from training.adapters.settings import RESERVED, Setting
from training.evaluate.adapters.aims import (
    NOT_YET,
    aim_sentences,
    claim_rows,
    claim_sentences,
    difference,
    ensemble_sentences,
)
from training.evaluate.adapters.appendix import (
    cell,
    features_section,
    machines_table,
    rates_table,
    single_sources,
    timing_table,
)
from training.evaluate.adapters.findings import SETTINGS, SHORT, SIZES, Findings, Spread
from training.evaluate.adapters.grid import LONG_EPOCHS
from training.evaluate.adapters.report import AdaptersReport, Group
from training.evaluate.markdown import markdown_table, points

REPORT: Final = "adapters.json"
SETTING_TITLES: Final = {
    Setting.ADAPTATION: "Adaptation: fitted and tested on sources that the backbone never saw",
    Setting.REGULAR: "Regular: fitted and tested on sources of the backbone's own training",
    Setting.ZERO_SHOT: "Zero-shot: fitted on sources of the backbone's training, tested on others",
    Setting.RETURN: "Return: fitted on new sources, tested on those of the backbone's training",
}
SCALES: Final = {
    "MSA": ("msa-l", "msa-lm", "msa-ls", "msa"),
    "MSA-Lo": ("msa-lo-l", "msa-lo-lm", "msa-lo-ls", "msa-lo"),
}
TOWERS: Final = ("zero-shot", "without-msa", "msa-vision", "msa-language", "msa", "msa-lo")
READINGS: Final = (("msa-literal", "msa"), ("msa-lo-literal", "msa-lo"))
RANKS: Final = {f"msa-lo-r{rank}": str(rank) for rank in (2, 4, 8)} | {
    "msa-lo": "16",
    "msa-lo-r32": "32",
    "msa-lo-separate": "16, no factor shared",
}
RECALLS: Final = tuple(f"{kind} R@{k}" for kind in ("text", "image") for k in (1, 5, 10))
BASELINES: Final = ("zero-shot", "clip-adapter")
DIRECTIONS: Final = {"text": "text to image", "image": "image to text"}


def tables(report: AdaptersReport, pictures: Sequence[str]) -> str:
    """Everything, as one document. `pictures`: names of the plots that there are."""
    findings, long = Findings(report), Findings(report, LONG_EPOCHS)
    parts = ["# Adapter ensembles", _about(report), "## Aims", _bullets(aim_sentences(findings)), sources_table(report)]
    for setting, title in SETTING_TITLES.items():
        parts += [f"## {title}", *setting_section(findings, setting)]
    parts += ["## Scales (tables 4 and 6)", scales_section(findings)]
    parts += ["## Towers (table 1)", designs_table(findings, TOWERS)]
    parts += ["## Accuracy against added parameters (figures 4 and 5)", _shown("shares", pictures)]
    parts += ["## Units at equal numbers of parameters (figure 1)", sizes_table(findings), *_maybe("units", pictures)]
    parts += ["## Ranks of MSA-Lo", ranks_table(findings)]
    parts += ["## Masks: scores times zero, or minus infinity", masks_table(findings)]
    parts += [f"## {LONG_EPOCHS} epochs in place of {SHORT}", long_section(findings, long)]
    parts += ["## One source at a time", single_sources(report)]
    parts += ["## Chosen rates", rates_table(report)]
    parts += ["## Time of the low-rank ensemble (table 7)", timing_table(report)]
    parts += [
        "## Features (figure 6)",
        features_section(report),
        *_maybe("features", pictures),
        *_maybe("scales", pictures),
    ]
    parts += ["## Where the paper's ordering holds", _bullets(claim_sentences(findings)), claims_table(findings)]
    parts += ["## Where the figures come from", machines_table(report)]
    return "\n\n".join(parts) + "\n"


def headline(report: AdaptersReport) -> str:
    """What a first page says."""
    findings = Findings(report)
    return "\n\n".join([_bullets(aim_sentences(findings)), designs_table(findings, TOWERS)])


def _about(report: AdaptersReport) -> str:
    return (
        f"Written by `python -m training evaluate --suite adapters` from [{REPORT}]({REPORT}): the frozen backbone "
        f"`{report.backbone}`, {sum(report.machines.values())} fits ({_where(report)}). Percent; n is the number of "
        "seeds, in brackets the 95% t interval over seeds; differences are paired by seed. Intervals say what other "
        "seeds would give on the same test rows, not what other test rows would. A source is summed up by recall at 1 "
        "of images by text where captions tell its pictures apart, else by balanced accuracy; a setting by the mean "
        f"over its sources. The paper's {SHORT} epochs, unless something else is said."
    )


def _where(report: AdaptersReport) -> str:
    return "; ".join(f"{count} on {machine}" for machine, count in report.machines.items()) or NOT_YET


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _maybe(name: str, pictures: Sequence[str]) -> list[str]:
    return [f"![{name}]({name}.png)"] if name in pictures else []


def _shown(name: str, pictures: Sequence[str]) -> str:
    return "".join(_maybe(name, pictures)) or f"{NOT_YET.capitalize()}."


def shown(found: Spread | None) -> str:
    """A mean in percent with its interval and seeds."""
    if found is None:
        return NOT_YET
    reach = "" if found.low is None or found.high is None else f" [{points(found.low)}, {points(found.high)}]"
    return f"{points(found.mean)}{reach} (n = {found.n})"


def sources_table(report: AdaptersReport) -> str:
    """What is tested."""
    rows = [
        [
            source,
            "new" if source in RESERVED else "seen",
            f"{each.pictures:,}",
            f"{each.captions:,}",
            str(each.classes),
            f"recall at 1, {DIRECTIONS['text']}" if each.metric == "text R@1" else "balanced accuracy",
        ]
        for source, each in report.sources.items()
    ]
    return markdown_table(["source", "to the backbone", "pictures", "captions", "classes", "summed up by"], rows)


def setting_section(findings: Findings, setting: Setting) -> list[str]:
    """One setting: what it comes to, source by source, and recall at every k."""
    labels = findings.labels(setting)
    if not labels:
        return [f"{NOT_YET.capitalize()}."]
    lines = [line for line in ensemble_sentences(findings) if line.startswith(f"{setting},")]
    sources = findings.sources(setting)
    return [
        *([_bullets(lines)] if lines else []),
        _summary(findings, setting, labels),
        "By source:",
        _by_source(findings, setting, labels, sources),
        *_searches(findings, setting, labels, [each for each in sources if findings.report.sources[each].is_search]),
        *_classes(findings, setting, labels, [each for each in sources if findings.report.sources[each].classes]),
    ]


def _summary(findings: Findings, setting: Setting, labels: Sequence[str]) -> str:
    rows = []
    for label in labels:
        group = _group(findings, label, setting)
        over = {other: findings.gain(label, other, setting) for other in BASELINES if other != label}
        gains = [difference(found) if (found := over.get(other)) else "" for other in BASELINES]
        mean = shown(findings.mean(label, setting))
        rows.append([f"`{label}`", f"{group.added:,}", points(group.share), mean, *gains, _lost(group)])
    header = ["design", "added", "% of weights", "mean", "over zero-shot", "over CLIP-Adapter", "fits lost"]
    return markdown_table(header, rows)


def _lost(group: Group) -> str:
    return str(group.lost) if group.lost else ""


def _group(findings: Findings, label: str, setting: Setting) -> Group:
    group = findings.group(label, SETTINGS[setting][0])
    if group is None:
        raise ValueError(f"{label} has no figures")
    return group


def _by_source(findings: Findings, setting: Setting, labels: Sequence[str], sources: Sequence[str]) -> str:
    rows = []
    for label in labels:
        scores = _group(findings, label, setting).scores
        rows.append(
            [f"`{label}`"] + [cell(scores[source][findings.report.sources[source].metric]) for source in sources]
        )
    return markdown_table(["design", *sources], rows)


def _searches(findings: Findings, setting: Setting, labels: Sequence[str], sources: Sequence[str]) -> list[str]:
    if not sources:
        return []
    rows = [
        [f"`{label}`", *(_over(_group(findings, label, setting), sources, metric) for metric in RECALLS)]
        for label in labels
    ]
    header = ["design", *(f"{DIRECTIONS[metric.split()[0]]} {metric.split()[1]}" for metric in RECALLS)]
    return [f"Recall, mean over {', '.join(sources)}:", markdown_table(header, rows)]


def _classes(findings: Findings, setting: Setting, labels: Sequence[str], sources: Sequence[str]) -> list[str]:
    if not sources:
        return []
    rows = []
    for label in labels:
        group = _group(findings, label, setting)
        rows.append([f"`{label}`", *(_over(group, sources, metric) for metric in ("balanced", "top1"))])
    title = f"Zero-shot accuracy over classes, mean over {', '.join(sources)}:"
    return [title, markdown_table(["design", "balanced", "plain"], rows)]


def _over(group: Group, sources: Sequence[str], metric: str) -> str:
    found = [[group.scores[source][metric][place] for source in sources] for place in range(len(group.seeds))]
    return cell([sum(values) / len(values) for values in found])


def designs_table(findings: Findings, labels: Sequence[str]) -> str:
    """Designs by setting."""
    settings = (Setting.REGULAR, Setting.ZERO_SHOT, Setting.ADAPTATION)
    rows = [[f"`{label}`", *(shown(findings.mean(label, setting)) for setting in settings)] for label in labels]
    return markdown_table(["design", *settings], rows)


def scales_section(findings: Findings) -> str:
    """Tables 4 and 6: scales taken away, in the zero-shot setting as there, and in adaptation."""
    rows = []
    for kind, labels in SCALES.items():
        for setting in (Setting.ZERO_SHOT, Setting.ADAPTATION):
            rows.append([kind, setting, *(shown(findings.mean(label, setting)) for label in labels)])
    return markdown_table(["design", "setting", "L", "L + M", "L + S", "L + M + S"], rows)


def sizes_table(findings: Findings) -> str:
    """Figure 1, in the setting adaptation."""
    found = findings.sizes()
    if not found:
        return f"{NOT_YET.capitalize()}."
    rows = [[f"`{base}`", *(shown(sizes.get(n)) for n in SIZES)] for base, sizes in found.items()]
    return markdown_table(["adaptation", *(f"N = {n}" for n in SIZES)], rows)


def ranks_table(findings: Findings) -> str:
    """MSA-Lo by rank, and with no factor shared, in adaptation."""
    setting = Setting.ADAPTATION
    rows = []
    for label, words in RANKS.items():
        group = findings.group(label, SETTINGS[setting][0])
        share = "" if group is None else points(group.share)
        gain = None if label == "msa-lo" else findings.gain(label, "msa-lo", setting)
        rows.append([words, share, shown(findings.mean(label, setting)), difference(gain) if gain else ""])
    return markdown_table(["rank", "% of weights", "adaptation", "over rank 16"], rows)


def masks_table(findings: Findings) -> str:
    """Equation 9 to the letter, beside minus infinity, in adaptation."""
    setting = Setting.ADAPTATION
    rows = []
    for literal, usual in READINGS:
        gain = findings.gain(literal, usual, setting)
        means = [shown(findings.mean(label, setting)) for label in (usual, literal)]
        rows.append([f"`{usual}`", *means, NOT_YET if gain is None else difference(gain)])
    return markdown_table(["adaptation", "minus infinity", "times zero", "difference"], rows)


def long_section(findings: Findings, long: Findings) -> str:
    """What more steps change."""
    labels = [label for label in long.labels(Setting.ADAPTATION) if label != "zero-shot"]
    if not labels:
        return f"{NOT_YET.capitalize()}."
    settings = (Setting.ADAPTATION, Setting.ZERO_SHOT)
    rows = [
        [f"`{label}`", *(shown(each.mean(label, setting)) for setting in settings for each in (findings, long))]
        for label in labels
    ]
    header = ["design", *(f"{setting}, {each.epochs} epochs" for setting in settings for each in (findings, long))]
    return markdown_table(header, rows)


def claims_table(findings: Findings) -> str:
    """Every ordering of the paper."""
    settings = (Setting.ADAPTATION, Setting.REGULAR, Setting.ZERO_SHOT)
    return markdown_table(["in the paper", "ordering", *settings], claim_rows(findings))
