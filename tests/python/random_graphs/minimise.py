"""Cuts a failing graph down to the nodes that the failure needs."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import tempfile

import numpy as np
import onnx
from onnx import helper

from . import judge
from .draft import element, free, session
from .graph import Graph
from .pipelines import Pipeline


def minimise(graph_opt: pathlib.Path, graph: Graph, pipeline: Pipeline, verdict: judge.Verdict):
    """A smaller model that fails in the same way, or None where nothing can be cut."""
    model = graph.model
    made = [o for n in model.graph.node if n.op_type != "Constant" for o in n.output if o]
    values = everything(graph, made)
    if values is None:
        return None
    initial = {w.name for w in model.graph.initializer}
    inputs = [i.name for i in model.graph.input if i.name not in initial]
    best, outputs, cut = None, [o.name for o in model.graph.output], list(inputs)

    def fails(outputs, cut):
        """The model with these outputs and inputs, if it fails in the same way."""
        small = part(graph, values, outputs, cut)
        return small if small and alike(graph_opt, small, pipeline, verdict) else None

    for name in made:
        small = fails([name], cut)
        if small:
            best, outputs = small, [name]
            break
    else:
        for name in list(outputs):
            rest = [o for o in outputs if o != name]
            small = fails(rest, cut) if rest else None
            if small:
                best, outputs = small, rest
    for name in reversed([n for n in made if n not in outputs]):
        small = fails(outputs, [*cut, name])
        if small:
            best, cut = small, [*cut, name]
    return best.model if best else None


def everything(graph: Graph, names):
    """All values for each feed, by name."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    del model.graph.output[:]
    model.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in names)
    try:
        s = session(model)
        return [
            {**feed, **dict(zip(names, map(np.asarray, s.run(None, feed))))} for feed in graph.feeds
        ]
    except Exception:  # ONNX Runtime raises many kinds.
        return None


def part(graph: Graph, values, outputs, cut) -> Graph | None:
    """The nodes between these values, as a model of its own."""
    old = graph.model.graph
    wanted, nodes = set(outputs), []
    for node in reversed(old.node):
        needed = [o for o in node.output if o and o in wanted and o not in cut]
        if needed:
            nodes.insert(0, node)
            wanted.update(free([node]))
    if not nodes:
        return None
    declared = {i.name: i for i in old.input}
    results = {o.name: o for o in old.output}

    def info(name):
        if name in declared or name in results:
            return declared.get(name) or results[name]
        arrays = [v[name] for v in values]
        dims = [
            n if len({a.shape[i] for a in arrays}) == 1 else None
            for i, n in enumerate(arrays[0].shape)
        ]
        return helper.make_tensor_value_info(name, element(arrays[0].dtype), dims)

    initial = [w for w in old.initializer if w.name in wanted]
    names = {w.name for w in initial}
    read = set(free(nodes))
    inputs = [n for n in values[0] if n in read and n not in names and n in {*cut}]
    also = [declared[n] for n in names if n in declared]
    small = helper.make_graph(
        nodes, "g", [*map(info, inputs), *also], [info(o) for o in outputs], initial
    )
    model = helper.make_model(
        small, opset_imports=graph.model.opset_import, ir_version=graph.model.ir_version
    )
    feeds = [{n: v[n] for n in inputs} for v in values]
    try:
        onnx.checker.check_model(model)
        s = session(model)
        answers = [s.run(None, feed) for feed in feeds]
        strict = graph.strict
        if strict:
            onnx.checker.check_model(model, full_check=True)
    except Exception:  # They raise many kinds.
        return None
    return dataclasses.replace(graph, model=model, feeds=feeds, answers=answers)


def alike(
    graph_opt: pathlib.Path, graph: Graph, pipeline: Pipeline, verdict: judge.Verdict
) -> bool:
    """Whether a graph fails in the same way."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "in.onnx").write_bytes(graph.model.SerializeToString())
        found = judge.judge(graph_opt, folder, graph, pipeline)
        if verdict.text.startswith("verify: ") and found.kind in ("bits", "close"):
            found = judge.verify(graph_opt, folder, pipeline)
    return found.kind == verdict.kind and kind_of(found.text) == kind_of(verdict.text)


def kind_of(text: str) -> str:
    """A message without names and numbers."""
    return re.sub(r"['\"`][^'\"`]*['\"`]|\d+|\[[^]]*\]", "_", text)[:40]
