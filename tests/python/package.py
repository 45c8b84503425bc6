"""The Python package: models in and out, answers, errors, runs, beside onnx and onnxruntime.

    target/venv/bin/python tests/python/package.py [--extension target/debug/lib_native.so]
    target/venv/bin/python tests/python/package.py --extension … --overhead target/debug/graph-opt [--pairs 15]

By default the package that is installed is tested; with --extension, its sources with this build of the extension.
--overhead times `fit` beside the same command of the command line instead: in turns, both with the proof and the
writing of the file, by the clock and by the processor's time.
"""

import argparse
import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import common


def network(height=48):
    """Convolutions with a residual, stride 2, and a batch that the model leaves open, as an exporter writes it."""
    draw = np.random.default_rng(0)
    value = lambda name, dims: helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
    weight = lambda name, *dims: numpy_helper.from_array(draw.standard_normal(dims, "f") / 8, name)
    conv = lambda x, w, y, stride: helper.make_node(
        "Conv", [x, w], [y], name=y, pads=[1] * 4, strides=[stride] * 2
    )
    nodes = [
        conv("x", "w1", "a", 1),
        helper.make_node("Relu", ["a"], ["b"], name="b"),
        conv("b", "w2", "c", 1),
        helper.make_node("Add", ["b", "c"], ["d"], name="d"),
        helper.make_node("Relu", ["d"], ["e"], name="e"),
        conv("e", "w3", "y", 2),
    ]
    weights = [weight("w1", 16, 3, 3, 3), weight("w2", 16, 16, 3, 3), weight("w3", 4, 16, 3, 3)]
    graph = helper.make_graph(
        nodes, "net", [value("x", ["batch", 3, height, 64])], [value("y", ["batch", 4, height // 2, 32])], weights
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class Export:
    """A graph as torch.onnx.export writes it: nodes and results named by modules, BatchNormalization folded into
    convolutions whose weights are called onnx::Conv_N, bounds as Constant nodes, shape arithmetic for a view."""

    def __init__(self):
        self.draw, self.nodes, self.weights = np.random.default_rng(0), [], []

    def node(self, op, inputs, name, output=None, **attributes):
        output = output or f"/{name}/{op}_output_0".replace("//", "/")
        node = helper.make_node(op, inputs, [output], name=output.removesuffix("_output_0"), **attributes)
        self.nodes.append(node)
        return output

    def weight(self, name, *dims):
        scale = np.sqrt(2 / max(1, np.prod(dims[1:])))
        self.weights.append(numpy_helper.from_array((self.draw.standard_normal(dims) * scale).astype("f"), name))
        return name

    def constant(self, value, name):
        return self.node("Constant", [], name, f"/{name}_output_0", value=numpy_helper.from_array(np.array(value)))

    def conv(self, x, name, channels, out, kernel=3, stride=1, group=1):
        number = 193 + 3 * len(self.weights)
        weights = [
            self.weight(f"onnx::Conv_{number}", out, channels // group, kernel, kernel),
            self.weight(f"onnx::Conv_{number + 1}", out),
        ]
        pair = [kernel, kernel]
        return self.node(
            "Conv", [x, *weights], name, dilations=[1, 1], group=group, kernel_shape=pair, pads=[kernel // 2] * 4,
            strides=[stride, stride],
        )  # fmt: skip

    def basic(self, x, name, channels, out, stride):
        """A residual block of ResNet."""
        y = self.node("Relu", [self.conv(x, f"{name}/conv1", channels, out, stride=stride)], f"{name}/relu")
        y = self.conv(y, f"{name}/conv2", out, out)
        if stride > 1:
            x = self.conv(x, f"{name}/downsample/downsample.0", channels, out, kernel=1, stride=stride)
        return self.node("Relu", [self.node("Add", [y, x], name)], f"{name}/relu_1", f"/{name}/relu_1/Relu_output_0")

    def inverted(self, x, name, channels, stride):
        """An inverted residual of MobileNetV2, with ReLU6."""
        def relu6(x, name):
            bounds = [self.constant(np.float32(v), f"{name}/Constant{n}") for v, n in ((0, ""), (6, "_1"))]
            return self.node("Clip", [x, *bounds], name)

        inner, conv = 4 * channels, f"{name}/conv/conv"
        y = relu6(self.conv(x, f"{conv}.0/conv.0.0", channels, inner, 1), f"{conv}.0/conv.0.2")
        y = relu6(self.conv(y, f"{conv}.1/conv.1.0", inner, inner, 3, stride, group=inner), f"{conv}.1/conv.1.2")
        y = self.conv(y, f"{conv}.2", inner, channels, 1)
        return self.node("Add", [x, y], name) if stride == 1 else y

    def classifier(self, x, channels, classes, view):
        """`torch.flatten(x, 1)` or `x.view(x.size(0), -1)`, and a Linear."""
        x = self.node("GlobalAveragePool", [x], "avgpool")
        if view:
            size = self.node("Gather", [self.node("Shape", [x], ""), self.constant(np.int64(0), "Constant")], "", axis=0)
            axes = self.constant(np.array([0]), "Constant_1")
            sizes = [self.node("Unsqueeze", [size, axes], ""), self.constant(np.array([-1]), "Constant_2")]
            x = self.node("Reshape", [x, self.node("Concat", sizes, "", axis=0)], "")
        else:
            x = self.node("Flatten", [x], "", axis=1)
        weights = [self.weight("fc.weight", classes, channels), self.weight("fc.bias", classes)]
        self.node("Gemm", [x, *weights], "fc", "output", alpha=1.0, beta=1.0, transB=1)

    def model(self, size, classes):
        value = lambda name, *dims: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch_size", *dims])
        inputs, outputs = [value("input", 3, size, size)], [value("output", classes)]
        graph = helper.make_graph(self.nodes, "main_graph", inputs, outputs, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        model.producer_name, model.producer_version = "pytorch", "2.4.0"
        onnx.checker.check_model(model, full_check=True)
        return model


def exported(view=False):
    """ResNet's stem and residual blocks, then MobileNetV2's blocks, for a free batch."""
    e = Export()
    x = e.node("Relu", [e.conv("input", "conv1", 3, 32, 7, 2)], "relu")
    pool = dict(ceil_mode=0, dilations=[1, 1], kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])
    x = e.node("MaxPool", [x], "maxpool", **pool)
    x = e.basic(x, "layer1/layer1.0", 32, 32, 1)
    x = e.basic(x, "layer2/layer2.0", 32, 64, 2)
    x = e.inverted(x, "features/features.2", 64, 1)
    x = e.inverted(x, "features/features.3", 64, 2)
    e.classifier(x, 64, 10, view)
    return e.model(128, 10)


def raises(kind, words, call):
    """Checks that a call raises this, with these words."""
    try:
        call()
    except kind as e:
        missing = [w for w in words if w not in str(e)]
        assert not missing, f"{missing} is not in {e}"
        return e
    raise AssertionError(f"{kind.__name__} was not raised")


def models_in_all_forms(g, folder):
    model = network()
    path = folder / "net.onnx"
    onnx.save(model, path)
    peaks = {g.inspect(m).peak_activation_bytes for m in (model, model.SerializeToString(), path, str(path))}
    assert len(peaks) == 1 and peaks.pop() > 0
    small = g.fit(model, "50%", runtime="interpreter")
    assert isinstance(small.model, onnx.ModelProto) and bool(small.verify["verdict"] == "equal")
    assert isinstance(g.fit(path, "50%", runtime="interpreter").model, bytes)
    assert small.after["peak_activation_bytes"] <= small.before["peak_activation_bytes"] // 2
    # Metadata stay, and what is free stays free.
    assert small.proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    small.save(folder / "small.onnx")
    assert (folder / "small.onnx").read_bytes() == small.bytes
    assert "peak" in repr(small) and "equal" in repr(small) and small._repr_html_().startswith("<pre>")
    return model, small


def results_are_right(g, folder):
    model, small = models_in_all_forms(g, folder)
    x = np.random.default_rng(1).standard_normal((1, 3, 48, 64), "f")
    want = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    session = onnxruntime.InferenceSession(small.bytes, g.session_options(small))
    for found in (g.run(model, {"x": x})["y"], g.run(small.model, {"x": x})["y"], session.run(None, {"x": x})[0]):
        assert found.dtype == want.dtype and np.allclose(found, want, rtol=1e-4, atol=1e-5)
    # The reference interpreter gives the same bits for both, whatever the order of the given elements.
    whole, tiled = g.run(model, {"x": x}), g.run(small.model, {"x": np.asfortranarray(x)})
    assert whole["y"].tobytes() == tiled["y"].tobytes()
    assert g.run(model, {"x": x.astype(">f4")}, threads=1)["y"].tobytes() == whole["y"].tobytes()


def exports_of_torch(g, folder):
    """A torchvision-style export fits into less memory for each runtime, and ONNX Runtime gives the same scores for
    every batch."""
    for runtime, memory, view in (
        ("onnxruntime-default", "50%", False), ("onnxruntime-default", "50%", True), ("onnxruntime", "65%", False),
        ("interpreter", "50%", False),
    ):  # fmt: skip
        model = exported(view)
        small = g.fit(model, memory, runtime=runtime)
        assert small.verify["verdict"] == "equal", small
        # The arithmetic of a view is simplified, which is not proved for a free batch: runs compare it.
        assert view or small.verify["outputs"][0]["why"] == "proved", small
        share = small.after["peak_activation_bytes"] / small.before["peak_activation_bytes"]
        assert share <= float(memory.rstrip("%")) / 100, small
        assert small.proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch_size"
        assert small.proto.producer_name == "pytorch" and any(n.op_type == "Slice" for n in small.proto.graph.node)
        options = g.session_options(small)
        sessions = [onnxruntime.InferenceSession(m.SerializeToString(), options) for m in (model, small.model)]
        for batch in 1, 3:
            x = np.random.default_rng(batch).standard_normal((batch, 3, 128, 128), "f")
            whole, tiled = (s.run(["output"], {"input": x})[0] for s in sessions)
            assert whole.shape == (batch, 10) and whole.std() > 0.1
            assert np.abs(whole - tiled).max() <= 1e-5 * np.abs(whole).max(), (runtime, batch)


def comparisons(g, folder):
    model = network()
    tiled = g.optimize(model, "tile-conv{axis=h parts=3}")
    same = g.verify(model, tiled.model, by=["prove"])
    assert same and same.verdict == "equal" and same.outputs[0]["why"] == "proved", same
    wrong = onnx.ModelProto.FromString(tiled.bytes)
    tile = next(n for n in wrong.graph.node if n.op_type == "Conv")
    tile.input[1] = next(i.name for i in wrong.graph.initializer if i.dims == wrong.graph.initializer[0].dims)
    pads = next(a for a in tile.attribute if a.name == "pads")
    pads.ints[:] = [pads.ints[0] - 1, 1, pads.ints[2] + 1, 1]
    other = g.verify(model, wrong, dims={"batch": 1})
    assert not other and other.verdict == "differs", other


def errors(g, folder):
    model = network()
    e = raises(g.DoesNotFit, ["does not fit", "the least peak"], lambda: g.fit(model, 1000))
    assert e.exit == 4
    raises(g.UsageError, ["nowhere.onnx"], lambda: g.inspect("nowhere.onnx"))
    raises(ValueError, ["tile-con", "tile-conv"], lambda: g.optimize(model, "tile-con"))
    raises(g.UsageError, ["x", "missing"], lambda: g.run(model, {}))
    raises(g.UsageError, ["no input is named", "z"], lambda: g.run(model, {"z": np.zeros(1, "f")}))
    raises(g.GraphOptError, ["x"], lambda: g.run(model, {"x": np.zeros((1, 3), "f")}))
    raises(ValueError, ["complex64"], lambda: g.run(model, {"x": np.zeros(1, "complex64")}))
    raises(g.UsageError, ["unexpected argument"], lambda: g.inspect(model, no_such_option=True))
    raises(g.UsageError, [], lambda: g.inspect(b"no model"))
    with contextlib.suppress(KeyboardInterrupt):
        def stop(_):
            raise KeyboardInterrupt
        g.fit(model, "50%", progress=stop)
        raise AssertionError("what a callback raises is lost")


def devices(g, folder):
    cluster = folder / "cluster.toml"
    cluster.write_text(
        '[[device]]\nname = "a"\nmemory = "1MiB"\nmacs-per-second = 1e9\n[[device]]\nname = "b"\nmemory = "1MiB"\n'
        'macs-per-second = 2e9\n[default-link]\nbandwidth = "100Mbit/s"\n'
    )
    model = folder / "net.onnx"
    onnx.save(network(), model)
    plan = g.plan(model, cluster, objective="throughput", output=folder / "plan.json")
    assert plan["stages"] and plan["bound"] > 0
    g.split(model, folder / "plan.json", folder / "stages")
    assert (folder / "stages" / "manifest.json").is_file()
    assert g.blocks("zoo:resnet18@64x64")["blocks"]


def others_run_meanwhile(g, folder):
    """The interpreter lock is free while a command runs, and commands may run side by side."""
    model = network(height=96)
    stop, turns = threading.Event(), [0]

    def count():
        while not stop.is_set():
            turns[0] += 1
            time.sleep(0.001)

    counter = threading.Thread(target=count)
    counter.start()
    heard, found = [], []
    try:
        work = lambda: found.append(g.fit(model, "50%", runtime="interpreter", progress=heard.append).bytes)
        threads = [threading.Thread(target=work) for _ in range(3)]
        before = turns[0]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert turns[0] > before, "no other thread ran"
    finally:
        stop.set()
        counter.join()
    assert len(set(found)) == 1 and len(found) == 3 and "fuse-tiles" in heard


def overhead(g, binary, folder, pairs):
    """Times `fit` in this process, and in one of its own, beside the command line."""
    script = "import sys, graph_opt; graph_opt.fit(sys.argv[1], sys.argv[2]).save(sys.argv[3])"
    environment = {**os.environ, "PYTHONPATH": sys.path[0]}
    small = str(folder / "small.onnx")
    rows = []
    for name, memory in ("zoo:mobilenetv2@128x128", "50%"), ("zoo:resnet18", "50%"), ("zoo:yolov2-first16", "12MiB"):
        model = str(folder / "model.onnx")
        g.call("opt", name, "-p", "", "-o", model)
        command = [binary, "opt", model, "--memory", memory, "--verify", "-q", "-o", small]
        python = [sys.executable, "-c", script, model, memory, small]
        ways = {
            "command": lambda: subprocess.run(command, check=True, capture_output=True),
            "fit": lambda: g.fit(model, memory).save(small),
            "python3 -c": lambda: subprocess.run(python, check=True, env=environment),
        }
        times = {way: [] for way in ways}
        for pair in range(pairs + 1):
            for way, call in ways.items():
                before = (time.perf_counter(), sum(os.times()[:4]))
                call()
                after = (time.perf_counter(), sum(os.times()[:4]))
                if pair:  # the first round reads files and fills caches
                    times[way].append([b - a for a, b in zip(before, after)])
        clock, processor = ({way: float(np.median([t[i] for t in of])) for way, of in times.items()} for i in (0, 1))
        for way in ways:
            change = lambda of: f"{100 * (of[way] / of['command'] - 1):+.1f} %"
            rows.append([name, way, f"{clock[way]:.3f} s", change(clock), f"{processor[way]:.3f} s", change(processor)])
    common.table(["model", "way", "clock", "more", "processor", "more"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extension", type=pathlib.Path, help="the extension, as cargo builds it")
    parser.add_argument("--overhead", type=pathlib.Path, metavar="GRAPH_OPT", help="time fit beside this program instead")
    parser.add_argument("--pairs", type=int, default=15, help="how often, for the medians")
    args = parser.parse_args()
    tests = [
        models_in_all_forms, results_are_right, exports_of_torch, comparisons, errors, devices, others_run_meanwhile,
    ]  # fmt: skip
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if args.extension:
            sys.path.insert(0, str(common.package(args.extension, folder)))
        import graph_opt

        if args.overhead:
            return overhead(graph_opt, args.overhead.resolve(), folder, args.pairs)
        for test in tests:
            place = folder / test.__name__
            place.mkdir()
            os.chdir(place)
            try:
                test(graph_opt, place)
            except Exception as e:
                failed += 1
                print(f"{test.__name__}: {type(e).__name__}: {e}", file=sys.stderr)
        os.chdir("/")
    print(f"{len(tests) - failed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
