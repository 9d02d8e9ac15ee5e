"""Short vectors for Numba kernels: a register of lanes as a value, with `+ - *` and the few functions below.

LLVM vectorises long loops by itself, but a grid cell is 8 to 40 pixels wide, too short for its unrolled loops.
The vectors here are plain LLVM vectors, so any CPU runs them: registers narrower than a vector are used in pairs.
Nothing is contracted to fused multiply-add and nothing reassociated, so results do not depend on the CPU's width.

Array arguments are one-dimensional and contiguous; indices are not checked.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba.core import types
from numba.core.extending import intrinsic as _intrinsic
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import models, register_model

__all__ = [
    "F4",
    "F8",
    "LANES",
    "all_same16",
    "any_byte",
    "any_set",
    "convert_u8",
    "copy_pixel",
    "exp_negative",
    "fetch4",
    "greater",
    "higher_bytes",
    "lane",
    "lanes0",
    "lanes1",
    "lanes2",
    "load4",
    "load8",
    "load_bytes",
    "load_u8",
    "load_u16",
    "lower_bytes",
    "maximum",
    "scatter8",
    "select",
    "shift_right_8",
    "splat",
    "splat_class",
    "splat_u16",
    "store",
    "store_u8",
    "truncate",
]

LANES = 8
"""Pixels per vector in the label kernel."""

F32, I32, I16, I8 = ir.FloatType(), ir.IntType(32), ir.IntType(16), ir.IntType(8)


intrinsic = cast(Callable[[Callable[..., Any]], Callable[..., Any]], _intrinsic)


class Vector(types.Type):
    """Numba type of a vector; never leaves compiled code."""

    def __init__(self, name: str, llvm: ir.VectorType) -> None:
        self.llvm = llvm
        super().__init__(name=name)


F4 = Vector("f32x4", ir.VectorType(F32, 4))
F8 = Vector("f32x8", ir.VectorType(F32, 8))
I8X = Vector("i32x8", ir.VectorType(I32, 8))
U16 = Vector("u16x16", ir.VectorType(I16, 16))
B16 = Vector("u8x16", ir.VectorType(I8, 16))
MASK = Vector("mask8", ir.VectorType(ir.IntType(1), 8))


class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, kind.llvm)


register_model(Vector)(_VectorModel)


def _arithmetic(operation: Any, on_floats: str, on_integers: str) -> None:
    """Make `operation` work between two vectors of one type."""

    class Template(AbstractTemplate):  # type: ignore[misc]
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) == 2 and isinstance(args[0], Vector) and args[0] is args[1]:
                return signature(args[0], *args)
            return None

    infer_global(operation)(Template)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        name = on_floats if sig.return_type.llvm.element == F32 else on_integers
        return getattr(builder, name)(*args)

    lower_builtin(operation, Vector, Vector)(lower)


_arithmetic(operator.add, "fadd", "add")
_arithmetic(operator.sub, "fsub", "sub")
_arithmetic(operator.mul, "fmul", "mul")
_arithmetic(operator.truediv, "fdiv", "sdiv")


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any, kind: ir.Type) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())


def _fill(builder: Any, value: Any, kind: ir.VectorType) -> Any:
    single = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(I32, 0))
    return builder.shuffle_vector(single, single, ir.Constant(ir.VectorType(I32, kind.count), [0] * kind.count))


def _constant(kind: ir.VectorType, value: float) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def _loader(kind: Vector, alignment: int) -> Callable[..., Any]:
    @intrinsic
    def load(typing: Any, array: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            pointer = _pointer(context, builder, sig.args[0], args[0], args[1], kind.llvm)
            return builder.load(pointer, align=alignment)

        return kind(array, types.intp), generate

    return load


load4 = _loader(F4, 4)
load8 = _loader(F8, 4)
load_u16 = _loader(U16, 2)
load_bytes = _loader(B16, 1)


@intrinsic
def load_u8(typing: Any, array: Any, index: Any) -> Any:
    """Sixteen bytes as 16-bit integers."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, sig.args[0], args[0], args[1], ir.VectorType(I8, 16))
        return builder.zext(builder.load(pointer, align=1), U16.llvm)

    return U16(array, types.intp), generate


@intrinsic
def convert_u8(typing: Any, array: Any, index: Any) -> Any:
    """Eight bytes as floats."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, sig.args[0], args[0], args[1], ir.VectorType(I8, 8))
        # Through 32 bits and a signed conversion, for which CPUs have an instruction.
        return builder.sitofp(builder.zext(builder.load(pointer, align=1), I8X.llvm), F8.llvm)

    return F8(array, types.intp), generate


@intrinsic
def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(context, builder, sig.args[0], args[0], args[1], sig.args[2].llvm), align=1)

    return types.void(array, types.intp, value), generate


@intrinsic
def store_u8(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Store the low byte of each lane."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.VectorType(I8, sig.args[2].llvm.count)
        pointer = _pointer(context, builder, sig.args[0], args[0], args[1], kind)
        builder.store(builder.trunc(args[2], kind), pointer, align=1)

    return types.void(array, types.intp, value), generate


@intrinsic
def scatter8(typing: Any, array: Any, index: Any, value: Any, count: Any) -> Any:
    """Store the low byte of the first `count` lanes, for the end of a row."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        low = builder.trunc(args[2], ir.VectorType(I8, 8))
        for position in range(8):
            present = builder.icmp_signed("<", ir.Constant(args[3].type, position), args[3])
            with builder.if_then(present):
                index_here = builder.add(args[1], ir.Constant(args[1].type, position))
                pointer = _pointer(context, builder, sig.args[0], args[0], index_here, I8)
                builder.store(builder.extract_element(low, ir.Constant(I32, position)), pointer, align=1)

    return types.void(array, types.intp, value, types.intp), generate


def _splatter(kind: Vector, scalar: Any) -> Callable[..., Any]:
    @intrinsic
    def splat_lanes(typing: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return _fill(builder, args[0], kind.llvm)

        return kind(scalar), generate

    return splat_lanes


splat = _splatter(F8, types.float32)
splat_class = _splatter(I8X, types.int32)
splat_u16 = _splatter(U16, types.uint16)


@intrinsic
def greater(typing: Any, left: Any, right: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fcmp_ordered(">", *args)

    return MASK(left, right), generate


@intrinsic
def select(typing: Any, mask: Any, chosen: Any, other: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(*args)

    return chosen(mask, chosen, other), generate


@intrinsic
def maximum(typing: Any, left: Any, right: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return left(left, right), generate


def _pick(comparison: str) -> Callable[..., Any]:
    @intrinsic
    def pick(typing: Any, left: Any, right: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.select(builder.icmp_unsigned(comparison, *args), *args)

        return B16(left, right), generate

    return pick


lower_bytes, higher_bytes = _pick("<"), _pick(">")


@intrinsic
def any_byte(typing: Any, value: Any) -> Any:
    """Whether any of sixteen bytes is not zero."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        whole = ir.IntType(128)
        return builder.icmp_unsigned("!=", builder.bitcast(args[0], whole), ir.Constant(whole, 0))

    return types.boolean(value), generate


@intrinsic
def copy_pixel(typing: Any, target: Any, to: Any, source: Any, index: Any) -> Any:
    """Copy four 16-bit values: the three of a pixel and one more."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.IntType(64)
        value = builder.load(_pointer(context, builder, sig.args[2], args[2], args[3], kind), align=2)
        builder.store(value, _pointer(context, builder, sig.args[0], args[0], args[1], kind), align=2)

    return types.void(target, types.intp, source, types.intp), generate


@intrinsic
def any_set(typing: Any, mask: Any) -> Any:
    """Whether any lane of a comparison holds."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.icmp_unsigned("!=", builder.bitcast(args[0], I8), ir.Constant(I8, 0))

    return types.boolean(mask), generate


@intrinsic
def lane(typing: Any, value: Any, position: Any) -> Any:
    """One lane of a float vector; the position is written as a number, so that it becomes part of the instruction."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.extract_element(args[0], builder.trunc(args[1], I32))

    return types.float32(value, types.intp), generate


def _gatherer(position: int) -> Callable[..., Any]:
    @intrinsic
    def gather_lane(typing: Any, first: Any, second: Any, third: Any, fourth: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            pair = ir.Constant(ir.VectorType(I32, 2), [position, 4 + position])
            low, high = builder.shuffle_vector(*args[:2], pair), builder.shuffle_vector(*args[2:], pair)
            return builder.shuffle_vector(low, high, ir.Constant(ir.VectorType(I32, 4), [0, 1, 2, 3]))

        return F4(first, second, third, fourth), generate

    return gather_lane


# The first, second or third lanes of four vectors: from pixels to planes.
lanes0, lanes1, lanes2 = _gatherer(0), _gatherer(1), _gatherer(2)


@intrinsic
def fetch4(typing: Any, array: Any, index: Any) -> Any:
    """One float in every lane."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = builder.load(_pointer(context, builder, sig.args[0], args[0], args[1], F32), align=4)
        return _fill(builder, value, F4.llvm)

    return F4(array, types.intp), generate


@intrinsic
def truncate(typing: Any, value: Any) -> Any:
    """Floats to integers, towards zero."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fptosi(args[0], I8X.llvm)

    return I8X(value), generate


@intrinsic
def shift_right_8(typing: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.lshr(args[0], _constant(sig.return_type.llvm, 8))

    return value(value), generate


@intrinsic
def all_same16(typing: Any, array: Any, index: Any) -> Any:
    """Whether sixteen bytes are equal."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.VectorType(I8, 16)
        loaded = builder.load(_pointer(context, builder, sig.args[0], args[0], args[1], kind), align=1)
        first = _fill(builder, builder.extract_element(loaded, ir.Constant(I32, 0)), kind)
        equal = builder.bitcast(builder.icmp_unsigned("==", loaded, first), ir.IntType(16))
        return builder.icmp_unsigned("==", equal, ir.Constant(ir.IntType(16), 0xFFFF))

    return types.boolean(array, types.intp), generate


# 2**f on [-1/2, 1/2]: ln(2)**k / k!, with the first coefficient exactly 1 so that exp_negative(0) is 1.
_POWERS = [1.0]
for _k in range(1, 7):
    _POWERS.append(_POWERS[-1] * 0.6931471805599453 / _k)


@intrinsic
def exp_negative(typing: Any, value: Any) -> Any:
    """exp of lanes that are zero or less, to 1e-6 of the result; below -80 it is exp(-80)."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        floats = F8.llvm
        floor = _constant(floats, -80.0)
        bounded = builder.select(builder.fcmp_ordered(">", args[0], floor), args[0], floor)
        power = builder.fmul(bounded, _constant(floats, 1.4426950408889634))
        # Cut towards zero after the half is taken away: the nearest whole number.
        whole = builder.fptosi(builder.fsub(power, _constant(floats, 0.5)), I8X.llvm)
        fraction = builder.fsub(power, builder.sitofp(whole, floats))
        result = _constant(floats, _POWERS[-1])
        for coefficient in reversed(_POWERS[:-1]):
            result = builder.fadd(builder.fmul(result, fraction), _constant(floats, coefficient))
        exponent = builder.shl(builder.add(whole, _constant(I8X.llvm, 127)), _constant(I8X.llvm, 23))
        return builder.fmul(result, builder.bitcast(exponent, floats))

    return F8(value), generate
