"""Fine-tuning a CLIP by captions and experts together, and by captions alone."""
