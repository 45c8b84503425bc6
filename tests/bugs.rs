//! Seeded bugs: wrong rewritings that `verify` must catch, every one. For each, whether a plain
//! comparison of f32 results at 1e-4 would have missed it.

use graph_opt_backends::compare::Verdict;
use graph_opt_ir::text::parse;
use graph_opt_passes::eqsat::prove::prove;

use crate::support::compare;

struct Bug {
    name: &'static str,
    /// Input, constants that both share, the right graph, the wrong one.
    input: &'static str,
    shared: &'static str,
    right: &'static str,
    wrong: &'static str,
    /// Whether f32 at 1e-4 misses it.
    missed: bool,
}

/// A kernel whose outer taps are tiny, as trained ones often are: what is wrong at a border shows
/// only far behind the point.
const TINY: &str = "%w = const [1e-9,1e-9,1e-9,0.5,1,0.25,1e-9,1e-9,1e-9] : f32[1,1,3,3]";

const BUGS: &[Bug] = &[
    Bug {
        name: "halo one row short, padded instead",
        input: "f32[1,1,8,8]", shared: TINY, missed: true,
        right: "%y = Conv %x, %w {pads=[1,1,1,1]} : ?",
        wrong: "%a = Slice %x [2: 0..4] : ?\n%b = Slice %x [2: 3..8] : ?
                %c = Conv %a, %w {pads=[1,1,1,1]} : ?\n%d = Conv %b, %w {pads=[0,1,1,1]} : ?
                %y = Concat %c, %d {axis=2} : ?",
    },
    Bug {
        name: "pads of begin and end swapped",
        input: "f32[1,1,8,8]", shared: TINY, missed: false,
        right: "%y = Conv %x, %w {pads=[2,1,0,1]} : ?",
        wrong: "%y = Conv %x, %w {pads=[0,1,2,1]} : ?",
    },
    Bug {
        name: "interior tile keeps its padding",
        input: "f32[1,1,8,8]", shared: TINY, missed: true,
        right: "%y = Conv %x, %w {pads=[1,1,1,1]} : ?",
        wrong: "%a = Slice %x [2: 0..4] : ?\n%b = Slice %x [2: 4..8] : ?
                %c = Conv %a, %w {pads=[1,1,1,1]} : ?\n%d = Conv %b, %w {pads=[1,1,1,1]} : ?
                %y = Concat %c, %d {axis=2} : ?",
    },
    Bug {
        name: "remainder computed from repeated rows",
        input: "f32[1,1,9,8]", shared: "%w = const random(1) : f32[2,1,1,1]", missed: false,
        right: "%y = Conv %x, %w : ?",
        wrong: "%a = Slice %x [2: 0..5] : ?\n%b = Slice %x [2: 4..8] : ?
                %c = Conv %a, %w : ?\n%d = Conv %b, %w : ?\n%y = Concat %c, %d {axis=2} : ?",
    },
    Bug {
        name: "wrong group's channels",
        input: "f32[1,4,5,5]", shared: "%w = const random(1) : f32[4,2,3,3]\n%v = const random(2) : f32[2,2,3,3]\n%u = const random(3) : f32[2,2,3,3]",
        missed: false,
        right: "%wa = Concat %v, %u {axis=0} : ?\n%y = Conv %x, %wa {group=2} : ?",
        wrong: "%a = Slice %x [1: 0..2] : ?\n%b = Slice %x [1: 1..3] : ?
                %c = Conv %a, %v : ?\n%d = Conv %b, %u : ?\n%y = Concat %c, %d {axis=1} : ?",
    },
    Bug {
        name: "depthwise multiplier: channels taken one by one",
        input: "f32[1,2,5,5]", shared: "%v = const random(2) : f32[2,1,3,3]\n%u = const random(3) : f32[2,1,3,3]",
        missed: false,
        right: "%w = Concat %v, %u {axis=0} : ?\n%y = Conv %x, %w {group=2} : ?",
        wrong: "%c = Conv %x, %v {group=2} : ?\n%d = Conv %x, %u {group=2} : ?\n%y = Concat %c, %d {axis=1} : ?",
    },
    Bug {
        name: "max pool padded with 0",
        input: "f32[1,1,8,8]", shared: "%p = const [0,0,1,1,0,0,1,1] : i64[8]", missed: false,
        right: "%n = Neg %x : ?\n%y = MaxPool %n {kernel_shape=[3,3], pads=[1,1,1,1]} : ?",
        wrong: "%n = Neg %x : ?\n%q = Pad %n, %p : ?\n%y = MaxPool %q {kernel_shape=[3,3]} : ?",
    },
    Bug {
        name: "average pool counts its padding",
        input: "f32[1,1,8,8]", shared: "", missed: false,
        right: "%y = AveragePool %x {kernel_shape=[3,3], pads=[1,1,1,1]} : ?",
        wrong: "%y = AveragePool %x {kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1} : ?",
    },
    Bug {
        name: "bias added by every partial sum",
        input: "f32[1,4,5,5]", shared: "%v = const random(2) : f32[2,2,3,3]\n%u = const random(3) : f32[2,2,3,3]\n%b = const [1e-7,-2e-7] : f32[2]",
        missed: true,
        right: "%w = Concat %v, %u {axis=1} : ?\n%y = Conv %x, %w, %b : ?",
        wrong: "%a = Slice %x [1: 0..2] : ?\n%c = Slice %x [1: 2..4] : ?
                %d = Conv %a, %v, %b : ?\n%e = Conv %c, %u, %b : ?\n%y = Add %d, %e : ?",
    },
    Bug {
        name: "bias lost in one tile",
        input: "f32[1,1,8,8]", shared: "%w = const random(1) : f32[2,1,3,3]\n%b = const [1e-6,2e-6] : f32[2]", missed: true,
        right: "%y = Conv %x, %w, %b : ?",
        wrong: "%a = Slice %x [2: 0..5] : ?\n%c = Slice %x [2: 3..8] : ?
                %d = Conv %a, %w, %b : ?\n%e = Conv %c, %w : ?\n%y = Concat %d, %e {axis=2} : ?",
    },
    Bug {
        name: "slices of the weights swapped",
        input: "f32[1,2,5,5]", shared: "%v = const random(2) : f32[2,2,3,3]\n%u = const random(3) : f32[2,2,3,3]", missed: false,
        right: "%w = Concat %v, %u {axis=0} : ?\n%y = Conv %x, %w : ?",
        wrong: "%c = Conv %x, %u : ?\n%d = Conv %x, %v : ?\n%y = Concat %c, %d {axis=1} : ?",
    },
    Bug {
        name: "tiles joined in the wrong order",
        input: "f32[1,1,8,8]", shared: TINY, missed: false,
        right: "%y = Conv %x, %w : ?",
        wrong: "%a = Slice %x [2: 0..5] : ?\n%b = Slice %x [2: 3..8] : ?
                %c = Conv %a, %w : ?\n%d = Conv %b, %w : ?\n%y = Concat %d, %c {axis=2} : ?",
    },
    Bug {
        name: "halo without the dilation",
        input: "f32[1,1,12,8]", shared: TINY, missed: true,
        right: "%y = Conv %x, %w {dilations=[2,1], pads=[2,0,2,0]} : ?",
        wrong: "%a = Slice %x [2: 0..7] : ?\n%b = Slice %x [2: 5..12] : ?
                %c = Conv %a, %w {dilations=[2,1], pads=[2,0,1,0]} : ?\n%d = Conv %b, %w {dilations=[2,1], pads=[1,0,2,0]} : ?
                %y = Concat %c, %d {axis=2} : ?",
    },
    Bug {
        name: "stride out of step in the second tile",
        input: "f32[1,1,9,8]", shared: TINY, missed: false,
        right: "%y = Conv %x, %w {strides=[2,1]} : ?",
        wrong: "%a = Slice %x [2: 0..5] : ?\n%b = Slice %x [2: 3..8] : ?
                %c = Conv %a, %w {strides=[2,1]} : ?\n%d = Conv %b, %w {strides=[2,1]} : ?
                %y = Concat %c, %d {axis=2} : ?",
    },
    Bug {
        name: "transposed convolution cropped one off",
        input: "f32[1,1,4,4]", shared: TINY, missed: false,
        right: "%y = ConvTranspose %x, %w {strides=[2,2], pads=[1,1,1,1]} : ?",
        wrong: "%c = ConvTranspose %x, %w {strides=[2,2], pads=[0,1,2,1]} : ?\n%y = Identity %c : ?",
    },
    Bug {
        name: "transposed convolution forgets an input that overlaps",
        input: "f32[1,1,6,4]", shared: "%w = const [1,1,1,0.5,1,0.25,1e-9,1e-9,1e-9] : f32[1,1,3,3]", missed: true,
        right: "%y = ConvTranspose %x, %w {strides=[2,2]} : ?",
        wrong: "%a = Slice %x [2: 0..3] : ?\n%b = Slice %x [2: 3..6] : ?
                %c = ConvTranspose %a, %w {strides=[2,2], pads=[0,0,1,0]} : ?\n%d = ConvTranspose %b, %w {strides=[2,2]} : ?
                %y = Concat %c, %d {axis=2} : ?",
    },
    Bug {
        name: "Softmax tiled along its own axis",
        input: "f32[1,8]", shared: "", missed: false,
        right: "%y = Softmax %x {axis=1} : ?",
        wrong: "%a = Slice %x [1: 0..4] : ?\n%b = Slice %x [1: 4..8] : ?
                %c = Softmax %a {axis=1} : ?\n%d = Softmax %b {axis=1} : ?\n%y = Concat %c, %d {axis=1} : ?",
    },
    Bug {
        name: "InstanceNormalization tile by tile",
        input: "f32[1,2,8,8]", shared: "%s = const [1,2] : f32[2]\n%b = const [0,1] : f32[2]", missed: false,
        right: "%y = InstanceNormalization %x, %s, %b : ?",
        wrong: "%a = Slice %x [2: 0..4] : ?\n%c = Slice %x [2: 4..8] : ?
                %d = InstanceNormalization %a, %s, %b : ?\n%e = InstanceNormalization %c, %s, %b : ?
                %y = Concat %d, %e {axis=2} : ?",
    },
    Bug {
        name: "residual cropped one row off",
        input: "f32[1,1,8,8]", shared: TINY, missed: false,
        right: "%c = Conv %x, %w : ?\n%r = Slice %x [2: 1..7, 3: 1..7] : ?\n%y = Add %c, %r : ?",
        wrong: "%c = Conv %x, %w : ?\n%r = Slice %x [2: 0..6, 3: 1..7] : ?\n%y = Add %c, %r : ?",
    },
    Bug {
        name: "activation moved before the sum",
        input: "f32[1,1,8,8]", shared: "%w = const random(4) : f32[1,1,1,1]", missed: true,
        // The inputs are positive, and so are both summands: floats never see the difference.
        right: "%a = Abs %x : ?\n%s = Add %a, %x : ?\n%y = Relu %s : ?",
        wrong: "%a = Abs %x : ?\n%p = Relu %a : ?\n%y = Add %p, %x : ?",
    },
    Bug {
        name: "BatchNormalization folded without its epsilon",
        input: "f32[1,2,4,4]", missed: true,
        shared: "%s = const [1,1] : f32[2]\n%z = const [0,0] : f32[2]\n%v = const [1,1] : f32[2]",
        right: "%y = BatchNormalization %x, %s, %z, %z, %v {epsilon=0.00001} : ?",
        wrong: "%y = BatchNormalization %x, %s, %z, %z, %v {epsilon=0.0} : ?",
    },
    Bug {
        name: "one tile with another slope",
        input: "f32[1,1,8,8]", shared: "", missed: false,
        right: "%y = LeakyRelu %x {alpha=0.1} : ?",
        wrong: "%a = Slice %x [2: 0..4] : ?\n%b = Slice %x [2: 4..8] : ?
                %c = LeakyRelu %a {alpha=0.1} : ?\n%d = LeakyRelu %b {alpha=0.2} : ?\n%y = Concat %c, %d {axis=2} : ?",
    },
    Bug {
        name: "Clip without its lower bound",
        input: "f32[4,64]", shared: "%l = const 0 : f32[]\n%h = const 6 : f32[]", missed: false,
        right: "%y = Clip %x, %l, %h : ?",
        wrong: "%y = Clip %x, _, %h : ?",
    },
];

#[test]
fn every_seeded_bug_is_caught() {
    let (mut missed, mut otherwise) = (0, Vec::new());
    println!("{:<56} {:<10} f32 at 1e-4", "bug", "verify");
    for b in BUGS {
        let graph = |body: &str| {
            let text =
                format!("graph @g(%x: {}) -> (%y) opset 13 {{\n{}\n{body}\n}}", b.input, b.shared);
            parse(&text).unwrap_or_else(|e| panic!("{}: {e}\n{text}", b.name))
        };
        let (right, wrong) = (graph(b.right), graph(b.wrong));
        let same = compare(&right, &right.clone());
        assert!(same.is_equal(), "{}: the right graph against itself: {same:?}", b.name);
        let r = compare(&right, &wrong);
        let [field, float] = &r.outputs[0].verdicts[..] else { panic!("{}: {r:?}", b.name) };
        assert!(matches!(field, Verdict::Differs(..)), "{}: {field:?}", b.name);
        // What floats miss is a difference all the same, but for one pair: |x| + x is never
        // negative, which no law of the field says, so the two are equal after all.
        let equal = b.name.starts_with("activation moved");
        assert_eq!(r.differs(), !equal, "{}: {:?}", b.name, r.outputs[0].summary);
        let by_float = matches!(float, Verdict::Differs(..));
        assert!(prove(&right, &wrong).is_err(), "{}: proved", b.name);
        println!("{:<56} {:<10} {}", b.name, "caught", if by_float { "caught" } else { "MISSED" });
        if by_float == b.missed {
            otherwise.push(format!("{}: {float}", b.name));
        }
        missed += usize::from(!by_float);
    }
    assert!(otherwise.is_empty(), "{otherwise:#?}");
    println!("{} bugs, all caught by the field, {missed} missed by f32 at 1e-4", BUGS.len());
    assert!(BUGS.len() >= 15);
}

/// The first value that differs, its element and the edit that made it are named.
#[test]
fn what_differs_is_traced_to_its_edit() {
    use graph_opt_ir::{Edit, Editor, Ref, op};
    let right = parse(
        "graph @g(%x: f32[1,4]) -> (%y) opset 13 {
           %a = Relu %x : f32[1,4]
           %b = Exp %a  : f32[1,4]
           %y = Neg %b  : f32[1,4]
         }",
    )
    .unwrap();
    let mut wrong = right.clone();
    let (a, b) = (wrong.find_value("a").unwrap(), wrong.find_value("b").unwrap());
    let mut e = Edit::new("wrong-pass b");
    let r = e.node("b2", op::Tanh {}, vec![Some(Ref::Value(a))], &[]);
    e.replaces.push((b, r));
    e.removes.push(wrong.producer(b).unwrap());
    Editor::new(&mut wrong).apply(&e).unwrap();
    let report = compare(&right, &wrong);
    let Verdict::Differs(_, p) = &report.outputs[0].verdicts[0] else { panic!("{report:?}") };
    assert_eq!(
        (p.value.as_str(), p.edit.as_str(), &p.element[..]),
        ("b", "wrong-pass b", &[0, 0][..])
    );
}
