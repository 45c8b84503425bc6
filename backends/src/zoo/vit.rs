//! ViT-B/16, as torchvision has it.

use graph_opt_ir::op_context::RuleError;
use graph_opt_ir::{Graph, ValueId, op};

use super::net::{BRANCH, LINEAR, Layer, Net, RELU, conv};
use super::{Size, ZooError};

const PATCH: u64 = 16;
const WIDTH: u64 = 768;
const HIDDEN: u64 = 3072;
const HEADS: u64 = 12;
const DEPTH: usize = 12;
/// Most tokens, as each has a position embedding: an image of 4096 x 4096.
const MAX_TOKENS: u64 = 65_537;

/// ViT-B/16; opset 17, for LayerNormalization.
pub(super) fn vit_b16(size: Size) -> Result<Graph, ZooError> {
    let mut n = Net::new("vit-b16", 17);
    let x = n.image(3, size);
    let x = n.conv("conv_proj", x, conv(WIDTH, PATCH).stride(PATCH as i64).gain(LINEAR))?;
    let shape = n.ints("patches.shape", &[1, WIDTH as i64, -1]);
    let x = n.node("patches", op::Reshape { allowzero: 0 }, &[x, shape])?;
    let x = n.node("tokens", op::Transpose { perm: Some(vec![0, 2, 1]) }, &[x])?;
    let class = n.uniform("class_token", &[1, 1, WIDTH], -0.1, 0.1)?;
    let x = n.concat("class_concat", &[class, x])?;
    // Patches and the class token.
    let tokens = n.dims(x)?[1];
    if tokens > MAX_TOKENS {
        let why = format!("expected at most {MAX_TOKENS} tokens, found {tokens}");
        return Err(n.fault("encoder.pos_embedding", RuleError(why)));
    }
    let places = n.uniform("encoder.pos_embedding", &[1, tokens, WIDTH], -0.1, 0.1)?;
    let x = n.add("encoder.add", x, places)?;
    let mut v = Vit::new(n, tokens)?;
    let mut x = x;
    for i in 0..DEPTH {
        x = v.block(&format!("encoder.layers.{i}"), x)?;
    }
    let x = v.layer_norm("encoder.ln", x)?;
    let mut n = v.n;
    let first = n.ints("class_index", &[0]);
    let x = n.node("class", op::Gather { axis: 1 }, &[x, first])?;
    let x = n.node("flatten", op::Flatten { axis: 1 }, &[x])?;
    let x = n.linear("heads.head", x, 1000, LINEAR)?;
    Ok(n.finish(x))
}

/// The network with the constants that all blocks share.
struct Vit {
    n: Net,
    /// How a row of tokens is cut into heads.
    split_heads: ValueId,
    /// And put together again.
    join_heads: ValueId,
    /// Lengths of query, key and value in the product of all three.
    thirds: ValueId,
    /// 1 / sqrt(width of a head).
    scale: ValueId,
    sqrt2: ValueId,
    one: ValueId,
    half: ValueId,
}

impl Vit {
    fn new(mut n: Net, tokens: u64) -> Result<Self, ZooError> {
        let (tokens, width, heads) = (tokens as i64, WIDTH as i64, HEADS as i64);
        Ok(Self {
            split_heads: n.ints("heads.shape", &[1, tokens, heads, width / heads]),
            join_heads: n.ints("joined.shape", &[1, tokens, width]),
            thirds: n.ints("qkv.split", &[width; 3]),
            scale: n.scalar("attention.scale", 1.0 / ((WIDTH / HEADS) as f32).sqrt())?,
            sqrt2: n.scalar("gelu.sqrt2", std::f32::consts::SQRT_2)?,
            one: n.scalar("gelu.one", 1.0)?,
            half: n.scalar("gelu.half", 0.5)?,
            n,
        })
    }

    fn block(&mut self, name: &str, x: ValueId) -> Layer {
        let part = |s: &str| format!("{name}.{s}");
        let y = self.layer_norm(&part("ln_1"), x)?;
        let y = self.attention(&part("self_attention"), y)?;
        let x = self.n.add(&part("add_1"), x, y)?;
        let y = self.layer_norm(&part("ln_2"), x)?;
        let y = self.linear(&part("mlp.0"), y, HIDDEN, RELU)?;
        let y = self.gelu(&part("mlp.1"), y)?;
        let y = self.linear(&part("mlp.3"), y, WIDTH, BRANCH)?;
        self.n.add(&part("add_2"), x, y)
    }

    fn attention(&mut self, name: &str, x: ValueId) -> Layer {
        let part = |s: &str| format!("{name}.{s}");
        let x = self.linear(&part("in_proj"), x, 3 * WIDTH, LINEAR)?;
        let split = op::Split { axis: 2, split: None, num_outputs: None };
        let qkv = self.n.nodes(&part("qkv"), split, &[x, self.thirds], 3)?;
        let q = self.heads(&part("query"), qkv[0], &[0, 2, 1, 3])?;
        let k = self.heads(&part("key"), qkv[1], &[0, 2, 3, 1])?;
        let v = self.heads(&part("value"), qkv[2], &[0, 2, 1, 3])?;
        let q = self.n.node(&part("scale"), MUL, &[q, self.scale])?;
        let s = self.n.node(&part("scores"), op::MatMul {}, &[q, k])?;
        let s = self.n.node(&part("softmax"), op::Softmax { axis: Some(-1) }, &[s])?;
        let x = self.n.node(&part("context"), op::MatMul {}, &[s, v])?;
        let swap = op::Transpose { perm: Some(vec![0, 2, 1, 3]) };
        let x = self.n.node(&part("context.transpose"), swap, &[x])?;
        let shape = op::Reshape { allowzero: 0 };
        let x = self.n.node(&part("context.reshape"), shape, &[x, self.join_heads])?;
        self.linear(&part("out_proj"), x, WIDTH, BRANCH)
    }

    /// Cuts the width into heads, and puts the axes in this order.
    fn heads(&mut self, name: &str, x: ValueId, perm: &[i64]) -> Layer {
        let shape = op::Reshape { allowzero: 0 };
        let x = self.n.node(&format!("{name}.reshape"), shape, &[x, self.split_heads])?;
        let perm = Some(perm.to_vec());
        self.n.node(&format!("{name}.transpose"), op::Transpose { perm }, &[x])
    }

    /// x / 2 * (1 + erf(x / sqrt 2)), as PyTorch exports it.
    fn gelu(&mut self, name: &str, x: ValueId) -> Layer {
        let part = |s: &str| format!("{name}.{s}");
        let y =
            self.n.node(&part("div"), op::Div { axis: None, broadcast: 0 }, &[x, self.sqrt2])?;
        let y = self.n.node(&part("erf"), op::Erf {}, &[y])?;
        let y = self.n.add(&part("add"), y, self.one)?;
        let y = self.n.node(&part("mul"), MUL, &[x, y])?;
        self.n.node(&part("half"), MUL, &[y, self.half])
    }

    /// Fully connected layer over the last of three axes.
    fn linear(&mut self, name: &str, x: ValueId, out: u64, gain: f32) -> Layer {
        let cin = self.n.dims(x)?[2];
        let w = self.n.weight(&format!("{name}.weight"), &[cin, out], cin, gain)?;
        let b = self.n.bias(&format!("{name}.bias"), out)?;
        let x = self.n.node(&format!("{name}.matmul"), op::MatMul {}, &[x, w])?;
        self.n.add(&format!("{name}.add"), x, b)
    }

    fn layer_norm(&mut self, name: &str, x: ValueId) -> Layer {
        let scale = self.n.uniform(&format!("{name}.weight"), &[WIDTH], 0.9, 1.1)?;
        let bias = self.n.bias(&format!("{name}.bias"), WIDTH)?;
        let op = op::LayerNormalization { axis: -1, epsilon: 1e-6, stash_type: 1 };
        self.n.node(name, op, &[x, scale, bias])
    }
}

const MUL: op::Mul = op::Mul { axis: None, broadcast: 0 };
