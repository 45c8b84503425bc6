"""Random pipelines, as options of `graph-opt opt`."""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from .graph import Graph


@dataclasses.dataclass
class Pipeline:
    """Options of a run, what it is counted as, and whether it may round otherwise."""

    options: list[str]
    family: str
    rounds: bool = False


def chooser(r: np.random.Generator):
    """What chooses one of some items."""
    return lambda items: items[int(r.integers(len(items)))]


def draw(r: np.random.Generator, graph: Graph) -> Pipeline:
    """A pipeline for a graph, with its symbolic extents fixed in a part of the cases."""
    choose = chooser(r)
    kind = choose(
        ["simplify", "tile-conv", "tile-conv", "tile-conv", "fuse-tiles grid", "fuse-tiles grid", "fuse-tiles memory",
         "schedule", "eqsat", "untile", "-O", "-O", "--memory", "combination", "combination", "fusions"]
    )  # fmt: skip
    rounds = False
    if kind == "-O":
        options, rounds = ["-O"], True
        if r.random() < 0.3:
            options += ["-p", choose([tile(r), fuse(r, graph), "schedule", eqsat(r)])]
    elif kind == "--memory":
        options = ["--memory", budget(r, graph)]
        if r.random() < 0.3:
            options += ["--runtime", "onnxruntime"]
        if r.random() < 0.3:
            options += ["-p", choose(["", "simplify", "schedule,simplify"])]
    else:
        passes, rounds = passes_of(r, graph, kind)
        options = ["-p", passes]
        if "axis=c-in" in passes:
            rounds, kind = True, f"{kind}, c-in"
    if graph.symbols and r.random() < 0.5:
        options.append("--fix-dims")
        for name, n in graph.symbols.items():
            options.append(f"--dim={name}={n}")
    if r.random() < 0.2:
        options.append("--verify-each")
    return Pipeline(options, kind, rounds)


def passes_of(r: np.random.Generator, graph: Graph, kind: str) -> tuple[str, bool]:
    choose = chooser(r)
    if kind == "simplify":
        return choose(["simplify", "simplify", "fixpoint(simplify)"]), False
    if kind == "tile-conv":
        return tile(r), False
    if kind == "fuse-tiles grid":
        return choose(["", "", "simplify,"]) + fuse(r, graph), False
    if kind == "fuse-tiles memory":
        return planned(r, graph), False
    if kind == "schedule":
        return choose(["schedule", "schedule{states=10}", "simplify,schedule"]), False
    if kind == "eqsat":
        return choose(["", f"{tile(r)},"]) + eqsat(r), False
    if kind == "untile":
        return f"{tile(r)},untile", False
    if kind == "fusions":
        each = ["fuse-pad", "fold-batch-norm", "fuse-matmul-add", "drop-zero-add", "drop-dead-channels"]
        chosen = [p for p in each if r.random() < 0.5] or [choose(each)]
        return ",".join(chosen), chosen != ["fuse-pad"]
    makes = [
        lambda: tile(r), lambda: tile(r), lambda: fuse(r, graph), lambda: planned(r, graph), lambda: "simplify",
        lambda: "schedule", lambda: eqsat(r), lambda: "untile", lambda: "fuse-pad",
    ]  # fmt: skip
    return ",".join(choose(makes)() for _ in range(int(r.integers(2, 4)))), False


def tile(r: np.random.Generator) -> str:
    choose = chooser(r)
    if r.random() < 0.1:
        return f"tile-conv{{axis={choose(['h', 'w', 'n', 'c-out'])} max-bytes={choose([64, 256, 1024, 4096])}B}}"
    axes = [
        "n",
        "h",
        "w",
        "d",
        "c-out",
        "c-in",
        "hxw",
        "nxh",
        "c-outxh",
        "dxh",
        "nxc-out",
        "h",
        "w",
        "hxw",
    ]
    axis = choose(axes)
    count = lambda: str(int(r.integers(2, 5)))
    options = [f"axis={axis}"]
    if "x" in axis:
        options.append(f"parts={count()}x{count()}")
    elif r.random() < 0.15:
        options.append(
            f"sizes=[{','.join(str(int(n)) for n in r.integers(1, 5, int(r.integers(2, 4))))}]"
        )
    else:
        options.append(f"parts={count()}")
    if r.random() < 0.25:
        options.append(f"ops={choose(['conv', 'pool', 'matmul', 'all'])}")
    return f"tile-conv{{{' '.join(options)}}}"


def plain_names(graph: Graph) -> list[str]:
    """Names of nodes and their values that options can hold as they are."""
    names = [n for node in graph.model.graph.node for n in (node.name, *node.output)]
    return [n for n in names if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", n)]


REUSE = ["recompute", "rows", "all", "checkerboard", "exchange"]


def fuse(r: np.random.Generator, graph: Graph) -> str:
    choose = chooser(r)
    options = []
    axes = choose(
        [
            "",
            "",
            "",
            "axes=h",
            "axes=w",
            "axes=n",
            "axes=c",
            "axes=nxh",
            "axes=hxw",
            "axes=d",
            "axes=2x3",
            "axes=1",
            "axes=cxh",
            "axes=dxh",
        ]
    )
    two = "x" in axes[5:] or (not axes and r.random() < 0.7)
    count = lambda: str(int(r.integers(1, 5)))
    how = r.random()
    if how < 0.8:
        options.append(f"grid={count()}x{count()}" if two else f"grid={int(r.integers(2, 6))}")
        if r.random() < 0.2:
            options.append(f"split={choose(['even', 'ceil'])}")
    else:
        part = lambda: f"[{','.join(str(int(n)) for n in r.integers(1, 5, int(r.integers(1, 4))))}]"
        options.append(
            f"{'sizes' if how < 0.9 else 'weights'}={part()}{'x' + part() if two else ''}"
        )
    if axes:
        options.append(axes)
    if r.random() < 0.8:
        options.append(f"reuse={choose(REUSE)}")
    names = plain_names(graph)
    if names and r.random() < 0.25:
        options.append(f"from={choose(names)}")
    if not names:
        # The pass wants to know where to end; names that options cannot hold leave another one.
        return tile(r)
    options.append(f"to={choose(names[len(names) // 2 :] if r.random() < 0.7 else names)}")
    return f"fuse-tiles{{{' '.join(options)}}}"


def budget(r: np.random.Generator, graph: Graph) -> str:
    """Bytes that some graphs need and others do not have."""
    return f"{max(64, int(graph.peak * r.choice([0.4, 0.6, 0.75, 0.9, 0.99, 1.1])))}B"


def planned(r: np.random.Generator, graph: Graph) -> str:
    choose = chooser(r)
    if r.random() < 0.5:
        options = [f"memory={budget(r, graph)}"] + ["best-effort=yes"] * int(r.random() < 0.4)
    else:
        options = [f"extra-macs={choose([0, 10, 50])}%"]
    if r.random() < 0.4:
        options.append(f"reuse={choose(REUSE[:4])}")
    if r.random() < 0.2:
        options.append("runtime=onnxruntime")
    if r.random() < 0.2:
        options.append(f"max-tiles={choose([2, 4, 16])}")
    return f"fuse-tiles{{{' '.join(options)}}}"


def eqsat(r: np.random.Generator) -> str:
    choose = chooser(r)
    options = ["nodes=" + choose(["500", "2000"])]
    if r.random() < 0.8:
        options.append(f"objective={choose(['memory', 'macs', 'bytes', 'launches'])}")
    return f"eqsat{{{' '.join(options)}}}"
