"""Peak memory and time of runs of ONNX files in ONNX Runtime's CPU provider, with one thread.

    measure.py RUNTIME FILE...
    measure.py --profile FILE LEVEL THREADS RUNS FRAMES INPUT...

RUNTIME is "onnxruntime", for the session options below, or "onnxruntime-default", for none. Prints a
JSON object: the version of ONNX Runtime, and for each file [bytes, seconds]. Each file is measured in a
process of its own, in a second session, as the first one loads code. Inputs are random, and not in the
figures; outputs are.

The second form runs a file RUNS times for each frame, and once before, with profiling on, and prints the
profile that ONNX Runtime writes. The inputs of these names are in 0-0.npy, 0-1.npy, … beside the file
for the first frame, in 1-0.npy, … for the second.
"""

import ctypes
import gc
import json
import os
import pathlib
import re
import subprocess
import sys
import time

# glibc: blocks go back to the system when they are freed.
GIVE_BACK = {
    "MALLOC_MMAP_THRESHOLD_": "4096",
    "MALLOC_TOP_PAD_": "0",
    "MALLOC_TRIM_THRESHOLD_": "0",
}


def status(field):
    """A size of this process, in bytes."""
    text = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(rf"^{field}:\s+(\d+) kB", text, re.M)[1]) * 1024


def fill_holes():
    """Takes the free blocks of the heap, so that what is allocated from now on is new memory.

    Otherwise larger blocks may lie in holes and not count, and small ones make pages resident again that
    malloc_trim gave back, which counts a multiple of them. Without effect where the heap is not glibc's.
    """
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.sbrk.restype, libc.sbrk.argtypes = ctypes.c_void_p, [ctypes.c_ssize_t]
    libc.free.argtypes = [ctypes.c_void_p]
    size = 64 << 20
    while size >= 4096:
        end, block = libc.sbrk(0), libc.malloc(size)
        # The heap grew, or the system mapped the block by itself, which is above the heap.
        if block is None or block > end or libc.sbrk(0) != end:
            libc.free(block)
            size //= 2


def options(runtime):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if runtime == "onnxruntime":
        options.enable_mem_reuse = options.enable_mem_pattern = options.enable_cpu_mem_arena = False
        options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return options


def feeds(session):
    import numpy as np

    draw = np.random.default_rng(0)
    all = {}
    for i in session.get_inputs():
        shape = [d if isinstance(d, int) else 1 for d in i.shape]
        kind = re.fullmatch(r"tensor\((\w+)\)", i.type)[1]
        kind = {"float": "float32", "double": "float64"}.get(kind, kind)
        if kind.startswith("float"):
            all[i.name] = draw.standard_normal(shape).astype(kind)
        else:
            all[i.name] = np.zeros(shape, "bool" if kind == "bool" else kind)
    return all


def one(runtime, path):
    import onnxruntime as ort

    def start():
        return ort.InferenceSession(path, options(runtime), providers=["CPUExecutionProvider"])

    session = start()
    feed = feeds(session)
    for _ in range(2):
        session.run(None, feed)
    del session
    gc.collect()
    session = start()
    if runtime == "onnxruntime":
        # Without an arena a run ends as it began.
        session.run(None, feed)
    gc.collect()
    fill_holes()
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before, times = status("VmRSS"), []
    for _ in range(3):
        begin = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - begin)
    print(json.dumps([status("VmHWM") - before, min(times)]))


def profile(path, level, threads, runs, frames, *names):
    import numpy as np
    import onnxruntime as ort

    folder = pathlib.Path(path).parent
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = int(threads), 1
    options.log_severity_level = 4
    level = "DISABLE_ALL" if level == "disable" else f"ENABLE_{level.upper()}"
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_{level}")
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "kernels")
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for frame in range(int(frames)):
        feed = {name: np.load(folder / f"{frame}-{i}.npy") for i, name in enumerate(names)}
        for _ in range(int(runs) + (frame == 0)):
            session.run(None, feed)
    print(pathlib.Path(session.end_profiling()).read_text())


def main():
    runtime, files = sys.argv[1], sys.argv[2:]
    import onnxruntime as ort

    found = []
    environment = os.environ | (GIVE_BACK if runtime == "onnxruntime" else {})
    for path in files:
        command = [sys.executable, __file__, "--one", runtime, path]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        found.append(json.loads(done.stdout))
    print(json.dumps({"version": ort.__version__, "files": found}))


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        one(*sys.argv[2:])
    elif sys.argv[1] == "--profile":
        profile(*sys.argv[2:])
    else:
        main()
