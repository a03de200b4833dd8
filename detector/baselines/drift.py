"""river's ADWIN, without what its package brings along.

`river.drift` imports all its detectors and example datasets, and with them scipy, scikit-learn and pandas wherever
those are installed (they come with mlflow): 4 s of CPU at every start, for what nobody here uses. So the module of
ADWIN is imported under a package that holds nothing else; whoever imports `river.drift` afterwards gets the real one.
"""

import importlib
import sys
import types
from pathlib import Path
from typing import Final

import river

_PACKAGE: Final = "river.drift"

if _PACKAGE in sys.modules:
    from river.drift.adwin import ADWIN
else:
    bare = types.ModuleType(_PACKAGE)
    bare.__path__ = [str(Path(root) / "drift") for root in river.__path__]
    sys.modules[_PACKAGE] = bare
    try:
        ADWIN = importlib.import_module(f"{_PACKAGE}.adwin").ADWIN
    finally:
        del sys.modules[_PACKAGE]

__all__ = ["ADWIN"]
