"""Label sets: classes, their phrasings and prompt templates, and the matrix they become for one backbone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidLabelsError
from service.pipeline.logits import unit_rows

PLACEHOLDER: Final = "{}"
DEFAULT_TEMPLATES: Final = ("a photo of a {}.",)


@dataclass(frozen=True, slots=True)
class LabelLimits:
    max_labels: int
    max_prompts: int
    max_characters: int


@dataclass(frozen=True, slots=True)
class LabelSet:
    """`phrasings[i]` are the ways in which `labels[i]` is said; every phrasing goes into every template."""

    labels: tuple[str, ...]
    phrasings: tuple[tuple[str, ...], ...]
    templates: tuple[str, ...]
    digest: str = field(init=False, compare=False)
    """Equal for equal contents, whatever the name it is registered under."""

    def __post_init__(self) -> None:
        content = json.dumps([self.labels, self.phrasings, self.templates], ensure_ascii=False)
        object.__setattr__(self, "digest", hashlib.sha256(content.encode()).hexdigest())

    def prompts(self) -> tuple[list[str], NDArray[np.int64]]:
        """All prompts, and for each the index of its class: `(texts of length p, int64[p])`."""
        texts, classes = [], []
        for index, phrasings in enumerate(self.phrasings):
            for phrasing in phrasings:
                for template in self.templates:
                    # Not str.format: a template is a caller's text and must not reach into objects.
                    texts.append(template.replace(PLACEHOLDER, phrasing))
                    classes.append(index)
        return texts, np.array(classes, dtype=np.int64)


def make_label_set(
    labels: Sequence[str] | Mapping[str, Sequence[str]], templates: Sequence[str] | None, limits: LabelLimits
) -> LabelSet:
    """A checked label set from a request's fields. Raises `InvalidLabelsError`, naming the field and the place.

    Lists are remembered: callers that send their labels with each image send the same ones, and checking and
    digesting a thousand would hold up the event loop each time.
    """
    checked_templates = None if templates is None else tuple(templates)
    if isinstance(labels, Mapping):
        return _checked({label: tuple(phrasings) for label, phrasings in labels.items()}, checked_templates, limits)
    return _from_list(tuple(labels), checked_templates, limits)


@lru_cache(maxsize=256)
def _from_list(labels: tuple[str, ...], templates: tuple[str, ...] | None, limits: LabelLimits) -> LabelSet:
    return _checked(_phrased_by_themselves(labels, limits), templates, limits)


def _checked(
    by_label: Mapping[str, tuple[str, ...]], templates: tuple[str, ...] | None, limits: LabelLimits
) -> LabelSet:
    _check_count(len(by_label), limits)
    names = tuple(_clean(label, f"labels[{index}]", limits) for index, label in enumerate(by_label))
    _check_distinct(names)
    phrasings = tuple(_clean_phrasings(label, phrases, limits) for label, phrases in by_label.items())
    checked_templates = _clean_templates(templates, limits)
    count = sum(map(len, phrasings)) * len(checked_templates)
    if count > limits.max_prompts:
        raise InvalidLabelsError(
            f"Phrasings times templates make {count:,} prompts, the limit is {limits.max_prompts:,}.", param="templates"
        )
    return LabelSet(names, phrasings, checked_templates)


def class_embeddings(
    prompt_embeddings: NDArray[np.float32], class_of_prompt: NDArray[np.int64], n_classes: int
) -> NDArray[np.float32]:
    """`float32[n_classes, d]`, unit rows: prompts are normalised, averaged per class and normalised again (CLIP).

    `prompt_embeddings` is `float32[p, d]`, `class_of_prompt` is `int64[p]` with every class present.
    """
    sums = np.zeros((n_classes, prompt_embeddings.shape[1]), dtype=np.float32)
    np.add.at(sums, class_of_prompt, unit_rows(prompt_embeddings))
    return unit_rows(sums)


def _phrased_by_themselves(labels: Sequence[str], limits: LabelLimits) -> dict[str, tuple[str, ...]]:
    # Counted and compared before they become keys, where duplicates would vanish silently.
    _check_count(len(labels), limits)
    _check_distinct(tuple(label.strip() for label in labels))
    return {label: (label,) for label in labels}


def _check_count(count: int, limits: LabelLimits) -> None:
    if count == 0:
        raise InvalidLabelsError("No labels. Send at least one.", param="labels")
    if count > limits.max_labels:
        raise InvalidLabelsError(f"{count:,} labels, the limit is {limits.max_labels:,}.", param="labels")


def _check_distinct(labels: tuple[str, ...]) -> None:
    first: dict[str, int] = {}
    for index, label in enumerate(labels):
        if label in first:
            raise InvalidLabelsError(
                f'"{label}" is there twice (labels[{first[label]}] and labels[{index}]). Labels must differ.',
                param=f"labels[{index}]",
            )
        first[label] = index


def _clean(text: str, param: str, limits: LabelLimits) -> str:
    stripped = text.strip()
    if not stripped:
        raise InvalidLabelsError(f"{param} is empty. Every label needs at least one character.", param=param)
    if len(stripped) > limits.max_characters:
        raise InvalidLabelsError(
            f"{param} has {len(stripped):,} characters, the limit is {limits.max_characters:,}.", param=param
        )
    return stripped


def _clean_phrasings(label: str, phrasings: Sequence[str], limits: LabelLimits) -> tuple[str, ...]:
    if not phrasings:
        raise InvalidLabelsError(f'The label "{label}" has no phrasing. Give at least one.', param=f"labels.{label}")
    return tuple(_clean(text, f"labels.{label}[{index}]", limits) for index, text in enumerate(phrasings))


def _clean_templates(templates: Sequence[str] | None, limits: LabelLimits) -> tuple[str, ...]:
    if templates is None:
        return DEFAULT_TEMPLATES
    if not templates:
        raise InvalidLabelsError("No templates. Leave the field out or send at least one.", param="templates")
    cleaned = tuple(_clean(text, f"templates[{index}]", limits) for index, text in enumerate(templates))
    for index, template in enumerate(cleaned):
        if PLACEHOLDER not in template:
            raise InvalidLabelsError(
                f"templates[{index}] has no {PLACEHOLDER} to put the label in.", param=f"templates[{index}]"
            )
    return cleaned
