"""Teaching a backbone where things are, from experts' pseudo-labels (CLIPTeX: CLIP training with experts)."""
