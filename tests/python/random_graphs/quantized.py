"""How quantized and recurrent operators are drawn."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from .draft import Draft, Reject
from .operators import (
    image,
    operator,
    some,
    window,
)


@operator(1)
def quantize(d: Draft):
    """QuantizeLinear and DequantizeLinear, by tensor or by channel."""
    x = d.pick(lambda v: v.rank >= 2)
    kind = d.choose([np.uint8, np.int8])
    if d.opset >= 13 and x.fixed(1) and d.chance(0.3):
        c = x.shape[1]
        scale, zero, at = (
            d.constant(np.full(c, 0.25, np.float32) * (1 + np.arange(c) % 2)),
            d.constant(np.zeros(c, kind)),
            {"axis": 1},
        )
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
        y = d.add(
            f"{name}Integer",
            [q, w, zero if d.chance(0.7) else None, wz if d.chance(0.7) else None],
            **at,
        )[0]
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
