"""The experts report as Markdown. Everything comes from the report alone."""

from collections.abc import Sequence
from typing import Final

from training.evaluate.adapters.aims import NOT_YET
from training.evaluate.experts.aims import (
    aim_sentences,
    claim_rows,
    claim_sentences,
    class_rows,
    classification_sentences,
    since_sentences,
    transfer_sentences,
)
from training.evaluate.experts.findings import RECALLS, Findings, gain_shown, shown, value_shown
from training.evaluate.experts.grid import (
    CLIP,
    CLIP_OWN,
    CLIPTEX,
    FT,
    OWN_SIDE,
    RECIPES,
    ROLES,
    SCHEDULE,
    SIDE,
    THREE_LAYERS,
    tried_with,
)
from training.evaluate.experts.measures import (
    BY_KIND,
    CLASSIFICATION,
    DEEPLAB,
    LINEAR,
    LINEAR_PROBES,
    NAMED,
    PSP,
    SEARCHED,
    SSD,
    dense,
    measure_of,
    probe_title,
)
from training.evaluate.experts.report import ExpertsReport
from training.evaluate.experts.tried import rate_sentences, reason_sentences, tried_sentences
from training.evaluate.markdown import markdown_table

REPORT: Final = "experts.json"
NAMES: Final = {
    CLIP_OWN: f"CLIP at {OWN_SIDE} pixels",
    CLIP: f"CLIP at {SIDE} pixels",
    FT.label: "CLIP-FT",
    CLIPTEX.label: "CLIPTeX",
}
_RATES_NOTE: Final = (
    "Recall at 1 of pictures by text, in percent, by CLIP-FT's peak rate, on rows of the calibrate split, to whose "
    "captions nothing is fitted (a few of their photographs stand behind scenes):"
)
_SINCE_NOTE: Final = (
    "The aim, as the paper's, is to keep what CLIP-FT knows. What fine-tuning itself changes, against the backbone as "
    f"it was, at {SIDE} pixels:"
)
HEADS: Final = (LINEAR, DEEPLAB, PSP)
TEXT_RECALLS, IMAGE_RECALLS = RECALLS[:3], RECALLS[3:]
FEW: Final = (
    dense("classes", LINEAR),
    dense("classes", PSP),
    SSD,
    dense("depth", LINEAR),
    dense("depth", PSP),
    dense("normals", LINEAR),
    dense("normals", PSP),
)
"""Columns of tables 5 and 6."""


def tables(report: ExpertsReport, pictures: Sequence[str]) -> str:
    """Everything, as one document. `pictures`: names of the plots that there are."""
    findings = Findings(report)
    parts = ["# CLIPTeX: what experts' labels teach a backbone", _about(report)]
    parts += ["## Aims", _bullets(aim_sentences(findings)), sets_table(report)]
    segmentation = [dense("classes", kind, place) for place in ("scenes", "composites") for kind in HEADS]
    parts += ["## Segmentation (table 1)", _note_composites(report), main_table(findings, segmentation)]
    parts += ["## Detection and classification (table 2)", main_table(findings, [SSD, *CLASSIFICATION])]
    parts += [_bullets(classification_sentences(findings))]
    geometry = [dense(task, kind) for task in ("depth", "normals") for kind in HEADS]
    parts += ["## Depth and surface normals (table 3)", main_table(findings, geometry)]
    parts += ["## What is known without examples (table 4)", zero_shot_table(findings), retrieval_table(findings)]
    parts += [_SINCE_NOTE, _bullets(since_sentences(findings))]
    parts += ["## Which classes gain (figure 2)", _bullets(transfer_sentences(findings)), *_maybe("classes", pictures)]
    parts += [classes_table(findings)]
    parts += ["## Which expert teaches what (table 5)", roles_table(findings)]
    parts += ["## Light and heavy heads (table 6)", heads_table(findings)]
    parts += ["## What was tried", _bullets(reason_sentences(findings))]
    parts += [tried_table(findings, tower) for tower in report.towers]
    parts += [_bullets(tried_sentences(findings)), _RATES_NOTE, _bullets(rate_sentences(findings))]
    parts += ["## Features before and after", _features_note(report), *_all("features", pictures)]
    parts += ["## Terms of the loss", *(_maybe("terms", pictures) or [f"{NOT_YET.capitalize()}."])]
    parts += ["## Where the paper's ordering holds", _bullets(claim_sentences(findings)), claims_table(findings)]
    parts += ["## Where the figures come from", costs_table(report), machines_table(report)]
    return "\n\n".join(parts) + "\n"


def headline(report: ExpertsReport) -> str:
    """What a first page says."""
    findings = Findings(report)
    return "\n\n".join([_bullets(aim_sentences(findings)), main_table(findings, LINEAR_PROBES)])


def _about(report: ExpertsReport) -> str:
    where = "; ".join(f"{count} on {machine}" for machine, count in report.machines.items()) or NOT_YET
    return (
        f"Written by `python -m training evaluate --suite experts` from [{REPORT}]({REPORT}): the backbones "
        f"{', '.join(f'`{tower}`' for tower in report.towers)}, {sum(report.machines.values())} units ({where}). n is "
        "the number of seeds, in brackets the 95% t interval over seeds; differences are paired by seed, above 0 is "
        "better whatever is measured. Intervals say what other seeds would give on the same pictures, not what other "
        f"pictures would. Fits see {SCHEDULE.epochs} epochs of pictures of {SIDE} pixels at a peak rate of "
        f"{SCHEDULE.peak_lr:g}, unless something else is said; CLIP-FT is the same fit without experts. Towers are "
        "frozen while they are probed. Depth is an absolute relative error, where less is better. The usual answer "
        "looks at no picture: at every pixel it is what the pictures that probes learn from have there, the most "
        "frequent class or the mean; a probe that is no better has found nothing in its tower. Probes are fitted to "
        "fewer pictures than the paper's, in fewer steps: `SMALL_SCHEDULES` of `training/experts/probes/dense.py`, "
        "beside its table 8."
    )


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _maybe(name: str, pictures: Sequence[str]) -> list[str]:
    return [f"![{name}]({name}.png)"] if name in pictures else []


def _all(start: str, pictures: Sequence[str]) -> list[str]:
    names = sorted(name for name in pictures if name.startswith(start))
    return [f"![{name}]({name}.png)" for name in names] or [f"{NOT_YET.capitalize()}."]


def _note_composites(report: ExpertsReport) -> str:
    places = {place: ", ".join(names[1:]) for place, names in report.classes.items()}
    taught = set(report.taught[1:])
    shared = sorted(taught & set(report.classes.get("composites", ())[1:]))
    said = f"{', '.join(shared)} are" if len(shared) > 1 else f"{shared[0]} is" if shared else "none is"
    return (
        f"Scenes show {places.get('scenes', '')}. Composites, drawings before photographs, show "
        f"{places.get('composites', '')}; of their classes {said} among those that the experts know."
    )


def sets_table(report: ExpertsReport) -> str:
    """What is fitted on, probed and tested."""
    rows = []
    for name, each in report.sets.items():
        labels = "; ".join(f"{key}: {by}, {count:,}" for key, (by, count) in each.labels.items())
        rows.append([name, each.source, f"{each.pictures:,}", labels])
    return markdown_table(["set", "source", "pictures", "labels"], rows)


def main_table(findings: Findings, probes: Sequence[str]) -> str:
    """Backbones and their fine-tunings by probe; before them what is reached without a backbone."""
    known = [(findings.blind(probe), measure_of(probe)) for probe in probes]
    blind = ["" if value is None else value_shown(value, measure) for value, measure in known]
    rows = [["none", "the usual answer at every pixel", *blind]] if any(blind) else []
    for tower in findings.report.towers:
        for label, words in NAMES.items():
            cells = [shown(findings.mean(tower, label, probe), measure_of(probe), NOT_YET) for probe in probes]
            rows.append([f"`{tower}`", words, *cells])
    return markdown_table(["backbone", "model", *(f"{probe_title(probe)}: {_unit(probe)}" for probe in probes)], rows)


def _unit(probe: str) -> str:
    measure = measure_of(probe)
    return f"{measure.title}, %" if measure.percent else measure.title


def zero_shot_table(findings: Findings) -> str:
    """Accuracy by class names alone."""
    measure, rows = BY_KIND["zero-shot"], []
    for tower in findings.report.towers:
        for label, words in NAMES.items():
            means = [findings.mean(tower, label, f"{source}/zero-shot") for source in NAMED]
            rows.append([f"`{tower}`", words, *(shown(each, measure, NOT_YET) for each in means)])
    return markdown_table(["backbone", "model", *(f"{source}, top-1 %" for source in NAMED)], rows)


def retrieval_table(findings: Findings) -> str:
    """Recall both ways."""
    measure, rows, probe = BY_KIND["retrieval"], [], f"{SEARCHED}/retrieval"
    for tower in findings.report.towers:
        for label, words in NAMES.items():
            cells = [
                shown(findings.mean(tower, label, probe, metric), measure, NOT_YET)
                for metric in (*TEXT_RECALLS, *IMAGE_RECALLS)
            ]
            rows.append([f"`{tower}`", words, *cells])
    ways = [f"texts by image {each.split()[1]}" for each in TEXT_RECALLS]
    ways += [f"images by text {each.split()[1]}" for each in IMAGE_RECALLS]
    return markdown_table(["backbone", "model", *ways], rows)


def classes_table(findings: Findings) -> str:
    """Figure 2 in figures."""
    seen = [f"seen in {name}, %" for name in findings.report.frequency]
    gains = [f"IoU gained, `{tower}`" for tower in findings.report.towers]
    return markdown_table(["class", *seen, *gains], class_rows(findings))


def _few_rows(findings: Findings, labels: Sequence[tuple[str, list[str]]]) -> list[list[str]]:
    tower = findings.report.towers[0]
    return [
        [*words, *(shown(findings.mean(tower, label, probe), measure_of(probe), NOT_YET) for probe in FEW)]
        for label, words in labels
    ]


def roles_table(findings: Findings) -> str:
    """Table 5."""
    labels = [
        (recipe.label, ["yes" if task in recipe.experts else "" for task in ("classes", "depth", "normals")])
        for recipe in (FT, *ROLES, CLIPTEX)
    ]
    header = ["segmentation", "depth", "normals", *(f"{probe_title(probe)}: {_unit(probe)}" for probe in FEW)]
    return markdown_table(header, _few_rows(findings, labels))


def heads_table(findings: Findings) -> str:
    """Table 6."""
    labels = [(CLIPTEX.label, ["1"]), (THREE_LAYERS.label, ["3"])]
    header = ["layers", *(f"{probe_title(probe)}: {_unit(probe)}" for probe in FEW)]
    return markdown_table(header, _few_rows(findings, labels))


def tried_table(findings: Findings, tower: str) -> str:
    """Every deviation against the CLIP-FT that shares it; CLIPTeX as it is in the first row."""
    rows = []
    for recipe in (CLIPTEX, *tried_with(tower, findings.report.towers)):
        gains = [findings.gain(tower, recipe.label, recipe.against, probe) for probe in LINEAR_PROBES]
        cells = [
            NOT_YET if gain is None else gain_shown(gain, measure_of(probe))
            for gain, probe in zip(gains, LINEAR_PROBES, strict=True)
        ]
        for search in (False, True):
            kept = findings.kept(tower, recipe.label, recipe.against, search=search)
            cells.append(NOT_YET if kept is None else gain_shown(kept, BY_KIND["zero-shot"]))
        rows.append([recipe.words or "as it is", f"`{recipe.against}`", *cells])
    header = ["CLIPTeX with", "over", *(probe_title(probe) for probe in LINEAR_PROBES), "zero-shot", "recall at 1"]
    return f"Gains over the same fit without experts, `{tower}`:\n\n{markdown_table(header, rows)}"


def _features_note(report: ExpertsReport) -> str:
    return (
        "Features of every place on the three principal axes of all pictures of the column, as red, green and blue, in "
        "the order and direction that resemble the first column's most; fits of seed 0 (n = 1). Scenes are drawn by "
        "this project, none of them before a photograph; clothing is in the public domain (CC0), groceries are under "
        f"the MIT licence. Backbones: {', '.join(report.towers)}."
    )


def claims_table(findings: Findings) -> str:
    """Every ordering of the paper."""
    return markdown_table(["in the paper", "ordering", "by", *findings.report.towers], claim_rows(findings))


def costs_table(report: ExpertsReport) -> str:
    """How long units took."""
    rows = [
        [
            f"`{each.tower}`",
            f"`{each.label}`",
            str(len(each.seeds)),
            str(each.lost) if each.lost else "",
            f"{each.pictures:,}",
            f"{each.steps:,}",
            f"{each.fit_seconds:.0f}",
            f"{each.probe_seconds:.0f}",
        ]
        for each in sorted(report.groups, key=lambda each: (each.tower, _place(each.label)))
    ]
    header = ["backbone", "fit", "seeds", "fits lost", "pictures", "steps", "seconds to fit", "seconds to probe"]
    return markdown_table(header, rows)


def _place(label: str) -> tuple[int, str]:
    order = [CLIP_OWN, CLIP, *RECIPES]
    return (order.index(label) if label in order else len(order), label)


def machines_table(report: ExpertsReport) -> str:
    """How many units each machine computed."""
    if not report.machines:
        return f"{NOT_YET.capitalize()}."
    rows = [[machine, str(count)] for machine, count in report.machines.items()]
    return f"Pack {report.pack[:12]}.\n\n{markdown_table(['machine', 'units'], rows)}"
