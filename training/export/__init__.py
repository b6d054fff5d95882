"""From a trained or downloaded model to folders that the gateway and Triton serve."""
