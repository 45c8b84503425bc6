"""The engine on two machines: a cluster, plans for it, and a measured run."""

import json
import os
import pathlib
import shutil
import subprocess

from machines import Machine, alone, connect, run, wait

ROOT = pathlib.Path(__file__).resolve().parents[2]
NETWORK = "10.77.0"
# How often a rate is measured until it is high enough: other work on this machine only lowers it.
TRIES = 3
# Device a is a core, and devices b and c share the other one; a tenth of each core moves tensors.
CLUSTER = """
source = "a"
[[device]]
name = "a"
memory = "1GiB"
profile = "profile.json"
mode = [{ name = "whole", speed = 0.9 }]
[[device]]
name = "b"
memory = "1GiB"
profile = "profile.json"
mode = [{ name = "half", speed = 0.45 }]
[[device]]
name = "c"
memory = "1GiB"
profile = "profile.json"
mode = [{ name = "half", speed = 0.45 }]
[[link]]
between = ["b", "c"]
bandwidth = "10Gbit/s"
[default-link]
bandwidth = "%(rate)sbit/s"
latency = "1ms"
"""
# All three devices have something to do, and the first cut is inside of a residual block: two values.
PINS = ["--pin", "layer2.0.relu1=a", "--pin", "layer2.0.conv2=b", "--pin", "fc=c"]


class Cluster:
    """Two machines and a cable; daemons a on the one, b and c on the other."""

    def __init__(self, args, folder, rate):
        self.args, self.folder = args, folder
        self.one, self.two = Machine("m1", 0), Machine("m2", os.cpu_count() - 1)
        connect(self.one, self.two, NETWORK, rate)
        self.coordinator = f"{NETWORK}.1"
        # From its own machine it takes any number of connections.
        self.here = ["--coordinator-addr", "127.0.0.1"]

    def up(self):
        dora, at = self.args.dora, ["--coordinator-addr", self.coordinator]
        log = self.folder / "coordinator.log"
        self.one.start(dora, "coordinator", "--interface", "0.0.0.0", "--auth", "--store", "memory", log=log, cwd=self.folder)
        wait(lambda: self.status() is not None, 20, "the coordinator did not answer")
        self.daemons = {}
        for machine, name, port in [(self.one, "a", 53291), (self.two, "b", 53291), (self.two, "c", 53292)]:
            self.daemons[name] = machine.start(
                dora, "daemon", "--machine-id", name, *at, "--local-listen-port", str(port),
                "--zenoh-no-multicast", "--zenoh-config-overlay", str(ROOT / "tools/worker/zenoh.json5"),
                log=self.folder / f"daemon-{name}.log", cwd=self.folder)
            # One after the other: each is told of those before it.
            wait(lambda: f"{name}-" in (self.status() or ""), 20, f"daemon {name} did not connect")

    def cable(self, state):
        """Takes it off (down), or puts it back (up)."""
        self.one.run("ip", "link", "set", "to-m2", state)

    def status(self):
        done = subprocess.run(self.one.command(self.args.dora, "cluster", "status", *self.here),
                              capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else None

    def down(self):
        self.one.clear()
        self.two.clear()

    def end(self):
        self.one.end()
        self.two.end()

    def start(self, stages, *options):
        """Starts a dataflow by the driver, in the background."""
        shutil.rmtree(stages / "results", ignore_errors=True)
        return subprocess.Popen(
            # Beside the machines: it takes the time that they leave.
            ["nsenter", "-t", str(self.one.holder.pid), "-n", self.args.worker, "start", str(stages), "--coordinator", "127.0.0.1",
                             "--dora", self.args.dora, "--program", self.args.worker, "--backend", self.args.backend, *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def record(stages):
    """Frames that the sink has written down."""
    file = stages / "results" / "frames.jsonl"
    if not file.exists():
        return []
    lines = [json.loads(l) for l in file.read_text().splitlines(keepends=True) if l.endswith("\n")]
    return [l for l in lines if "frame" in l]


def check(args, stages, frames, *options):
    """All frames are there, and equal to the whole model's."""
    text = run(args.worker, "check", str(stages), "--model", args.model, "--results",
               str(stages / "results"), "--frames", str(frames), "--backend", args.backend, *options)
    print("  " + text.strip().replace("\n", "\n  "), flush=True)
    return text


def finish(driver, seconds=300):
    out, err = driver.communicate(timeout=seconds)
    if driver.returncode:
        raise RuntimeError(f"the dataflow failed: {out}{err}")


def profile(args, model, output):
    """Times of the nodes on a core while the other one does the same: cores share caches and more."""
    command = [args.graph_opt, "profile", model, "--runs", "9", "-o"]
    other = subprocess.Popen([*alone(0), *command, f"{output}.other"], stderr=subprocess.DEVNULL)
    run(*alone(1), *command, str(output))
    other.wait()


def planned(args, folder, rate, *options, name="raw", pins=PINS):
    """The stages for a link of this rate. The profile is in the folder."""
    cluster, plan, stages = folder / "cluster.toml", folder / f"plan-{name}-{rate}.json", folder / f"stages-{name}-{rate}"
    cluster.write_text(CLUSTER % {"rate": rate})
    run(args.graph_opt, "plan", args.model, "--cluster", str(cluster), "--objective", "throughput", *pins, *options, "-o", str(plan))
    run(args.graph_opt, "split", args.model, "--plan", str(plan), "-o", str(stages))
    return stages


def the_plan(stages):
    return json.loads((stages / "manifest.json").read_text())["plan"]


def measured(args, folder, stages, rate, what, window=4, options=()):
    """N of N frames, bit-equal, at the planned rate, and over the link."""
    rows = [r for s in the_plan(stages)["stages"] for r in s["receives"] if r["over"] and r["over"].startswith("a to ")]
    crosses = sum(r.get("sent_bytes", r["bytes"]) for r in rows)
    # What is compressed has another size in each frame; plans have the largest that was measured.
    varies = any("lz4" in r.get("codecs", {}).values() for r in rows)
    options = ["--window", str(window), *options]
    for left in reversed(range(TRIES)):
        cluster = Cluster(args, folder, rate)
        try:
            cluster.up()
            before = cluster.one.sent("to-m2")
            finish(cluster.start(stages, "--frames", str(args.frames), *options))
            sent = (cluster.one.sent("to-m2") - before) / args.frames
        finally:
            cluster.end()
        print(f"{what}, {rate // 1_000_000} Mbit/s: {sent / 1e6:.3f} MB a frame over the link (plan {crosses / 1e6:.3f})")
        if sent < crosses * (0.9 if varies else 1):
            raise RuntimeError("fewer bytes went over the link than the plan says: something bypasses it")
        text = check(args, stages, args.frames, *options)
        share = float(text.split(" % of the planned rate")[0].split()[-1]) / 100
        if share >= args.share:
            return
        if left == 0:
            raise RuntimeError(f"slower than {args.share:.0%} of the planned rate")
