"""How operators are drawn that move data."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from .draft import F32, I64, Draft, Reject
from .operators import (
    axis_of,
    image,
    operator,
    some,
)


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
    x = d.pick(
        lambda v: any(v.fixed(i) and v.shape[i] == 1 for i in range(v.rank)),
        dtype=F32 if d.chance(0.9) else None,
    )
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
            low, high, step = (
                d.choose([-1, n - 1, 2**31 - 1, n]),
                d.choose([-(2**31), -n - 1, -(2**63), -n - 5, 0]),
                d.choose([-1, -1, -2]),
            )
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
        d.add(
            "Slice", [x], starts=starts, ends=ends, axes=None if plain and d.chance(0.5) else axes
        )
    else:
        width = (
            d.choose([np.int64, np.int64, np.int32])
            if max(map(abs, starts + ends)) < 2**31
            else np.int64
        )
        c = lambda v: d.constant(np.array(v, width))
        with_steps = any(s != 1 for s in steps) or d.chance(0.4)
        with_axes = not plain or d.chance(0.7)
        d.add(
            "Slice",
            [
                x,
                c(starts),
                c(ends),
                c(axes) if with_axes else None,
                c(steps) if with_steps else None,
            ],
        )


@operator(1.5, "cnn")
def pad(d: Draft):
    x = d.pick(lambda v: v.rank >= 1)
    mode = d.choose(
        ["constant", "constant", "constant", "reflect", "edge"] + ["wrap"] * (d.opset >= 19)
    )
    chosen = (
        list(range(x.rank))
        if d.opset < 18 or d.chance(0.7)
        else sorted({d.int(0, x.rank - 1) for _ in range(2)})
    )
    low = -1 if d.chance(0.2) else 0
    pads = [0 if a < x.rank - 2 and d.chance(0.8) else d.int(low, 2) for a in chosen] + [
        0 if a < x.rank - 2 and d.chance(0.8) else d.int(low, 2) for a in chosen
    ]
    at = {"mode": some(d, mode, "constant")}
    value = d.choose([0.0, 0.0, 1.5, -0.25])
    if d.opset < 11:
        d.add(
            "Pad", [x], pads=pads, value=some(d, value, 0.0) if mode == "constant" else None, **at
        )
        return
    fill = (
        d.constant(np.float32(value)) if mode == "constant" and (value or d.chance(0.3)) else None
    )
    axes = d.ints(chosen) if len(chosen) < x.rank else None
    d.add("Pad", [x, d.ints(pads), fill, axes], **at)


@operator(2)
def concat(d: Draft):
    x = d.pick(lambda v: v.rank >= 1, dtype=F32 if d.chance(0.9) else None)
    axis = d.int(0, x.rank - 1)

    def fits(v):
        drop = lambda s: s[:axis] + s[axis + 1 :]
        return (
            v.dtype == x.dtype
            and v.rank == x.rank
            and all(drop(a.shape) == drop(b.shape) for a, b in zip(v.arrays, x.arrays))
        )

    same = [v for v in d.values if fits(v)]
    operands = [x] + [
        d.choose(same) if same else x for _ in range(d.int(0 if d.chance(0.1) else 1, 2))
    ]
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
        at = {
            "mode": some(d, mode, "nearest"),
            "coordinate_transformation_mode": some(d, d.choose(kinds), "half_pixel"),
        }
        if mode == "nearest":
            rounding = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
            at["nearest_mode"] = some(d, d.choose(rounding), "round_prefer_floor")
        if mode == "cubic":
            at["cubic_coeff_a"] = some(d, -0.5, -0.75)
        if d.opset >= 18 and mode != "nearest" and d.chance(0.15):
            at["antialias"] = 1
        roi = d.constant(np.zeros(0, np.float32)) if d.opset < 13 or d.chance(0.2) else None
        if x.static and d.chance(0.3):
            sizes = [
                *x.shape[:2],
                *(max(1, int(s * f) + d.int(0, 1)) for s, f in zip(x.shape[2:], scales[2:])),
            ]
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
