"""Memory and time of the commands on a model of several GiB with external data.

    target/venv/bin/python tests/python/large.py [--gib 3] [--only opt,verify] [--kind dense]

The model has convolutions of 144 MiB and fully connected layers of 64 MiB, random f32 in one data file, or with
`--kind nbits` MatMulNBits of 4 bits. It is made in a temporary folder, for which there must be about 3 times its size,
and which goes at the end.

For each command: its exit code and time; the most resident memory (resident, of which anonymous), and what it read
from files, all as a multiple of the size of the weights. A command fails if its exit code is not the expected one, or if
it takes more than 1.5 times the weights in resident memory. Runs keep 512 MiB of weights of each model, and as much in
the form that kernels read, so that models below 2 GiB fail at `verify: runs`.
"""

import os
import pathlib
import subprocess
import tempfile
import threading
import time

import numpy as np
import onnx
from onnx import TensorProto, helper

import common

# The most resident memory of a command, as a multiple of the weights.
MOST = 1.5
CHANNELS = 2048
WIDTH = 4096
SPATIAL = 4


class Model:
    """A model in the making, with its weights in one file beside it."""

    def __init__(self, path):
        self.path = path
        self.data = open(path.with_name(path.name + ".data"), "wb")
        self.nodes, self.constants, self.rng = [], [], np.random.default_rng(1)

    def weight(self, name, array, kind=TensorProto.FLOAT):
        """Writes a weight; gives its name."""
        at = self.data.tell()
        array.tofile(self.data)
        t = TensorProto(name=name, data_type=kind, dims=array.shape)
        t.data_location = TensorProto.EXTERNAL
        for key, value in [
            ("location", pathlib.Path(self.data.name).name),
            ("offset", at),
            ("length", array.nbytes),
        ]:
            t.external_data.add(key=key, value=str(value))
        self.constants.append(t)
        return name

    def normal(self, name, shape):
        scale = np.float32((2 / np.prod(shape[1:])) ** 0.5)
        return self.weight(name, self.rng.standard_normal(shape, dtype=np.float32) * scale)

    def node(self, op, inputs, name, domain="", **attrs):
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, domain=domain, **attrs))
        return name

    def done(self, inputs, output):
        """Writes the model; gives the bytes of its weights."""
        size = self.data.tell()
        self.data.close()
        graph = helper.make_graph(self.nodes, "large", inputs, [output], self.constants)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), self.path)
        return size


def dense(path, size):
    """Convolutions for half of the size, then fully connected layers."""
    m = Model(path)
    x, i = "x", 0
    while m.data.tell() < size / 2:
        w = m.normal(f"conv{i}.weight", (CHANNELS, CHANNELS, 3, 3))
        b = m.normal(f"conv{i}.bias", (CHANNELS,))
        x = m.node("Conv", [x, w, b], f"conv{i}", pads=[1, 1, 1, 1], kernel_shape=[3, 3])
        x = m.node("Relu", [x], f"relu{i}")
        i += 1
    x = m.node("GlobalAveragePool", [x], "pool")
    x = m.node("Flatten", [x], "flat")
    width, i = CHANNELS, 0
    while m.data.tell() < size:
        w = m.normal(f"fc{i}.weight", (WIDTH, width))
        b = m.normal(f"fc{i}.bias", (WIDTH,))
        x = m.node("Gemm", [x, w, b], f"fc{i}", transB=1)
        x = m.node("Relu", [x], f"fc{i}.relu")
        width, i = WIDTH, i + 1
    shape = [1, CHANNELS, SPATIAL, SPATIAL]
    tensor = helper.make_tensor_value_info
    return m.done(
        [tensor("x", TensorProto.FLOAT, shape)], tensor(x, TensorProto.FLOAT, [1, WIDTH])
    )


def nbits(path, size):
    """A chain of MatMulNBits of 4 bits in blocks of 32."""
    m = Model(path)
    x, i, block, n = "x", 0, 32, 2 * WIDTH
    while m.data.tell() < size:
        blocks = n // block
        b = m.rng.integers(0, 256, (n, blocks, block // 2), dtype=np.uint8)
        b = m.weight(f"{i}.weight", b, TensorProto.UINT8)
        s = m.rng.random((n, blocks), dtype=np.float32) * np.float32(0.01)
        s = m.weight(f"{i}.scales", s)
        attrs = {"K": n, "N": n, "bits": 4, "block_size": block}
        x = m.node("MatMulNBits", [x, b, s], f"matmul{i}", "com.microsoft", **attrs)
        x = m.node("Relu", [x], f"relu{i}")
        i += 1
    tensor = helper.make_tensor_value_info
    return m.done([tensor("x", TensorProto.FLOAT, [1, n])], tensor(x, TensorProto.FLOAT, [1, n]))


def cluster(path, devices, memory):
    """A cluster of like devices."""
    device = 'memory = "{}MiB"\nmacs-per-second = 1e10\nwatts = 5\n'.format(memory)
    text = "".join(f'[[device]]\nname = "d{i}"\n{device}' for i in range(devices))
    path.write_text(f'{text}[default-link]\nbandwidth = "1Gbit/s"\nlatency = "1ms"\n')


class Measured:
    """A command that ran, and what it took."""

    def __init__(self, command):
        start = time.monotonic()
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.text = b""
        reader = threading.Thread(target=self.read, args=[child.stdout])
        reader.start()
        self.anonymous = self.resident = self.bytes_read = 0
        proc = pathlib.Path(f"/proc/{child.pid}")
        while True:
            # It stays as a zombie, whose counters can be read, until it is waited for.
            ended = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            self.sample(proc)
            if ended:
                break
            time.sleep(0.02)
        self.seconds = time.monotonic() - start
        _, status, usage = os.wait4(child.pid, 0)
        self.code = child.returncode = os.waitstatus_to_exitcode(status)
        # Of all moments, not only those of samples.
        self.resident = max(self.resident, usage.ru_maxrss * 1024)
        reader.join()

    def read(self, pipe):
        self.text = pipe.read()

    def sample(self, proc):
        try:
            status = dict(l.split(":", 1) for l in (proc / "status").read_text().splitlines())
            io = dict(l.split(":", 1) for l in (proc / "io").read_text().splitlines())
        except OSError:
            return
        of = lambda key: int(status.get(key, "0 kB").split()[0]) * 1024
        self.anonymous = max(self.anonymous, of("RssAnon"))
        self.bytes_read = max(self.bytes_read, int(io["rchar"]))


def main():
    parser = common.arguments(__doc__)
    parser.add_argument("--gib", type=float, default=3)
    parser.add_argument("--kind", choices=["dense", "nbits"], default="dense")
    parser.add_argument("--only", help="first words of the checks to run, between commas")
    parser.add_argument("--folder", type=pathlib.Path, help="where the temporary folder is made")
    args = common.parsed(parser)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        checked(args, pathlib.Path(folder))


def checked(args, folder):
    at = lambda name: folder / name
    model = at("model.onnx")
    size = {"dense": dense, "nbits": nbits}[args.kind](model, args.gib * 2**30)
    print(f"{args.kind}: weights of {size / 2**30:.2f} GiB", flush=True)
    mib = size / 2**20
    cluster(at("fits.toml"), 4, int(mib * 0.4))
    cluster(at("small.toml"), 4, int(mib * 0.2))
    pipeline = "tile-conv{axis=h parts=2}" if args.kind == "dense" else "inline-functions{operators=yes}"
    # What is checked, its command, and the exit code; no tiles of it may halve its peak.
    checks = [
        ("inspect", ["inspect", model], 0),
        ("opt -O", ["opt", model, "-O", "-o", at("o.onnx")], 0),
        ("opt --memory", ["opt", model, "--memory", "50%", "-o", at("m.onnx")], (0, 4)),
        ("opt -p", ["opt", model, "-p", pipeline, "-o", at("p.onnx")], 0),
        ("opt --verify", ["opt", model, "-p", pipeline, "-o", at("v.onnx"), "--verify"], 0),
        ("verify: proof", ["verify", model, at("p.onnx")], 0),
        ("verify: runs", ["verify", model, at("p.onnx"), "--by", "run"], 0),
        ("plan: fits", ["plan", model, "--cluster", at("fits.toml"), "-o", at("plan.json")], 0),
        ("plan: too small", ["plan", model, "--cluster", at("small.toml")], 4),
        ("split", ["split", model, "--plan", at("plan.json"), "-o", at("stages")], 0),
        ("run", ["run", model], 0),
    ]
    only = args.only.split(",") if args.only else None
    header = f"{'':16} {'exit':>4} {'seconds':>8} {'resident':>9} {'anonymous':>9} {'read':>6}"
    print(header, flush=True)
    ran = failures = 0
    for name, command, code in checks:
        if only and not any(name.startswith(o) for o in only):
            continue
        m = Measured([str(c) for c in [args.graph_opt, *command]])
        codes = code if isinstance(code, tuple) else (code,)
        wrong = m.code not in codes or m.resident > MOST * size
        ran, failures = ran + 1, failures + wrong
        print(
            f"{name:16} {m.code:4} {m.seconds:8.1f} {m.resident / size:8.2f}x {m.anonymous / size:8.2f}x"
            f" {m.bytes_read / size:5.2f}x{'  WRONG' if wrong else ''}",
            flush=True,
        )
        if wrong or "too small" in name:
            print("    " + m.text.decode(errors="replace").strip().replace("\n", "\n    "), flush=True)
    common.summary(ran - failures, failures, 0)


if __name__ == "__main__":
    main()
