"""ONNX Runtime's own operators (com.microsoft) against ONNX Runtime.

Draws configurations of each operator that graph-opt defines, runs both, and compares. A draw that ONNX
Runtime refuses is drawn again.

    target/venv/bin/python tests/python/contrib.py --graph-opt target/debug/graph-opt [--count 20] [--only Attention]
"""

import collections
import concurrent.futures
import os
import pathlib
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

import common

DOMAIN = "com.microsoft"


class Draw:
    """One configuration: a node, and what it reads."""

    def __init__(self, rng):
        self.rng = rng
        self.inputs, self.names, self.attrs = {}, [], {}
        self.outputs, self.domain = 1, DOMAIN
        self.tolerance = (1e-4, 1e-5)
        self.whole, self.ignored = 0, set()

    def pick(self, *options):
        return options[self.rng.integers(len(options))]

    def chance(self, p=0.5):
        return self.rng.random() < p

    def add(self, name, value):
        self.inputs[name] = np.asarray(value)
        self.names.append(name)

    def skip(self):
        self.names.append("")

    def floats(self, *shape, scale=1.0):
        return (self.rng.standard_normal(shape) * scale).astype(np.float32)

    def bytes(self, kind, *shape):
        info = np.iinfo(kind)
        return self.rng.integers(info.min, info.max + 1, shape).astype(kind)

    def quantized(self, name, kind, *shape):
        """A quantized tensor with its scale and zero point."""
        self.add(name, self.bytes(kind, *shape))
        self.add(f"{name}_scale", np.float32(self.rng.uniform(0.01, 0.1)))
        self.add(f"{name}_zero", self.bytes(kind))

    def result(self, kind):
        self.add("y_scale", np.float32(self.rng.uniform(0.02, 0.2)))
        self.add("y_zero", self.bytes(kind))
        # Runtimes compute what is then rounded in another order.
        self.whole = 1


def shape(d, least=2):
    return [int(d.rng.integers(1, 6)) for _ in range(d.rng.integers(least, 5))]


def elementwise(d):
    d.add("x", d.floats(*shape(d), scale=2))


def quick_gelu(d):
    elementwise(d)
    d.attrs["alpha"] = float(d.pick(1.0, 1.702, 0.5))


def bias_gelu(d):
    s = shape(d)
    d.add("x", d.floats(*s))
    d.add("bias", d.floats(s[-1]))


def fast_gelu(d):
    s = shape(d)
    d.add("x", d.floats(*s))
    if d.chance():
        d.add("bias", d.floats(s[-1]))
    d.tolerance = (1e-3, 1e-4)


def skip_layer(d, simplified=False):
    b, s, h = int(d.rng.integers(1, 4)), int(d.rng.integers(1, 6)), int(d.pick(4, 8, 12))
    d.add("x", d.floats(b, s, h))
    d.add("skip", d.floats(b, s, h))
    d.add("gamma", d.floats(h))
    if not simplified:
        d.add("beta", d.floats(h)) if d.chance(0.7) else d.skip()
    if d.chance():
        d.add("bias", d.floats(h))
    d.attrs["epsilon"] = float(d.pick(1e-5, 1e-12, 1e-3))
    d.outputs = d.pick(["y"], ["y", "", "", "sum"])


def skip_simplified(d):
    skip_layer(d, True)


def simplified(d):
    s = shape(d)
    d.domain = ""
    d.add("x", d.floats(*s))
    d.add("scale", d.floats(s[-1]))
    d.attrs["epsilon"] = float(d.pick(1e-5, 1e-3))


def embed(d):
    b, s, h, v = 2, int(d.rng.integers(1, 6)), 8, 11
    d.add("ids", d.rng.integers(0, v, (b, s)).astype(np.int32))
    segments = d.chance()
    d.add("segments", d.rng.integers(0, 2, (b, s)).astype(np.int32)) if segments else d.skip()
    d.add("words", d.floats(v, h))
    d.add("positions", d.floats(8, h))
    d.add("segment_table", d.floats(2, h)) if segments else d.skip()
    d.add("gamma", d.floats(h))
    d.add("beta", d.floats(h))
    if d.chance():
        d.add("mask", (np.arange(s) < d.rng.integers(1, s + 1, (b, 1))).astype(np.int32))
    d.outputs = d.pick(["y"], ["y", "mask_index"], ["y", "mask_index", "sum"])


def matmul_shapes(d):
    m, k, n = (int(d.rng.integers(1, 7)) for _ in range(3))
    return m, k, n


def fused_gemm(d):
    m, k, n = matmul_shapes(d)
    ta, tb = int(d.chance()), int(d.chance())
    d.add("a", d.floats(*((k, m) if ta else (m, k))))
    d.add("b", d.floats(*((n, k) if tb else (k, n))))
    if d.chance():
        d.add("c", d.floats(*d.pick((n,), (m, n), (1, n), (m, 1))))
    d.attrs.update(transA=ta, transB=tb, alpha=float(d.pick(1.0, 0.5)), beta=float(d.pick(1.0, 2.0)))
    d.attrs["activation"] = d.pick("Relu", "LeakyRelu", "Sigmoid", "Tanh")
    if d.attrs["activation"] == "LeakyRelu":
        d.attrs["activation_alpha"] = 0.2


def fused_matmul(d):
    m, k, n = matmul_shapes(d)
    ta, tb = int(d.chance()), int(d.chance())
    batch = [int(d.rng.integers(1, 4)) for _ in range(d.rng.integers(0, 3))]
    d.add("a", d.floats(*batch, *((k, m) if ta else (m, k))))
    d.add("b", d.floats(*batch, *((n, k) if tb else (k, n))))
    d.attrs.update(transA=ta, transB=tb, alpha=float(d.pick(1.0, 0.125)))


def n_bits(d):
    bits = int(d.pick(4, 4, 8))
    block, n, k = int(d.pick(16, 32)), int(d.rng.integers(1, 9)), int(d.pick(16, 32, 48, 40))
    blocks = -(-k // block)
    d.add("a", d.floats(*d.pick((3, k), (2, 3, k))))
    d.add("b", d.bytes(np.uint8, n, blocks, block * bits // 8))
    d.add("scales", np.abs(d.floats(n * blocks, scale=0.1)))
    if d.chance():
        d.add("zeros", d.bytes(np.uint8, n * -(-blocks * bits // 8)))
    d.attrs.update(K=k, N=n, bits=bits, block_size=block)
    d.tolerance = (1e-3, 1e-2)


def dynamic_matmul(d):
    m, k, n = matmul_shapes(d)
    kind = d.pick(np.uint8, np.int8)
    d.add("a", d.floats(m, k))
    d.add("b", d.bytes(kind, k, n))
    d.add("b_scale", np.float32(0.05))
    d.add("b_zero", d.bytes(kind)) if d.chance() else d.skip()
    if d.chance():
        d.add("bias", d.floats(n))


def integer_to_float(d):
    m, k, n = matmul_shapes(d)
    kind = d.pick(np.uint8, np.int8)
    d.add("a", d.bytes(np.uint8, m, k))
    d.add("b", d.bytes(kind, k, n))
    d.add("a_scale", np.float32(0.04))
    d.add("b_scale", np.float32(0.05))
    d.add("a_zero", d.bytes(np.uint8)) if d.chance() else d.skip()
    d.add("b_zero", d.bytes(kind)) if d.chance() else d.skip()
    if d.chance():
        d.add("bias", d.floats(n))


def q_gemm(d):
    m, k, n = matmul_shapes(d)
    ta, tb = int(d.chance()), int(d.chance())
    d.quantized("a", np.uint8, *((k, m) if ta else (m, k)))
    d.quantized("b", d.pick(np.uint8, np.int8), *((n, k) if tb else (k, n)))
    d.add("c", d.rng.integers(-500, 500, (n,)).astype(np.int32)) if d.chance() else d.skip()
    if d.chance():
        d.result(np.uint8)
    d.attrs.update(transA=ta, transB=tb, alpha=float(d.pick(1.0, 0.5)))


def q_binary(d):
    kind = d.pick(np.uint8, np.int8)
    s = shape(d)
    d.quantized("a", kind, *s)
    d.quantized("b", kind, *d.pick(s, s[-1:], [1]))
    d.result(kind)


def q_unary(d):
    kind = d.pick(np.uint8, np.int8)
    d.quantized("x", kind, *shape(d))
    d.result(kind)


def q_leaky(d):
    q_unary(d)
    d.attrs["alpha"] = float(d.pick(0.1, 0.01))


def q_softmax(d):
    kind = d.pick(np.uint8, np.int8)
    s = shape(d)
    axis = int(d.rng.integers(0, len(s)))
    # Over a single element, ONNX Runtime gives 0 or the largest number instead of 1.
    s[axis] = max(s[axis], 2)
    d.quantized("x", kind, *s)
    d.add("y_scale", np.float32(1 / 200))
    d.add("y_zero", kind(0 if kind is np.uint8 else -128))
    d.attrs.update(axis=axis, opset=int(d.pick(12, 13)))
    d.whole = 1


def q_pool(d):
    kind = d.pick(np.uint8, np.int8)
    d.quantized("x", kind, 1, int(d.rng.integers(1, 4)), 6, 7)
    d.result(kind)
    d.attrs.update(kernel_shape=[3, 2], strides=[int(d.pick(1, 2))] * 2)
    d.attrs.update(pads=d.pick([0, 0, 0, 0], [1, 1, 1, 0]), count_include_pad=int(d.chance()))


def q_global(d):
    kind = d.pick(np.uint8, np.int8)
    d.quantized("x", kind, 2, int(d.rng.integers(1, 4)), 5, 4)
    d.result(kind)
    d.attrs["channels_last"] = 0


def q_concat(d):
    kind = d.pick(np.uint8, np.int8)
    s = shape(d)
    axis = int(d.rng.integers(0, len(s)))
    d.result(kind)
    for i in range(d.rng.integers(1, 4)):
        t = list(s)
        t[axis] = int(d.rng.integers(1, 5))
        d.quantized(f"x{i}", kind, *t)
    d.attrs["axis"] = axis


def q_where(d):
    kind = d.pick(np.uint8, np.int8)
    s = shape(d)
    d.add("c", d.rng.random(s) < 0.5)
    d.quantized("x", kind, *s)
    d.quantized("w", kind, *s)
    d.result(kind)


def q_where(d):
    kind = d.pick(np.uint8, np.int8)
    s = shape(d)
    d.add("c", d.rng.random(s) < 0.5)
    d.quantized("x", kind, *s)
    d.quantized("w", kind, *s)
    d.result(kind)


def q_mean(d):
    kind = d.pick(np.uint8, np.int8)
    s = shape(d)
    d.quantized("x", kind, *s)
    d.result(kind)
    d.attrs.update(axes=[int(d.rng.integers(0, len(s)))], keepdims=int(d.chance()))


def rotary(d):
    b, s, n, size = 2, int(d.rng.integers(1, 6)), int(d.pick(1, 2, 4)), int(d.pick(4, 8))
    d.add("x", d.floats(b, s, n * size) if d.chance() else d.floats(b, n, s, size))
    if d.chance():
        d.add("position_ids", np.array([int(d.rng.integers(0, 4))], np.int64))
    else:
        d.add("position_ids", d.rng.integers(0, 10, (b, s)).astype(np.int64))
    angles = d.rng.uniform(0, 6, (10, size // 2))
    d.add("cos", np.cos(angles).astype(np.float32))
    d.add("sin", np.sin(angles).astype(np.float32))
    d.attrs.update(interleaved=int(d.chance()), num_heads=d.pick(0, n))


def mask(d, b, s, total):
    kind = d.rng.integers(0, 4)
    if kind == 0:
        d.skip()
    elif kind == 1:
        d.add("mask", d.rng.integers(1, total + 1, (b,)).astype(np.int32))
    elif kind == 2:
        m = (d.rng.random((b, total)) < 0.7).astype(np.int32)
        m[:, 0] = 1
        d.add("mask", m)
    else:
        m = (d.rng.random((b, s, total)) < 0.7).astype(np.int32)
        m[:, :, 0] = 1
        d.add("mask", m)


def attention(d, quantized=False):
    b, s, n, size = int(d.rng.integers(1, 4)), int(d.rng.integers(1, 6)), int(d.pick(1, 2, 4)), 4
    hidden = n * size
    past = int(d.rng.integers(1, 4)) if d.chance(0.3) else 0
    if quantized:
        d.add("x", d.bytes(np.uint8, b, s, 6))
        # In 7 bits: without instructions for it, ONNX Runtime's sums of two products of 8 bits saturate.
        d.add("w", d.rng.integers(-64, 64, (6, 3 * hidden)).astype(np.int8))
        d.add("bias", d.floats(3 * hidden))
        d.add("x_scale", np.float32(0.02))
        d.add("w_scale", np.float32(0.01))
    else:
        d.add("x", d.floats(b, s, 6))
        d.add("w", d.floats(6, 3 * hidden, scale=0.5))
        d.add("bias", d.floats(3 * hidden))
    mask(d, b, s, s + past)
    if quantized:
        d.add("x_zero", np.uint8(120))
        d.add("w_zero", np.int8(3))
    if past:
        d.add("past", d.floats(2, b, n, past, size))
        d.outputs = ["y", "present"]
    elif not quantized and d.chance(0.3):
        d.skip()
        d.add("scores_bias", d.floats(d.pick(1, b), n, s, s))
    d.attrs.update(num_heads=n, unidirectional=int(d.chance(0.3)))
    if not quantized and d.chance(0.3):
        d.attrs["scale"] = 0.3
    d.tolerance = (2e-4, 2e-5)


def q_attention(d):
    attention(d, True)


def multi_head(d):
    b, s, n, size = int(d.rng.integers(1, 4)), int(d.rng.integers(1, 6)), int(d.pick(1, 2, 4)), 4
    length = d.pick(s, s + 2)
    v_size = d.pick(size, 6)
    d.add("Q", d.floats(b, s, n * size))
    d.add("K", d.floats(b, length, n * size))
    d.add("V", d.floats(b, length, n * v_size))
    d.add("bias", d.floats(n * (2 * size + v_size))) if d.chance() else d.skip()
    past = d.chance(0.3) and v_size == size
    total = length + 3 * past
    if d.chance():
        m = (d.rng.random((b, total)) < 0.7).astype(np.int32)
        m[:, 0] = 1
        d.add("mask", m)
    else:
        d.skip()
    d.add("scores_bias", d.floats(d.pick(1, b), n, s, total)) if d.chance(0.3) else d.skip()
    if past:
        d.add("past_key", d.floats(b, n, 3, size))
        d.add("past_value", d.floats(b, n, 3, size))
        d.outputs = ["y", "present_key", "present_value"]
    d.attrs.update(num_heads=n, unidirectional=int(d.chance(0.3) and length == s))
    d.tolerance = (2e-4, 2e-5)


def grouped(d):
    b, groups, times, size = int(d.rng.integers(1, 4)), int(d.pick(1, 2)), int(d.pick(1, 2, 3)), 8
    heads = groups * times
    prompt = d.chance()
    s = int(d.rng.integers(2, 6)) if prompt else 1
    past = 0 if prompt else int(d.rng.integers(1, 6))
    packed = d.chance(0.3)
    if packed:
        d.add("Q", d.floats(b, s, (heads + 2 * groups) * size))
        d.skip()
        d.skip()
    else:
        d.add("Q", d.floats(b, s, heads * size))
        d.add("K", d.floats(b, s, groups * size))
        d.add("V", d.floats(b, s, groups * size))
    d.add("past_key", d.floats(b, groups, past, size))
    d.add("past_value", d.floats(b, groups, past, size))
    total = s + past
    # Some sequences are shorter, but in a prompt, whose rows of padding are of no interest.
    last = np.full((b,), total - 1) if prompt else d.rng.integers(0, past + 1, (b,))
    last[0] = total - 1
    if (last < total - 1).any():
        # What stands in the cache behind the last key is not specified.
        d.ignored = {"present_key", "present_value"}
    d.add("last", last.astype(np.int32))
    d.add("total", np.array(total, np.int32))
    rotary = d.chance()
    if rotary:
        angles = d.rng.uniform(0, 6, (16, size // 2))
        d.add("cos", np.cos(angles).astype(np.float32))
        d.add("sin", np.sin(angles).astype(np.float32))
    d.attrs.update(num_heads=heads, kv_num_heads=groups, do_rotary=int(rotary))
    d.attrs.update(rotary_interleaved=int(rotary and d.chance()), softcap=float(d.pick(0.0, 5.0)))
    if d.chance(0.3):
        d.attrs["local_window_size"] = 3
    d.outputs = ["y", "present_key", "present_value"]
    d.tolerance = (2e-4, 2e-5)


OPERATORS = {
    "Gelu": elementwise,
    "FastGelu": fast_gelu,
    "BiasGelu": bias_gelu,
    "QuickGelu": quick_gelu,
    "SkipLayerNormalization": skip_layer,
    "SkipSimplifiedLayerNormalization": skip_simplified,
    "SimplifiedLayerNormalization": simplified,
    "EmbedLayerNormalization": embed,
    "FusedGemm": fused_gemm,
    "FusedMatMul": fused_matmul,
    "TransposeMatMul": fused_matmul,
    "MatMulNBits": n_bits,
    "DynamicQuantizeMatMul": dynamic_matmul,
    "MatMulIntegerToFloat": integer_to_float,
    "QGemm": q_gemm,
    "QLinearAdd": q_binary,
    "QLinearMul": q_binary,
    "QLinearSigmoid": q_unary,
    "QLinearLeakyRelu": q_leaky,
    "QLinearSoftmax": q_softmax,
    "QLinearAveragePool": q_pool,
    "QLinearGlobalAveragePool": q_global,
    "QLinearConcat": q_concat,
    "QLinearWhere": q_where,
    "RotaryEmbedding": rotary,
    "Attention": attention,
    "QAttention": q_attention,
    "MultiHeadAttention": multi_head,
    "GroupQueryAttention": grouped,
}


def model(op, d):
    outputs = d.outputs if isinstance(d.outputs, list) else ["y"]
    node = helper.make_node(op, d.names, outputs, name="n", domain=d.domain, **d.attrs)
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for n, v in d.inputs.items()
    ]
    # Weights and parameters are constants, as runtimes demand for some.
    first = d.names[2] if op == "QLinearConcat" else d.names[0]
    free = {first, "Q", "K", "V", "skip", "past", "past_key", "past_value", "mask", "residual", "c"}
    constants = [numpy_helper.from_array(v, n) for n, v in d.inputs.items() if n not in free]
    kept = [i for i in infos if i.name in free]
    results = [helper.make_empty_tensor_value_info(n) for n in outputs if n]
    graph = helper.make_graph([node], "g", kept, results, constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def one(graph_opt, op, seed):
    """None if ONNX Runtime refuses the draw; else why it failed, or an empty text."""
    rng = np.random.default_rng([seed, *op.encode()])
    d = Draw(rng)
    OPERATORS[op](d)
    m = model(op, d)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    feeds = {i.name: d.inputs[i.name] for i in m.graph.input}
    try:
        session = ort.InferenceSession(
            m.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        want = session.run(None, feeds)
    except Exception:  # noqa: BLE001: whatever ONNX Runtime says
        return None
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        onnx.save(m, folder / "model.onnx")
        command = [graph_opt, "run", folder / "model.onnx", "--output", folder / "out"]
        for name, value in feeds.items():
            np.save(folder / f"{name}.npy", value)
            command += ["--input", f"{name}={folder / name}.npy"]
        code, errors = common.call(command, timeout=60)
        if code != 0:
            return f"exit {code}: {common.last_line(errors)} {d.attrs}"
        for o, w in zip(m.graph.output, want):
            if o.name in d.ignored:
                continue
            got = np.load(folder / "out" / f"{o.name}.npy")
            if got.shape != w.shape or got.dtype != w.dtype:
                return f"{o.name}: {got.dtype}{got.shape}, not {w.dtype}{w.shape} {d.attrs}"
            if d.whole and got.dtype.kind in "iu":
                off = np.abs(got.astype(int) - w.astype(int)).max(initial=0)
                if off > d.whole:
                    return f"{o.name}: off by {off} {d.attrs}"
                continue
            rtol, atol = d.tolerance
            if not np.allclose(got, w, rtol=rtol, atol=atol, equal_nan=True):
                worst = np.nanmax(np.abs(got.astype(np.float64) - w))
                shapes = {n: v.shape for n, v in d.inputs.items()}
                return f"{o.name}: off by {worst:.2g} {d.attrs} {shapes}"
    return ""


def main():
    parser = common.arguments(__doc__)
    parser.add_argument("--only", default="", help="operators whose name contains this")
    parser.add_argument("--count", type=int, default=20, help="configurations of each")
    args = common.parsed(parser)
    passed = failed = 0
    rows = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for op in OPERATORS:
            if args.only not in op:
                continue
            counts = collections.Counter()
            draws = pool.map(lambda seed, op=op: one(args.graph_opt, op, seed), range(3 * args.count))
            for why in draws:
                if counts["passed"] + counts["failed"] == args.count:
                    break
                kind = "refused" if why is None else "failed" if why else "passed"
                counts[kind] += 1
                if why:
                    print(f"{op}: {why}")
            if counts["passed"] + counts["failed"] < args.count:
                print(f"{op}: only {counts['passed']} draws that ONNX Runtime runs")
                counts["failed"] += 1
            rows.append([op, counts["passed"], counts["failed"], counts["refused"]])
            passed += counts["passed"]
            failed += counts["failed"]
    common.table(["operator", "passed", "failed", "refused by ONNX Runtime"], rows)
    common.summary(passed, failed, 0)


if __name__ == "__main__":
    main()
