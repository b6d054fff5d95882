"""What one item costs."""

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@torch.no_grad()
def gflops(tower: nn.Module, item: Tensor) -> float:
    """10^9 floating-point operations for the one item in `item` (first axis of length 1), 2 per multiply-add.

    Attention is counted as the matrix products it is: fused kernels hide theirs from the counter.
    """
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    # The counter follows gradients into modules and stumbles where a parameter itself is handed to one, as in SigLIP.
    trainable = [parameter for parameter in tower.parameters() if parameter.requires_grad]
    tower.requires_grad_(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            tower(item)
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
        for parameter in trainable:
            parameter.requires_grad_(True)
    return float(counter.get_total_flops()) / 1e9
