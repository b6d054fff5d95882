"""What a model repository ships beside its towers, and where it speaks."""
