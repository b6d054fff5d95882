"""The study of experts: fits with and without their labels, probed, and what these say of the paper's claims."""
