"""Galleries beside the zoo: what goes in, and how they are searched."""
