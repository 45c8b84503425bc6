"""The four networks of train.py and distill.py, made of blocks that have inner channels.

A block's input and output are its interface. Its inner channels are what pruning takes away: `inner`
says how many there are, and `axes` along which axis each parameter of the block holds them.
"""

import torch
from torch import nn


class Block(nn.Module):
    """A block that can be made again with fewer inner channels."""

    axes = {}

    def __init__(self, inner, **form):
        super().__init__()
        self.inner, self.form = inner, form

    def filter_norms(self, folded):
        """The L1 norm of each inner channel's filter; `folded`: with the BatchNorm's factor."""
        convolution, norm = self.first, self.first_norm
        axis = self.axes["first.weight"]
        weight = convolution.weight.detach().transpose(0, axis)
        sums = weight.abs().flatten(1).sum(1)
        # The exporter folds into these only.
        if folded and isinstance(convolution, nn.Conv2d):
            sums = sums * (norm.weight.detach() / (norm.running_var + norm.eps).sqrt()).abs()
        return sums

    def narrowed(self, kept):
        """This block with only the inner channels `kept`, whose weights stay."""
        block = type(self)(inner=len(kept), **self.form)
        state = self.state_dict()
        for name, axis in self.axes.items():
            if name in state:
                state[name] = state[name].index_select(axis, kept)
        block.load_state_dict(state)
        return block


def batch_norm_axes(name):
    return {f"{name}.{p}": 0 for p in ["weight", "bias", "running_mean", "running_var"]}


class Residual(Block):
    """Two 3x3 convolutions beside the input, or beside a strided 1x1 projection of it."""

    axes = {"first.weight": 0, **batch_norm_axes("first_norm"), "second.weight": 1}

    def __init__(self, inner, cin, cout, stride):
        super().__init__(inner, cin=cin, cout=cout, stride=stride)
        self.first = nn.Conv2d(cin, inner, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(inner)
        self.second = nn.Conv2d(inner, cout, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(cout)
        self.skip = None
        if stride != 1 or cin != cout:
            projection = nn.Conv2d(cin, cout, 1, stride, bias=False)
            self.skip = nn.Sequential(projection, nn.BatchNorm2d(cout))

    def forward(self, x):
        y = torch.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        return torch.relu(y + (x if self.skip is None else self.skip(x)))


class Squeeze(nn.Module):
    """Squeeze and excite: a factor for each channel from the means of all."""

    def __init__(self, channels, squeezed):
        super().__init__()
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.down = nn.Conv2d(channels, squeezed, 1)
        self.up = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.up(torch.relu(self.down(self.mean(x)))))


class Inverted(Block):
    """MobileNetV2's inverted residual: expanded, depthwise, projected without an activation."""

    axes = {
        "first.weight": 0,
        **batch_norm_axes("first_norm"),
        "depthwise.weight": 0,
        **batch_norm_axes("depthwise_norm"),
        "squeeze.down.weight": 1,
        "squeeze.up.weight": 0,
        "squeeze.up.bias": 0,
        "second.weight": 1,
    }

    def __init__(self, inner, cin, cout, stride, squeezed=0):
        super().__init__(inner, cin=cin, cout=cout, stride=stride, squeezed=squeezed)
        self.first = nn.Conv2d(cin, inner, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(inner)
        self.depthwise = nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(inner)
        self.squeeze = Squeeze(inner, squeezed) if squeezed else nn.Identity()
        self.second = nn.Conv2d(inner, cout, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(cout)
        self.act = nn.ReLU6()
        self.residual = stride == 1 and cin == cout

    def forward(self, x):
        y = self.act(self.first_norm(self.first(x)))
        y = self.squeeze(self.act(self.depthwise_norm(self.depthwise(y))))
        y = self.second_norm(self.second(y))
        return x + y if self.residual else y


class Pair(Block):
    """Two convolutions one after the other. `scale`: the first one halves or doubles extents."""

    axes = {**batch_norm_axes("first_norm"), "second.weight": 1}

    def __init__(self, inner, cin, cout, scale="same", act="relu"):
        super().__init__(inner, cin=cin, cout=cout, scale=scale, act=act)
        if scale in ("double", "double less one"):
            # Less one: 4 to 7.
            size = 4 if scale == "double" else 3
            self.first = nn.ConvTranspose2d(cin, inner, size, 2, 1, bias=False)
            self.axes = self.axes | {"first.weight": 1}
        else:
            stride = 2 if scale == "half" else 1
            self.first = nn.Conv2d(cin, inner, 3, stride, 1, bias=False)
            self.axes = self.axes | {"first.weight": 0}
        self.second = nn.Conv2d(inner, cout, 3, 1, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(inner)
        self.second_norm = nn.BatchNorm2d(cout)
        self.act = nn.Sigmoid() if act == "sigmoid" else nn.ReLU()

    def forward(self, x):
        y = torch.relu(self.first_norm(self.first(x)))
        return self.act(self.second_norm(self.second(y)))


def stem(cout, act):
    convolution = nn.Conv2d(1, cout, 3, 2, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(cout), act)


def head(cin):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(cin, 10))


class Resnet(nn.Module):
    """Three stages of two residual blocks, for [N, 1, 28, 28]."""

    data, task, folded = "fashion", "classify", False
    epochs, batch, rate, decay = 6, 128, 4e-3, 1e-2

    def __init__(self):
        super().__init__()
        widths = [(24, 24, 1), (24, 24, 1), (24, 48, 2), (48, 48, 1), (48, 64, 2), (64, 64, 1)]
        self.stem = stem(24, nn.ReLU())
        self.blocks = nn.ModuleList(
            Residual(inner=cout, cin=cin, cout=cout, stride=stride) for cin, cout, stride in widths
        )
        self.head = head(64)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Mobilenet(nn.Module):
    """Six inverted residuals, the last but one with squeeze and excite, for [N, 1, 28, 28]."""

    data, task, folded = "fashion", "classify", True
    epochs, batch, rate, decay = 6, 128, 4e-3, 1e-2

    def __init__(self):
        super().__init__()
        self.stem = stem(16, nn.ReLU6())
        widths = [(16, 24, 1, 0), (24, 24, 1, 0), (24, 40, 2, 0), (40, 40, 1, 0)]
        widths += [(40, 64, 2, 32), (64, 64, 1, 0)]
        self.blocks = nn.ModuleList(
            Inverted(inner=4 * cin, cin=cin, cout=cout, stride=stride, squeezed=squeezed)
            for cin, cout, stride, squeezed in widths
        )
        self.last = nn.Sequential(
            nn.Conv2d(64, 160, 1, bias=False), nn.BatchNorm2d(160), nn.ReLU6()
        )
        self.head = head(160)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.last(x))


class Unet(nn.Module):
    """Three levels with skips, for [N, 1, 32, 32]; gives the probability of foreground."""

    data, task, folded = "foreground", "segment", True
    epochs, batch, rate, decay = 5, 128, 4e-3, 1e-3

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(
            Pair(inner=inner, cin=cin, cout=cout)
            for inner, cin, cout in [(16, 1, 16), (32, 16, 32), (64, 32, 64), (32, 64, 32), (16, 32, 16)]
        )
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList([nn.ConvTranspose2d(64, 32, 2, 2), nn.ConvTranspose2d(32, 16, 2, 2)])
        self.last = nn.Conv2d(16, 1, 1)

    def forward(self, x):
        high = self.blocks[0](x)
        middle = self.blocks[1](self.pool(high))
        low = self.blocks[2](self.pool(middle))
        middle = self.blocks[3](torch.cat([self.up[0](low), middle], 1))
        high = self.blocks[4](torch.cat([self.up[1](middle), high], 1))
        return torch.sigmoid(self.last(high))


class Autoencoder(nn.Module):
    """Down to 8 channels of 4x4 and up again by transposed convolutions, for [N, 1, 28, 28]."""

    data, task, folded = "reconstruct", "reconstruct", True
    epochs, batch, rate, decay = 14, 32, 3e-3, 1e-5

    def __init__(self):
        super().__init__()
        form = [(32, 1, 16, "half"), (64, 16, 24, "half"), (64, 24, 8, "half")]
        form += [(64, 8, 24, "double less one"), (64, 24, 16, "double"), (32, 16, 1, "double")]
        self.blocks = nn.ModuleList(
            Pair(inner, cin, cout, scale, "sigmoid" if cout == 1 else "relu")
            for inner, cin, cout, scale in form
        )

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


NETWORKS = {
    "resnet": Resnet,
    "mobilenet": Mobilenet,
    "unet": Unet,
    "autoencoder": Autoencoder,
}


def measure(task, y, labels):
    """What a network is judged by, for all its outputs at once."""
    if task == "classify":
        return (y.argmax(1) == labels).float().mean().item()
    if task == "segment":
        found, there = y > 0.5, labels > 0
        return ((found & there).sum() / (found | there).sum()).item()
    return (y - labels).square().mean().item()


MEASURES = {"classify": "accuracy", "segment": "IoU", "reconstruct": "mean squared error"}


def outputs(network, x):
    """A network's outputs in evaluation, in batches."""
    network.eval()
    with torch.no_grad():
        return torch.cat([network(part) for part in x.split(500)])
