"""How each operator is drawn, in the forms that each version of the operator set has.

A function draws attributes and operands and adds one node, or a few that exporters write together.
What is not possible raises `Reject`, here or in ONNX Runtime.
"""

from __future__ import annotations

from typing import Callable

import numpy as np
from onnx import TensorProto

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


def like(d: Draft, x: Value) -> list[Value]:
    """The values of the type and extents of x."""
    same = lambda v: all(a.shape == b.shape for a, b in zip(v.arrays, x.arrays))
    return [v for v in d.values if v.dtype == x.dtype and same(v)]


def image(d: Draft, ranks=(3, 4, 4, 4, 4, 5)) -> Value:
    rank = d.choose(ranks)
    fits = lambda v: v.fixed(1) and v.shape[1] <= 24
    try:
        return d.pick(fits, rank=rank)
    except Reject:
        return d.pick(fits, rank=tuple(ranks))


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
    return some(
        d, [d.choose([1, 1, 1, 2, 3]) for _ in range(n)] if d.chance(0.4) else [1] * n, [1] * n
    )


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
        at["output_shape"] = [
            x.shape[2 + i] * (at.get("strides") or [1] * n)[i] + d.int(0, 1) for i in range(n)
        ]
        at["pads"] = None
    d.add("ConvTranspose", operands, group=some(d, group, 1), dilations=dilations(d, n), **at)


@operator(3, "cnn")
def pool(d: Draft):
    x = image(d)
    n = x.rank - 2
    op = d.choose(["MaxPool", "MaxPool", "AveragePool", "AveragePool", "LpPool"])
    at = window(d, n)
    outputs = [True]
    # With SAME padding, ONNX Runtime computes other shapes than it infers: no answer is right.
    same = str(at["auto_pad"]).startswith("SAME")
    if not same and d.opset >= (18 if op == "LpPool" else 10):
        at["ceil_mode"] = some(d, int(d.chance(0.4)), 0)
    if op == "MaxPool" and d.opset >= 8:
        at["storage_order"] = some(d, int(d.chance(0.1)), 0, 0.1)
        outputs = [True, d.chance(0.15)]
    if op == "AveragePool":
        at["count_include_pad"] = some(d, d.int(0, 1), 0)
    if op == "LpPool":
        at["p"] = some(d, d.int(1, 2), 2)
    since = {"MaxPool": 10, "LpPool": 18, "AveragePool": 19}[op]
    if not same and d.opset >= since:
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
    at = {
        "alpha": some(d, d.choose([1.0, 0.5, 2.0]), 1.0),
        "beta": some(d, d.choose([1.0, 0.5]), 1.0),
    }
    d.add("Gemm", [x, b, c], transA=some(d, ta, 0), transB=some(d, tb, 0), **at)


@operator(2, "matrix")
def matmul(d: Draft):
    x = d.pick(lambda v: v.rank >= 1)
    others = [
        v
        for v in d.values
        if v.dtype == F32 and v.rank >= 2 and x.rank >= 2 and v.shape[-2] == x.shape[-1]
    ]
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
    low, high = d.choose(
        [
            (0.0, 6.0),
            (-1.0, 1.0),
            (0.0, None),
            (None, 2.0),
            (-0.5, 3.4028234663852886e38),
            (None, None),
        ]
    )
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
        others = [v for v in like(d, x) if v is not x]
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
    same = like(d, x)
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
    same = like(d, x)
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
    same = like(d, x)
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
    d.add(
        d.choose(["ArgMax", "ArgMin"]),
        [x],
        axis=some(d, axis, 0),
        keepdims=some(d, d.int(0, 1), 1),
        **at,
    )


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
