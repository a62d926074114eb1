"""The header of a `.npy` file, for arrays that are written piece by piece."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt


def npy_header(dtype: npt.DTypeLike, shape: tuple[int, ...]) -> bytes:
    """What `np.save` begins the file of such an array with.

    numpy leaves room in it for any number of rows, so that its length depends on the rest alone.
    """
    written = io.BytesIO()
    described = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(written, described)
    return written.getvalue()
