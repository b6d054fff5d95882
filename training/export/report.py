"""What an export tells the terminal."""

from training.export.backbone import Backbone, BackboneGraphs, TowerGraph


def summary(backbone: Backbone, graphs: BackboneGraphs) -> str:
    """Size, cost and distances of both towers, one line each."""
    return "\n".join(
        _line(f"{backbone.name}_{tower}", graph) for tower, graph in (("image", graphs.image), ("text", graphs.text))
    )


def _line(name: str, graph: TowerGraph) -> str:
    line = (
        f"{name}: {graph.model.ByteSize() / 1e6:.2f} MB, {graph.gflops:.4f} GFLOPs, "
        f"float32 against torch {graph.parity.max_difference:.1e}"
    )
    stored = graph.stored_parity
    if graph.precision == "float16":
        return f"{line}, as float16 {stored.max_difference:.1e} (cosine >= {stored.min_cosine:.6f})"
    if graph.precision == "int8":
        return f"{line}, int8 against float32: cosine {stored.mean_cosine:.5f} on average, >= {stored.min_cosine:.5f}"
    return line
