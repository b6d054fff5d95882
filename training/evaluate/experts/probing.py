"""What the probes find in one tower, frozen. Towers run under bfloat16 autocast, as while they are fine-tuned."""

from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from open_clip.model import CLIP
from torch import Tensor
from torch.nn import functional

from training.adapters.adapt import attention_kernels, normalised
from training.data.augment import soften
from training.evaluate.adapters.measure import accuracy, recall
from training.evaluate.experts.measures import DEPTH_CAP, DETECTION, SETTINGS
from training.evaluate.experts.shelf import Shelf
from training.evaluate.experts.units import Scores
from training.experts.maps import MapShape, tower_features
from training.experts.metrics import class_ious
from training.experts.probes.classification import LabelledSet, fit_classifier, measure_classifier
from training.experts.probes.dense import (
    DenseTask,
    ProbeKind,
    TaskName,
    dense_probe,
    fit_dense_probe,
    frozen_maps,
    measure_dense_probe,
    summary,
)
from training.experts.probes.detection_fit import detection_probe, find_objects, fit_detection_probe
from training.experts.probes.precision import precision_table

CHUNK = 128
DIGITS = 6
Ious = dict[str, list[float | None]]


@dataclass(eq=False)
class Prober:
    """Probes on `model`, the backbone `tower` as it is by now, for pictures of `side` pixels. Maps are made once."""

    shelf: Shelf
    model: CLIP
    tower: str
    side: int
    seed: int
    _maps: dict[str, Tensor] = field(default_factory=dict)

    def run(self, probes: tuple[str, ...]) -> tuple[Scores, Ious]:
        """The scores of `probes` by name and metric, and what segmentation comes to class by class."""
        scores: Scores = {}
        ious: Ious = {}
        self.model.eval()
        with attention_kernels(self.shelf.device):
            for name in probes:
                where, task, *kind = name.split("/")
                if task in ("classes", "depth", "normals"):
                    found, each = self._dense(where, cast(TaskName, task), cast(ProbeKind, kind[0]))
                    ious |= {name: each} if each else {}
                elif task == "detection":
                    found = self._detection(where)
                elif task == "classification":
                    found = self._classification(where)
                else:
                    found = self._zero_shot(where) if task == "zero-shot" else self._retrieval(where)
                scores[name] = {metric: round(value, DIGITS) for metric, value in found.items()}
        return scores, ious

    def maps(self, name: str) -> Tensor:
        """float32[n, c, rows, columns] of a set."""
        if name not in self._maps:
            with self._half():
                self._maps[name] = frozen_maps(self.model.visual, self.shelf.pictures(name), side=self.side)
        return self._maps[name]

    def _half(self) -> torch.autocast:
        return torch.autocast(self.shelf.device.type, torch.bfloat16)

    def _shape(self, places: Tensor) -> MapShape:
        return MapShape(*places.shape[1:])

    def _dense(self, where: str, task: TaskName, kind: ProbeKind) -> tuple[dict[str, float], list[float | None]]:
        seen, unseen, settings = f"{where}_probe", f"{where}_test", SETTINGS[kind, task]
        classes = len(self.shelf.class_names(seen)) if task == "classes" else 0
        what, places = DenseTask(task, classes, cap=DEPTH_CAP), self.maps(seen)
        head = dense_probe(kind, self._shape(places), what.outputs, width=settings.width, seed=self.seed)
        head.to(self.shelf.device)
        learnt = self.shelf.targets(seen, settings.every)
        fit_dense_probe(head, what, places, learnt, settings.schedule, seed=self.seed)
        found = measure_dense_probe(head, what, self.maps(unseen), self.shelf.targets(unseen))
        if task != "classes":
            return summary(found), []
        each = class_ious(found["confusion"].sum(dim=0)).tolist()
        return summary(found), [None if np.isnan(value) else round(value, DIGITS) for value in each]

    def _detection(self, where: str) -> dict[str, float]:
        places, objects = self.maps(f"{where}_probe"), self.shelf.objects(f"{where}_probe")
        classes = len(self.shelf.class_names(f"{where}_probe")) - 1
        probe = detection_probe(self._shape(places), classes, width=DETECTION.width, seed=self.seed)
        fit_detection_probe(probe.to(self.shelf.device), places, objects, DETECTION.schedule, seed=self.seed)
        found, truth = find_objects(probe, self.maps(f"{where}_test")), self.shelf.objects(f"{where}_test")
        by_overlap = np.nanmean(precision_table(found, truth, classes), axis=1)
        return {"map": float(by_overlap.mean()), "map50": float(by_overlap[0])}

    @torch.inference_mode()
    def _embedded(self, name: str) -> Tensor:
        """Unit rows float32[n, d] of a set, softened as pictures are when a tower serves."""
        found = []
        for part in torch.split(self.shelf.pictures(name), CHUNK):
            planes = part.permute(0, 3, 1, 2).float() / 255
            if planes.shape[-1] != self.side:
                planes = functional.interpolate(planes, size=(self.side,) * 2, mode="bilinear", antialias=True)
            with self._half():
                found.append(tower_features(self.model.visual, normalised(soften(planes))).embedding.float())
        return functional.normalize(torch.cat(found), dim=-1)

    @torch.inference_mode()
    def _read(self, ids: Tensor) -> Tensor:
        """Unit rows float32[n, d] of int64[n, L]."""
        with self._half():
            found = [self.model.encode_text(part).float() for part in torch.split(ids, CHUNK)]
        return functional.normalize(torch.cat(found), dim=-1)

    def _classification(self, source: str) -> dict[str, float]:
        fitted, classes = f"{source}_fit", len(self.shelf.pack.chosen(source).classes)
        seen, unseen = (
            LabelledSet(self._embedded(name).cpu().numpy(), self.shelf.truth(name)) for name in (fitted, source)
        )
        return measure_classifier(fit_classifier(seen, classes, seed=self.seed), unseen)

    def _zero_shot(self, source: str) -> dict[str, float]:
        prompts = self.shelf.prompts(source, self.tower)
        return accuracy(self._embedded(source), self._read(prompts.ids), prompts.class_of, prompts.truth)

    def _retrieval(self, source: str) -> dict[str, float]:
        searched = self.shelf.searched(source, self.tower)
        pictures, texts = self._embedded(source), self._read(searched.ids)
        by_text = recall(texts @ pictures.T, searched.owns.T, "text")
        return by_text | recall(pictures @ texts.T, searched.owns, "image")
