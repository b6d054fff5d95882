"""The Neural Logit Controller: what it is, and how one is fitted to labelled examples."""
