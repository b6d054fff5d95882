"""The committee suite: what weights, adapters and cascades make of the zoo, task by task."""
