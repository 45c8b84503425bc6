"""How If, Loop and Scan are drawn: their bodies capture what is outside."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from .draft import BOOL, Draft, Reject, Value
from .operators import (
    OPERATORS,
    attempt,
    like,
    operator,
)


def body(d: Draft, child: Draft, x: Value, steps: int) -> Value:
    """Draws nodes into a body whose last result is like x."""
    names = [
        "unary",
        "binary",
        "conv",
        "softmax",
        "clip",
        "dropout",
        "batch_normalization",
        "pool",
        "slice_",
        "pad",
        "concat",
    ]
    own = [f for f, _, _ in OPERATORS if f.__name__ in names]
    result = x
    for _ in range(steps * 4):
        if attempt(child, child.choose(own)):
            similar = like(child, x)
            result = similar[-1] if similar else result
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
        result = body(
            d,
            child,
            child.add("Identity", [x])[0] if d.chance(0.3) else child_of(child, x),
            d.int(1, 3),
        )
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
    infos = [
        helper.make_tensor_value_info(i, TensorProto.INT64, []),
        helper.make_tensor_value_info(going, TensorProto.BOOL, []),
        state.info(),
    ]
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
    graph = child_graph(
        child, [state.info(), row.info()], [total, child.add("Neg", [total])[0]], "body"
    )
    start = d.constant(np.zeros(x.shape[1:], np.float32))
    d.add("Scan", [start, x], 2, body=graph, num_scan_inputs=1)
