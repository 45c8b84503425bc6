//! The readable text form (`.gir`): printed and parsed, one node a line.
//!
//! ```text
//! graph @main(%x: f32[1,3,16,16]) -> (%y) opset 13 {
//!   %W = const random(1)                 : f32[8,3,3,3]
//!   %a = Slice %x [2: 0..9]              : f32[1,3,9,16]
//!   %y = Conv %a, %W {pads=[1,1,0,1]}    : f32[1,8,8,16]    ; conv1
//! }
//! ```
//!
//! Small constants stand inline; larger ones as `#` and their content hash, which the parser looks
//! up in a [`Constants`]; `random(SEED)` makes one up. After `;` stands the node's name, where it
//! has one. A line that starts with `//` is a comment.

mod lex;
mod parse;
mod print;

pub use lex::unescape;
pub use parse::{Constants, ParseError, parse, parse_with, random_tensor};
pub use print::{node_text, print};

/// Most elements of a constant that stands inline.
const INLINE: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

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
    fn errors_name_the_line() {
        for (text, line, what) in [
            ("graph @g(%x: f32[1]) -> (%y) opset 13 {\n  %y = Relu %z : f32[1]\n}", 2, "%z"),
            ("graph @g(%x: f32[1]) -> (%y) opset 13 {\n  %y = Relu %x : f32[2]\n}", 2, "f32[1]"),
            ("graph @g() -> () opset 13 {\n  %y = Conv {group=\"a\"} : ?\n}", 2, "group"),
            ("graph @g() -> () opset 13 {\n  %y = const #00 : f32[3]\n}", 2, "#00"),
            ("grph", 1, "graph"),
        ] {
            let e = parse(text).unwrap_err();
            assert_eq!(e.line, line, "{e}");
            assert!(e.to_string().contains(what), "{e} should name {what}");
        }
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
