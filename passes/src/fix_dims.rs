//! `fix-dims`: extents for symbolic dimensions of inputs, written into the model.
//!
//! Before:
//! ```text
//! graph @main(%x: f32[n,3,h,16]) -> (%y) opset 13 {
//!   %y = Relu %x : f32[n,3,h,16]
//! }
//! ```
//! After `fix-dims{dims=[h=8]}`:
//! ```text
//! graph @main(%x: f32[n,3,8,16]) -> (%y) opset 13 {
//!   %y = Relu %x : f32[n,3,8,16]
//! }
//! ```

use std::fmt;

use graph_opt_ir::infer::InferError;
use graph_opt_ir::names::nearest;
use graph_opt_ir::{Dim, Edit, EditError, Editor, Graph, Type, ValueId};

use crate::options::{OptionError, OptionInfo, Options, items, quoted};
use crate::pass::{Exactness, Outcome, Pass, PassCtx, PassInfo};
use crate::units::count;

/// Why extents cannot be written into a model, which is then as it was.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FixDimsError {
    /// No input has such a dimension.
    #[error("no input has a dimension {name:?}{hint}; {known}")]
    Unknown {
        /// The name that was given.
        name: String,
        /// The most similar name, as text; empty if none is similar.
        hint: String,
        /// The symbolic dimensions of the inputs.
        known: Symbolic,
    },
    /// `?` stands for no dimension in particular.
    #[error("dimensions without a name are fixed one by one, as INPUT:AXIS=N; {0}")]
    Unnamed(Symbolic),
    /// A dimension has another extent already, or is given two.
    #[error("dimension {name} ({input}:{axis}) is {old}, and cannot be {new}; {known}")]
    Contradiction {
        /// The dimension as it was given.
        name: String,
        /// Name of the input that has the dimension.
        input: String,
        /// Axis of the input.
        axis: usize,
        /// Extent that is declared, or was given before.
        old: u64,
        /// Extent that was given.
        new: u64,
        /// The symbolic dimensions of the inputs.
        known: Symbolic,
    },
    /// An extent of 0.
    #[error("dimension {0} cannot be 0")]
    Zero(String),
    /// The types of the model contradict these extents.
    #[error("{dims} contradicts the model: {source}; {known}")]
    Shapes {
        /// The extents that were given, as text.
        dims: String,
        /// The node whose types contradict each other.
        source: InferError,
        /// The symbolic dimensions of the inputs.
        known: Symbolic,
    },
    /// A pool in a body may leave out a window that ONNX's shape inference counts.
    #[error(
        "{node:?} in the body of {of:?} has ceil_mode over extents that are not known there; once \
         they are fixed, ONNX's shape inference may contradict what runs: write its padding out"
    )]
    Ceil {
        /// Label of the pool.
        node: String,
        /// Label of the control flow node whose body holds the pool.
        of: String,
    },
    /// The edit was refused.
    #[error(transparent)]
    Edit(#[from] EditError),
}

/// The symbolic dimensions of a graph's inputs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Symbolic(pub Vec<SymbolicDim>);

/// A symbolic dimension of an input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SymbolicDim {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Name of the input.
    pub input: String,
    /// Axis of the input, from 0.
    pub axis: usize,
}

impl Symbolic {
    /// The symbolic dimensions of a graph's inputs.
    pub fn of(graph: &Graph) -> Self {
        let dims = graph.inputs().iter().map(|&v| graph.value(v)).flat_map(|v| {
            let all = v.ty.dims().unwrap_or_default().iter().enumerate();
            all.filter(|(_, d)| d.known().is_none()).map(|(axis, d)| SymbolicDim {
                name: if let Dim::Param(p) = d { Some(p.to_string()) } else { None },
                input: v.name.to_string(),
                axis,
            })
        });
        Self(dims.collect())
    }

    /// Each once, by its name where it has one and as `INPUT:AXIS` otherwise.
    pub fn names(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for d in &self.0 {
            let name = d.name.clone().unwrap_or_else(|| format!("{}:{}", d.input, d.axis));
            if !all.contains(&name) {
                all.push(name);
            }
        }
        all
    }
}

impl Symbolic {
    /// A hint for remarks about an unknown extent: the options that may fix it, or an empty text.
    pub(crate) fn hint(&self, extent: &Dim) -> String {
        let option = |n: &String| format!("--dim {n}=…");
        let names = self.names();
        match extent {
            Dim::Param(p) if names.iter().any(|n| **n == **p) => {
                format!("; {} --fix-dims makes it known", option(&p.to_string()))
            }
            _ if names.is_empty() => String::new(),
            _ => {
                let all: Vec<String> = names.iter().map(option).collect();
                format!("; {} --fix-dims may make it known", all.join(" "))
            }
        }
    }
}

impl fmt::Display for Symbolic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no input has symbolic dimensions");
        }
        f.write_str("symbolic dimensions are ")?;
        for (i, d) in self.0.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            match &d.name {
                Some(n) => write!(f, "{comma}{n} ({}:{})", d.input, d.axis)?,
                None => write!(f, "{comma}{}:{}", d.input, d.axis)?,
            }
        }
        Ok(())
    }
}

/// Makes symbolic dimensions of inputs known, in the model itself, and with them all extents that follow:
/// the written model declares them. `dims` are names with their extents, in elements; `INPUT:AXIS`
/// names one dimension of one input, for those without a name and for files that use one name for
/// several extents. Returns the number of dimensions that became known.
///
/// # Errors
/// If a name is not there, or the extents contradict each other or the model.
pub fn fix_dims(graph: &mut Graph, dims: &[(String, u64)]) -> Result<usize, FixDimsError> {
    let (edit, fixed) = edit(graph, dims)?;
    if fixed == 0 {
        return Ok(0);
    }
    let mut narrow = graph.clone();
    let mut editor = Editor::new(&mut narrow);
    editor.apply(&edit)?;
    editor.refine().map_err(|source| {
        let known = Symbolic::of(graph);
        FixDimsError::Shapes { dims: text(dims), source, known }
    })?;
    drop(editor);
    *graph = narrow;
    Ok(fixed)
}

fn text(dims: &[(String, u64)]) -> String {
    let all: Vec<String> = dims.iter().map(|(n, e)| format!("{n}={e}")).collect();
    all.join(" ")
}

/// The edit that gives inputs these extents, and the number of dimensions that become known by it.
fn edit(graph: &Graph, dims: &[(String, u64)]) -> Result<(Edit, usize), FixDimsError> {
    let known = Symbolic::of(graph);
    let mut types: Vec<(ValueId, Type)> =
        graph.inputs().iter().map(|&v| (v, graph.value(v).ty.clone())).collect();
    let mut fixed = 0;
    for (name, extent) in dims {
        if *extent == 0 {
            return Err(FixDimsError::Zero(name.clone()));
        }
        if name == "?" {
            return Err(FixDimsError::Unnamed(known));
        }
        for (i, axis) in places(graph, name).ok_or_else(|| unknown(name, &known))? {
            let Type::Tensor(t) = &mut types[i].1 else { continue };
            let Some(d) = t.shape.as_mut().and_then(|s| s.get_mut(axis)) else { continue };
            match d.known() {
                None => fixed += 1,
                Some(old) if old == *extent => {}
                Some(old) => {
                    let input = graph.value(types[i].0).name.to_string();
                    let (name, new) = (name.clone(), *extent);
                    return Err(FixDimsError::Contradiction { name, input, axis, old, new, known });
                }
            }
            *d = Dim::Known(*extent);
        }
    }
    if let Some((node, of)) = rounded_up(graph, None).filter(|_| fixed > 0) {
        return Err(FixDimsError::Ceil { node, of });
    }
    let mut edit = Edit::new(format!("fix-dims {}", text(dims)));
    types.retain(|(v, ty)| graph.value(*v).ty != *ty);
    edit.narrows = types;
    Ok((edit, fixed))
}

/// Its entry in the registry.
pub(crate) const INFO: PassInfo = PassInfo {
    name: "fix-dims",
    summary: "gives symbolic dimensions of inputs an extent",
    exactness: Exactness::BitExact,
    options: &[OptionInfo {
        name: "dims",
        value: "[batch=1,x:2=480]",
        help: "extents by the name of the dimension, or by INPUT:AXIS",
    }],
    make,
};

fn make(o: &Options) -> Result<Box<dyn Pass>, OptionError> {
    let wrong =
        |what: &str| OptionError(format!("dims: expected NAME=N such as batch=1, found {what:?}"));
    let mut dims = Vec::new();
    for item in items(o.get("dims").unwrap_or_default()) {
        let (name, n) = match quoted(item) {
            Some((length, name)) => (name, item[length..].strip_prefix('=')),
            None => {
                item.rsplit_once('=').map_or((String::new(), None), |(a, b)| (a.into(), Some(b)))
            }
        };
        match n.and_then(|n| n.parse::<u64>().ok()) {
            Some(n) if n > 0 && !name.is_empty() => dims.push((name, n)),
            _ => return Err(wrong(item)),
        }
    }
    Ok(Box::new(FixDims::new(dims)))
}

/// The pass `fix-dims`: [`fix_dims`] within a pipeline.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FixDims(Vec<(String, u64)>);

impl FixDims {
    /// Gives these dimensions, by name or as `INPUT:AXIS`, these extents.
    pub fn new(dims: Vec<(String, u64)>) -> Self {
        Self(dims)
    }
}

impl Pass for FixDims {
    fn name(&self) -> &'static str {
        INFO.name
    }

    fn options(&self) -> Options {
        let plain = |c: char| c.is_alphanumeric() || "_./:-".contains(c);
        let one = |(name, n): &(String, u64)| match name.chars().all(plain) {
            true => format!("{name}={n}"),
            false => format!("{name:?}={n}"),
        };
        let all: Vec<String> = self.0.iter().map(one).collect();
        Options::default().with("dims", format!("[{}]", all.join(",")))
    }

    fn exactness(&self) -> Exactness {
        Exactness::BitExact
    }

    fn run(&self, cx: &mut PassCtx<'_, '_>) -> Result<(), EditError> {
        // Bodies have no inputs of their own.
        if !cx.editor.scope().is_empty() {
            return Ok(());
        }
        let found =
            fix_dims(&mut cx.graph().clone(), &self.0).and_then(|_| edit(cx.graph(), &self.0));
        match found {
            Ok((_, 0)) => cx.remark_on("", Outcome::NoEffect, "these extents are known already"),
            Ok((edit, fixed)) => {
                cx.apply(&edit)?;
                cx.remark_on("", Outcome::Applied, format!("{} known", count(fixed, "dimension")));
            }
            Err(why) => cx.remark_on("", Outcome::Blocked, why.to_string()),
        }
        Ok(())
    }
}

/// A pool in a body that rounds extents up which are not known there, and whose body it is.
fn rounded_up(graph: &Graph, of: Option<&str>) -> Option<(String, String)> {
    graph.schedule().find_map(|id| {
        let node = graph.node(id);
        let label = graph.label(id);
        let ceil = of.filter(|_| node.op.windowed().is_some_and(|w| w.ceil()));
        let open = |v: &ValueId| graph.value(*v).ty.extents().is_none();
        match ceil {
            Some(of) if node.inputs.iter().flatten().any(open) => {
                Some((label.to_owned(), of.to_owned()))
            }
            _ => node.op.bodies().into_iter().find_map(|(_, b)| rounded_up(b, Some(label))),
        }
    })
}

/// Positions of inputs, and their axes, that the name stands for.
fn places(graph: &Graph, name: &str) -> Option<Vec<(usize, usize)>> {
    let dims = |i: usize| graph.value(graph.inputs()[i]).ty.dims().unwrap_or_default();
    let named = |d: &Dim| matches!(d, Dim::Param(p) if &**p == name);
    let all: Vec<(usize, usize)> = (0..graph.inputs().len())
        .flat_map(|i| dims(i).iter().enumerate().filter(|d| named(d.1)).map(move |d| (i, d.0)))
        .collect();
    if !all.is_empty() {
        return Some(all);
    }
    let (input, axis) = name.rsplit_once(':')?;
    let axis: usize = axis.parse().ok()?;
    let i = graph.inputs().iter().position(|&v| &*graph.value(v).name == input)?;
    (axis < dims(i).len()).then(|| vec![(i, axis)])
}

fn unknown(name: &str, known: &Symbolic) -> FixDimsError {
    let names = known.names();
    let near = nearest(name, names.iter().map(String::as_str));
    let hint = near.map(|n| format!("; did you mean {n:?}?")).unwrap_or_default();
    FixDimsError::Unknown { name: name.into(), hint, known: known.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use graph_opt_ir::text::parse;

    fn graph() -> Graph {
        parse(
            "graph @g(%x: f32[N,1,h,w], %z: f32[N,?]) -> (%y, %z) opset 13 {
               %k = const random(1)              : f32[1,1,3,3]
               %y = Conv %x, %k {pads=[1,1,1,1]} : f32[N,1,h,w] ; conv
             }",
        )
        .unwrap()
    }

    fn fix(dims: &[(&str, u64)]) -> Result<Graph, String> {
        let mut g = graph();
        let dims: Vec<(String, u64)> = dims.iter().map(|(n, e)| ((*n).into(), *e)).collect();
        let done = fix_dims(&mut g, &dims).map_err(|e| e.to_string());
        let same = graph_opt_ir::text::print(&g) == graph_opt_ir::text::print(&graph());
        assert_eq!(done.is_err() || done == Ok(0), same);
        done.map(|_| g)
    }

    fn ty(g: &Graph, name: &str) -> String {
        g.value(g.find_value(name).unwrap()).ty.to_string()
    }

    #[test]
    fn what_follows_is_known_too() {
        let g = fix(&[("h", 6), ("w", 8), ("N", 2)]).unwrap();
        assert_eq!(ty(&g, "x"), "f32[2,1,6,8]");
        assert_eq!(ty(&g, "y"), "f32[2,1,6,8]");
        assert_eq!(ty(&g, "z"), "f32[2,?]");
        let g = fix(&[("x:2", 6), ("z:1", 3), ("x:1", 1)]).unwrap();
        assert_eq!((ty(&g, "y"), ty(&g, "z")), ("f32[N,1,6,w]".into(), "f32[N,3]".into()));
        assert_eq!(graph_opt_ir::verify::verify(&g), Ok(()));
    }

    #[test]
    fn mistakes_name_the_dimension_and_those_that_exist() {
        let all = "symbolic dimensions are N (x:0), h (x:2), w (x:3), N (z:0), z:1";
        for (dims, what) in [
            (&[("hight", 6)][..], "no input has a dimension \"hight\""),
            (&[("hh", 6)], "did you mean \"h\"?"),
            (&[("x:4", 6)], "\"x:4\""),
            (&[("?", 6)], "INPUT:AXIS"),
            (&[("x:1", 3)], "x:1 (x:1) is 1, and cannot be 3"),
            (&[("N", 2), ("x:0", 3)], "x:0 (x:0) is 2, and cannot be 3"),
            (&[("h", 2), ("h", 3)], "h (x:2) is 2, and cannot be 3"),
        ] {
            let e = fix(dims).unwrap_err();
            assert!(e.contains(what) && e.contains(all), "{e}");
        }
        assert!(fix(&[("h", 0)]).unwrap_err().contains("cannot be 0"));
        let e = {
            let mut g = parse("graph @g(%x: f32[n]) -> (%y) opset 13 {\n %c = const [1,2] : f32[2]\n %y = Add %x, %c : ?\n}").unwrap();
            fix_dims(&mut g, &[("n".into(), 3)]).unwrap_err().to_string()
        };
        assert!(e.contains("n=3 contradicts the model") && e.contains("n (x:0)"), "{e}");
    }

    #[test]
    fn the_pass_is_read_back_and_does_the_same() {
        let text = "fix-dims{dims=[N=2,x:2=6,h=6]}";
        let pipeline = crate::Pipeline::parse(text).unwrap();
        assert_eq!(pipeline.to_string(), text);
        let mut g = graph();
        let report = crate::Runner::default().run(&mut g, &pipeline).unwrap();
        assert_eq!((report.edits, ty(&g, "y")), (1, "f32[2,1,6,w]".into()));
        let odd = FixDims::new(vec![("a,\"b]".into(), 3)]);
        let again = crate::Pipeline::default().then(odd.clone()).to_string();
        assert_eq!(crate::Pipeline::parse(&again).unwrap().to_string(), again);
        for bad in ["[N]", "[N=0]", "[=1]", "[N=x]", "N", ""] {
            assert!(crate::Pipeline::parse(&format!("fix-dims{{dims={bad}}}")).is_err(), "{bad}");
        }
        let mut g = graph();
        let p = crate::Pipeline::default().then(FixDims::new(vec![("M".into(), 3)]));
        let report = crate::Runner::default().run(&mut g, &p).unwrap();
        assert!(report.remarks[0].message.contains("no input has a dimension"), "{report:?}");
    }

    #[test]
    fn a_refusal_says_what_to_fix() {
        let mut g = graph();
        let p = crate::Pipeline::parse("tile-conv{axis=h parts=2}").unwrap();
        let said = crate::Runner::default().run(&mut g, &p).unwrap().remarks;
        let want = "extent 2 of its result is h; --dim h=… --fix-dims makes it known";
        assert_eq!(said[0].message, want);
        let hint = Symbolic::of(&g).hint(&Dim::Unknown);
        let want = "; --dim N=… --dim h=… --dim w=… --dim z:1=… --fix-dims may make it known";
        assert_eq!(hint, want);
    }
}
