"""What `graph-opt split` writes for others: ONNX's own multi-device annotations, and a model
repository for Triton Inference Server.

Networks that graph-opt builds, and the models of ../shared/models with a recorded run, are planned over
three devices and split. The annotated model must pass onnx's checker, hold the stages of the plan, and
be the same model otherwise; `graph-opt plan` must keep to its stages. `run.py` must find the outputs
equal to the whole model's; a plan with a profile from ONNX Runtime must take what the profile says. The
repository's configurations must be what Triton's own schema says; every tensor of the ensemble must be
made once; and ONNX Runtime, stage by stage along the ensemble's wiring, must give the bits that it gives
for the whole model. Without its optimisations it runs the same kernels in both; only half precision it
rounds less often in the whole.
"""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf import text_format

import common
from onnxruntime_check import HALF_TOLERANCE, deviation, extents, record, recorded, steady

NETWORKS = ["resnet18@64x64", "mobilenetv2@64x64", "unet@64x64", "densenet121@64x64"]

CLUSTER = """
source = "a"
{devices}
[default-link]
bandwidth = "100Gbit/s"
"""
DEVICE = """
[[device]]
name = "{name}"
memory = "8GiB"
macs-per-second = 1e9
per-node = "50us"
"""


def model_config():
    """Triton's schema, without its client, which needs more."""
    package = importlib.util.find_spec("tritonclient")
    folder = pathlib.Path(package.submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location(
        "model_config_pb2", folder / "grpc" / "model_config_pb2.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCHEMA = model_config()


def require(condition, what):
    if not condition:
        raise AssertionError(what)


def graph_opt(args, *command):
    code, errors = common.call([args.graph_opt, *command])
    require(code == 0, f"{command[0]}: exit {code}: {common.last_line(errors)}")
    return errors


def session(path):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def is_half(path):
    """ONNX Runtime computes half precision as float, and rounds only where a graph ends."""
    return any(t.data_type == onnx.TensorProto.FLOAT16 for t in onnx.load(path).graph.initializer)


# Models whose weights are computed by nodes. Stages have them as constants, which ONNX Runtime packs for kernels that
# round otherwise on some processors; the interpreter gives the same bits for both.
COMPUTED_WEIGHTS = {"silero_vad_openvino_16k": 1e-3}


def tolerance(path):
    """How far a chain of stages may be from the whole model, in ONNX Runtime without optimisations."""
    return max([HALF_TOLERANCE * is_half(path), *(t for name, t in COMPUTED_WEIGHTS.items() if name in str(path))])


def drawn(model):
    """Random inputs."""
    random = np.random.default_rng(0)
    constants = {t.name for t in model.graph.initializer}
    inputs = {}
    for value in model.graph.input:
        if value.name not in constants:
            kind = value.type.tensor_type
            shape = [d.dim_value for d in kind.shape.dim]
            dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
            inputs[value.name] = random.random(shape).astype(dtype)
    return inputs


def annotations(args, path, stages, plan, cluster, scratch):
    """Checks the annotated model."""
    annotated = onnx.load(stages / "annotated.onnx")
    onnx.checker.check_model(annotated)
    require(annotated.ir_version >= 11, "the version of the format has no annotations")
    (configuration,) = [c for c in annotated.configuration if c.name == "graph-opt"]
    devices = [stage["device"] for stage in plan["stages"]]
    require(list(configuration.device) == devices, f"devices {configuration.device}")
    require(configuration.num_devices == len(devices), "the number of devices")
    found = [[] for _ in devices]
    named = {name for stage in plan["stages"] for name in stage["nodes"]}
    for node in annotated.graph.node:
        said = [c for c in node.device_configurations if c.configuration_id == "graph-opt"]
        for c in said:
            # A name that several nodes share stands for none: their first result does.
            called = next((x for x in (node.name, *node.output) if x in named), node.name)
            found[c.pipeline_stage].append(called)
        require(len(said) <= 1, f"{node.name} says {len(said)} times where it runs")
        node.ClearField("device_configurations")
    # Where the model was rewritten first, its memory plan may have another order than the file.
    order = sorted if plan["rewrite"] else list
    wanted = [order(stage["nodes"]) for stage in plan["stages"]]
    require([order(nodes) for nodes in found] == wanted, "other nodes than in the plan")
    # All else is as it was.
    if plan["rewrite"]:
        rewritten = scratch / "rewritten.onnx"
        graph_opt(args, "opt", path, "-p", plan["rewrite"], "-o", rewritten)
        path = rewritten
    before = onnx.load(path)
    annotated.ClearField("configuration")
    annotated.ir_version = before.ir_version
    if before.ir_version < 4:
        # Constants stand no more among the inputs, where they would not be constant now.
        constants = {t.name for t in before.graph.initializer}
        kept = [i for i in before.graph.input if i.name not in constants]
        del before.graph.input[:]
        before.graph.input.extend(kept)
    require(annotated == before, "annotating changed something else")
    # A plan of the annotated model keeps to its stages, whatever would be best.
    out = scratch / "again.json"
    where = ["--cluster", cluster, "--objective", "latency", "-o", out]
    told = graph_opt(args, "plan", stages / "annotated.onnx", *where)
    require("are pinned to devices by the model's configuration" in told, told)
    again = json.loads(out.read_text())
    ends = lambda p: [(s["device"], s["nodes"][0], s["nodes"][-1]) for s in p["stages"]]
    require(ends(again) == ends(plan), f"{ends(again)} instead of {ends(plan)}")


def repository(folder, path, inputs, wanted):
    """Checks Triton's repository; gives the number of steps and of values that cross."""
    configs = {}
    for config in folder.glob("*/config.pbtxt"):
        parsed = text_format.Parse(config.read_text(), SCHEMA.ModelConfig())
        require(parsed.name == config.parent.name, f"{parsed.name} lies in {config.parent.name}")
        require((config.parent / "1").is_dir(), f"{parsed.name} has no version")
        configs[parsed.name] = parsed
    (ensemble,) = [c for c in configs.values() if c.platform == "ensemble"]
    made = [i.name for i in ensemble.input]
    values = dict(inputs)
    types = {i.name: (i.data_type, list(i.dims)) for i in ensemble.input}
    read = set()
    for step in ensemble.ensemble_scheduling.step:
        config = configs[step.model_name]
        require(config.max_batch_size == 0 and config.backend == "onnxruntime", config.name)
        require(set(step.input_map) == {i.name for i in config.input}, f"{config.name} reads")
        require(set(step.output_map) == {o.name for o in config.output}, f"{config.name} gives")
        runs = session(folder / config.name / "1" / "model.onnx")
        require({i.name for i in runs.get_inputs()} == set(step.input_map), f"{config.name}: model")
        for i in config.input:
            tensor = step.input_map[i.name]
            require(types[tensor] == (i.data_type, list(i.dims)), f"{tensor} changes its type")
            read.add(tensor)
        for o in config.output:
            tensor = step.output_map[o.name]
            made.append(tensor)
            types[tensor] = (o.data_type, list(o.dims))
        names = list(step.output_map)
        feed = {k: values[v] for k, v in step.input_map.items()}
        for name, value in zip(names, runs.run(names, feed)):
            tensor = step.output_map[name]
            # Of a scalar, Triton sees one extent of 1.
            require(types[tensor][1] == (list(value.shape) or [1]), f"{tensor} has {value.shape}")
            values[tensor] = value
    require(len(made) == len(set(made)), "a tensor is made twice")
    require({i.name for i in ensemble.input} <= read, "an input is not read")
    outputs = [o.name for o in ensemble.output]
    whole = session(path)
    require(set(outputs) == {o.name for o in whole.get_outputs()}, f"outputs {outputs}")
    for o in ensemble.output:
        require(types[o.name] == (o.data_type, list(o.dims)), f"{o.name} changes its type")
    used = {i.name for i in whole.get_inputs()}
    allowed = tolerance(path)
    want = whole.run(outputs, {k: v for k, v in inputs.items() if k in used})
    for name, value in zip(outputs, want):
        got = values[name]
        require(got.dtype == value.dtype and got.shape == value.shape, f"{name}: another type")
        if name in wanted and allowed:
            far = deviation({name: got}, {name: value})
            require(far <= allowed, f"{name}: {far:.1e} from the whole model's")
        elif name in wanted:
            require(got.tobytes() == value.tobytes(), f"{name}: other bits than the whole model's")
    return len(configs) - 1, len(made) - len(ensemble.input) - len(outputs)


def chained(path, stages, inputs, wanted, scratch):
    """run.py, as split writes it: without optimisations, the bits of the whole model."""
    if set(wanted) != {o.name for o in onnx.load(path, load_external_data=False).graph.output}:
        return
    np.savez(scratch / "inputs.npz", **inputs)
    command = [sys.executable, stages / "run.py", "--model", path, "--frames", "1"]
    command += ["--input", scratch / "inputs.npz", "--level", "disable"]
    allowed = tolerance(path)
    command += ["--tolerance", str(allowed)]
    done = subprocess.run(command, capture_output=True, text=True)
    said = done.stdout + done.stderr
    require(done.returncode == 0, f"run.py: exit {done.returncode}: {common.last_line(said)}")
    require(allowed or "equal, bit for bit" in said, f"run.py: {common.last_line(said)}")


def profiled(args, path, cluster, scratch):
    """What ONNX Runtime takes, node by node, is what the plan with that profile says."""
    os.environ["GRAPH_OPT_PYTHON"] = sys.executable
    profile = scratch / "profile.json"
    command = ["profile", path, "--backend", "onnxruntime", "--runs", "3", "-o", profile]
    graph_opt(args, *command)
    total = sum(node["seconds"] for node in json.loads(profile.read_text())["nodes"])
    device = DEVICE.format(name="a").replace("macs-per-second = 1e9\nper-node = \"50us\"", "")
    cluster.write_text(device + f"profile = {json.dumps(str(profile))}\n")
    plan = scratch / "profiled.json"
    graph_opt(args, "plan", path, "--cluster", cluster, "-o", plan)
    latency = json.loads(plan.read_text())["latency_s"]
    require(abs(latency - total) <= 1e-9, f"the plan takes {latency} s, the profile {total} s")


def check(args, path, inputs, wanted, scratch):
    """A row for a model: stages, values between them, verdict."""
    cluster, plan = scratch / "cluster.toml", scratch / "plan.json"
    devices = "".join(DEVICE.format(name=name) for name in ["a", "b", "c"])
    cluster.write_text(CLUSTER.format(devices=devices))
    stages, triton = scratch / "stages", scratch / "triton"
    command = [args.graph_opt, "plan", path, "--cluster", cluster, "-o", plan]
    code, errors = common.call([*command, "--objective", "throughput"])
    if code != 0:
        return ["", "", f"skipped: no plan: {common.last_line(errors)[:70]}"]
    command = [args.graph_opt, "split", path, "--plan", plan, "-o", stages, "--triton", triton]
    code, errors = common.call(command)
    if code == common.UNSUPPORTED:
        require(not stages.exists() and not triton.exists(), "a refusal left a folder")
        return ["", "", f"skipped: unsupported: {common.last_line(errors)[:70]}"]
    require(code == 0, f"split: exit {code}: {common.last_line(errors)}")
    annotations(args, path, stages, json.loads(plan.read_text()), cluster, scratch)
    chained(path, stages, inputs, wanted, scratch)
    if path.parent == scratch.parent and path.stem in {n.split("@")[0] for n in NETWORKS}:
        profiled(args, path, cluster, scratch)
    steps, between = repository(triton, path, inputs, wanted)
    return [steps, between, "passed"]


def models(args, scratch):
    """Name, file, inputs, and the outputs that do not depend on chance, of each model."""
    for name in NETWORKS:
        path = scratch / f"{name.split('@')[0]}.onnx"
        graph_opt(args, "opt", f"zoo:{name}", "-p", "", "-o", path)
        model = onnx.load(path)
        yield name, path, drawn(model), {o.name for o in model.graph.output}
    if not common.MODELS.is_dir():
        print(f"SKIPPED: no models at {common.MODELS}")
        return
    for path in sorted(common.MODELS.glob("*.onnx")):
        if not record(path).exists():
            continue
        model = onnx.load(path, load_external_data=False)
        inputs, outputs = recorded(record(path))
        try:
            options = extents(args, path, model, inputs, scratch)
        except RuntimeError:
            continue
        yield (
            path.stem.split("__")[-1],
            scratch / "fixed.onnx" if options else path,
            inputs,
            set(steady(model, outputs)),
        )


def main():
    parser = common.arguments(__doc__)
    parser.add_argument("--only", default="", help="models whose name contains this")
    args = common.parsed(parser)
    ort.set_default_logger_severity(4)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        for name, path, inputs, wanted in models(args, scratch):
            if args.only not in name:
                continue
            with tempfile.TemporaryDirectory(dir=scratch) as own:
                try:
                    row = check(args, path, inputs, wanted, pathlib.Path(own))
                except Exception as error:  # onnx and ONNX Runtime raise many kinds.
                    row = ["", "", f"FAILED: {str(error).splitlines()[0][:100]}"]
            rows.append([name, *row])
    common.table(["model", "stages", "values between", "verdict"], rows)
    verdicts = [row[-1] for row in rows]
    count = lambda word: sum(v.startswith(word) for v in verdicts)
    if not count("passed") and not args.only:
        print("FAILED: nothing was compared")
        common.summary(0, 1, count("skipped"))
    common.summary(count("passed"), count("FAILED"), count("skipped"))


if __name__ == "__main__":
    main()
