"""Situations by the name of the file that each writes."""

from . import arrays, containers, ema, folds, nets, other_files, prefixes, state_dicts, tensors, training, values
from .tools import SITUATIONS

__all__ = ["SITUATIONS"]
