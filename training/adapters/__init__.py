"""Adapter ensembles on frozen CLIPs: designs by name, and the modules that they describe."""

from training.adapters.attach import Adapted, attach
from training.adapters.design import DESIGNS, Design, design
from training.adapters.errors import AdapterError

__all__ = ["DESIGNS", "Adapted", "AdapterError", "Design", "attach", "design"]
