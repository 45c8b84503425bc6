"""The Python package: models in and out, answers, errors, runs, beside onnx and onnxruntime.

    target/venv/bin/python tests/python/package.py [--extension target/debug/lib_native.so]

By default the package that is installed is tested; with --extension, its sources with this build of the extension.
"""

import argparse
import contextlib
import os
import pathlib
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extension", type=pathlib.Path, help="the extension, as cargo builds it")
    args = parser.parse_args()
    tests = [models_in_all_forms, results_are_right, comparisons, errors, devices, others_run_meanwhile]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if args.extension:
            sys.path.insert(0, str(common.package(args.extension, folder)))
        import graph_opt

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
