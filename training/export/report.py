"""What an export tells the terminal."""

from training.export.backbone import Backbone, BackboneGraphs, TowerGraph


def summary(backbone: Backbone, graphs: BackboneGraphs) -> str:
    """Size, cost and parity of both towers, one line each."""
    return "\n".join(
        _line(f"{backbone.name}_{tower}", graph) for tower, graph in (("image", graphs.image), ("text", graphs.text))
    )


def _line(name: str, graph: TowerGraph) -> str:
    stored = graph.stored_parity
    return (
        f"{name}: {graph.model.ByteSize() / 1e6:.2f} MB, {graph.gflops:.4f} GFLOPs, "
        f"against torch {graph.parity.max_difference:.1e}, as stored {stored.max_difference:.1e} "
        f"(cosine >= {stored.min_cosine:.6f})"
    )
