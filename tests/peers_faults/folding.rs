//! Folding BatchNormalization into the weights of what stands before it.

use graph_opt_backends::compare::Verdict;
use graph_opt_passes::Exactness;
use graph_opt_passes::registry::OPTIMISE;

use super::{Row, check, judged, ops, parse, row, run};

const PARAMETERS: &str = "%s = const [0.5,-2,1,3] : f32[4]
    %b = const [1,0,-1,0.25] : f32[4]
    %m = const [0.1,-0.2,0.3,0] : f32[4]
    %v = const [0.5,1,2,0.25] : f32[4]";

/// A model with the parameters of a BatchNormalization of four channels.
macro_rules! model {
    ($head:expr, $body:expr) => {
        concat!(
            $head,
            " opset 15 {
             %s = const [0.5,-2,1,3] : f32[4]
             %b = const [1,0,-1,0.25] : f32[4]
             %m = const [0.1,-0.2,0.3,0] : f32[4]
             %v = const [0.5,1,2,0.25] : f32[4]
            ",
            $body,
            "}"
        )
    };
}

pub(super) const ROWS: &[Row] = &[
    row(
        "weights are initializers",
        model!(
            "(%x: f32[2,3,5,5]) -> (%y)",
            "%w = const random(1) : f32[4,3,3,3]
             %c = Conv %x, %w : ?
             %y = BatchNormalization %c, %s, %b, %m, %v : ?"
        ),
        "Conv BatchNormalization",
        "Conv",
    ),
    row(
        "weights and parameters are Constant nodes",
        "(%x: f32[2,1,5,5]) -> (%y) opset 15 {
           %w = Constant {value=tensor([1,2,-3,4] : f32[2,1,1,2])} : ?
           %s = Constant {value=tensor([2,-1] : f32[2])} : ?
           %b = Constant {value=tensor([1,0] : f32[2])} : ?
           %m = Constant {value=tensor([0.5,0.25] : f32[2])} : ?
           %v = Constant {value=tensor([4,1] : f32[2])} : ?
           %c = Conv %x, %w : ?
           %y = BatchNormalization %c, %s, %b, %m, %v : ?
         }",
        "Conv BatchNormalization",
        "Conv",
    ),
    row(
        "weights are shared by two convolutions",
        model!(
            "(%x: f32[2,3,5,5], %z: f32[2,3,5,5]) -> (%y)",
            "%w = const random(1) : f32[4,3,3,3]
             %c = Conv %x, %w : ?
             %n = BatchNormalization %c, %s, %b, %m, %v : ?
             %d = Conv %z, %w : ?
             %y = Add %n, %d : ?"
        ),
        "Conv BatchNormalization Conv Add",
        "Conv BatchNormalization Conv Add",
    ),
    row(
        "the bias is shared by two convolutions",
        model!(
            "(%x: f32[2,3,5,5], %z: f32[2,3,5,5]) -> (%y)",
            "%w = const random(1) : f32[4,3,3,3]
             %u = const random(2) : f32[4,3,3,3]
             %k = const random(3) : f32[4]
             %c = Conv %x, %w, %k : ?
             %n = BatchNormalization %c, %s, %b, %m, %v : ?
             %d = Conv %z, %u, %k : ?
             %y = Add %n, %d : ?"
        ),
        "Conv BatchNormalization Conv Add",
        "Conv Conv Add",
    ),
    row(
        "parameters are shared by two normalisations",
        model!(
            "(%x: f32[2,3,5,5], %z: f32[2,3,5,5]) -> (%y)",
            "%w = const random(1) : f32[4,3,3,3]
             %u = const random(2) : f32[4,3,3,3]
             %c = Conv %x, %w : ?
             %n = BatchNormalization %c, %s, %b, %m, %v : ?
             %d = Conv %z, %u : ?
             %o = BatchNormalization %d, %s, %b, %m, %v {epsilon=0.1} : ?
             %y = Add %n, %o : ?"
        ),
        "Conv BatchNormalization Conv BatchNormalization Add",
        "Conv Conv Add",
    ),
    row(
        "weights are an output, too",
        model!(
            "(%x: f32[2,3,5,5]) -> (%y, %w)",
            "%w = const random(1) : f32[4,3,3,3]
             %c = Conv %x, %w : ?
             %y = BatchNormalization %c, %s, %b, %m, %v : ?"
        ),
        "Conv BatchNormalization",
        "Conv BatchNormalization",
    ),
    row(
        "weights come in from outside",
        model!(
            "(%x: f32[2,3,5,5], %w: f32[4,3,3,3]) -> (%y)",
            "%c = Conv %x, %w : ?
             %y = BatchNormalization %c, %s, %b, %m, %v : ?"
        ),
        "Conv BatchNormalization",
        "Conv BatchNormalization",
    ),
    row(
        "weights are read in a branch",
        model!(
            "(%x: f32[2,3,5,5], %q: bool[]) -> (%y, %z)",
            "%w = const random(1) : f32[4,3,3,3]
             %c = Conv %x, %w : ?
             %y = BatchNormalization %c, %s, %b, %m, %v : ?
             %z = If %q {then_branch=graph @t() -> (%p) { %p = Relu %w : ? },
                         else_branch=graph @e() -> (%o) { %o = Neg %w : ? }} : ?"
        ),
        "Conv BatchNormalization If",
        "Conv BatchNormalization If",
    ),
    row(
        "the Conv's result has a second reader",
        model!(
            "(%x: f32[2,3,5,5]) -> (%y)",
            "%w = const random(1) : f32[4,3,3,3]
             %c = Conv %x, %w : ?
             %n = BatchNormalization %c, %s, %b, %m, %v : ?
             %y = Add %c, %n : ?"
        ),
        "Conv BatchNormalization Add",
        "Conv BatchNormalization Add",
    ),
    row(
        "the Conv's result is an output",
        model!(
            "(%x: f32[2,3,5,5]) -> (%y, %c)",
            "%w = const random(1) : f32[4,3,3,3]
             %c = Conv %x, %w : ?
             %y = BatchNormalization %c, %s, %b, %m, %v : ?"
        ),
        "Conv BatchNormalization",
        "Conv BatchNormalization",
    ),
    row(
        "grouped",
        model!(
            "(%x: f32[2,6,5,5]) -> (%y)",
            "%w = const random(1) : f32[4,3,3,3]
             %k = const random(2) : f32[4]
             %c = Conv %x, %w, %k {group=2} : ?
             %y = BatchNormalization %c, %s, %b, %m, %v : ?"
        ),
        "Conv BatchNormalization",
        "Conv",
    ),
    row(
        "transposed",
        model!(
            "(%x: f32[2,3,5,5]) -> (%y)",
            "%w = const random(1) : f32[3,4,3,3]
             %c = ConvTranspose %x, %w {strides=[2,2]} : ?
             %y = BatchNormalization %c, %s, %b, %m, %v : ?"
        ),
        "ConvTranspose BatchNormalization",
        "ConvTranspose",
    ),
    row(
        "transposed, as many channels in as out, and grouped",
        model!(
            "(%x: f32[2,4,5,5]) -> (%y)",
            "%w = const random(1) : f32[4,2,3,2]
             %k = const random(2) : f32[4]
             %c = ConvTranspose %x, %w, %k {group=2} : ?
             %y = BatchNormalization %c, %s, %b, %m, %v : ?"
        ),
        "ConvTranspose BatchNormalization",
        "ConvTranspose",
    ),
    row(
        "epsilon is larger than the variances",
        model!(
            "(%x: f32[2,3,5,5]) -> (%y)",
            "%w = const random(1) : f32[4,3,3,3]
             %c = Conv %x, %w : ?
             %y = BatchNormalization %c, %s, %b, %m, %v {epsilon=1.5} : ?"
        ),
        "Conv BatchNormalization",
        "Conv",
    ),
    row(
        "no variance, but an epsilon",
        model!(
            "(%x: f32[2,3,5,5]) -> (%y)",
            "%w = const random(1) : f32[4,3,3,3]
             %z = const [0,1,0,2] : f32[4]
             %c = Conv %x, %w : ?
             %y = BatchNormalization %c, %s, %b, %m, %z : ?"
        ),
        "Conv BatchNormalization",
        "Conv",
    ),
    row(
        "no variance and no epsilon: infinite",
        model!(
            "(%x: f32[2,3,5,5]) -> (%y)",
            "%w = const random(1) : f32[4,3,3,3]
             %z = const [0,1,0,2] : f32[4]
             %c = Conv %x, %w : ?
             %y = BatchNormalization %c, %s, %b, %m, %z {epsilon=0.0} : ?"
        ),
        "Conv BatchNormalization",
        "Conv BatchNormalization",
    ),
    row(
        "scaled along another axis than the channels'",
        "(%x: f32[2,3,6,6]) -> (%y) opset 15 {
           %w = const random(1) : f32[4,3,3,3]
           %k = const [1,2,3,4] : f32[4]
           %c = Conv %x, %w : ?
           %y = Mul %c, %k : ?
         }",
        "Conv Mul",
        "Conv Mul",
    ),
    row(
        "one channel, stretched by what follows",
        "(%x: f32[2,3,6,6]) -> (%y) opset 15 {
           %w = const random(1) : f32[1,3,3,3]
           %k = const random(2) : f32[1,4,1,1]
           %c = Conv %x, %w : ?
           %y = Mul %c, %k : ?
         }",
        "Conv Mul",
        "Conv Mul",
    ),
];

/// onnx/optimizer 133, 178, 255.
#[test]
fn optimizer_133_178_255_batch_norm_into_conv() {
    check(ROWS);
}

/// The label says that weights were rounded, and only where they were; the difference is measured.
#[test]
fn optimizer_133_folded_weights_are_labelled() {
    for r in ROWS {
        let g = parse(r.model);
        let (t, exactness, remarks) = run(&g, OPTIMISE);
        let folded = r.simplified != r.optimised;
        let label = if folded { Exactness::RoundsWeights } else { Exactness::BitExact };
        assert_eq!(exactness, label, "{}", r.what);
        if !folded {
            let said = remarks.iter().any(|m| m.starts_with("fold-batch-norm"));
            assert!(said, "{}: {remarks:?}", r.what);
            continue;
        }
        for v in judged(&g, &t).outputs.iter().filter_map(|o| o.verdicts.last()) {
            // Weights are rounded once, and so is the bias: a few units in the last place of the
            // largest summand.
            let bound = match v {
                Verdict::Close(_, d) => d.relative() < 2e-6 && d.ulp > 0,
                v => matches!(v, Verdict::BitExact(..)),
            };
            assert!(bound, "{}: {v}", r.what);
        }
    }
}

/// What trains is not folded, and a fold with a channel's parameters in another order is seen.
#[test]
fn optimizer_133_wrong_folds_are_seen() {
    let graph = |parameters: &str| {
        parse(&format!(
            "(%x: f32[2,3,5,5]) -> (%y) opset 15 {{ {parameters}
               %w = const random(1) : f32[4,3,3,3]
               %c = Conv %x, %w : ?
               %y = BatchNormalization %c, %s, %b, %m, %v : ?
             }}"
        ))
    };
    let g = graph(PARAMETERS);
    let wrong = graph(&PARAMETERS.replace("[0.5,1,2,0.25]", "[0.5,1,0.25,2]"));
    let (t, ..) = run(&wrong, OPTIMISE);
    assert_eq!(ops(&t), "Conv");
    assert!(judged(&g, &t).differs());
}
