"""Writes the counted ratios into their document: `python -m tests.support.adapter_counts docs/adapters.md`."""

from __future__ import annotations

import sys
from pathlib import Path

from training.adapters.counting import ratio_table
from training.evaluate.card import bring_up_to_date

if __name__ == "__main__":
    bring_up_to_date(Path(sys.argv[1]), {"adapter-counts": ratio_table()})
