"""How pyarrow looks to the type checker: columns and compute functions are `Any`.

The published stubs are a project apart and refuse calls that pyarrow accepts (scalars beside
columns, masks, dictionaries), so a precise type here would be a wrong one.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import pyarrow.compute

Column: TypeAlias = Any  # pa.Array or pa.ChunkedArray
pc: Any = pyarrow.compute
