"""All commands on all models: no exit code outside of the table, no panic, no file left behind.

Models are those of the shared folder, and a few that graph-opt builds itself. Each command gets little
time; one that takes longer is interrupted, has to end with 130 (or to be done), and is counted. With
--json, standard output has to be one envelope that names the exit code. Then commands that write
files and folders are interrupted at random moments, and nothing may be left of what they had not
finished.

    python3 tests/python/sweep.py --models 8 --interrupts 10 --jobs 2
"""

import collections
import concurrent.futures
import json
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

import common

ZOO = ["zoo:aidge-tutorial", "zoo:resnet18@64x64", "zoo:mobilenetv2@64x64", "zoo:yolov2-first16"]
CLUSTER = """
[[device]]
name = "a"
memory = "12MiB"
macs-per-second = 4e9
watts = 4
[[device]]
name = "b"
memory = "64MiB"
macs-per-second = 8e9
watts = 9
[default-link]
bandwidth = "100Mbit/s"
"""
OBJECTIVES = ["latency", "throughput", "energy", "memory"]
PIPELINE = "simplify,tile-conv{axis=h parts=2}"


def commands(model, folder):
    """Each command with its arguments; what later ones read, earlier ones write."""
    at = lambda name: str(folder / name)
    yield "inspect", model
    yield "print", model
    yield "run", model, "--output", at("out")
    yield "bench", model, "--runs", "1"
    yield "blocks", model
    yield "explain", model, "-p", PIPELINE
    yield "opt", model, "-p", PIPELINE, "-o", at("tiled.onnx")
    yield "opt", model, "-O", "-o", at("small.onnx"), "--verify"
    yield "opt", model, "--memory", "2MiB", "-o", at("fits.onnx")
    yield "opt", model, "-p", "", "-o", at("text.gir")
    yield "verify", model, at("tiled.onnx")
    yield "diff", model, at("tiled.onnx")
    yield "bisect", model, "-p", PIPELINE
    yield "reduce", model, "--check", "false {}", "--tries", "3", "-o", at("reduced.onnx")
    yield "profile", model, "--runs", "1", "-o", at("profile.json")
    for objective in OBJECTIVES:
        yield "plan", model, "--cluster", at("cluster.toml"), "--objective", objective
    yield "plan", model, "--cluster", at("cluster.toml"), "--front"
    throughput = ["--objective", "throughput", "-o", at("plan.json")]
    yield "plan", model, "--cluster", at("cluster.toml"), *throughput
    yield "split", model, "--plan", at("plan.json"), "-o", at("parts")
    yield "simulate", at("parts"), "--model", model
    yield "scale", at("parts")
    yield "repro", at("cluster.toml")
    yield "passes", "simplify"


def ended(args, command, cwd):
    """Exit code, outputs, and whether it had to be interrupted."""
    process = subprocess.Popen(
        [args.graph_opt, *command, "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
    )
    late = False
    try:
        out, err = process.communicate(timeout=args.seconds)
    except subprocess.TimeoutExpired:
        late = True
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err.decode(errors="replace"), late


def fault(command, code, out, err, late):
    """What is wrong with how a command ended; empty if nothing is."""
    if code not in common.EXIT_CODES or (code == 130) and not late:
        return f"exit code {code}"
    if "panicked at" in err or "internal error" in err:
        return "panic"
    if code == 130:
        return ""
    try:
        answer = json.loads(out)
    except ValueError as e:
        return f"no envelope: {e}: {out[:80]!r}"
    if answer["exit"] != code or answer["command"] != command[0]:
        return f"an envelope of {answer['command']} with {answer['exit']}"
    return ""


def temporaries(folder):
    return [p.name for p in folder.rglob("*") if re.search(r"\.tmp$|^graph-opt-re", p.name)]


def sweep(args, model):
    """One model: exit codes by command, and faults."""
    codes, faults = collections.Counter(), []
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        (folder / "cluster.toml").write_text(CLUSTER)
        for command in commands(model, folder):
            code, out, err, late = ended(args, command, scratch)
            codes[command[0], "late" if late else code] += 1
            left = temporaries(folder)
            what = fault(command, code, out, err, late) or (f"left {left}" if left else "")
            if what:
                faults.append(f"{what}: {' '.join(map(str, command))}: {common.last_line(err)}")
            if left:
                break
    return codes, faults


def interrupts(args, count):
    """Interrupts commands at random moments: how they ended, and faults."""
    draw = random.Random(args.seed)
    codes, faults = collections.Counter(), []
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        at = lambda name: str(folder / name)
        (folder / "cluster.toml").write_text(CLUSTER.replace("64MiB", "1GiB"))
        model = "zoo:vgg16-features@224x224"
        plan = ["plan", model, "--cluster", at("cluster.toml"), "-o", at("plan.json")]
        subprocess.run([args.graph_opt, *plan], check=True, capture_output=True)
        jobs = [
            ["opt", model, "-p", "", "-o", at("a.onnx")],
            ["opt", model, "-p", "", "-o", at("a.gir")],
            ["split", model, "--plan", at("plan.json"), "-o", at("parts"), "--triton", at("triton")],
            ["reduce", "zoo:aidge-tutorial", "--check", "sleep 1; false {}", "-o", at("r.onnx")],
        ]
        times = {}
        for i in range(count):
            job = jobs[i % len(jobs)]
            wait = draw.uniform(0.0, times.get(job[0], 2.0))
            before = {p.name for p in folder.iterdir()}
            start = time.monotonic()
            process = subprocess.Popen(
                [args.graph_opt, *job], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=scratch
            )
            try:
                process.wait(timeout=wait)
                times[job[0]] = max(0.05, time.monotonic() - start)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
                process.wait(timeout=60)
            code = process.returncode
            codes[job[0], code] += 1
            # In its first moments, the program has no handler yet: the signal ends it.
            if code not in (0, 130, -signal.SIGINT):
                faults.append(f"exit code {code} when interrupted: {' '.join(job)}")
            made = {p.name for p in folder.iterdir()} - before
            whole = {"a.onnx", "a.gir", "parts", "triton", "r.onnx"}
            if made - whole:
                faults.append(f"left {sorted(made - whole)}: {' '.join(job)}")
            for name in made:
                common.removed(folder / name)
    return codes, faults


def main():
    parser = common.arguments(__doc__)
    parser.add_argument("--models", type=int, default=10**6, help="most models (default: all)")
    parser.add_argument("--interrupts", type=int, default=100, help="interrupts (default 100)")
    parser.add_argument("--seconds", type=float, default=10, help="time of a command (default 10)")
    parser.add_argument("--jobs", type=int, default=2, help="models at a time (default 2)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments (default 0)")
    args = common.parsed(parser)
    models = ZOO + [str(p) for p in sorted(common.MODELS.glob("*.onnx"))]
    models = models[: args.models]
    codes, faults = collections.Counter(), []
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for found, wrong in pool.map(lambda m: sweep(args, m), models):
            codes += found
            faults += wrong
            for line in wrong:
                print(line, flush=True)
    stopped, wrong = interrupts(args, args.interrupts)
    for line in wrong:
        print(line)
    for title, counter in (("command", codes), ("interrupted", stopped)):
        names = sorted({name for name, _ in counter})
        kinds = sorted({code for _, code in counter}, key=str)
        common.table(
            [title, *map(str, kinds)],
            [[name, *(counter[name, kind] or "" for kind in kinds)] for name in names],
        )
        print()
    total = sum(codes.values()) + sum(stopped.values())
    failed = len(faults) + len(wrong)
    common.summary(total - failed, failed, 0)


if __name__ == "__main__":
    sys.exit(main())
