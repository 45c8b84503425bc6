"""A whole random model: its inputs, its nodes, what it gives, and how it is written."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
from onnx import helper

from . import control, moves, quantized  # noqa: F401 (they add their operators)
from .draft import (
    BOOL,
    F32,
    I32,
    I64,
    Draft,
    Input,
    Reject,
    Value,
    element,
    free,
    session,
)
from .operators import OPERATORS, attempt, narrow, widen

OPSETS = range(7, 24)


@dataclasses.dataclass
class Graph:
    """A model that the checker and ONNX Runtime take, and values to feed it."""

    model: onnx.ModelProto
    opset: int
    counts: dict[str, int]
    # Extents of symbols, and feeds for some of them each.
    extents: list[dict[str, int]]
    feeds: list[dict[str, np.ndarray]]
    answers: list[list[np.ndarray]]
    # Whether the checker takes it with strict inference, too.
    strict: bool
    # Names of symbolic dimensions with the extents of the first feed.
    symbols: dict[str, int]
    # Bytes that are live at once, at most, of the first feed.
    peak: int


def draw(seed: int) -> tuple[Graph, int]:
    """The graph of a seed, and how often it had to be drawn again as a whole."""
    for again in range(50):
        try:
            return once(np.random.default_rng([seed, again])), again
        except Reject:
            continue
    raise RuntimeError(f"seed {seed}: no valid graph in 50 draws")


def once(r: np.random.Generator) -> Graph:
    opset = int(r.choice(OPSETS))
    symbolic = r.random() < 0.3
    extents: list[dict[str, int]] = [{}, {}] if symbolic else [{}]
    d = Draft(r, opset, extents)
    theme = str(r.choice(["chain", "cnn", "cnn", "matrix", ""]))
    inputs(d, theme, symbolic)
    weights = np.array([w * favour(f.__name__, t, theme) for f, w, t in OPERATORS])
    weights /= weights.sum()
    if theme == "chain":
        attempt(d, widen)
    wanted = d.int(1, 12) if d.chance(0.8) else d.int(12, 25)
    for _ in range(wanted * 3):
        if len(d.nodes) >= wanted:
            break
        attempt(d, OPERATORS[int(r.choice(len(OPERATORS), p=weights))][0])
    if theme == "chain" and d.chance(0.8):
        attempt(d, narrow)
    return finish(d)


# What memory planners tile: long stretches of these, wide in the middle.
CHAIN = [
    "conv",
    "pool",
    "unary",
    "binary",
    "batch_normalization",
    "concat",
    "resize",
    "clip",
    "conv_transpose",
    "pad",
]


def favour(name: str, of: str, theme: str) -> float:
    """How much more often than elsewhere an operator is drawn in a theme."""
    if theme == "chain":
        return 2 if name in CHAIN else 0.1
    return 3 if of and of == theme else 1


def inputs(d: Draft, theme: str, symbolic: bool) -> None:
    """One image or matrix, and sometimes more: a second one, indices, a condition."""
    axes: dict[str, tuple[int, int]] = {}

    def dim(stem: str, low: int, high: int, p: float):
        """A number, a symbol, or none."""
        if not symbolic or not d.chance(p):
            return d.int(low, high)
        axes[stem] = (max(2, low), high)
        return None if d.chance(0.15) else stem

    n = d.int(1, 3)
    rank = d.choose([4, 4, 4, 3, 5]) if theme in ("cnn", "chain") else d.choose([1, 2, 2, 3, 3, 4])
    stems = [
        str(s)
        for s in d.choose(
            [["N", "H", "W", "D"], ["batch", "height", "width", "depth"], ["n.0", "in h", "é", "4"]]
        )
    ]
    if theme in ("cnn", "chain"):
        largest = {3: 20, 4: 12, 5: 7}[rank] + (4 if theme == "chain" else 0)
        batch = dim(stems[0], 1, 3, 0.7)
        dims = [batch, d.choose([1, 2, 3, 4, 6, 8])] + [
            dim(stems[1 + i], 4, largest, 0.5) for i in range(rank - 2)
        ]
    else:
        dims = [dim(stems[0], 1, 4, 0.7)] + [dim(stems[i], 2, 8, 0.2) for i in range(1, rank)]
    made = [Input(d.name("x"), F32, dims)]
    if d.chance(0.3):
        made.append(
            Input(
                d.name("y"),
                F32,
                list(dims) if d.chance(0.6) else dims[: d.int(0, 1)] + [d.int(1, 8)],
            )
        )
    if d.chance(0.12):
        made.append(Input(d.name("index"), I64, [d.int(1, 4)] * d.int(0, 2), 0, 4))
    if d.chance(0.05):
        made.append(Input(d.name("whole"), I32, list(dims), -9, 9))
    if d.chance(0.15):
        made.append(Input(d.name("flag"), BOOL, [] if d.chance(0.7) else [1]))
    d.inputs = made
    bounds = {}
    for i in made:
        for axis, n in enumerate(i.dims):
            if not isinstance(n, int):
                stem = n or stems[axis if axis < len(stems) else 0]
                bounds[n or f"{i.name}:{axis}"] = axes.get(stem, (2, 6))
    for k, e in enumerate(d.extents):
        for key, (low, high) in bounds.items():
            e[key] = d.int(low, high)
            if k and e[key] == d.extents[0][key]:
                e[key] += 1
    if symbolic and not bounds:
        d.extents[:] = [{}]
    for i in made:
        v = Value(i.name, [i.draw(d.r, e, "plain") for e in d.extents])
        d.known[i.name] = v
        d.values.append(v)


def finish(d: Draft) -> Graph:
    """Chooses outputs, writes the model, and asks the checker and ONNX Runtime."""
    if not any(n.op_type != "Constant" for n in d.nodes):
        raise Reject("nothing drawn")
    r = d.r
    read = set(free(d.nodes))
    given = {i.name for i in d.inputs}
    made = [v for v in d.values if v.name not in given]
    ends = [v for v in made if v.name not in read]
    outputs = [v for v in ends if d.chance(0.85)] or ends[:1]
    outputs += [v for v in made if v not in outputs and v not in ends and d.chance(0.06)]
    r.shuffle(outputs)
    nodes = shuffled(d) if d.chance(0.3) else d.nodes
    opsets = [helper.make_opsetid("", d.opset)]
    infos = [v.info() for v in outputs]
    declared = [helper.make_tensor_value_info(i.name, element(i.dtype), i.dims) for i in d.inputs]
    declared += [
        helper.make_tensor_value_info(w.name, w.data_type, w.dims)
        for w in d.weights
        if w.name in d.overridable
    ]
    graph = helper.make_graph(
        nodes, str(d.choose(["g", "main graph", "torch-jit-export"])), declared, infos, d.weights
    )
    if d.chance(0.3):
        graph.value_info.extend(v.info() for v in made if v not in outputs and d.chance(0.7))
    least = helper.find_min_ir_version_for(opsets)
    model = helper.make_model(
        graph, opset_imports=opsets, ir_version=3 if d.opset < 9 else max(least, d.int(4, 10))
    )
    vary(d, model)
    try:
        onnx.checker.check_model(model)
    except Exception as e:  # The checker raises several kinds.
        raise Reject(str(e)) from None
    try:
        onnx.checker.check_model(model, full_check=True)
        strict = True
    except Exception:
        strict = False
    extents, feeds = [], []
    plan = [
        (e, kind)
        for e in d.extents
        for kind in (("plain", "ties", "any") if e is d.extents[0] else ("ties",))
    ]
    if d.extents[0]:
        plan.append(({k: 1 for k in d.extents[0]}, "plain"))
    try:
        s = session(model)
    except Exception as e:
        raise Reject(str(e)) from None
    answers = []
    for e, kind in plan:
        feed = {i.name: i.draw(r, e, kind) for i in d.inputs}
        try:
            answers.append(s.run(None, feed))
        except Exception as error:
            # Extents of 1 need not be possible.
            if set(e.values()) == {1} and e not in d.extents:
                continue
            raise Reject(str(error)) from None
        extents.append(e)
        feeds.append(feed)
    symbols = {k: n for k, n in d.extents[0].items()}
    return Graph(
        model, d.opset, d.counts, extents, feeds, answers, strict, symbols, peak(d, nodes, outputs)
    )


def vary(d: Draft, model: onnx.ModelProto) -> None:
    """Extents of outputs: as inferred, with names or without, or left open."""
    inferred = {}
    if d.extents[0]:
        try:
            whole = onnx.shape_inference.infer_shapes(model)
            inferred = {o.name: o for o in whole.graph.output}
        except Exception as e:  # It raises many kinds.
            raise Reject(str(e)) from None
    for info in model.graph.output:
        if info.name in inferred and d.chance(0.6):
            info.CopyFrom(inferred[info.name])
        vague = d.chance(0.15)
        for k, dim in enumerate(info.type.tensor_type.shape.dim):
            if vague:
                dim.Clear()
            if not dim.HasField("dim_value") and not dim.dim_param and d.chance(0.6):
                dim.dim_param = f"{info.name}_{k}"


def peak(d: Draft, nodes, outputs: list[Value]) -> int:
    """Most bytes of values that are live at once where nodes run in this order."""
    sizes = {v.name: v.arrays[0].nbytes for v in d.values}
    last = {name: at for at, n in enumerate(nodes) for name in free([n]) if name in sizes}
    last.update({v.name: len(nodes) for v in outputs})
    live = {i.name for i in d.inputs}
    most = 0
    for at, n in enumerate(nodes):
        live.update(o for o in n.output if o in sizes)
        most = max(most, sum(sizes[v] for v in live))
        live = {v for v in live if last.get(v, -1) > at}
    return most


def shuffled(d: Draft) -> list[onnx.NodeProto]:
    """The nodes in another order that is possible."""
    made = {o for n in d.nodes for o in n.output if o}
    rest, done, order = list(d.nodes), set(), []
    while rest:
        ready = [n for n in rest if all(f in done or f not in made for f in free([n]))]
        n = ready[d.int(0, len(ready) - 1)]
        rest.remove(n)
        order.append(n)
        done.update(n.output)
    return order
