"""Writes the experts' accuracy into their document: `python -m tests.support.expert_accuracy docs/experts.md`."""

from __future__ import annotations

import sys
from pathlib import Path

from training.evaluate.card import bring_up_to_date
from training.experts.nets.trained import accuracy_table

if __name__ == "__main__":
    bring_up_to_date(Path(sys.argv[1]), {"expert-accuracy": accuracy_table()})
