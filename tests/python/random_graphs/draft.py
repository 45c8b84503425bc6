"""A graph while it is drawn.

Each node runs in ONNX Runtime as soon as it is drawn, on values for each of the drawn extents of the
symbolic dimensions. So shapes and types are never computed here, and a node that ONNX Runtime
refuses is drawn again by itself, not with all of its graph.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

# Most elements of a value.
LARGEST = 6000
F32, F64, F16 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.float16)
I64, I32, U8, I8 = np.dtype(np.int64), np.dtype(np.int32), np.dtype(np.uint8), np.dtype(np.int8)
BOOL = np.dtype(np.bool_)
# Domains in which a name may be drawn: what users, frameworks and accidents give.
ODD = [
    "a b{}",
    "x:{}",
    "état{}",
    "{}",
    "%{}",
    'q"{}',
    "back\\{}",
    "tab\t{}",
    "new\nline{}",
    "/m/l.{}/Conv_output_0",
    "if{}",
    "名{}",
    "a,b{}",
    "{{{}}}",
    "-{}",
    "v'{}",
    "#{}",
    "a.part{}",
    "__tmp_{}",
    "A{}",
    "[{}]",
    "(x{})",
    "$x{}",
]


class Reject(Exception):
    """What was drawn is not possible here; draw again."""


def session(model: onnx.ModelProto | bytes) -> ort.InferenceSession:
    """ONNX Runtime without optimisations."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


@dataclasses.dataclass(eq=False)
class Value:
    """A value of the graph, as it is for each of the drawn extents."""

    name: str
    arrays: list[np.ndarray]
    constant: bool = False

    @property
    def dtype(self) -> np.dtype:
        return self.arrays[0].dtype

    @property
    def rank(self) -> int:
        return self.arrays[0].ndim

    @property
    def shape(self) -> tuple[int, ...]:
        return self.arrays[0].shape

    def fixed(self, axis: int) -> bool:
        return len({a.shape[axis] for a in self.arrays}) == 1

    @property
    def static(self) -> bool:
        return len({a.shape for a in self.arrays}) == 1

    def info(self) -> onnx.ValueInfoProto:
        """What is known of it. Extents that are the same for some extents of the symbols need not
        be for all, so that nothing is said of any where there are symbols."""
        known = len(self.arrays) == 1
        dims = [n if known else None for n in self.shape]
        return helper.make_tensor_value_info(self.name, element(self.dtype), dims)


@dataclasses.dataclass
class Input:
    """An input of the graph: its extents are numbers, names of symbols, or None for one unnamed."""

    name: str
    dtype: np.dtype
    dims: list[int | str | None]
    low: int = 0
    high: int = 0

    def shape(self, extents: dict[str, int]) -> list[int]:
        key = lambda axis, d: d if isinstance(d, str) else f"{self.name}:{axis}"
        return [d if isinstance(d, int) else extents[key(i, d)] for i, d in enumerate(self.dims)]

    def draw(self, r: np.random.Generator, extents: dict[str, int], kind: str) -> np.ndarray:
        """Values: multiples of 1/4 of both signs, whole numbers, ties and zeros, or anything."""
        shape = self.shape(extents)
        if self.dtype == BOOL:
            return r.integers(0, 2, shape).astype(BOOL)
        if self.dtype.kind in "iu":
            return r.integers(self.low, self.high + 1, shape).astype(self.dtype)
        if kind == "ties":
            few = np.array([-1.0, -0.5, -0.0, 0.0, 0.0, 0.5, 1.0, 3.0, 6.0])
            return few[r.integers(0, len(few), shape)].astype(self.dtype)
        if kind == "any":
            return (r.standard_normal(shape) * 3).astype(self.dtype)
        return (r.integers(-8, 9, shape) / 4).astype(self.dtype)


def element(dtype: np.dtype) -> int:
    return helper.np_dtype_to_tensor_dtype(dtype)


class Draft:
    """A graph, or the body of a control-flow node, while it is drawn."""

    def __init__(self, r: np.random.Generator, opset: int, extents: list[dict[str, int]]):
        self.r, self.opset, self.extents = r, opset, extents
        # What is drawn for the whole graph: how odd names are, in which form constants come.
        self.odd = float(r.choice([0, 0, 0, 0.5]))
        self.unnamed = float(r.choice([0, 0.3, 1]))
        self.form = float(r.choice([0, 0.3, 1]))
        self.inputs: list[Input] = []
        self.overridable: set[str] = set()
        self.parent: Draft | None = None
        # Of all bodies: all names, and the values that they stand for.
        self.known: dict[str, Value] = {}
        self.counts: dict[str, int] = {}
        self.begin()

    def begin(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.values: list[Value] = []
        self.theme: dict[str, float] = {}

    def body(self) -> Draft:
        """An empty body, in which the values of this graph can be captured."""
        child = object.__new__(Draft)
        child.__dict__.update(self.__dict__)
        child.parent = self
        child.begin()
        child.theme = self.theme
        return child

    # Draws.

    def chance(self, p: float) -> bool:
        return bool(self.r.random() < p)

    def int(self, low: int, high: int) -> int:
        """From low to high, both included."""
        return int(self.r.integers(low, high + 1))

    def choose(self, items, p=None) -> Any:
        items = list(items)
        if not items:
            raise Reject("nothing to choose from")
        return items[int(self.r.choice(len(items), p=p))]

    def ints_of(self, n: int, low: int, high: int) -> list[int]:
        return [self.int(low, high) for _ in range(n)]

    def pick(self, test=None, dtype=F32, rank=None, captured=0.15) -> Value:
        """A value that is there, rather a new one."""

        def fits(v: Value) -> bool:
            return (
                (dtype is None or v.dtype == dtype)
                and (rank is None or v.rank in (rank if isinstance(rank, tuple) else (rank,)))
                and (test is None or test(v))
            )

        own = [v for v in self.values if fits(v)]
        if self.parent and (not own or self.chance(captured)):
            own = [v for v in self.parent.values if fits(v)] or own
        if not own:
            raise Reject("no such value")
        if self.chance(0.6):
            return own[-1 - self.int(0, min(1, len(own) - 1))]
        return self.choose(own)

    # Names and constants.

    def name(self, stem: str = "v") -> str:
        n = len(self.known)
        while True:
            name = str(self.choose(ODD)).format(n) if self.chance(self.odd) else f"{stem}{n}"
            if name not in self.known:
                self.known[name] = None  # type: ignore[assignment]
                return name
            n += 1

    def weight(self, *shape: int, positive=False, dtype=F32) -> Value:
        """Multiples of 1/4, so that sums do not depend on their order; sometimes one already there."""
        if not positive and self.chance(0.2):
            same = [
                v
                for v in self.known.values()
                if v
                and v.constant
                and v.shape == tuple(shape)
                and v.dtype == dtype
                and self.visible(v)
            ]
            if same:
                return self.choose(same)
        low = 1 if positive else -4
        return self.constant((self.r.integers(low, 5, shape) / 4).astype(dtype))

    def visible(self, v: Value) -> bool:
        scope: Draft | None = self
        while scope:
            if any(t.name == v.name for t in scope.weights) or any(
                v.name in n.output for n in scope.nodes
            ):
                return True
            scope = scope.parent
        return False

    def constant(self, array, dtype=None) -> Value:
        """An initializer, one that is also an input, or a Constant node."""
        array = np.asarray(array, dtype)
        value = Value(self.name("w"), [array] * len(self.extents), constant=True)
        self.known[value.name] = value
        if self.chance(self.form):
            self.nodes.append(self.constant_node(value.name, array))
        else:
            self.weights.append(numpy_helper.from_array(array, value.name))
            if self.parent is None and (self.opset < 9 or self.chance(0.05)):
                self.overridable.add(value.name)
        return value

    def constant_node(self, name: str, array: np.ndarray) -> onnx.NodeProto:
        attributes: dict[str, Any] = {"value": numpy_helper.from_array(array)}
        if self.opset >= 12 and array.ndim <= 1 and array.dtype in (F32, I64) and self.chance(0.5):
            kind = "float" if array.dtype == F32 else "int"
            attributes = {f"value_{kind}{'s' * array.ndim}": array.tolist()}
            if attributes.get(f"value_{kind}s") == []:
                attributes = {"value": numpy_helper.from_array(array)}
        return helper.make_node(
            "Constant", [], [name], name=self.node_name("Constant"), **attributes
        )

    def node_name(self, op: str) -> str:
        if self.chance(self.unnamed):
            return ""
        return self.name(f"{op}_")

    def ints(self, values) -> Value:
        return self.constant(np.array(values, np.int64))

    # Nodes.

    def add(
        self,
        op: str,
        inputs: list[Value | None],
        outputs: int = 1,
        since: int = 1,
        strict=True,
        **attributes,
    ) -> list[Value]:
        """Adds a node, unless ONNX Runtime refuses it or its values are of no use.

        `outputs` may be a list of flags, for outputs that may be left out.
        """
        if self.opset < since:
            raise Reject(f"{op} is newer")
        attributes = {k: v for k, v in attributes.items() if v is not None}
        flags = [True] * outputs if isinstance(outputs, int) else list(outputs)
        names = [self.name() if flag else "" for flag in flags]
        while names and not names[-1]:
            names.pop()
        sources = [v.name if v else "" for v in inputs]
        while sources and not sources[-1]:
            sources.pop()
        node = helper.make_node(op, sources, names, name=self.node_name(op), **attributes)
        results = self.evaluate(node, [n for n in names if n])
        for arrays in results.values():
            self.useful(arrays, strict)
            if len({a.ndim for a in arrays}) > 1:
                raise Reject("a rank that depends on the extents")
        self.nodes.append(node)
        made = []
        for name in names:
            if name:
                value = Value(name, results[name])
                self.known[name] = value
                self.values.append(value)
                made.append(value)
        self.counts[op] = self.counts.get(op, 0) + 1
        return made

    def useful(self, arrays: list[np.ndarray], strict: bool) -> None:
        for a in arrays:
            if not isinstance(a, np.ndarray) or a.size > LARGEST or a.size == 0:
                raise Reject("too large, or nothing")
            if strict and a.dtype.kind == "f" and not (np.abs(a) < 1e4).all():
                raise Reject("too large numbers")

    def evaluate(self, node: onnx.NodeProto, names: list[str]) -> dict[str, list[np.ndarray]]:
        read = [self.known[n] for n in free([node])]
        given = [v for v in read if not v.constant]
        graph = helper.make_graph(
            [node],
            "g",
            [v.info() for v in given],
            [helper.make_empty_tensor_value_info(n) for n in names],
            [numpy_helper.from_array(v.arrays[0], v.name) for v in read if v.constant],
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10
        )
        results: dict[str, list[np.ndarray]] = {n: [] for n in names}
        try:
            s = session(model)
            for i in range(len(self.extents)):
                for n, a in zip(names, s.run(names, {v.name: v.arrays[i] for v in given})):
                    results[n].append(np.asarray(a))
        except Exception as e:  # ONNX Runtime raises many kinds.
            raise Reject(str(e)) from None
        return results


def free(nodes, bound=()) -> list[str]:
    """The values that nodes read and do not make."""
    bound, found = set(bound), {}
    for node in nodes:
        for n in node.input:
            if n and n not in bound:
                found[n] = True
        for a in node.attribute:
            if a.type == a.GRAPH:
                inner = {t.name for t in a.g.initializer} | {i.name for i in a.g.input} | bound
                for n in free(a.g.node, inner):
                    found[n] = True
                made = inner.union(*(n.output for n in a.g.node)) if a.g.node else inner
                for o in a.g.output:
                    if o.name not in made:
                        found[o.name] = True
        bound.update(node.output)
    return list(found)
