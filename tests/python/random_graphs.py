"""Random graphs through random pipelines, against ONNX Runtime.

Each case has a seed, which decides its graph (operators mixed, operator sets 7 to 23, symbolic
dimensions, control flow, odd names) and its pipelines. A graph that onnx.checker or ONNX Runtime
refuses is drawn again. What `graph-opt opt` writes has to be valid, to load, and to give what the
original gives, in ONNX Runtime without optimisations, on several inputs (both signs, zeros, ties)
and several extents of each symbolic dimension, 1 among them. A refusal says why; an internal error, a
crash, or no end within a minute is a failure.

    target/venv/bin/python tests/python/random_graphs.py --graph-opt target/release/graph-opt \\
        --count 20000 --seed 0 --jobs 2 --verify-every 10 --keep failures --known known.txt

One case again, with what it runs: `--only SEED --keep DIR`. `--minimise` cuts each new failure down
and writes it to the folder of --keep. Each line of the file of --known is a regular expression,
searched for in the line that describes a failure; such failures are counted, and fail no run. Weights and most inputs are
multiples of 1/4, so that sums are exact in any order, and tight limits hold. Where an output still
moves more than the limit, the case is `noise`, and no failure, if inputs and weights that are 1e-6
off move that output as much.
"""

import argparse
import collections
import itertools
import multiprocessing
import os
import pathlib
import re
import shlex
import tempfile
import time
from concurrent import futures
from concurrent.futures import process

import common
import numpy as np
import onnx
import onnxruntime as ort
from random_graphs import graph as graphs
from random_graphs import judge, minimise, pipelines

OPTIONS = None


def case(seed):
    """Runs the case of a seed; gives what it counted, and its failures."""
    began = time.process_time()
    spent = 0.0
    graph, again = graphs.draw(seed)
    r = np.random.default_rng([seed, 1000])
    rows, failures = [], []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "in.onnx").write_bytes(graph.model.SerializeToString())
        for k in range(OPTIONS.pipelines):
            pipeline = pipelines.draw(r, graph)
            start = time.monotonic()
            verdict = judge.judge(OPTIONS.graph_opt, folder, graph, pipeline)
            verified = None
            every = OPTIONS.verify_every
            if (
                every
                and verdict.kind in ("bits", "close")
                and (seed * OPTIONS.pipelines + k) % every == 0
            ):
                verified = judge.verify(OPTIONS.graph_opt, folder, pipeline)
            spent += time.monotonic() - start
            rows.append(
                (pipeline.family, verdict.kind, verified.kind if verified else None, verdict.text)
            )
            for v in (verdict, verified):
                if v and v.failed:
                    failures.append(failure(seed, k, graph, pipeline, v, folder))
    return (
        seed,
        again,
        graph.opset,
        graph.counts,
        rows,
        failures,
        time.process_time() - began,
        spent,
    )


def described(model):
    """The operators of a model, with what often matters of windows."""

    def one(node):
        at = {
            a.name: onnx.helper.get_attribute_value(a) for a in node.attribute if a.type != a.GRAPH
        }
        marks = []
        if at.get("auto_pad", b"").startswith(b"SAME"):
            marks.append("SAME")
            kernel, strides = at.get("kernel_shape", []), at.get("strides", [])
            if any(s > k for s, k in zip(strides, kernel)) or (strides and not kernel):
                marks.append("stride>kernel")
        if marks and any(n > 1 for n in at.get("dilations", [])):
            marks.append("dilated")
        marks += [
            mark
            for mark, test in (
                ("ceil", at.get("ceil_mode")),
                ("3-D", len(at.get("kernel_shape", [])) == 3),
            )
            if test
        ]
        return node.op_type + (f"({' '.join(marks)})" if marks else "")

    return ",".join(one(n) for n in model.graph.node)


def failure(seed, k, graph, pipeline, verdict, folder):
    """Describes a failure in one line, and keeps its files."""
    operators = described(graph.model)
    options = shlex.join(pipeline.options)
    line = f"{verdict.kind}: {verdict.text} | opt {options} | opset {graph.opset}: {operators}"
    known = any(p.search(line) for p in OPTIONS.known)
    if OPTIONS.keep and not known:
        to = OPTIONS.keep / f"{seed}_{k}_{verdict.kind.replace(' ', '_')}"
        to.mkdir(parents=True, exist_ok=True)
        for name in ("in.onnx", "out.onnx"):
            if (folder / name).exists():
                (to / name).write_bytes((folder / name).read_bytes())
        (to / "failure.txt").write_text(f"{line}\n")
        # Each attempt at one without end would last a minute.
        if OPTIONS.minimise and verdict.kind != "timeout":
            small = minimise.minimise(OPTIONS.graph_opt, graph, pipeline, verdict)
            if small:
                (to / "small.onnx").write_bytes(small.SerializeToString())
                line += f" | small: {described(small)}"
                (to / "failure.txt").write_text(f"{line}\n")
    return seed, known, line


def batch(seeds):
    return [case(s) for s in seeds]


def pool(args, jobs):
    context = multiprocessing.get_context("spawn")
    return futures.ProcessPoolExecutor(jobs, context, ready, [args])


def run(seeds, args):
    """What the cases give, or a seed and None where ONNX Runtime takes the process down with it."""
    rest = iter(seeds)
    while True:
        lost = []
        with pool(args, args.jobs) as workers:
            going = {}
            while not lost:
                while len(going) < 2 * args.jobs and (some := list(itertools.islice(rest, 20))):
                    going[workers.submit(batch, some)] = some
                if not going:
                    return
                done, _ = futures.wait(going, return_when=futures.FIRST_COMPLETED)
                for f in done:
                    some = going.pop(f)
                    try:
                        yield from f.result()
                    except process.BrokenProcessPool:
                        lost += some
            lost += [s for some in going.values() for s in some]
        for seed in lost:
            with pool(args, 1) as workers:
                try:
                    yield workers.submit(case, seed).result()
                except process.BrokenProcessPool:
                    yield seed, None


def ready(options):
    """Prepares a process for cases."""
    global OPTIONS
    OPTIONS = options
    ort.set_default_logger_severity(4)


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = os.environ.get("GRAPH_OPT", common.ROOT / "target" / "release" / "graph-opt")
    parser.add_argument(
        "--graph-opt",
        type=pathlib.Path,
        default=pathlib.Path(default),
        help="the binary (or GRAPH_OPT)",
    )
    parser.add_argument("--count", type=int, default=1000, help="how many graphs")
    parser.add_argument("--pipelines", type=int, default=2, help="how many pipelines for each")
    parser.add_argument("--seed", type=int, default=0, help="of the first graph; the others follow")
    parser.add_argument("--only", type=int, help="this seed alone")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes")
    parser.add_argument(
        "--verify-every",
        type=int,
        default=0,
        help="ask graph-opt verify, too, of every so many cases",
    )
    parser.add_argument("--keep", type=pathlib.Path, help="where to keep the files of failures")
    parser.add_argument("--known", type=pathlib.Path, help="expressions of failures that are known")
    parser.add_argument("--minimise", action="store_true", help="cut failures down")
    args = common.parsed(parser)
    args.keep = args.keep and args.keep.resolve()
    lines = args.known.read_text().splitlines() if args.known else []
    args.known = [re.compile(line) for line in lines if line.strip() and not line.startswith("#")]
    return args


def main():
    args = arguments()
    seeds = [args.only] if args.only is not None else range(args.seed, args.seed + args.count)
    began = time.monotonic()
    operators, outcomes = collections.Counter(), collections.defaultdict(collections.Counter)
    refusals, opsets, failures = collections.Counter(), collections.Counter(), []
    again = own = spent = 0
    died = []
    for done in run(seeds, args):
        if done[1] is None:
            died.append(done[0])
            print(f"seed {done[0]}: ONNX Runtime took the process down; not counted", flush=True)
            continue
        seed, redrawn, opset, counts, rows, bad, cpu, inside = done
        again, own, spent = again + redrawn, own + cpu, spent + inside
        operators.update(counts)
        opsets[opset] += 1
        for family, kind, verified, text in rows:
            outcomes[family][kind] += 1
            if kind == "refused":
                refusals[re.sub(r'"[^"]*"|\d+', "_", text)[:100]] += 1
            if verified:
                outcomes["verify"][verified] += 1
        for f in bad:
            failures.append(f)
            print(f"{'known' if f[1] else 'FAILED'}: seed {f[0]}: {f[2]}", flush=True)
    report(operators, opsets, outcomes, refusals)
    seconds = time.monotonic() - began
    cases = sum(sum(c.values()) for f, c in outcomes.items() if f != "verify")
    print(
        f"{len(seeds) - len(died)} graphs ({again} draws were invalid), {cases} cases in {seconds:.0f} s;"
        f" of it {spent:.0f} s in graph-opt and comparing, {own:.0f} s of processor time here"
    )
    bad = [f for f in failures if not f[1]]
    common.summary(cases - len(failures), len(bad), len(failures) - len(bad))


def report(operators, opsets, outcomes, refusals):
    common.table(["operator", "drawn"], sorted(operators.items()))
    common.table(["opset", "graphs"], sorted(opsets.items()))
    first = list(judge.PASSING)
    kinds = first + sorted({k for c in outcomes.values() for k in c} - set(first))
    common.table(
        ["pipeline", *kinds], [[f, *(outcomes[f][k] for k in kinds)] for f in sorted(outcomes)]
    )
    print(
        "same: the file did not change; bits: the outputs have the same; noise: rounding explains it"
    )
    for text, n in refusals.most_common(25):
        print(f"{n:6} refused: {text}")


if __name__ == "__main__":
    main()
