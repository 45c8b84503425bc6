//! Runs pipelines.

use graph_opt_ir::edit::Observer;
use graph_opt_ir::infer::InferError;
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::region;
use graph_opt_ir::verify::{Violation, verify};
use graph_opt_ir::{EditError, EditFault, Editor, Graph, NodeId};
use regex::Regex;
use std::sync::Arc;

use crate::assume::Assumed;
use crate::fix_dims::Symbolic;
use crate::pass::{Data, Evaluate, Exactness, NoEvaluator, Outcome, Pass, PassCtx, Remark};
use crate::pipeline::{Pipeline, Step};
use crate::settle;

/// Maximum number of rounds of one `fixpoint`.
const ROUNDS: usize = 50;
/// Maximum number of rounds of all `fixpoint`s of a run together; they may be nested.
const ALL_ROUNDS: usize = 1000;

/// The result of running a pipeline.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Remarks of the passes, in the order in which they ran.
    pub remarks: Vec<Remark>,
    /// Number of edits that were applied.
    pub edits: usize,
    /// The least exact of the passes that changed something.
    pub exactness: Exactness,
}

/// Why a pipeline stopped before its end. The graph may be half rewritten.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// An edit was refused.
    #[error("{pass}: {source}")]
    Edit {
        /// Name of the pass.
        pass: String,
        /// Why the edit was refused.
        source: EditError,
    },
    /// A pass names a node that neither the model nor a body in it has when the pass runs.
    #[error("{pass}: {why}")]
    UnknownName {
        /// Name of the pass.
        pass: String,
        /// The name, and the most similar one.
        why: String,
    },
    /// A node of the file contradicts its operator's definition, which shows once what it reads is
    /// computed: the model could not run.
    #[error("{source}; {pass} computed what this node reads, and the model contradicts itself")]
    Contradiction {
        /// Name of the pass.
        pass: String,
        /// The node and the contradiction.
        source: InferError,
    },
    /// Runtimes and ONNX's shape inference disagree on the extents of a result, so what the file
    /// declares of values behind it may be wrong, and nothing is rewritten.
    #[error(
        "{node}: runtimes and ONNX's shape inference differ in {why}, so that the model's extents \
         cannot be trusted; write the padding of this pool out, without ceil_mode or auto_pad"
    )]
    Unsettled {
        /// Label of the node.
        node: String,
        /// The attribute that is read differently.
        why: &'static str,
    },
    /// A pass left types that contradict each other, which is a bug in it.
    #[error("{pass}: {source}")]
    Types {
        /// Name of the pass.
        pass: String,
        /// The node and the contradiction.
        source: InferError,
    },
    /// A pass broke an invariant of the IR, which is a bug in it.
    #[error("{pass} broke the graph: {}", .violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Broken {
        /// Name of the pass.
        pass: String,
        /// The invariants that the graph breaks.
        violations: Vec<Violation>,
    },
}

/// One run of one pass, as shown to [`AfterPass`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PassRun<'a> {
    /// The pass with its options, as the pipeline has it.
    pub step: &'a Step,
    /// The expression of `only` that restricts the pass to nodes with matching labels.
    pub only: Option<&'a Regex>,
    /// Number of edits that the pass made.
    pub edits: usize,
    /// Remarks of this run.
    pub remarks: &'a [Remark],
}

/// Callback that is invoked after each pass with the resulting graph.
pub type AfterPass<'a> = Box<dyn FnMut(&Graph, &PassRun<'_>) + 'a>;

/// Runs pipelines over a graph.
pub struct Runner<'a> {
    evaluator: &'a dyn Evaluate,
    assumed: Assumed,
    observers: Vec<Observer<'a>>,
    limit: usize,
    /// Called before each pass with its name.
    progress: Option<Box<dyn FnMut(&str) + 'a>>,
    after_pass: Option<AfterPass<'a>>,
}

impl Default for Runner<'_> {
    fn default() -> Self {
        Self {
            evaluator: &NoEvaluator,
            assumed: Assumed::default(),
            observers: Vec::new(),
            limit: usize::MAX,
            progress: None,
            after_pass: None,
        }
    }
}

impl<'a> Runner<'a> {
    /// Folds constants with this evaluator.
    #[must_use]
    pub fn evaluator(mut self, evaluator: &'a dyn Evaluate) -> Self {
        self.evaluator = evaluator;
        self
    }

    /// Where passes need sizes, they take these extents for symbolic dimensions.
    #[must_use]
    pub fn assume(mut self, assumed: Assumed) -> Self {
        self.assumed = assumed;
        self
    }

    /// Adds an observer that every edit is shown to.
    #[must_use]
    pub fn observe(mut self, observer: Observer<'a>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Stops the pipeline once the graph has had this many edits.
    #[must_use]
    pub fn stop_after(mut self, edits: usize) -> Self {
        self.limit = edits;
        self
    }

    /// Calls this function with the name of each pass before it runs.
    #[must_use]
    pub fn progress(mut self, progress: Box<dyn FnMut(&str) + 'a>) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Calls this function after each pass.
    #[must_use]
    pub fn after_pass(mut self, after: AfterPass<'a>) -> Self {
        self.after_pass = Some(after);
        self
    }

    /// Runs the pipeline, in the bodies of control flow too, and verifies the graph after each pass.
    ///
    /// # Errors
    /// If an edit is refused or a pass breaks an invariant; the graph may then be half rewritten.
    pub fn run(self, graph: &mut Graph, pipeline: &Pipeline) -> Result<Report, RunError> {
        let before = graph.edits();
        let symbolic = Symbolic::of(graph);
        let mut report = Report { remarks: Vec::new(), edits: 0, exactness: Exactness::BitExact };
        let mut editor = Editor::new(graph);
        editor.stop_after(self.limit);
        for o in self.observers {
            editor.observe(o);
        }
        let (mut progress, mut after_pass) = (self.progress, self.after_pass);
        let mut state = State {
            evaluator: self.evaluator,
            assumed: self.assumed,
            report: &mut report,
            progress: &mut progress,
            after_pass: &mut after_pass,
            symbolic,
            rounds: 0,
        };
        state.steps(&mut editor, pipeline, None)?;
        // Windows that runtimes read differently are left only in graphs without edits.
        if editor.graph().edits() > 0 && !editor.is_done() {
            let (mut open, mut unsettled) = (false, None);
            editor.graph().any_node(&mut |g, n| {
                let ctx = OpCtx::of(g, n);
                open |= region::settled(&ctx).is_some();
                unsettled = region::unsettled(&ctx).map(|why| (g.label(n).to_owned(), why));
                unsettled.is_some()
            });
            if let Some((node, why)) = unsettled {
                return Err(RunError::Unsettled { node, why });
            }
            if open {
                let settle: Arc<dyn Pass> = Arc::new(settle::Settle);
                state.pass(&mut editor, &Step::Pass(Arc::clone(&settle)), &*settle, None)?;
            }
        }
        report.edits = editor.graph().edits() - before;
        Ok(report)
    }
}

struct State<'a, 'p> {
    evaluator: &'a dyn Evaluate,
    assumed: Assumed,
    report: &'a mut Report,
    progress: &'a mut Option<Box<dyn FnMut(&str) + 'p>>,
    after_pass: &'a mut Option<AfterPass<'p>>,
    symbolic: Symbolic,
    /// Rounds of all `fixpoint`s so far.
    rounds: usize,
}

impl State<'_, '_> {
    fn steps(
        &mut self,
        editor: &mut Editor<'_>,
        pipeline: &Pipeline,
        only: Option<&Regex>,
    ) -> Result<(), RunError> {
        for step in &pipeline.0 {
            if editor.is_done() {
                return Ok(());
            }
            match step {
                Step::Only(regex, inner) => {
                    if !editor.graph().any_node(&mut |g, n| regex.is_match(g.label(n))) {
                        self.report.remarks.push(Remark {
                            pass: format!("only({regex})"),
                            node: String::new(),
                            outcome: Outcome::NoMatch,
                            message: "no node has such a name".into(),
                            data: Data::None,
                        });
                    }
                    self.steps(editor, inner, Some(regex))?;
                }
                Step::Fixpoint(inner) => {
                    let mut settled = false;
                    for _ in 0..ROUNDS {
                        let edits = editor.edits();
                        if self.rounds == ALL_ROUNDS {
                            break;
                        }
                        self.rounds += 1;
                        self.steps(editor, inner, only)?;
                        settled = editor.edits() == edits;
                        if settled {
                            break;
                        }
                    }
                    if !settled && !editor.is_done() {
                        self.report.remarks.push(Remark {
                            pass: "fixpoint".into(),
                            node: String::new(),
                            outcome: Outcome::Blocked,
                            message: format!(
                                "stopped while passes still changed something: {ROUNDS} rounds of one \
                                 fixpoint and {ALL_ROUNDS} of all together are the limit"
                            ),
                            data: Data::None,
                        });
                    }
                }
                Step::Pass(pass) => self.pass(editor, step, &**pass, only)?,
            }
        }
        Ok(())
    }

    /// Runs one pass and verifies the graph, even if the pass was stopped by the edit limit.
    fn pass(
        &mut self,
        editor: &mut Editor<'_>,
        step: &Step,
        pass: &dyn Pass,
        only: Option<&Regex>,
    ) -> Result<(), RunError> {
        let name = pass.name();
        if let Some(p) = self.progress {
            p(name);
        }
        let (edits, said_before) = (editor.edits(), self.report.remarks.len());
        let mut said = Said::default();
        let run = self.everywhere(editor, pass, only, &mut said);
        let unknown = said.unknown();
        self.report.remarks.extend(said.all());
        match run {
            Err(EditError { fault: EditFault::Refused(_), .. }) if editor.is_done() => {}
            run => run.map_err(|source| RunError::Edit { pass: name.into(), source })?,
        }
        // In a later round of `fixpoint`, the pass itself may have replaced the node.
        if let Some(why) = unknown.filter(|_| self.rounds == 0 && !editor.is_done()) {
            return Err(RunError::UnknownName { pass: name.into(), why });
        }
        let edits = editor.edits() - edits;
        if edits > 0 {
            self.report.exactness = self.report.exactness.max(pass.exactness());
            editor.refine().map_err(|source| contradiction(editor.graph(), name, source))?;
            verify(editor.graph())
                .map_err(|violations| RunError::Broken { pass: name.into(), violations })?;
        }
        if let Some(after) = self.after_pass {
            let remarks = &self.report.remarks[said_before..];
            after(editor.graph(), &PassRun { step, only, edits, remarks });
        }
        Ok(())
    }

    /// Runs the pass on the functions of the model, if it wants them, on the bodies of the graph, innermost
    /// first, and then on the graph.
    fn everywhere(
        &self,
        editor: &mut Editor<'_>,
        pass: &dyn Pass,
        only: Option<&Regex>,
        said: &mut Said,
    ) -> Result<(), EditError> {
        if pass.in_functions() && editor.scope().is_empty() {
            for key in editor.graph().functions.keys().cloned().collect::<Vec<_>>() {
                if editor.is_done() {
                    return Ok(());
                }
                let inner = |e: &mut Editor<'_>| self.everywhere(e, pass, only, said);
                editor.within_function(&key, inner).unwrap_or(Ok(()))?;
            }
        }
        let graph = editor.graph();
        let bodies: Vec<(NodeId, usize)> =
            graph.schedule().map(|n| (n, graph.node(n).op.bodies().len())).collect();
        for (node, count) in bodies {
            for index in 0..count {
                if editor.is_done() {
                    return Ok(());
                }
                let inner = |e: &mut Editor<'_>| self.everywhere(e, pass, only, said);
                editor.within(node, index, inner).unwrap_or(Ok(()))?;
            }
        }
        let mut remarks = Vec::new();
        let result = pass.run(&mut PassCtx {
            pass: pass.name(),
            editor,
            remarks: &mut remarks,
            only,
            evaluator: self.evaluator,
            assumed: &self.assumed,
            symbolic: &self.symbolic,
        });
        said.add(remarks, editor.scope());
        result
    }
}

/// Remarks of one pass about the graph and its bodies.
#[derive(Default)]
struct Said {
    remarks: Vec<Remark>,
    /// Remarks that there was nothing to do in one graph.
    idle: Vec<Remark>,
}

impl Said {
    fn add(&mut self, remarks: Vec<Remark>, scope: &[String]) {
        for mut r in remarks {
            let whole = r.node.is_empty();
            if whole {
                r.node = scope.join("/");
            }
            match r.outcome {
                Outcome::NoMatch | Outcome::NoEffect if whole => self.idle.push(r),
                _ => self.remarks.push(r),
            }
        }
    }

    /// Why the node that the pass names is unknown, if no graph has it.
    fn unknown(&self) -> Option<String> {
        let unknown = |r: &Remark| r.outcome == Outcome::NoMatch;
        self.remarks.last().filter(|_| self.remarks.iter().all(unknown)).map(|r| r.message.clone())
    }

    /// All remarks; those that there was nothing to do in one graph only if nothing was done in any.
    fn all(mut self) -> Vec<Remark> {
        if self.unknown().is_none() {
            // The node is in another graph.
            self.remarks.retain(|r| r.outcome != Outcome::NoMatch);
        }
        if self.remarks.iter().any(|r| r.outcome == Outcome::Applied) {
            return self.remarks;
        }
        let tried = |r: &Remark| r.outcome == Outcome::NoEffect;
        let mut idle: Vec<Remark> = self.idle.iter().filter(|r| tried(r)).cloned().collect();
        // The main graph comes last; what is so in all of them is said of it.
        idle.reverse();
        let mut seen = std::collections::BTreeSet::new();
        idle.retain(|r| seen.insert(r.message.clone()));
        if idle.is_empty() {
            idle.extend(self.idle.pop().map(|r| Remark { node: String::new(), ..r }));
        }
        self.remarks.append(&mut idle);
        self.remarks
    }
}

/// The error for types that contradict each other: an error of the file if no edit made the node,
/// otherwise a bug of the pass.
fn contradiction(graph: &Graph, name: &str, source: InferError) -> RunError {
    let of_file =
        |g: &Graph, n: NodeId| g.label(n) == source.label && g.node(n).meta.origin.is_empty();
    let pass = name.into();
    match graph.any_node(&mut |g, n| of_file(g, n)) {
        true => RunError::Contradiction { pass, source },
        false => RunError::Types { pass, source },
    }
}
