"""Runs a model in ONNX Runtime for another program, which asks on standard input.

    session.py MODEL LEVEL THREADS

LEVEL is the graph optimization level: disable, basic, extended or all; 0 THREADS are as many as there are
cores. A message is the number of its parts (u32), then each part: its length (u64) and its bytes; numbers
are little-endian. The first answer is ["ok", the version of ONNX Runtime]. A request is [a JSON object with
the names of "inputs" and "outputs", a .npy file for each input]; its answer is ["ok", a .npy file for each
output] or ["error", why]. Ends when standard input does.
"""

import io
import json
import os
import struct
import sys

# What libraries print must not come between answers.
answers = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
requests = sys.stdin.buffer


def answer(*parts):
    answers.write(struct.pack("<I", len(parts)))
    for part in parts:
        answers.write(struct.pack("<Q", len(part)))
        answers.write(part)
    answers.flush()


def taken(size):
    read = requests.read(size)
    if len(read) != size:
        sys.exit(0)
    return read


def request():
    (count,) = struct.unpack("<I", taken(4))
    return [taken(*struct.unpack("<Q", taken(8))) for _ in range(count)]


def main(path, level, threads):
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = int(threads), 1
    options.log_severity_level = 4
    level = "DISABLE_ALL" if level == "disable" else f"ENABLE_{level.upper()}"
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_{level}")

    def array(part):
        return np.load(io.BytesIO(part), allow_pickle=False)

    def part(value):
        file = io.BytesIO()
        # As it is in memory, by rows: a scalar stays one.
        np.save(file, np.asarray(value, order="C"), allow_pickle=False)
        return file.getbuffer()

    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as e:
        return answer(b"error", str(e).encode())
    answer(b"ok", ort.__version__.encode())
    while True:
        names, *parts = request()
        names = json.loads(names)
        try:
            feed = dict(zip(names["inputs"], map(array, parts), strict=True))
            answer(b"ok", *map(part, session.run(names["outputs"], feed)))
        except Exception as e:
            answer(b"error", str(e).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
