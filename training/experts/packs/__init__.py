"""Everything that the study reads, in one file that travels."""
