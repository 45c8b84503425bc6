//! The text form of graphs (`.gir`), with one node on each line: [`print()`] writes it, [`parse`] reads it.
//!
//! ```text
//! graph @main(%x: f32[1,3,16,16]) -> (%y) opset 13 {
//!   %W = const random(1)                 : f32[8,3,3,3]
//!   %a = Slice %x [2: 0..9]              : f32[1,3,9,16]
//!   %y = Conv %a, %W {pads=[1,1,0,1]}    : f32[1,8,8,16]    ; conv1
//! }
//! ```
//!
//! Small constants are written out. Larger ones are written as `#` and their content hash, which the parser
//! looks up in a [`Constants`], or in full ([`print_whole`]): as `hex"…"` with the bytes of their elements,
//! little-endian and in row-major order. `random(SEED)` is a constant of pseudo-random elements
//! ([`Tensor::random`](crate::Tensor::random)). The name of a node follows after `;`. A line that starts
//! with `//` is a comment.

mod lex;
mod parse;
mod print;

pub use lex::unescape;
pub use parse::{Constants, ParseError, parse, parse_with};
pub use print::{attribute_text, node_text, print, print_whole, slice_sugar};

/// Largest number of elements of a constant that is written out.
const INLINE: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tensor;

    const TEXT: &str = r#"graph @main(%x: f32[N,3,16,16]) -> (%y, %"odd name") opset 13 {
  %W = const random(1)                                           : f32[8,3,3,3]
  %b = const [1,2,-3,4.5,nan,inf,0,1e-9]                         : f32[8]
  %a = Slice %x [2: 0..9]                                        : f32[N,3,9,16]
  %c = Conv %a, %W, %b {pads=[1,1,0,1]}                          : f32[N,8,8,16]    ; conv1
  %lo = const 0                                                  : f32[]
  %y = Clip %c, _, %lo                                           : f32[N,8,8,16]    ; act
  %p, %"odd name" = my.dom::Cut %c {axis=1, how="x\"y", f=[0.5]} : ?, ?
}
"#;

    #[test]
    fn prints_what_it_parses() {
        let g = parse(TEXT).unwrap();
        assert_eq!(g.len(), 4);
        let once = print(&g);
        // The text holds no large constants: those come from the graph itself.
        let twice = print(&parse_with(&once, &Constants::of(&g)).unwrap());
        assert_eq!(once, twice);
        assert!(once.contains("%a = Slice %x [2: 0..9]"), "{once}");
        assert!(once.contains("%W = const #"), "{once}");
        assert!(once.contains("; conv1"), "{once}");
    }

    #[test]
    fn whole_texts_are_read_back() {
        let f32s = |bits: [u32; 2]| bits.into_iter().flat_map(u32::to_le_bytes).collect();
        let mut b = crate::Builder::new("g", 21);
        let mut outputs = Vec::new();
        let mut add = |name: &str, t: Tensor| {
            let v = b.constant(name, t);
            outputs.push(b.node(&format!("n{name}"), crate::op::Identity {}, &[v]).unwrap());
        };
        let raw = |dtype, dims: &[u64], bytes: Vec<u8>| {
            Tensor::from_bytes(dtype, dims.to_vec(), bytes).unwrap()
        };
        add("large", Tensor::random(crate::DType::F32, &[3, 70], 1).unwrap());
        add("ints", Tensor::random(crate::DType::I64, &[20], 2).unwrap());
        // Elements without a spelling: a payload, a negative zero, narrow types.
        add("nan", raw(crate::DType::F32, &[2], f32s([0x7fc0_1234, 0x8000_0000])));
        add("half", raw(crate::DType::F16, &[2], vec![1, 2, 3, 4]));
        add("nibbles", raw(crate::DType::I4, &[3], vec![0x21, 0x03]));
        add("empty", raw(crate::DType::F32, &[0, 4], Vec::new()));
        add("bool", raw(crate::DType::Bool, &[9], vec![1, 0, 1, 0, 1, 0, 1, 0, 1]));
        for (name, strings) in [("text", [&b"a\"b\n"[..], b"c"]), ("bytes", [&[0xff, 0], b""])] {
            let strings = strings.iter().map(|s| s.to_vec()).collect();
            let data = crate::tensor::Data::Strings(std::sync::Arc::new(strings));
            add(name, Tensor::new(crate::DType::String, vec![2], data).unwrap());
        }
        outputs.into_iter().for_each(|v| b.output(v));
        let g = b.finish();
        let text = print_whole(&g).unwrap();
        let again = parse(&text).unwrap();
        assert!(crate::structural_eq::identical(&g, &again), "{text}");
        assert_eq!(print_whole(&again).unwrap(), text);
    }

    #[test]
    fn errors_name_the_line() {
        for (text, line, what) in [
            ("graph @g(%x: f32[1]) -> (%y) opset 13 {\n  %y = Relu %z : f32[1]\n}", 2, "%z"),
            ("graph @g(%x: f32[1]) -> (%y) opset 13 {\n  %y = Relu %x : f32[2]\n}", 2, "f32[1]"),
            ("graph @g() -> () opset 13 {\n  %y = Conv {group=\"a\"} : ?\n}", 2, "group"),
            ("graph @g() -> () opset 13 {\n  %y = const #00 : f32[3]\n}", 2, "#00"),
            (
                "graph @g(%x: f32[1]) -> (%y) opset 13 {\n  %y = Elu %x {alpha=1.0, alpha=2.0} : ?\n}",
                2,
                "twice",
            ),
            (
                "graph @g(%x: f32[1]) -> (%y) opset 13 {\n  %y = Scan %x {num_scan_inputs=0, body=graph @b(%s: f32[1]) -> (%t) {\n    %t = Relu %s : ?\n  }} : ?\n}",
                2,
                "scanned",
            ),
            ("graph @g(%x: f32[2]) -> (%y) opset 13 {\n  %y, %y = Split %x : ?\n}", 2, "twice"),
            ("graph @g(%x: f32[2],\n  %x: f32[2]) -> (%x) opset 13 {}", 2, "twice"),
            ("grph", 1, "graph"),
        ] {
            let e = parse(text).unwrap_err();
            assert_eq!(e.line, line, "{e}");
            assert!(e.to_string().contains(what), "{e} should name {what}");
        }
    }

    #[test]
    fn operators_without_operands_print_and_parse() {
        let text = "graph @g() -> (%y, %z) opset 13 {\n  %y = Draw        : f32[2]\n  %z = my.dom::Take : f32[2]\n}\n";
        let once = print(&parse(text).unwrap());
        assert_eq!(once, print(&parse(&once).unwrap()));
    }

    #[test]
    fn subgraphs_print_and_parse() {
        let text = r#"graph @main(%c: bool[], %x: f32[2]) -> (%y) opset 13 {
  %y = If %c {then_branch=graph @t() -> (%a) {
    %a = Relu %x : f32[2]
  }, else_branch=graph @e() -> (%b) {
    %b = Neg %x : f32[2]
  }} : f32[2]
}
"#;
        let g = parse(text).unwrap();
        let node = g.schedule().next().unwrap();
        assert_eq!(g.node(node).captures.len(), 1);
        let once = print(&g);
        assert_eq!(once, print(&parse(&once).unwrap()));
    }
}
