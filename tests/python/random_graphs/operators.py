"""How each operator is drawn, in the forms that each version of the operator set has.

A function draws attributes and operands and adds one node, or a few that exporters write together.
What is not possible raises `Reject`, here or in ONNX Runtime.
"""

from __future__ import annotations

from typing import Callable

import numpy as np
from onnx import TensorProto, helper

from .draft import BOOL, F16, F32, F64, I32, I64, U8, Draft, Reject, Value, element

# Function, weight, themes in which it is drawn more often.
OPERATORS: list[tuple[Callable[[Draft], object], float, str]] = []


def operator(weight=1.0, theme=""):
    def add(f):
        OPERATORS.append((f, weight, theme))
        return f

    return add


def some(d: Draft, value, default, p=0.4):
    """An attribute that may be left out where it is the default."""
    return None if value == default and d.chance(1 - p) else value


def axis_of(d: Draft, rank: int, negative_since=1, low=0) -> int:
    axis = d.int(low, rank - 1)
    return axis - rank if d.opset >= negative_since and d.chance(0.3) else axis


def axes_of(d: Draft, rank: int, negative_since=11, p=0.5) -> list[int]:
    axes = [i for i in range(rank) if d.chance(p)] or [d.int(0, rank - 1)]
    if d.opset >= negative_since:
        axes = [a - rank if d.chance(0.25) else a for a in axes]
    return axes


def image(d: Draft, ranks=(3, 4, 4, 4, 4, 5)) -> Value:
    rank = d.choose(ranks)
    has = lambda v: v.rank == rank and v.fixed(1) and v.shape[1] <= 24
    try:
        return d.pick(has)
    except Reject:
        return d.pick(lambda v: v.rank in ranks and v.fixed(1) and v.shape[1] <= 24)


def window(d: Draft, n: int, largest=3, transposed=False) -> dict:
    """Attributes that windows share."""
    kernel = d.ints_of(n, 1, largest)
    out = {"kernel_shape": kernel}
    strides = [d.choose([1, 1, 1, 2, 2, 3]) for _ in range(n)]
    out["strides"] = some(d, strides, [1] * n)
    auto = d.choose(["", "", "", "", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"])
    if auto in ("", "NOTSET"):
        pads = [d.choose([0, 0, 1, 1, 2]) for _ in range(2 * n)]
        if d.chance(0.4):
            pads = [k // 2 for k in kernel] * 2
        out["pads"] = some(d, pads, [0] * 2 * n)
    out["auto_pad"] = auto or None
    return out


def dilations(d: Draft, n: int):
    return some(d, [d.choose([1, 1, 1, 2, 3]) for _ in range(n)] if d.chance(0.4) else [1] * n, [1] * n)


@operator(6, "cnn")
def conv(d: Draft):
    x = image(d)
    n, c = x.rank - 2, x.shape[1]
    group = d.choose([1, 1, 1, c] + [g for g in range(1, c + 1) if c % g == 0])
    m = group * d.int(1, max(1, 8 // group))
    at = window(d, n)
    operands = [x, d.weight(m, c // group, *at["kernel_shape"])]
    if d.chance(0.5):
        operands.append(d.weight(m))
    if d.chance(0.3):
        del at["kernel_shape"]
    d.add("Conv", operands, group=some(d, group, 1), dilations=dilations(d, n), **at)


@operator(2, "cnn")
def conv_transpose(d: Draft):
    x = image(d)
    n, c = x.rank - 2, x.shape[1]
    group = d.choose([1, 1, c] + [g for g in range(1, c + 1) if c % g == 0])
    m = d.int(1, 3)
    at = window(d, n)
    operands = [x, d.weight(c, m, *at["kernel_shape"])]
    if d.chance(0.5):
        operands.append(d.weight(group * m))
    if d.chance(0.2):
        at["output_padding"] = d.ints_of(n, 0, 1)
    elif d.chance(0.1) and all(x.fixed(2 + i) for i in range(n)):
        at["output_shape"] = [x.shape[2 + i] * (at.get("strides") or [1] * n)[i] + d.int(0, 1) for i in range(n)]
        at["pads"] = None
    d.add("ConvTranspose", operands, group=some(d, group, 1), dilations=dilations(d, n), **at)


@operator(3, "cnn")
def pool(d: Draft):
    x = image(d)
    n = x.rank - 2
    op = d.choose(["MaxPool", "MaxPool", "AveragePool", "AveragePool", "LpPool"])
    at = window(d, n)
    outputs = [True]
    if (op == "LpPool" and d.opset >= 18) or (op != "LpPool" and d.opset >= 10):
        at["ceil_mode"] = some(d, int(d.chance(0.4)), 0)
    if op == "MaxPool":
        if d.opset >= 8:
            at["storage_order"] = some(d, int(d.chance(0.1)), 0, 0.1)
            outputs = [True, d.chance(0.15)]
        if d.opset >= 10:
            at["dilations"] = dilations(d, n)
    if op == "AveragePool":
        at["count_include_pad"] = some(d, d.int(0, 1), 0)
        if d.opset >= 19:
            at["dilations"] = dilations(d, n)
    if op == "LpPool":
        at["p"] = some(d, d.int(1, 2), 2)
        if d.opset >= 18:
            at["dilations"] = dilations(d, n)
    d.add(op, [x], outputs, **at)


def widen(d: Draft):
    """A convolution to many channels."""
    x = image(d)
    n = x.rank - 2
    d.add("Conv", [x, d.weight(d.int(8, 16), x.shape[1], *[3] * n)], pads=[1] * 2 * n)


def narrow(d: Draft):
    """An end that is small."""
    x = image(d)
    if d.chance(0.5):
        d.add("Conv", [x, d.weight(1, x.shape[1], *[1] * (x.rank - 2))])
    else:
        d.add("MaxPool", [x], kernel_shape=[2] * (x.rank - 2), strides=[2] * (x.rank - 2))


@operator(0.7, "cnn")
def global_pool(d: Draft):
    op = d.choose(["GlobalAveragePool", "GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool"])
    d.add(op, [image(d)])


@operator(2, "cnn")
def batch_normalization(d: Draft):
    x = image(d)
    c = x.shape[1]
    parameters = [d.weight(c), d.weight(c), d.weight(c), d.weight(c, positive=True)]
    at = {"epsilon": some(d, 0.25, 1e-5), "momentum": some(d, 0.5, 0.9)}
    d.add("BatchNormalization", [x, *parameters], **at)


@operator(0.6)
def normalization(d: Draft):
    op = d.choose(["InstanceNormalization", "LRN", "LpNormalization", "LayerNormalization"])
    x = image(d) if op in ("InstanceNormalization", "LRN") else d.pick(lambda v: v.rank >= 2)
    if op == "InstanceNormalization":
        c = x.shape[1]
        d.add(op, [x, d.weight(c), d.weight(c)], epsilon=0.25)
    elif op == "LRN":
        d.add(op, [x], size=d.choose([1, 3, 5]), alpha=some(d, 0.5, 0.0001), bias=some(d, 2.0, 1.0))
    elif op == "LpNormalization":
        d.add(op, [x], axis=axis_of(d, x.rank), p=d.int(1, 2))
    else:
        axis = axis_of(d, x.rank)
        dims = x.shape[axis:]
        if not all(x.fixed(i) for i in range(axis % x.rank, x.rank)):
            raise Reject("symbolic")
        bias = d.weight(*dims) if d.chance(0.5) else None
        d.add(op, [x, d.weight(*dims), bias], since=17, axis=some(d, axis, -1), epsilon=0.25)


@operator(1.5, "matrix")
def gemm(d: Draft):
    x = d.pick(rank=2)
    ta, tb = int(d.chance(0.2)), d.int(0, 1)
    k = 0 if ta else 1
    if not x.fixed(k):
        raise Reject("symbolic")
    m, n = x.shape[k], d.int(1, 6)
    b = d.weight(n, m) if tb else d.weight(m, n)
    c = None
    if d.opset < 11 or d.chance(0.7):
        c = d.weight(*d.choose([(n,), (n,), (1, n), (1,), ()]))
    at = {"alpha": some(d, d.choose([1.0, 0.5, 2.0]), 1.0), "beta": some(d, d.choose([1.0, 0.5]), 1.0)}
    d.add("Gemm", [x, b, c], transA=some(d, ta, 0), transB=some(d, tb, 0), **at)


@operator(2, "matrix")
def matmul(d: Draft):
    x = d.pick(lambda v: v.rank >= 1)
    others = [v for v in d.values if v.dtype == F32 and v.rank >= 2 and x.rank >= 2 and v.shape[-2] == x.shape[-1]]
    if others and d.chance(0.4):
        y = d.choose(others)
    else:
        if not x.fixed(x.rank - 1):
            raise Reject("symbolic")
        k, n = x.shape[-1], d.int(1, 6)
        shapes = [(k, n), (k, n), (k, n), (k,), (1, k, n)]
        if x.rank >= 3 and x.fixed(x.rank - 3):
            shapes.append((x.shape[-3], k, n))
        y = d.weight(*d.choose(shapes))
    z = d.add("MatMul", [x, y])[0]
    if d.chance(0.4) and z.rank >= 1 and z.fixed(z.rank - 1):
        bias = d.weight(z.shape[-1])
        d.add("Add", [z, bias] if d.chance(0.5) else [bias, z])


@operator(0.4, "matrix")
def einsum(d: Draft):
    x = d.pick(rank=(2, 3))
    if x.rank == 2 and x.fixed(1):
        d.add("Einsum", [x, d.weight(d.int(1, 4), x.shape[1])], since=12, equation="ij,kj->ik")
    else:
        d.add("Einsum", [x], since=12, equation=d.choose(["bij->bji", "...i->...", "bij->b"]))


# By the version that brings them.
UNARY = {
    "Relu": 6, "LeakyRelu": 6, "ThresholdedRelu": 10, "Elu": 6, "Selu": 6, "Celu": 12, "Sigmoid": 6, "HardSigmoid": 6,
    "HardSwish": 14, "Mish": 18, "Gelu": 20, "Softplus": 1, "Softsign": 1, "Tanh": 6, "Exp": 6, "Abs": 6, "Neg": 6,
    "Sign": 9, "Floor": 6, "Ceil": 6, "Round": 11, "Erf": 9, "Sin": 7, "Cos": 7, "Tan": 7, "Asin": 7, "Acos": 7,
    "Atan": 7, "Sinh": 9, "Cosh": 9, "Asinh": 9, "Atanh": 9, "Acosh": 9, "Identity": 1, "Sqrt": 6, "Log": 6,
    "Reciprocal": 6, "IsNaN": 9, "IsInf": 10,
}  # fmt: skip
OFTEN = {"Relu": 8, "Sigmoid": 3, "LeakyRelu": 2, "Identity": 3, "HardSwish": 2, "Tanh": 2}


@operator(5, "cnn")
def unary(d: Draft):
    names = [n for n, since in UNARY.items() if since <= d.opset]
    weights = np.array([OFTEN.get(n, 0.5) for n in names], float)
    op = str(d.choose(names, weights / weights.sum()))
    at = {}
    if op in ("LeakyRelu", "Elu", "ThresholdedRelu", "Celu") and d.chance(0.6):
        at["alpha"] = d.choose([0.25, 0.5, 2.0])
    if op == "HardSigmoid" and d.chance(0.5):
        at = {"alpha": 0.25, "beta": 0.25}
    if op == "Gelu":
        at["approximate"] = some(d, d.choose(["none", "tanh"]), "none")
    x = d.pick()
    if op in ("Acosh", "Asin", "Acos", "Atanh", "Sqrt", "Log", "Reciprocal") and d.chance(0.8):
        x = d.add("Abs", [x])[0]
        if op not in ("Sqrt",):
            x = d.add("Add", [x, d.constant(np.float32(1 if op != "Log" else 0.5))])[0]
        if op in ("Asin", "Acos", "Atanh"):
            x = d.add("Reciprocal", [d.add("Add", [x, d.constant(np.float32(1))])[0]])[0]
    d.add(op, [x], **at)


@operator(0.5)
def unary_int(d: Draft):
    x = d.pick(dtype=d.choose([I64, I32]))
    d.add(d.choose(["Abs", "Neg", "Identity", "Sign"]), [x])


@operator(1.2, "cnn")
def clip(d: Draft):
    x = d.pick()
    low, high = d.choose([(0.0, 6.0), (-1.0, 1.0), (0.0, None), (None, 2.0), (-0.5, 3.4028234663852886e38), (None, None)])
    if d.opset < 11:
        d.add("Clip", [x], min=low, max=high)
    else:
        bound = lambda v: None if v is None else d.constant(np.float32(v))
        d.add("Clip", [x, bound(low), bound(high)])


@operator(0.8)
def dropout(d: Draft):
    x = d.pick()
    mask = d.opset >= 10 and d.chance(0.15)
    if d.opset < 12:
        d.add("Dropout", [x], [True, mask], ratio=some(d, 0.25, 0.5))
    else:
        ratio = d.constant(np.float32(0.25)) if d.chance(0.4) else None
        training = d.constant(np.array(False)) if d.chance(0.2) else None
        d.add("Dropout", [x, ratio, training], [True, mask])


@operator(4, "cnn")
def binary(d: Draft):
    op = d.choose(["Add", "Add", "Add", "Sub", "Mul", "Mul", "Div", "Pow", "PRelu", "Mod"])
    dtype = F32 if d.chance(0.9) else d.choose([I64, I32])
    x = d.pick(dtype=dtype)
    if dtype.kind == "i":
        op = d.choose(["Add", "Sub", "Mul"])
    y = None
    if op not in ("Pow", "PRelu", "Mod"):
        others = [v for v in d.values if v.dtype == dtype and v is not x and all(a.shape == b.shape for a, b in zip(v.arrays, x.arrays))]
        if others and d.chance(0.7):
            y = d.choose(others)
        elif d.chance(0.15):
            y = d.pick(dtype=dtype)
    if y is None:
        y = operand(d, x, op, dtype)
    if op == "PRelu" or op in ("Pow", "Mod"):
        at = {"fmod": 1} if op == "Mod" else {}
        d.add(op, [x, y], since=10 if op == "Mod" else 1, **at)
    elif op == "Div" and not y.constant:
        y = d.add("Add", [d.add("Abs", [y])[0], d.constant(np.float32(1))])[0]
        d.add(op, [x, y])
    else:
        d.add(op, [x, y] if d.chance(0.7) or op == "Div" else [y, x])


def operand(d: Draft, x: Value, op: str, dtype) -> Value:
    """A constant that x takes: a scalar, by channel, by the last axis, whole."""
    if op == "Pow":
        return d.constant(np.float32(d.choose([1, 2, 3])))
    if op == "Mod":
        return d.constant(np.float32(d.choose([2, 3])))
    shapes = [(), (1,)]
    if op == "Add" and d.chance(0.15):
        return d.constant(np.zeros(d.choose(shapes), dtype))
    if op == "Mul" and d.chance(0.15):
        return d.constant(np.ones(d.choose(shapes), dtype))
    if x.rank >= 3 and x.fixed(1):
        shapes += [(1, x.shape[1]) + (1,) * (x.rank - 2), (x.shape[1],) + (1,) * (x.rank - 2)] * 2
    if x.rank >= 1 and x.fixed(x.rank - 1):
        shapes.append((x.shape[-1],))
    if x.static:
        shapes.append(x.shape)
    shape = d.choose(shapes)
    if dtype.kind == "i":
        return d.constant(d.r.integers(-3, 4, shape).astype(dtype))
    return d.weight(*shape, positive=op in ("Div",))


@operator(0.7)
def variadic(d: Draft):
    op = d.choose(["Sum", "Max", "Min", "Mean"])
    x = d.pick()
    same = [v for v in d.values if v.dtype == F32 and all(a.shape == b.shape for a, b in zip(v.arrays, x.arrays))]
    operands = [x] + [d.choose(same) for _ in range(d.int(0, 2))]
    if d.opset >= 8 and d.chance(0.3):
        operands.append(operand(d, x, "", F32))
    d.add(op, operands)


@operator(1)
def compare(d: Draft):
    op = d.choose(["Less", "Greater", "Equal", "LessOrEqual", "GreaterOrEqual"])
    x = d.pick()
    if op == "Equal" and d.opset < 11:
        x = d.add("Cast", [x], to=TensorProto.INT32)[0]
    same = [v for v in d.values if v.dtype == x.dtype and all(a.shape == b.shape for a, b in zip(v.arrays, x.arrays))]
    y = d.choose(same) if d.chance(0.4) else d.constant(np.array(d.choose([0, 0.5, 1]), x.dtype))
    c = d.add(op, [x, y], since=12 if op.endswith("OrEqual") else 7)[0]
    if d.chance(0.3):
        c = d.add("Not", [c])[0]
    if d.opset >= 9 and d.chance(0.7) and x.dtype == F32:
        other = d.choose(same) if d.chance(0.4) else operand(d, x, "", F32)
        d.add("Where", [c, x, other] if d.chance(0.5) else [c, other, x])
    elif d.chance(0.5):
        d.add("Cast", [c], to=d.choose([TensorProto.FLOAT, TensorProto.INT64]))


@operator(0.5)
def logic(d: Draft):
    x = d.pick(dtype=BOOL)
    same = [v for v in d.values if v.dtype == BOOL and all(a.shape == b.shape for a, b in zip(v.arrays, x.arrays))]
    d.add(d.choose(["And", "Or", "Xor", "Equal"]), [x, d.choose(same)])


@operator(1)
def cast(d: Draft):
    x = d.pick(dtype=None)
    kinds = {F32: [F64, I32, I64, BOOL, U8, F16]}.get(x.dtype, [F32])
    to = d.choose(kinds)
    if to == U8:
        x = d.add("Abs", [x])[0]
    y = d.add("Cast", [x], to=element(to))[0]
    if to in (F64, F16, U8) or d.chance(0.5):
        if to in (F64, F16) and d.chance(0.5):
            y = d.add(d.choose(["Relu", "Neg", "Abs"]), [y])[0]
        d.add("Cast", [y], to=TensorProto.FLOAT)


@operator(2, "cnn")
def softmax(d: Draft):
    x = d.pick(lambda v: v.rank >= 1)
    axis = axis_of(d, x.rank, 11)
    at = {} if d.chance(0.3) else {"axis": axis}
    d.add(d.choose(["Softmax", "Softmax", "Softmax", "LogSoftmax", "Hardmax"]), [x], **at)


REDUCTIONS = [
    "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
    "ReduceLogSumExp", "ReduceMean", "ReduceSum",
]  # fmt: skip


@operator(2)
def reduce(d: Draft):
    op = d.choose(REDUCTIONS)
    x = d.pick(lambda v: v.rank >= 1)
    at = {"keepdims": some(d, int(d.chance(0.6)), 1)}
    operands = [x]
    axes = axes_of(d, x.rank) if d.chance(0.85) else None
    if d.opset >= (13 if op == "ReduceSum" else 18):
        if axes is not None:
            operands.append(d.ints(axes))
        elif d.chance(0.2):
            at["noop_with_empty_axes"] = 1
    elif axes is not None:
        at["axes"] = axes
    d.add(op, operands, **at)


@operator(0.6)
def arg_max(d: Draft):
    x = d.pick(lambda v: v.rank >= 1)
    at = {"select_last_index": some(d, d.int(0, 1), 0)} if d.opset >= 12 else {}
    axis = axis_of(d, x.rank, 11)
    d.add(d.choose(["ArgMax", "ArgMin"]), [x], axis=some(d, axis, 0), keepdims=some(d, d.int(0, 1), 1), **at)


@operator(0.6)
def top_k(d: Draft):
    x = d.pick(lambda v: v.rank >= 1)
    axis = axis_of(d, x.rank, 11)
    k = d.int(1, min(a.shape[axis] for a in x.arrays))
    outputs = d.choose([[True, True], [True, False], [False, True]])
    at = {"axis": some(d, axis, -1)}
    if d.opset < 10:
        d.add("TopK", [x], [True, True], k=k, **at)
    else:
        if d.opset >= 11:
            at["largest"] = some(d, d.int(0, 1), 1)
        d.add("TopK", [x, d.ints([k])], outputs, **at)


@operator(0.3)
def cum_sum(d: Draft):
    x = d.pick(lambda v: v.rank >= 1)
    axis = d.constant(np.array(axis_of(d, x.rank), d.choose([np.int64, np.int32])))
    at = {"exclusive": some(d, d.int(0, 1), 0), "reverse": some(d, d.int(0, 1), 0)}
    d.add("CumSum", [x, axis], since=11, **at)


# What moves data.


@operator(2)
def transpose(d: Draft):
    x = d.pick(lambda v: v.rank >= 2, dtype=F32 if d.chance(0.9) else None)
    perm = [int(i) for i in d.r.permutation(x.rank)]
    d.add("Transpose", [x], perm=None if d.chance(0.15) else perm)


@operator(2)
def reshape(d: Draft):
    x = d.pick(lambda v: v.rank >= 1, dtype=F32 if d.chance(0.9) else None)
    r, shape = x.rank, list(x.shape)
    if d.chance(0.4):
        # The axes before stay, and the rest becomes one.
        keep = d.int(0, r - 1)
        target = [0] * keep + [-1]
    elif d.chance(0.5):
        # One static axis becomes two.
        axis = d.choose([i for i in range(r) if x.fixed(i) and shape[i] > 1])
        f = d.choose([f for f in range(1, shape[axis] + 1) if shape[axis] % f == 0])
        target = [0] * axis + [f, shape[axis] // f]
        rest = [shape[i] if x.fixed(i) else -1 for i in range(axis + 1, r)]
        if axis + 1 < r and -1 not in rest and d.chance(0.3):
            rest[d.int(0, len(rest) - 1)] = -1
        target += rest
    else:
        if not x.static:
            raise Reject("symbolic")
        total, target = int(np.prod(shape)), []
        for _ in range(d.int(0, 3)):
            f = d.choose([f for f in range(1, total + 1) if total % f == 0][:8])
            target.append(f)
            total //= f
        target.append(total if d.chance(0.5) else -1)
    at = {"allowzero": some(d, 0, 0)} if d.opset >= 14 else {}
    d.add("Reshape", [x, d.ints(target)], **at)


@operator(0.8)
def reshape_by_shape(d: Draft):
    """As tracers write a view: arithmetic on the shape."""
    x = d.pick(lambda v: v.rank >= 2)
    shape = d.add("Shape", [x])[0]
    keep = d.int(1, x.rank - 1)
    parts = []
    for i in range(keep):
        n = d.add("Gather", [shape, d.constant(np.array(i, np.int64))], axis=0)[0]
        if d.opset >= 13:
            parts.append(d.add("Unsqueeze", [n, d.ints([0])])[0])
        else:
            parts.append(d.add("Unsqueeze", [n], axes=[0])[0])
    target = d.add("Concat", [*parts, d.ints([-1])], axis=0)[0]
    d.add("Reshape", [x, target])


@operator(0.8)
def flatten(d: Draft):
    x = d.pick(lambda v: v.rank >= 1)
    axis = d.int(0, x.rank) if d.opset < 11 or d.chance(0.7) else d.int(-x.rank, -1)
    d.add("Flatten", [x], axis=some(d, axis, 1))


@operator(1)
def squeeze(d: Draft):
    x = d.pick(lambda v: any(v.fixed(i) and v.shape[i] == 1 for i in range(v.rank)), dtype=F32 if d.chance(0.9) else None)
    axes = [i for i in range(x.rank) if x.fixed(i) and x.shape[i] == 1 and d.chance(0.7)]
    if not axes:
        raise Reject("none")
    if d.opset >= 11:
        axes = [a - x.rank if d.chance(0.3) else a for a in axes]
    if d.opset >= 13:
        d.add("Squeeze", [x, d.ints(axes) if d.chance(0.9) else None])
    else:
        d.add("Squeeze", [x], axes=axes if d.chance(0.9) else None)


@operator(1)
def unsqueeze(d: Draft):
    x = d.pick(lambda v: v.rank <= 4, dtype=F32 if d.chance(0.9) else None)
    n = d.int(1, 2)
    axes = sorted({d.int(0, x.rank + n - 1) for _ in range(n)})
    if d.opset >= 11 and d.chance(0.3):
        axes = [a - x.rank - len(axes) for a in axes]
    if d.opset >= 13:
        d.add("Unsqueeze", [x, d.ints(axes)])
    else:
        d.add("Unsqueeze", [x], axes=axes)


@operator(2.5)
def slice_(d: Draft):
    x = d.pick(lambda v: v.rank >= 1, dtype=F32 if d.chance(0.9) else None)
    axes = sorted({d.int(0, x.rank - 1) for _ in range(d.int(1, 2))})
    starts, ends, steps = [], [], []
    for a in axes:
        n = min(v.shape[a] for v in x.arrays)
        low = d.int(0, n - 1)
        high = d.int(low + 1, n) if d.chance(0.6) else d.choose([2**31 - 1, 2**63 - 1, n + 3])
        step = d.choose([1, 1, 1, 2, 3])
        if d.opset >= 10 and d.chance(0.25):
            low, high, step = d.choose([-1, n - 1, 2**31 - 1, n]), d.choose([-(2**31), -n - 1, -(2**63), -n - 5, 0]), d.choose([-1, -1, -2])
        elif low > 0 and d.chance(0.3):
            low -= n
        if 0 < high < n and d.chance(0.2):
            high -= n
        starts, ends, steps = [*starts, low], [*ends, high], [*steps, step]
    if d.opset >= 11 and d.chance(0.3):
        axes = [a - x.rank for a in axes]
    plain = axes == list(range(len(axes)))
    if d.opset < 10:
        if any(s != 1 for s in steps):
            raise Reject("steps")
        d.add("Slice", [x], starts=starts, ends=ends, axes=None if plain and d.chance(0.5) else axes)
    else:
        width = d.choose([np.int64, np.int64, np.int32]) if max(map(abs, starts + ends)) < 2**31 else np.int64
        c = lambda v: d.constant(np.array(v, width))
        with_steps = any(s != 1 for s in steps) or d.chance(0.4)
        with_axes = not plain or d.chance(0.7)
        d.add("Slice", [x, c(starts), c(ends), c(axes) if with_axes else None, c(steps) if with_steps else None])


@operator(1.5, "cnn")
def pad(d: Draft):
    x = d.pick(lambda v: v.rank >= 1)
    mode = d.choose(["constant", "constant", "constant", "reflect", "edge"] + ["wrap"] * (d.opset >= 19))
    chosen = list(range(x.rank)) if d.opset < 18 or d.chance(0.7) else sorted({d.int(0, x.rank - 1) for _ in range(2)})
    low = -1 if d.chance(0.2) else 0
    pads = [0 if a < x.rank - 2 and d.chance(0.8) else d.int(low, 2) for a in chosen] + [0 if a < x.rank - 2 and d.chance(0.8) else d.int(low, 2) for a in chosen]
    at = {"mode": some(d, mode, "constant")}
    value = d.choose([0.0, 0.0, 1.5, -0.25])
    if d.opset < 11:
        d.add("Pad", [x], pads=pads, value=some(d, value, 0.0) if mode == "constant" else None, **at)
        return
    fill = d.constant(np.float32(value)) if mode == "constant" and (value or d.chance(0.3)) else None
    axes = d.ints(chosen) if len(chosen) < x.rank else None
    d.add("Pad", [x, d.ints(pads), fill, axes], **at)


@operator(2)
def concat(d: Draft):
    x = d.pick(lambda v: v.rank >= 1, dtype=F32 if d.chance(0.9) else None)
    axis = d.int(0, x.rank - 1)

    def fits(v):
        drop = lambda s: s[:axis] + s[axis + 1 :]
        return v.dtype == x.dtype and v.rank == x.rank and all(drop(a.shape) == drop(b.shape) for a, b in zip(v.arrays, x.arrays))

    same = [v for v in d.values if fits(v)]
    operands = [x] + [d.choose(same) if same else x for _ in range(d.int(0 if d.chance(0.1) else 1, 2))]
    if x.dtype == F32 and all(x.fixed(i) for i in range(x.rank) if i != axis) and d.chance(0.2):
        operands.append(d.weight(*x.shape[:axis], d.int(1, 2), *x.shape[axis + 1 :]))
    d.add("Concat", operands, axis=axis - x.rank if d.opset >= 11 and d.chance(0.3) else axis)


@operator(1.2)
def split(d: Draft):
    x = d.pick(lambda v: v.rank >= 1)
    axis = d.choose([i for i in range(x.rank) if x.fixed(i) and x.shape[i] > 1])
    n = x.shape[axis]
    parts = d.int(2, min(3, n))
    cuts = sorted(int(c) for c in d.r.choice(np.arange(1, n), parts - 1, replace=False))
    sizes = [b - a for a, b in zip([0, *cuts], [*cuts, n])]
    at = {"axis": some(d, axis - x.rank if d.opset >= 11 and d.chance(0.3) else axis, 0)}
    even = n % parts == 0 and d.chance(0.5)
    if even or (d.opset >= 18 and d.chance(0.2)):
        if d.opset >= 18:
            at["num_outputs"] = parts
        d.add("Split", [x], parts, **at)
    elif d.opset >= 13:
        d.add("Split", [x, d.ints(sizes)], parts, **at)
    else:
        d.add("Split", [x], parts, split=sizes, **at)


@operator(1.5, "cnn")
def resize(d: Draft):
    x = image(d)
    n = x.rank - 2
    mode = d.choose(["nearest", "nearest", "linear"] + ["cubic"] * (d.opset >= 11 and n == 2))
    scales = np.array([1, 1] + [d.choose([1, 2, 2, 3, 0.5, 1.5]) for _ in range(n)], np.float32)
    if d.opset < 9:
        d.add("Upsample", [x], mode=some(d, mode, "nearest"), scales=scales.tolist())
    elif d.opset == 9:
        d.add("Upsample", [x, d.constant(scales)], mode=some(d, mode, "nearest"))
    elif d.opset == 10:
        d.add("Resize", [x, d.constant(scales)], mode=some(d, mode, "nearest"))
    else:
        kinds = ["half_pixel", "half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
        at = {"mode": some(d, mode, "nearest"), "coordinate_transformation_mode": some(d, d.choose(kinds), "half_pixel")}
        if mode == "nearest":
            rounding = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
            at["nearest_mode"] = some(d, d.choose(rounding), "round_prefer_floor")
        if mode == "cubic":
            at["cubic_coeff_a"] = some(d, -0.5, -0.75)
        if d.opset >= 18 and mode != "nearest" and d.chance(0.15):
            at["antialias"] = 1
        roi = d.constant(np.zeros(0, np.float32)) if d.opset < 13 or d.chance(0.2) else None
        if x.static and d.chance(0.3):
            sizes = [*x.shape[:2], *(max(1, int(s * f) + d.int(0, 1)) for s, f in zip(x.shape[2:], scales[2:]))]
            empty = d.constant(np.zeros(0, np.float32)) if d.opset < 13 else None
            d.add("Resize", [x, roi, empty, d.ints(sizes)], **at)
        else:
            d.add("Resize", [x, roi, d.constant(scales)], **at)


@operator(0.6, "cnn")
def depth_to_space(d: Draft):
    x = image(d, (4,))
    if d.chance(0.5):
        at = {"mode": some(d, d.choose(["DCR", "CRD"]), "DCR")} if d.opset >= 11 else {}
        d.add("DepthToSpace", [x], blocksize=2, **at)
    else:
        d.add("SpaceToDepth", [x], blocksize=2)


@operator(1.2)
def gather(d: Draft):
    x = d.pick(lambda v: v.rank >= 1, dtype=F32 if d.chance(0.9) else None)
    axis = axis_of(d, x.rank)
    n = min(a.shape[axis] for a in x.arrays)
    low = -n if d.opset >= 11 else 0
    shape = d.choose([(), (1,), (2,), (3,), (2, 2)])
    indices = d.constant(d.r.integers(low, n, shape).astype(d.choose([np.int64, np.int32])))
    if d.opset >= 11 and x.static and d.chance(0.3):
        dims = list(x.shape)
        dims[axis] = d.int(1, 3)
        indices = d.constant(d.r.integers(low, n, dims).astype(np.int64))
        d.add("GatherElements", [x, indices], axis=some(d, axis, 0))
    else:
        d.add("Gather", [x, indices], axis=some(d, axis, 0))


@operator(0.6)
def embedding(d: Draft):
    index = d.pick(lambda v: (v.arrays[0] >= 0).all() and (v.arrays[0] < 5).all(), dtype=I64)
    if index not in [d.known.get(i.name) for i in d.inputs if i.dtype == I64]:
        raise Reject("an index that has no known bounds")
    d.add("Gather", [d.weight(5, d.int(1, 6)), index])


@operator(0.4)
def scatter(d: Draft):
    x = d.pick(lambda v: v.rank >= 1 and v.static)
    axis = d.int(0, x.rank - 1)
    if d.chance(0.5):
        dims = list(x.shape)
        dims[axis] = 1
        indices = d.constant(d.r.integers(0, x.shape[axis], dims).astype(np.int64))
        d.add("ScatterElements", [x, indices, d.weight(*dims)], since=11, axis=axis)
    else:
        indices = d.ints([[d.int(0, x.shape[0] - 1)]])
        d.add("ScatterND", [x, indices, d.weight(1, *x.shape[1:])], since=11)


@operator(0.6)
def expand(d: Draft):
    x = d.pick(lambda v: v.rank <= 4)
    target = [d.int(1, 3) if x.shape[i] == 1 and x.fixed(i) else 1 for i in range(x.rank)]
    if d.chance(0.3):
        target = [d.int(1, 2), *target]
    if not target:
        target = [2]
    d.add("Expand", [x, d.ints(target)], since=8)


@operator(0.6)
def tile(d: Draft):
    x = d.pick(lambda v: v.rank >= 1)
    d.add("Tile", [x, d.ints([d.choose([1, 1, 2, 3]) for _ in range(x.rank)])])


@operator(0.3)
def trilu(d: Draft):
    x = d.pick(lambda v: v.rank >= 2)
    k = d.constant(np.array(d.int(-1, 1), np.int64)) if d.chance(0.5) else None
    d.add("Trilu", [x, k], since=14, upper=some(d, d.int(0, 1), 1))


@operator(0.3)
def shapes(d: Draft):
    x = d.pick(lambda v: v.rank >= 1)
    s = d.add(d.choose(["Shape", "Size"]), [x])[0]
    if s.rank and d.opset >= 9 and d.chance(0.5):
        c = d.add("ConstantOfShape", [s])[0]
        d.add("Add", [x, c])
    elif d.chance(0.5):
        d.add("Cast", [s], to=TensorProto.FLOAT)


@operator(0.2)
def one_hot(d: Draft):
    x = d.pick(lambda v: v.rank <= 2, dtype=I64)
    depth = d.constant(np.array(4, np.int64))
    d.add("OneHot", [x, depth, d.constant(np.array([0, 1], np.float32))], since=9, axis=-1)


# Quantized, recurrent.


@operator(1)
def quantize(d: Draft):
    """QuantizeLinear and DequantizeLinear, by tensor or by channel."""
    x = d.pick(lambda v: v.rank >= 2)
    kind = d.choose([np.uint8, np.int8])
    if d.opset >= 13 and x.fixed(1) and d.chance(0.3):
        c = x.shape[1]
        scale, zero, at = d.constant(np.full(c, 0.25, np.float32) * (1 + np.arange(c) % 2)), d.constant(np.zeros(c, kind)), {"axis": 1}
    else:
        zero = d.constant(np.array(d.choose([0, 3, 100]), kind))
        scale, at = d.constant(np.float32(d.choose([0.25, 0.5]))), {}
    q = d.add("QuantizeLinear", [x, scale, zero], since=10, **at)[0]
    if d.chance(0.3):
        if d.chance(0.5) and q.rank == 4:
            q = d.add("MaxPool", [q], since=12, kernel_shape=[2, 2])[0]
        else:
            q = d.add("Transpose", [q])[0] if not at else q
    d.add("DequantizeLinear", [q, scale, zero], **at)


@operator(0.6, "cnn")
def quantized(d: Draft):
    """QLinearConv, ConvInteger, QLinearMatMul, MatMulInteger between their conversions."""
    x = image(d, (4, 4, 3)) if d.chance(0.7) else d.pick(rank=2)
    scale, zero = d.constant(np.float32(0.25)), d.constant(np.uint8(d.choose([0, 128])))
    q = d.add("QuantizeLinear", [x, scale, zero], since=10)[0]
    whole = lambda *s: d.constant(d.r.integers(0, 9, s).astype(np.uint8))
    if x.rank > 2:
        m, at = d.int(1, 4), window(d, x.rank - 2)
        w = whole(m, x.shape[1], *at["kernel_shape"])
        name = "Conv"
    else:
        if not x.fixed(1):
            raise Reject("symbolic")
        w, at, name = whole(x.shape[1], d.int(1, 4)), {}, "MatMul"
    wz = d.constant(np.uint8(4))
    if d.chance(0.6):
        out_scale = d.constant(np.float32(2.0))
        operands = [q, scale, zero, w, scale, wz, out_scale, zero]
        if name == "Conv" and d.chance(0.5):
            operands.append(d.constant(d.r.integers(-20, 20, m).astype(np.int32)))
        y = d.add(f"QLinear{name}", operands, **at)[0]
        d.add("DequantizeLinear", [y, out_scale, zero])
    else:
        y = d.add(f"{name}Integer", [q, w, zero if d.chance(0.7) else None, wz if d.chance(0.7) else None], **at)[0]
        d.add("Cast", [y], to=TensorProto.FLOAT, strict=False)


@operator(0.3)
def dynamic_quantize(d: Draft):
    y = d.add("DynamicQuantizeLinear", [d.pick()], 3, since=11)
    d.add("DequantizeLinear", y)


@operator(0.5, "matrix")
def recurrent(d: Draft):
    x = d.pick(lambda v: v.fixed(2), rank=3)
    op = d.choose(["LSTM", "GRU", "RNN"])
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    h = d.int(1, 3)
    direction = d.choose(["forward", "forward", "reverse", "bidirectional"])
    n = 2 if direction == "bidirectional" else 1
    operands = [x, d.weight(n, gates * h, x.shape[2]), d.weight(n, gates * h, h)]
    operands.append(d.weight(n, 2 * gates * h) if d.chance(0.6) else None)
    at = {"direction": some(d, direction, "forward"), "hidden_size": h}
    if op == "GRU":
        at["linear_before_reset"] = some(d, d.int(0, 1), 0)
    outputs = d.choose([[True], [True, True], [False, True]])
    d.add(op, operands, outputs, **at)


# Control flow.


def body(d: Draft, child: Draft, x: Value, steps: int) -> Value:
    """Draws nodes into a body whose last result is like x."""
    names = ["unary", "binary", "conv", "softmax", "clip", "dropout", "batch_normalization", "pool", "slice_", "pad", "concat"]
    own = [f for f, _, _ in OPERATORS if f.__name__ in names]
    result = x
    for _ in range(steps * 4):
        if attempt(child, child.choose(own)):
            like = [v for v in child.values if v.dtype == x.dtype and all(a.shape == b.shape for a, b in zip(v.arrays, x.arrays))]
            result = like[-1] if like else result
            steps -= 1
        if steps <= 0 and result is not x:
            break
    if result is x:
        result = child.add(d.choose(["Neg", "Abs", "Relu"]), [x])[0]
    return result


@operator(0.7)
def if_(d: Draft):
    if d.parent and d.parent.parent:
        raise Reject("deep enough")
    x = d.pick(captured=0.3)
    conditions = [v for v in d.values if v.dtype == BOOL and all(a.size == 1 for a in v.arrays)]
    if conditions and d.chance(0.7):
        condition = d.choose(conditions)
    else:
        mean = "ReduceMean" if d.chance(0.5) else "ReduceMax"
        m = d.add(mean, [x], keepdims=0)[0]
        condition = d.add("Greater", [m, d.constant(np.float32(0.1))], since=9)[0]
    branches, several = [], d.chance(0.2)
    for _ in range(2):
        child = d.body()
        child.values = []
        result = body(d, child, child.add("Identity", [x])[0] if d.chance(0.3) else child_of(child, x), d.int(1, 3))
        outputs = [result]
        if several:
            outputs.append(child.add("Neg", [result])[0])
        branches.append(child_graph(child, [], outputs, "branch"))
    d.add("If", [condition], 2 if several else 1, then_branch=branches[0], else_branch=branches[1])


def child_of(child: Draft, x: Value) -> Value:
    """A captured value as one that the body's operators pick."""
    child.values.append(x)
    return x


def child_graph(child: Draft, inputs, outputs: list[Value], name: str):
    infos = []
    for v in outputs:
        info = v.info()
        if child.chance(0.3):
            for dim in info.type.tensor_type.shape.dim:
                dim.Clear()
        infos.append(info)
    return helper.make_graph(child.nodes, name, inputs, infos, child.weights)


@operator(0.5)
def loop(d: Draft):
    if d.parent and d.parent.parent:
        raise Reject("deep enough")
    x = d.pick(captured=0.3)
    child = d.body()
    i, going, state = child.name("i"), child.name("going"), Value(child.name("state"), x.arrays)
    child.known[i] = Value(i, [np.array(0, np.int64)] * len(d.extents))
    child.known[going] = Value(going, [np.array(True)] * len(d.extents))
    child.known[state.name] = state
    child.values = [state] + ([x] if d.chance(0.5) else [])
    if d.chance(0.3):
        step = child.add("Cast", [child.known[i]], to=TensorProto.FLOAT)[0]
        child.add("Add", [state, step])
    result = body(d, child, state, d.int(1, 3))
    if d.opset >= 9 and d.chance(0.25):
        go = child.add("Less", [child.known[i], d.ints(d.int(0, 2))])[0]
    else:
        go = child.add("Identity", [child.known[going]])[0]
    outputs = [go, result]
    if d.chance(0.3):
        outputs.append(child.add("Abs", [result])[0])
    infos = [helper.make_tensor_value_info(i, TensorProto.INT64, []), helper.make_tensor_value_info(going, TensorProto.BOOL, []), state.info()]
    graph = child_graph(child, infos, outputs, "body")
    count = d.constant(np.array(d.choose([1, 2, 3] + [0] * (len(outputs) == 2)), np.int64))
    condition = d.constant(np.array(True)) if d.chance(0.7) else None
    d.add("Loop", [count, condition, x], len(outputs) - 1, body=graph)


@operator(0.3)
def scan(d: Draft):
    if d.parent or d.opset < 9:
        raise Reject("no Scan here")
    x = d.pick(lambda v: v.rank >= 2 and all(v.fixed(i) for i in range(1, v.rank)))
    child = d.body()
    row = Value(child.name("row"), [a[0] for a in x.arrays])
    state = Value(child.name("state"), [np.zeros_like(a[0]) for a in x.arrays])
    for v in (row, state):
        child.known[v.name] = v
    child.values = [row]
    result = body(d, child, row, d.int(1, 2))
    total = child.add("Add", [state, result])[0]
    graph = child_graph(child, [state.info(), row.info()], [total, child.add("Neg", [total])[0]], "body")
    start = d.constant(np.zeros(x.shape[1:], np.float32))
    d.add("Scan", [start, x], 2, body=graph, num_scan_inputs=1)


def attempt(d: Draft, f) -> bool:
    """Draws one operator; where it is not possible, all is as before."""
    saved = len(d.nodes), len(d.weights), len(d.values), len(d.known)
    counts, overridable = dict(d.counts), set(d.overridable)
    try:
        f(d)
        return True
    except Reject:
        nodes, weights, values, known = saved
        del d.nodes[nodes:], d.weights[weights:], d.values[values:]
        for name in list(d.known)[known:]:
            del d.known[name]
        d.counts.clear()
        d.counts.update(counts)
        d.overridable.clear()
        d.overridable.update(overridable)
        return False
