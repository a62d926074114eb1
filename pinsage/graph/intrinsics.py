"""Two instructions of the processor that numba has no name for.

Neither has a setting that a result depends on: a kernel in numba's cache on disk, which notices a
change of the kernel's own file alone, stays right whatever changes here.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic


def _prefetch(_: Any, array: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        source = context.make_array(signature.args[0])(context, builder, values[0])
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        address = builder.bitcast(builder.gep(source.data, [values[1]]), byte)
        # To read, into all levels of the cache, as data.
        builder.call(function, [address, flag(0), flag(3), flag(1)])
        return context.get_dummy_value()

    return types.void(array, index), generate


def _take_ticket(_: Any, array: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        source = context.make_array(signature.args[0])(context, builder, values[0])
        return builder.atomic_rmw("add", source.data, ir.IntType(64)(1), "monotonic")

    return types.int64(array), generate


prefetch: Any = intrinsic(_prefetch)
"""prefetch(array, index) asks for the cache line of array[index]; index is a uint64."""

take_ticket: Any = intrinsic(_take_ticket)
"""take_ticket(array) adds 1 to an int64 array's first entry, atomically, and says what it was."""
