"""The experts that can be asked for by name."""

from __future__ import annotations

from pathlib import Path

from training.experts.errors import ExpertError
from training.experts.protocol import Expert

SCENE_EXPERTS = ("scene-classes", "scene-depth", "scene-normals")
"""Those that are trained here, on scenes."""

EXPERTS = ("mask-rcnn", "dpt", "dpt-normals", "foreground", *SCENE_EXPERTS)


def load_expert(name: str, device: str = "cpu", *, weights: Path | None = None) -> Expert:
    """The expert `name`, its weights fetched; `device` as `choose_device` takes it. weights: folder of its training,
    for an expert of scenes, if not that which comes with the project; for `foreground` the folder of its package.

    Raises `ExpertError` for an unknown name or device, and when there are no weights to be had.
    """
    if name not in EXPERTS:
        raise ExpertError(f'no expert is called "{name}"; there are {", ".join(EXPERTS)}.')
    import torch

    from training.adapters.adapt import choose_device

    try:
        where = choose_device(device)
        torch.empty(1, device=where)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for the device
        raise ExpertError(f'there is no device "{device}" here.') from error
    if name in SCENE_EXPERTS:
        from training.experts.nets.experts import load_net_expert

        return load_net_expert(name, weights, where)
    if name == "foreground":
        from training.experts.ready_made.foreground import load_foreground

        return load_foreground(weights, cuda=where.type == "cuda")
    if name == "mask-rcnn":
        from training.experts.ready_made.mask_rcnn import load_mask_rcnn

        return load_mask_rcnn(where)
    from training.experts.ready_made.dpt import load_dpt, load_dpt_normals

    return load_dpt(where) if name == "dpt" else load_dpt_normals(where)
