//! Definitions as text, in the making.

use std::fmt::Write as _;
use std::sync::Arc;

use super::{OLDEST, parsed};
use crate::graph::Graph;
use crate::infer::known;
use crate::op::ONNX;
use crate::op_context::{OpCtx, RuleError};
use crate::{DType, Dim};

/// Reductions that take their axes as an operand since version 18.
const REDUCTIONS: &[&str] = &[
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSumSquare",
];

/// The text of a definition. Lines are statements of the text form, with liberties: results need no types,
/// constants may be halves, and `axes` of reductions, Squeeze and Unsqueeze, and `split` of Split, are written as attributes
/// in all versions.
pub(super) struct Source<'a> {
    pub ctx: &'a OpCtx<'a>,
    /// Version of ONNX's operator set in which the text is.
    pub version: i64,
    inputs: Vec<String>,
    outputs: Vec<String>,
    text: String,
    count: usize,
}

impl<'a> Source<'a> {
    /// An empty definition.
    pub fn new(ctx: &'a OpCtx<'a>) -> Self {
        let version = ctx.onnx.max(OLDEST);
        let (inputs, outputs) = (Vec::new(), Vec::new());
        Self { ctx, version, inputs, outputs, text: String::new(), count: 0 }
    }

    /// Names of the operands, present or not, and of the results.
    pub fn names<N: AsRef<str>>(&mut self, inputs: &[N], outputs: &[N]) {
        self.inputs = inputs.iter().map(|n| n.as_ref().into()).collect();
        self.outputs = outputs.iter().map(|n| n.as_ref().into()).collect();
    }

    fn index(&self, name: &str) -> usize {
        self.inputs.iter().position(|n| *n == name).unwrap_or(usize::MAX)
    }

    /// Whether the operand is present.
    pub fn has(&self, name: &str) -> bool {
        self.ctx.input(self.index(name)).is_some()
    }

    /// Whether the node has this result.
    pub fn gives(&self, name: &str) -> bool {
        self.outputs.iter().take(self.ctx.outputs).any(|n| *n == name)
    }

    pub fn dtype(&self, name: &str) -> Option<DType> {
        self.ctx.dtype(self.index(name))
    }

    pub fn dims(&self, name: &str) -> Option<&[Dim]> {
        self.ctx.dims(self.index(name))
    }

    pub fn rank(&self, name: &str) -> Option<usize> {
        self.dims(name).map(<[Dim]>::len)
    }

    /// The extent of an operand along an axis, if it is known.
    pub fn extent(&self, name: &str, axis: usize) -> Option<i64> {
        self.dims(name)?.get(axis).and_then(known)
    }

    /// The elements of an operand, if it is a constant of whole numbers.
    pub fn ints(&self, name: &str) -> Option<Vec<i64>> {
        self.ctx.ints(self.index(name))
    }

    /// Defines `%name`, the extent of an operand along an axis, as a scalar: a constant if it is known.
    pub fn size(&mut self, name: &str, operand: &str, axis: usize) {
        match self.extent(operand, axis) {
            Some(n) => self.text(&format!("%{name} = const {n} : i64[]")),
            None => {
                let end = axis + 1;
                self.text(&format!(
                    "%{name}_list = Shape %{operand} {{start={axis}, end={end}}}
                     %{name} = Squeeze %{name}_list {{axes=[0]}}"
                ));
            }
        }
    }

    /// Defines `%name`, the extents of an operand: a constant, where 0 stands for the extents that Reshape is
    /// to copy, if all but those are known.
    pub fn shape(&mut self, name: &str, operand: &str, copied: usize) -> Option<()> {
        let dims = self.dims(operand)?;
        let one = |(a, d): (usize, &Dim)| if a < copied { Some(0) } else { known(d) };
        let all: Option<Vec<i64>> = dims.iter().enumerate().map(one).collect();
        match all {
            // An extent of 0 that is not to be copied.
            Some(v) if !v[copied.min(v.len())..].contains(&0) => {
                let n = v.len();
                self.text(&format!("%{name} = const {v:?} : i64[{n}]"));
            }
            _ => self.text(&format!("%{name} = Shape %{operand}")),
        }
        Some(())
    }

    /// Adds statements, one a line.
    pub fn text(&mut self, lines: &str) {
        for line in lines.lines().map(str::trim).filter(|l| !l.is_empty()) {
            let line = self.spelled(line);
            let types = line.split_once(" = ").map_or(0, |(results, _)| results.split(',').count());
            self.text.push_str(&line);
            let typed = line.contains(" : ") && !line.ends_with('}');
            if types > 0 && !line.ends_with('{') && !typed {
                _ = write!(self.text, " : {}", vec!["?"; types].join(", "));
            }
            self.text.push('\n');
        }
    }

    /// The line with lists that the version wants as operands.
    fn spelled(&mut self, line: &str) -> String {
        let Some((results, rest)) = line.split_once(" = ") else { return line.to_owned() };
        for (t, code) in [("f16", 10), ("bf16", 16)] {
            let value = rest.strip_suffix(&format!(" : {t}[]"));
            if let Some(c) = value.filter(|c| c.starts_with("const ")) {
                // The text form spells numbers of 32 bits only.
                _ = writeln!(self.text, "{results}_wide = {c} : f32[]");
                return format!("{results} = Cast {results}_wide {{to={code}}}");
            }
        }
        let op = rest.split(' ').next().unwrap_or_default();
        let attr = match op {
            "ReduceSum" | "Squeeze" | "Unsqueeze" => "axes",
            "Split" => "split",
            op if REDUCTIONS.contains(&op) && self.version >= 18 => "axes",
            _ => return line.to_owned(),
        };
        let Some((before, list)) = rest.split_once(&format!("{attr}=[")) else {
            return line.to_owned();
        };
        let Some((list, after)) = list.split_once(']') else { return line.to_owned() };
        let n = list.split(',').count();
        self.count += 1;
        let name = format!("list{}", self.count);
        _ = writeln!(self.text, "%{name} = const [{list}] : i64[{n}]");
        let (operands, open) = before.rsplit_once('{').unwrap_or((before, ""));
        let (open, after) = (open.trim_start_matches(", "), after.trim_start_matches(", "));
        let braces = format!("{{{open}{after}");
        let braces = if braces == "{}" { "" } else { &braces };
        format!("{results} = {}, %{name} {braces}", operands.trim_end())
    }

    /// The definition.
    pub fn graph(self) -> Result<Arc<Graph>, RuleError> {
        let present = |(i, n): (usize, &String)| self.ctx.input(i).map(|_| format!("%{n}: ?"));
        let inputs: Vec<String> = self.inputs.iter().enumerate().filter_map(present).collect();
        let outputs: Vec<String> =
            self.outputs.iter().take(self.ctx.outputs).map(|n| format!("%{n}")).collect();
        let op = self.ctx.op;
        let own = match op.domain() {
            ONNX => String::new(),
            domain => format!(", {domain} 1"),
        };
        let text = format!(
            "graph @{}({}) -> ({}) opset {}{own} {{\n{}}}\n",
            op.name(),
            inputs.join(", "),
            outputs.join(", "),
            self.version,
            self.text
        );
        parsed(op.name(), text)
    }
}
