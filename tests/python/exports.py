"""Models as exporters write them, with random weights: what peers.py compares on besides real ones."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Net:
    """Collects nodes and weights under the names that torch gives them."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.weights = [], []

    def weight(self, name, *dims, scale=None, positive=False):
        w = self.random.standard_normal(dims).astype(np.float32)
        fan = max(1, int(np.prod(dims[1:])) if len(dims) > 1 else 1)
        w = np.abs(w) + 0.5 if positive else w * np.float32(scale or (1.0 / fan) ** 0.5)
        self.weights.append(numpy_helper.from_array(w.astype(np.float32), name))
        return name

    def constant(self, value, dtype=np.int64):
        """A Constant node, which is how torch writes what is no parameter."""
        name = f"/Constant_{len(self.nodes)}_output_0"
        tensor = numpy_helper.from_array(np.array(value, dtype=dtype))
        self.nodes.append(helper.make_node("Constant", [], [name], name=name[:-9], value=tensor))
        return name

    def node(self, op, *inputs, **attributes):
        name = f"/{op}_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(op, list(inputs), [f"{name}_output_0"], name=name, **attributes)
        )
        return f"{name}_output_0"

    def model(self, name, inputs, output, dims, opset):
        self.nodes.append(helper.make_node("Identity", [output], ["output"], name="/Identity"))
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes,
            name,
            [value(n, t, d) for n, t, d in inputs],
            [value("output", TensorProto.FLOAT, dims)],
            self.weights,
        )
        graph.doc_string = "a doc string"
        stays(graph).doc_string = "where the node comes from"
        for holder, key in [(graph, "graph"), (graph.input[0], "input"), (stays(graph), "node")]:
            entry = holder.metadata_props.add()
            entry.key, entry.value = f"of_{key}", "kept"
        note = graph.quantization_annotation.add(tensor_name="output")
        entry = note.quant_parameter_tensor_names.add()
        entry.key, entry.value = "SCALE_TENSOR", self.weights[0].name
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", opset)],
            producer_name="pytorch",
            producer_version="2.4.0",
        )
        model.ir_version = 11
        helper.set_model_props(model, {"author": "peers.py"})
        device = model.configuration.add()
        device.name, device.num_devices = "pair", 2
        used = stays(model.graph).device_configurations.add()
        used.configuration_id = "pair"
        onnx.checker.check_model(model)
        return model


def stays(graph):
    """A node that every tool has to keep."""
    kinds = ["Conv", "ConvTranspose", "Gemm", "MatMul"]
    return next(n for n in graph.node if n.op_type in kinds)


def batch_norm(net, x, name, channels):
    parameters = [
        net.weight(f"{name}.weight", channels, positive=True),
        net.weight(f"{name}.bias", channels, scale=0.1),
        net.weight(f"{name}.running_mean", channels, scale=0.1),
        net.weight(f"{name}.running_var", channels, positive=True),
    ]
    return net.node("BatchNormalization", x, *parameters, epsilon=1e-5, momentum=0.9)


def convolution(net, x, name, cin, cout, kernel, stride=1, groups=1, bias=False):
    inputs = [x, net.weight(f"{name}.weight", cout, cin // groups, kernel, kernel)]
    if bias:
        inputs.append(net.weight(f"{name}.bias", cout, scale=0.1))
    pad = kernel // 2
    return net.node(
        "Conv",
        *inputs,
        dilations=[1, 1],
        group=groups,
        kernel_shape=[kernel, kernel],
        pads=[pad] * 4,
        strides=[stride, stride],
    )


def resnet():
    """Blocks of torchvision's resnet in training form: each convolution with its BatchNormalization."""
    net = Net(1)
    x = convolution(net, "input", "conv1", 3, 32, 7, 2)
    x = net.node("Relu", batch_norm(net, x, "bn1", 32))
    x = net.node("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2], ceil_mode=0)
    cin = 32
    for i, (cout, stride) in enumerate([(32, 1), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1)]):
        name, skip = f"layer{i}", x
        y = convolution(net, x, f"{name}.conv1", cin, cout, 3, stride)
        y = net.node("Relu", batch_norm(net, y, f"{name}.bn1", cout))
        y = convolution(net, y, f"{name}.conv2", cout, cout, 3)
        y = batch_norm(net, y, f"{name}.bn2", cout)
        if stride != 1 or cin != cout:
            skip = convolution(net, skip, f"{name}.down.0", cin, cout, 1, stride)
            skip = batch_norm(net, skip, f"{name}.down.1", cout)
        x, cin = net.node("Relu", net.node("Add", y, skip)), cout
    x = net.node("Flatten", net.node("GlobalAveragePool", x), axis=1)
    x = net.node(
        "Gemm", x, net.weight("fc.weight", 10, cin), net.weight("fc.bias", 10), transB=1
    )
    return net.model("resnet", [("input", TensorProto.FLOAT, ["batch", 3, 64, 64])], x, ["batch", 10], 17)


def mobilenet():
    """Inverted residuals: depthwise convolutions, Clip with Constants, Dropout, an explicit Pad."""
    net = Net(2)
    pads = net.constant([0, 0, 0, 0, 0, 0, 1, 1])
    x = net.node("Pad", "input", pads, mode="constant")
    x = net.node(
        "Conv", x, net.weight("stem.weight", 16, 3, 3, 3), kernel_shape=[3, 3], strides=[2, 2]
    )
    x = batch_norm(net, x, "stem.bn", 16)

    def relu6(x):
        return net.node("Clip", x, net.constant(0, np.float32), net.constant(6, np.float32))

    x, cin = relu6(x), 16
    for i, (cout, stride) in enumerate([(16, 1), (24, 2), (24, 1), (32, 2), (32, 1)]):
        name, wide = f"block{i}", 4 * cin
        y = convolution(net, x, f"{name}.0", cin, wide, 1)
        y = relu6(batch_norm(net, y, f"{name}.1", wide))
        y = convolution(net, y, f"{name}.3", wide, wide, 3, stride, groups=wide)
        y = relu6(batch_norm(net, y, f"{name}.4", wide))
        y = batch_norm(net, convolution(net, y, f"{name}.6", wide, cout, 1), f"{name}.7", cout)
        x = net.node("Add", x, y) if stride == 1 and cin == cout else y
        cin = cout
    x = net.node("ReduceMean", x, axes=[2, 3], keepdims=0)
    x = net.node("Dropout", x)
    x = net.node("MatMul", x, net.weight("fc.weight", cin, 10))
    x = net.node("Add", net.weight("fc.bias", 10), x)
    return net.model("mobilenet", [("input", TensorProto.FLOAT, ["batch", 3, 64, 64])], x, ["batch", 10], 13)


def shape_of(net, x, axis):
    """One extent, as torch's tracer writes `x.size(axis)`."""
    return net.node("Gather", net.node("Shape", x), net.constant(axis), axis=0)


def join(net, parts):
    """The shape for a view: Unsqueeze every part, then Concat."""
    parts = [p if isinstance(p, str) else net.constant(p) for p in parts]
    parts = [net.node("Unsqueeze", p, net.constant([0])) for p in parts]
    return net.node("Concat", *parts, axis=0)


def linear(net, x, name, cin, cout):
    y = net.node("MatMul", x, net.weight(f"{name}.weight", cin, cout))
    return net.node("Add", net.weight(f"{name}.bias", cout, scale=0.1), y)


def layer_norm(net, x, name, width):
    """As torch wrote it before LayerNormalization was an operator."""
    mean = net.node("ReduceMean", x, axes=[-1])
    d = net.node("Sub", x, mean)
    square = net.node("Pow", d, net.constant(2, np.float32))
    variance = net.node("ReduceMean", square, axes=[-1])
    root = net.node("Sqrt", net.node("Add", variance, net.constant(1e-5, np.float32)))
    y = net.node("Mul", net.node("Div", d, root), net.weight(f"{name}.weight", width, positive=True))
    return net.node("Add", y, net.weight(f"{name}.bias", width, scale=0.1))


def transformer(layers=2, width=64, heads=4):
    """Encoder layers with dynamic batch and sequence, with all the arithmetic on shapes of a trace."""
    net, x = Net(3), "input"
    head = width // heads
    for i in range(layers):
        name = f"layers.{i}"

        def split(y):
            batch, sequence = shape_of(net, y, 0), shape_of(net, y, 1)
            y = net.node("Reshape", y, join(net, [batch, sequence, heads, head]))
            return net.node("Transpose", y, perm=[0, 2, 1, 3])

        q, k, v = (split(linear(net, x, f"{name}.{p}", width, width)) for p in "qkv")
        k = net.node("Transpose", k, perm=[0, 1, 3, 2])
        scores = net.node("MatMul", q, k)
        # sqrt(head) as the tracer computes it, from the shape of the query.
        size = net.node("Cast", shape_of(net, q, 3), to=TensorProto.FLOAT)
        scores = net.node("Div", scores, net.node("Sqrt", size))
        probabilities = net.node("Dropout", net.node("Softmax", scores, axis=-1))
        y = net.node("Transpose", net.node("MatMul", probabilities, v), perm=[0, 2, 1, 3])
        batch, sequence = shape_of(net, y, 0), shape_of(net, y, 1)
        y = net.node("Reshape", y, join(net, [batch, sequence, width]))
        x = layer_norm(net, net.node("Add", x, linear(net, y, f"{name}.o", width, width)), f"{name}.n1", width)
        y = linear(net, x, f"{name}.f1", width, 4 * width)
        # gelu
        erf = net.node("Erf", net.node("Div", y, net.constant(2**0.5, np.float32)))
        y = net.node("Mul", y, net.node("Add", erf, net.constant(1, np.float32)))
        y = net.node("Mul", y, net.constant(0.5, np.float32))
        y = linear(net, y, f"{name}.f2", 4 * width, width)
        x = layer_norm(net, net.node("Add", x, y), f"{name}.n2", width)
    # The first token, and a head of rank 2.
    first = net.node("Gather", x, net.constant(0), axis=1)
    x = net.node("Tanh", linear(net, first, "pool", width, width))
    inputs = [("input", TensorProto.FLOAT, ["batch", "sequence", width])]
    return net.model("transformer", inputs, x, ["batch", width], 14)


def masked():
    """Masks and views by arithmetic on symbolic shapes: Range, Expand, ConstantOfShape, Where, Slice."""
    net = Net(4)
    batch, sequence = shape_of(net, "input", 0), shape_of(net, "input", 1)
    positions = net.node("Range", net.constant(0), sequence, net.constant(1))
    positions = net.node("Unsqueeze", positions, net.constant([0]))
    target = join(net, [batch, sequence])
    ones = net.node("ConstantOfShape", net.constant([2]), value=numpy_helper.from_array(np.array([1])))
    scaled = net.node("Mul", ones, net.constant(-1))
    chosen = net.node("Where", net.node("Equal", target, scaled), ones, target)
    positions = net.node("Expand", positions, chosen)
    embedded = net.node("Gather", net.weight("wpe.weight", 64, 32), positions)
    x = net.node("Add", "input", embedded)
    whole = net.node(
        "Slice", x, net.constant([0]), net.constant([2**63 - 1]), net.constant([1]), net.constant([1])
    )
    flat = net.node("Reshape", whole, join(net, [net.node("Mul", batch, sequence), 32]))
    flat = net.node("Cast", flat, to=TensorProto.FLOAT)
    y = net.node("Gemm", flat, net.weight("c.weight", 32, 48), net.weight("c.bias", 48))
    y = net.node("Reshape", y, join(net, [batch, sequence, 48]))
    parts = [
        net.node("Slice", y, net.constant([16 * i]), net.constant([16 * i + 16]), net.constant([2]))
        for i in range(3)
    ]
    y = net.node("Concat", *parts, axis=-1)
    y = net.node("Squeeze", net.node("Unsqueeze", y, net.constant([1])), net.constant([1]))
    y = net.node("Transpose", net.node("Transpose", y, perm=[0, 2, 1]), perm=[0, 2, 1])
    inputs = [("input", TensorProto.FLOAT, ["batch", "sequence", 32])]
    return net.model("masked", inputs, y, ["batch", "sequence", 48], 17)


def deconvolution():
    """An upsampling path: transposed convolutions, plain and grouped, with BatchNormalization."""
    net, x = Net(5), "input"
    for i, groups in enumerate([1, 4]):
        w = net.weight(f"up{i}.weight", 32, 32 // groups, 4, 4)
        attributes = dict(kernel_shape=[4, 4], strides=[2, 2], pads=[1] * 4, group=groups)
        x = net.node("ConvTranspose", x, w, net.weight(f"up{i}.bias", 32, scale=0.1), **attributes)
        x = net.node("Relu", batch_norm(net, x, f"up{i}.bn", 32))
    x = convolution(net, x, "scale.conv", 32, 8, 1)
    x = net.node("Mul", x, net.weight("scale", 1, 8, 1, 1, positive=True))
    x = net.node("Add", x, net.weight("shift", 1, 8, 1, 1, scale=0.1))
    padded = net.node("Pad", x, net.constant([0, 0, 1, 1, 0, 0, 1, 1]), mode="constant")
    x = net.node("AveragePool", padded, kernel_shape=[3, 3], strides=[1, 1])
    return net.model("deconvolution", [("input", TensorProto.FLOAT, [1, 32, 16, 16])], x, [1, 8, 64, 64], 17)


EXPORTS = [resnet, mobilenet, transformer, masked, deconvolution]
