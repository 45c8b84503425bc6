#!/usr/bin/env python3
"""The distributed engine, for real: stages of resnet18 on dora-rs, over machines that are network
namespaces with a limited link between them.

    tests/dora/cluster.py [--graph-opt PROGRAM] [--worker PROGRAM] [--dora PROGRAM] [--frames N]

Shows that every frame arrives with the bits of the whole model, at how much of the planned rate, as it
is and by codecs; that a node killed with SIGKILL and a link that is down for a while cost nothing but
time; that a killed daemon and a link that stays down end in an error that names the machine. Prints
SKIPPED and why where the machine does not allow namespaces.
"""

import argparse
import array
import json
import math
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

from engine import ROOT, Cluster, check, finish, measured, planned, profile, record, the_plan
from machines import Skipped, run, wait

PAIR = """
source = "a"
sink = "a"
[[device]]
name = "a"
memory = "1GiB"
profile = "profile.json"
mode = [{ name = "whole", speed = 0.9 }]
[[device]]
name = "b"
memory = "1GiB"
profile = "profile.json"
mode = [{ name = "whole", speed = 0.9 }]
[default-link]
bandwidth = "100Mbit/s"
latency = "1ms"
"""


def rates(args, folder, stages):
    """Three stages, over a fast and over a slow link."""
    measured(args, folder, stages, 100_000_000, "three stages")
    measured(args, folder, planned(args, folder, 20_000_000), 20_000_000, "three stages")


def codecs(args, folder, _):
    """Values in other forms over a slow link: without loss, and with as much as the plan may have."""
    raw = the_plan(planned(args, folder, 20_000_000, name="plain"))["interval_s"]
    for name, units, *options in [("lossless", "points"), ("lossy", "points", "--max-error", "0.2"), ("all values lossy", "nodes", "--max-error", "0.2")]:
        file = folder / f"codecs-{units}.json"
        run(args.graph_opt, "profile", args.model, "--codecs", "lz4,f16,int8", "--units", units, "--runs", "3", "-o", str(file))
        stages = planned(args, folder, 20_000_000, "--codecs", str(file), *options, name=name.replace(" ", "-"))
        plan = the_plan(stages)
        used = [f"{v} as {c}" for s in plan["stages"] for r in s["receives"] for v, c in sorted(r.get("codecs", {}).items())]
        print(f"{name}: {', '.join(used)}: a frame every {plan['interval_s'] * 1e3:.1f} ms planned ({raw * 1e3:.1f} as they are)")
        if plan["interval_s"] >= raw:
            raise RuntimeError("codecs do not raise the planned rate")
        measured(args, folder, stages, 20_000_000, name)


def tiles(args, folder, _):
    """A group of fused tiles in parallel: one tile on each machine, from the image on."""
    rewrite = "fuse-tiles{grid=2x1 to=layer1.1.relu reuse=recompute}"
    tiled = folder / "tiled.onnx"
    run(args.graph_opt, "opt", args.model, "-p", rewrite, "-o", str(tiled))
    profile(args, str(tiled), folder / "tiled.json")
    seconds = {n["name"]: n["seconds"] for n in json.loads((folder / "tiled.json").read_text())["nodes"]}
    # The machine that has the image cuts the other one's part off.
    cut = "conv1/tile1of2/slice"
    kinds = [lambda n: n == cut, lambda n: "/tile0of2" in n, lambda n: "/tile1of2" in n and n != cut, lambda n: "/tile" not in n]
    nodes = [[n for n in seconds if kind(n)] for kind in kinds]
    part, half = 4 * 3 * 133 * 224, 4 * 64 * 28 * 56

    def take(sender, value, size=0):
        over = "a to b" if size else None
        return {"from": sender, "values": [value], "over": over, "bytes": size, "seconds": 0.001 + size * 8e-8 if size else 0}

    rows = [("a", [take(None, "input")]), ("a", [take(None, "input")]), ("b", [take(0, f"{cut}_out", part)]),
            ("b", [take(1, "layer1.1.relu/tile0of2_out", half), take(2, "layer1.1.relu/tile1of2_out")])]
    stages = [{"device": d, "mode": "default", "nodes": n, "compute_s": sum(seconds[x] for x in n) / 0.9, "compute_j": 0,
               "memory_bytes": 0, "receives": r} for (d, r), n in zip(rows, nodes)]
    busy = {d: sum(s["compute_s"] for s in stages if s["device"] == d) for d in "ab"}
    busy["link"] = sum(r["seconds"] for s in stages for r in s["receives"])
    interval = max(busy.values())
    plan = {"version": 1, "objective": "throughput", "value": interval, "bound": interval, "gap": 0, "proved": False,
            "latency_s": sum(busy.values()), "interval_s": interval, "energy_j": 0, "rewrite": rewrite, "pipelined": True,
            "stages": stages, "outputs": [take(3, "fc_out")]}
    (folder / "tiles.json").write_text(json.dumps(plan))
    stages = folder / "stages-tiles"
    run(args.graph_opt, "split", args.model, "--plan", str(folder / "tiles.json"), "-o", str(stages))
    measured(args, folder, stages, 100_000_000, "two fused tiles in parallel")


def halos(args, folder, _):
    """Tiles of the network's start on both machines, which hand over rows to each other after each
    layer, as planned for the least latency: one frame at a time."""
    cluster, plan, stages = folder / "pair.toml", folder / "plan-halos.json", folder / "stages-halos"
    cluster.write_text(PAIR)
    run(args.graph_opt, "plan", args.model, "--cluster", str(cluster), "--tiles", "-o", str(plan))
    run(args.graph_opt, "split", args.model, "--plan", str(plan), "-o", str(stages))
    parts = len(json.loads(plan.read_text())["stages"])
    measured(args, folder, stages, 100_000_000, f"{parts} parts, rows handed over", 1)


def runtime(args, folder, _):
    """Stages in ONNX Runtime, without optimisations: the bits of the whole model there."""
    python = os.environ.setdefault("GRAPH_OPT_PYTHON", str(ROOT / "target/venv/bin/python"))
    if shutil.which(python) is None or subprocess.run([python, "-c", "import onnxruntime"], stderr=subprocess.DEVNULL).returncode:
        print(f"SKIPPED: {python} has no onnxruntime", file=sys.stderr)
        return
    folder = folder / "runtime"
    folder.mkdir()
    level = ["--ort-level", "disable"]
    run(args.graph_opt, "profile", args.model, "--backend", "onnxruntime", *level, "-o", str(folder / "profile.json"))
    args = argparse.Namespace(**{**vars(args), "backend": "onnxruntime"})
    measured(args, folder, planned(args, folder, 100_000_000), 100_000_000, "three stages in ONNX Runtime", options=level)


def large(args, folder, _):
    """Values of 67 MB, each more than a message may have, in both hops of a super-resolution."""
    folder = folder / "large"
    folder.mkdir()
    args = argparse.Namespace(**{**vars(args), "model": "zoo:superres@512x512", "frames": 8})
    run(args.graph_opt, "profile", args.model, "--runs", "1", "-o", str(folder / "profile.json"))
    pins = ["--pin", "relu1=a", "--pin", "conv2=b", "--pin", "relu2=b", "--pin", "conv3=c", "--pin", "pixel_shuffle=c"]
    stages = planned(args, folder, 1_000_000_000, pins=pins)
    measured(args, folder, stages, 1_000_000_000, "values of 67 MB")


def frames(folder, number):
    """Frames as files: a folder each, with the network's input as numpy writes it."""
    shape = (1, 3, 224, 224)
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    head = head.ljust(128 - 11) + "\n"
    for n in range(number):
        draw = random.Random(n)
        values = array.array("f", (draw.gauss(0, 1) for _ in range(math.prod(shape))))
        to = folder / f"frame{n:03}"
        to.mkdir(parents=True)
        (to / "input.npy").write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head.encode() + values.tobytes())
    return folder


def kills(args, folder, stages):
    """Every node is killed once, and nothing is lost. Frames come from files."""
    cluster, files = Cluster(args, folder, 100_000_000), frames(folder / "frames", args.frames)
    try:
        cluster.up()
        # As many as there are.
        driver = cluster.start(stages, "--inputs", str(files))
        victims = [(cluster.two, "device", "1"), (cluster.one, "device", "0"), (cluster.two, "sink"), (cluster.one, "source")]
        for i, (machine, *words) in enumerate(victims):
            at = (i + 1) * args.frames // (len(victims) + 2)
            wait(lambda: len(record(stages)) >= at or driver.poll() is not None, 120, f"frame {at} did not arrive")
            pids = machine.find("*graph-opt-worker", *words)
            if not pids:
                raise RuntimeError(f"there is no {' '.join(words)} to kill")
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            print(f"killed {' '.join(words)} after frame {len(record(stages))}", flush=True)
        finish(driver)
    finally:
        cluster.end()
    check(args, stages, args.frames, "--inputs", str(files))


def daemon(args, folder, stages):
    """A killed daemon ends in an error that names its machine, soon."""
    cluster = Cluster(args, folder, 100_000_000)
    try:
        cluster.up()
        driver = cluster.start(stages, "--frames", "0")
        wait(lambda: len(record(stages)) >= 5 or driver.poll() is not None, 60, "frames did not arrive")
        cluster.daemons["b"].kill()
        begin = time.monotonic()
        _, err = driver.communicate(timeout=60)
        took = time.monotonic() - begin
    finally:
        cluster.end()
    print(f"daemon b killed; {took:.1f} s later, exit code {driver.returncode}: {err.strip()}")
    if driver.returncode != 1 or "machine b" not in err:
        raise RuntimeError("that is not an error that names the machine")


def outage(args, folder, stages):
    """A link that is down for a while: nothing is lost."""
    cluster = Cluster(args, folder, 100_000_000)
    try:
        cluster.up()
        # It gives a machine up after 15 seconds of silence, by default.
        driver = cluster.start(stages, "--frames", str(args.frames), "--silence", str(max(15, round(2 * args.outage))))
        wait(lambda: len(record(stages)) >= args.frames // 4 or driver.poll() is not None, 60, "frames did not arrive")
        before = len(record(stages))
        cluster.cable("down")
        time.sleep(args.outage)
        during = len(record(stages)) - before
        cluster.cable("up")
        begin = time.monotonic()
        wait(lambda: len(record(stages)) > before + during or driver.poll() is not None, 120, "nothing more arrived")
        print(f"no link for {args.outage:g} s after frame {before}: {during} frames meanwhile, the next {time.monotonic() - begin:.1f} s after it is back")
        finish(driver)
    finally:
        cluster.end()
    check(args, stages, args.frames)


def partition(args, folder, stages):
    """A link that stays down ends in an error that names a machine behind it. Once it is back, there is a cluster again."""
    cluster = Cluster(args, folder, 100_000_000)
    try:
        cluster.up()
        driver = cluster.start(stages, "--frames", "0")
        wait(lambda: len(record(stages)) >= 5 or driver.poll() is not None, 60, "frames did not arrive")
        cluster.cable("down")
        begin = time.monotonic()
        _, err = driver.communicate(timeout=120)
        took = time.monotonic() - begin
        print(f"no link any more; {took:.1f} s later, exit code {driver.returncode}: {err.strip()}")
        if driver.returncode != 1 or not ("machine b" in err or "machine c" in err) or " stop --name " not in err:
            raise RuntimeError("that is not an error that names a machine, and what is left there")
        cluster.cable("up")
        begin = time.monotonic()
        wait(lambda: all(f"{d}-" in (cluster.status() or "") for d in "abc"), 60, "the daemons did not come back")
        print(f"the link is back; {time.monotonic() - begin:.1f} s later all daemons are connected")
        # What is left there does not go by itself: the error says how.
        name = err.split(" stop --name ")[1].split()[0]
        # It fails where it has to kill, as here.
        subprocess.run(cluster.one.command(args.dora, "stop", "--name", name, "--force", *cluster.here),
                       capture_output=True, check=False)
        wait(lambda: not cluster.two.find("*graph-opt-worker"), 30, "the nodes behind the link did not end")
        finish(cluster.start(stages, "--frames", "8"))
    finally:
        cluster.end()
    check(args, stages, 8)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graph-opt", default=str(ROOT / "target/debug/graph-opt"))
    parser.add_argument("--worker", default=str(ROOT / "target/worker/debug/graph-opt-worker"))
    parser.add_argument("--dora", default=shutil.which("dora") or "dora")
    parser.add_argument("--backend", default="cpu", help="of the worker: cpu, or wgpu if it is built with it")
    parser.add_argument("--model", default="zoo:resnet18")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--share", type=float, default=0.9, help="of the planned rate that must be reached")
    parser.add_argument("--outage", type=float, default=9, help="seconds without a link")
    parser.add_argument("--only", default="rates,runtime,codecs,tiles,halos,kills,outage,partition,daemon")
    parser.add_argument("--keep", help="a new folder for all files and logs, to be kept")
    args = parser.parse_args()
    for name in ("graph_opt", "worker"):
        setattr(args, name, os.path.abspath(getattr(args, name)))
    if "/" in args.dora:
        args.dora = os.path.abspath(args.dora)
    os.environ["PATH"] = f"{pathlib.Path(args.worker).parent}:{os.environ['PATH']}"
    if shutil.which(args.dora) is None:
        raise Skipped(f"there is no {args.dora}: pip install dora-rs-cli==1.1.0")
    if os.geteuid() != 0 or any(shutil.which(p) is None for p in ("unshare", "nsenter", "ip", "tc", "taskset")):
        raise Skipped("it takes root, and unshare, nsenter, taskset, ip and tc")
    if os.cpu_count() < 2:
        raise Skipped("it takes two cores")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(args.keep or folder)
        folder.mkdir(exist_ok=True)
        # Where the coordinator writes its token, and all others find it.
        os.environ["XDG_CONFIG_HOME"] = str(folder)
        experiments(args, folder)


def experiments(args, folder):
    Cluster(args, folder, 100_000_000).end()
    profile(args, args.model, folder / "profile.json")
    stages = planned(args, folder, 100_000_000)
    for name in args.only.split(","):
        {"rates": rates, "runtime": runtime, "codecs": codecs, "tiles": tiles, "halos": halos, "kills": kills, "daemon": daemon, "large": large, "outage": outage, "partition": partition}[name](args, folder, stages)


if __name__ == "__main__":
    try:
        main()
    except Skipped as why:
        print(f"SKIPPED: the distributed engine was not tried: {why}", file=sys.stderr)
    except RuntimeError as e:
        sys.exit(f"error: {e}")
