//! Extents that are assumed for symbolic dimensions where sizes have to be known. They do not go into the
//! model: what is planned with them cuts only axes that the model itself declares, so that the rewritten
//! model serves all extents that the original serves.

use std::borrow::Cow;
use std::sync::Arc;

use graph_opt_ir::{Def, Dim, Editor, Graph, ValueId, infer};

use crate::Runner;
use crate::fix_dims::{FixDimsError, Symbolic, fix_dims};
use crate::pass::{Evaluate, Pass};
use crate::pipeline::{Pipeline, Step};
use crate::simplify::Fold;

/// Extents for symbolic dimensions of inputs. A leading dimension without one is taken for the batch, and
/// assumed to be 1.
///
/// ```
/// use graph_opt_ir::text::parse;
/// use graph_opt_passes::analysis::plan;
/// use graph_opt_passes::{Assumed, NoEvaluator};
///
/// let graph = parse(
///     "graph @main(%x: f32[n,3,h,16]) -> (%y) opset 13 {
///        %y = Relu %x : f32[n,3,h,16]
///      }",
/// )?;
/// assert!(plan(&graph).is_err());
/// // Relu overwrites its operand.
/// let sized = Assumed::new(vec![("h".into(), 8)]).sized(&graph, &NoEvaluator)?;
/// assert_eq!(plan(&sized.graph)?.peak, 3 * 8 * 16 * 4);
/// assert_eq!(sized.text(), "h=8 n=1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assumed(Vec<(String, u64)>);

/// A graph with assumed extents: the same nodes and values as the one that it was made of, with more
/// precise types.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SizedGraph<'g> {
    /// The graph; borrowed if nothing had to be assumed.
    pub graph: Cow<'g, Graph>,
    /// What was assumed: names of dimensions, or `INPUT:AXIS`, and extents in elements.
    pub extents: Vec<(String, u64)>,
    /// Number of the extents, at the end, that were not given but are those of the batch.
    pub defaults: usize,
    /// Whether extents follow from the defaults of inputs.
    pub by_default: bool,
}

impl<'g> SizedGraph<'g> {
    /// The graph, with nothing assumed.
    pub fn of(graph: &'g Graph) -> Self {
        Self { graph: Cow::Borrowed(graph), extents: Vec::new(), defaults: 0, by_default: false }
    }

    /// What was assumed, as text: `h=480 batch=1`.
    pub fn text(&self) -> String {
        let mut all: Vec<String> = self.extents.iter().map(|(n, e)| format!("{n}={e}")).collect();
        if self.by_default {
            all.push("inputs=default".into());
        }
        all.join(" ")
    }
}

impl Assumed {
    /// These extents, as [`fix_dims`] takes them; `?` stands for all dimensions without a name.
    pub fn new(dims: Vec<(String, u64)>) -> Self {
        Self(dims)
    }

    /// The extents as they were given.
    pub fn dims(&self) -> &[(String, u64)] {
        &self.0
    }

    /// The graph with these extents, and with all that follows from them. `evaluator` computes extents that
    /// are the results of arithmetic.
    ///
    /// # Errors
    /// If an extent is given for a dimension that is not there, or contradicts the model.
    pub fn sized<'g>(
        &self,
        graph: &'g Graph,
        evaluator: &dyn Evaluate,
    ) -> Result<SizedGraph<'g>, FixDimsError> {
        if self.0.is_empty() && is_sized(graph) {
            return Ok(SizedGraph::of(graph));
        }
        let (mut sized, extents, defaults) = self.fixed(graph)?;
        infer_by_values(&mut sized, |g| g.clone(), evaluator);
        // Inputs with defaults may hold shapes.
        let default = |v: &ValueId| matches!(graph.value(*v).def, Def::Input(Some(_)));
        let by_default = graph.inputs().iter().any(default)
            && infer_by_values(&mut sized, Graph::at_defaults, evaluator);
        Ok(SizedGraph { graph: Cow::Owned(sized), extents, defaults, by_default })
    }
}

impl Assumed {
    /// The graph with the extents that are given written into it, and whole numbers folded that follow from
    /// them.
    ///
    /// # Errors
    /// As [`sized`](Self::sized).
    pub fn folded(&self, graph: &Graph, evaluator: &dyn Evaluate) -> Result<Graph, FixDimsError> {
        let (given, _) = self.given(graph)?;
        Ok(folded(given.clone(), evaluator).unwrap_or(given))
    }

    /// The graph with the extents that are given, and those.
    fn given(&self, graph: &Graph) -> Result<(Graph, Vec<(String, u64)>), FixDimsError> {
        let mut fixed = graph.clone();
        let extents = self.named(graph);
        if !extents.is_empty() {
            fix_dims(&mut fixed, &extents)?;
        }
        Ok((fixed, extents))
    }

    /// The graph with the extents, all of them, and the number of those at the end that were not given.
    fn fixed(&self, graph: &Graph) -> Result<(Graph, Vec<(String, u64)>, usize), FixDimsError> {
        let (mut fixed, mut extents) = self.given(graph)?;
        // A model may be made for other batches only.
        let batch = leading(&fixed);
        let defaults = if fix_dims(&mut fixed, &batch).is_ok() { batch.len() } else { 0 };
        extents.extend(batch.into_iter().take(defaults));
        Ok((fixed, extents, defaults))
    }

    /// The extents, those for `?` one by one.
    fn named(&self, graph: &Graph) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        for (name, extent) in &self.0 {
            if name != "?" {
                all.push((name.clone(), *extent));
                continue;
            }
            let unnamed = Symbolic::of(graph).0.into_iter().filter(|d| d.name.is_none());
            let places = unnamed.map(|d| format!("{}:{}", d.input, d.axis));
            let given = |place: &String| self.0.iter().any(|(n, _)| n == place);
            all.extend(places.filter(|p| !given(p)).map(|p| (p, *extent)));
        }
        all
    }
}

/// The leading dimensions of inputs that are symbolic, each with extent 1. A name that one input has on
/// several axes names no dimension in particular.
fn leading(graph: &Graph) -> Vec<(String, u64)> {
    let inputs = || graph.inputs().iter().map(|&v| graph.value(v));
    let vague = |name: &Arc<str>| {
        let named = |d: &&Dim| matches!(d, Dim::Param(p) if p == name);
        inputs().any(|v| v.ty.dims().unwrap_or_default().iter().filter(named).count() > 1)
    };
    let mut all: Vec<(String, u64)> = Vec::new();
    for v in inputs() {
        let name = match v.ty.dims().and_then(|d| d.first()) {
            Some(Dim::Param(p)) if !vague(p) => p.to_string(),
            Some(Dim::Param(_) | Dim::Unknown) => format!("{}:0", v.name),
            _ => continue,
        };
        if !all.iter().any(|(n, _)| *n == name) {
            all.push((name, 1));
        }
    }
    all
}

/// Whether the sizes of all values are known, in bodies too.
fn is_sized(graph: &Graph) -> bool {
    let here = |g: &Graph| g.values().all(|(_, v)| v.ty.bytes().is_some());
    here(graph)
        && !graph
            .any_node(&mut |g, n| g.node(n).op.bodies().into_iter().any(|(_, body)| !here(body)))
}

/// Infers extents that follow from values which are computed from constants and known extents, in a copy of
/// the graph: the graph keeps its nodes. Returns whether anything is known that was not.
fn infer_by_values(
    graph: &mut Graph,
    copy: impl Fn(&Graph) -> Graph,
    evaluator: &dyn Evaluate,
) -> bool {
    if is_sized(graph) {
        return false;
    }
    let Some(folded) = folded(copy(graph), evaluator) else { return false };
    let mut typed = graph.clone();
    let known = |g: &Graph| g.values().filter(|(_, v)| v.ty.bytes().is_some()).count();
    if infer::adopt(&mut typed, &folded).is_err() {
        return false;
    }
    let more = known(&typed) > known(graph);
    *graph = typed;
    more
}

/// Most times that constants are folded and extents inferred from them.
const ROUNDS: usize = 8;

/// The graph with nodes whose results are known ahead of time replaced by them; `None` if it contradicts its
/// operators' definitions.
fn folded(mut graph: Graph, evaluator: &dyn Evaluate) -> Option<Graph> {
    let fold: Arc<dyn Pass> = Arc::new(Fold);
    let pipeline = Pipeline(vec![Step::Pass(fold)]);
    // What is folded makes extents known, of which more is computed.
    for _ in 0..ROUNDS {
        Editor::new(&mut graph).refine().ok()?;
        let edits = graph.edits();
        // A fold that is refused leaves what was folded before it.
        let _ = Runner::default().evaluator(evaluator).run(&mut graph, &pipeline);
        if graph.edits() == edits {
            break;
        }
    }
    Some(graph)
}
