"""Texts for images: which caption a training step shows, and which captions mean the same."""

import numpy as np

# A few of CLIP's own prompts. Class names in varied settings keep the text tower from binding a class to one sentence.
LABEL_TEMPLATES = (
    "{}",
    "a {}",
    "a photo of a {}",
    "a photo of the {}",
    "a picture of a {}",
    "a close-up photo of a {}",
    "a small photo of a {}",
    "a blurry photo of a {}",
    "a photo of one {}",
    "an image of a {}",
)


def all_texts(captions: tuple[str, ...], label: str | None) -> tuple[str, ...]:
    """Every text a training step may show for one image, without repeats."""
    templated = () if label is None else tuple(template.format(label) for template in LABEL_TEMPLATES)
    return tuple(dict.fromkeys((*captions, *templated)))


def draw_caption(
    captions: tuple[str, ...], label: str | None, rng: np.random.Generator, template_share: float = 0.5
) -> str:
    """One caption for one image and step; a labelled image gets a template around its label `template_share` of the
    time, else one of its own captions."""
    if label is not None and (not captions or rng.random() < template_share):
        text = LABEL_TEMPLATES[rng.integers(len(LABEL_TEMPLATES))].format(label)
        # Prompts come with and without a full stop, and a text tower that saw one kind only reads the other worse.
        return f"{text}." if rng.random() < 0.5 else text
    return captions[rng.integers(len(captions))]


def caption_group(caption: str, label: str | None) -> str:
    """Key under which captions count as equal in the loss: the label where there is one, else the caption itself."""
    return f"caption:{caption.lower()}" if label is None else f"label:{label.lower()}"
