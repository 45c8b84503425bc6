//! Reports: what a command found as one document, and a page that shows it.
//!
//! A report is one HTML file without any request: the page of `page/`, built and committed as `page.html`,
//! with the [`Document`] in it as JSON. All that the page says comes from the document. Names in it may be
//! anything: they cannot end the element that they are in, the page writes them as text, and its policy runs
//! no script but its own.

mod boxes;
pub mod events;
pub mod export;
pub mod graph;
mod memory;
pub mod proof;
pub mod split;
mod svg;
mod tiles;
mod trace;

use std::path::{Path, PathBuf};

use graph_opt_ir::Graph;
use graph_opt_passes::analysis::MemoryModel;
use graph_opt_passes::devices::files::PlanFile;
use schemars::JsonSchema;
use serde::Serialize;

use crate::answer;
use crate::explain::Made;
use crate::failure::{Result, internal, say, usage};
use crate::output;
use crate::verdict::Comparison;
pub use graph::Marks;
use graph::{GraphPicture, Index};
use memory::MemoryPicture;
use proof::{HeatMap, ProofPicture};
use split::SplitPicture;
use tiles::TilingPicture;
pub use tiles::bars;
pub use trace::{Recorded, Trace, tilings};

/// Version of the document.
const VERSION: u32 = 1;
/// The page, with a mark where the document goes.
const PAGE: &str = include_str!("page.html");
const MARK: &str = "@DOCUMENT@";

/// Where to write a report.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct ReportFile {
    /// Also write what was found as a page with pictures, one HTML file that loads nothing
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

impl ReportFile {
    /// Whether a report is asked for.
    pub fn is_some(&self) -> bool {
        self.report.is_some()
    }

    /// Refuses a file that could not be written.
    pub fn probe(&self) -> Result {
        let Some(path) = &self.report else { return Ok(()) };
        if !path.extension().is_some_and(|e| e == "html" || e == "htm") {
            let path = path.display();
            return Err(usage(format!("{path}: a report is a page, named FILE.html")));
        }
        output::probe(path)
    }

    /// Writes the document, if a report is asked for.
    pub fn write(&self, document: impl FnOnce() -> Document) -> Result {
        let Some(path) = &self.report else { return Ok(()) };
        output::whole(path, document().page()?.as_bytes())?;
        say(format!("wrote {}", path.display()));
        Ok(())
    }
}

/// What a command found, for the page.
#[derive(Default, Serialize, JsonSchema)]
pub struct Document {
    /// Version of this form: 1.
    pub version: u32,
    /// Version of graph-opt.
    pub made_by: String,
    /// What was done, such as `opt model.onnx`.
    pub title: String,
    /// The figures that matter most.
    pub facts: Vec<Fact>,
    /// The model, or the model before and after.
    pub graphs: Vec<GraphPicture>,
    /// Memory of the graphs.
    pub memory: Vec<MemoryPicture>,
    /// A budget of memory, in bytes.
    pub budget_bytes: Option<u64>,
    /// Groups that run in tiles.
    pub tilings: Vec<TilingPicture>,
    /// The edits, in order.
    pub edits: Vec<Made>,
    /// What the passes had to say.
    pub remarks: Vec<answer::Remark>,
    /// Whether the graphs compute the same.
    pub verdict: Option<Comparison>,
    /// The proof that they do.
    pub proof: Option<ProofPicture>,
    /// Where they differ.
    pub heat: Vec<HeatMap>,
    /// Choices, and the one that was taken.
    pub fronts: Vec<FrontPicture>,
    /// What the command printed, where that says more than the rest.
    pub text: String,
    /// Stages over devices.
    pub split: Option<SplitPicture>,
}

/// A figure.
#[derive(Serialize, JsonSchema)]
pub struct Fact {
    /// What it is.
    pub name: String,
    /// What it was before; `null` if it did not change, or there is no before.
    pub before: Option<String>,
    /// What it is.
    pub value: String,
    /// Whether it is good news, or bad; `null` if neither.
    pub good: Option<bool>,
}

impl Fact {
    /// A figure without judgement.
    pub fn new(name: &str, value: impl Into<String>) -> Self {
        Self { name: name.into(), before: None, value: value.into(), good: None }
    }

    /// A figure that may have changed.
    pub fn changed(name: &str, before: String, value: String) -> Self {
        let before = Some(before).filter(|b| *b != value);
        Self { before, ..Self::new(name, value) }
    }
}

/// Choices by two measures.
#[derive(Serialize, JsonSchema)]
pub struct FrontPicture {
    /// What is chosen.
    pub title: String,
    /// What the points say, such as that they are estimates.
    pub note: String,
    /// The first measure.
    pub x: AxisRow,
    /// The second.
    pub y: AxisRow,
    /// The choices.
    pub points: Vec<PointRow>,
}

/// A measure.
#[derive(Serialize, JsonSchema)]
pub struct AxisRow {
    /// What is measured.
    pub name: String,
    /// In what: `B`, `s`, `J`, `%`, or nothing.
    pub unit: String,
}

/// A choice.
#[derive(Serialize, JsonSchema)]
pub struct PointRow {
    /// Its first measure.
    pub x: f64,
    /// Its second.
    pub y: f64,
    /// What it is.
    pub label: String,
    /// Whether it was taken.
    pub chosen: bool,
}

impl Document {
    /// A document that says nothing yet.
    pub fn new(title: String) -> Self {
        let made_by = format!("graph-opt {}", env!("CARGO_PKG_VERSION"));
        Self { version: VERSION, made_by, title, ..Self::default() }
    }

    /// Adds a graph and its memory.
    pub fn add(
        &mut self,
        title: &str,
        graph: &Graph,
        marks: &Marks<'_>,
        model: &dyn MemoryModel,
    ) -> Index {
        let (picture, index) = graph::picture(title, graph, marks);
        self.memory.extend(memory::pictures(graph, self.graphs.len(), model, &index));
        self.graphs.push(picture);
        index
    }

    /// Adds a plan over devices, with the times of this number of frames.
    pub fn plan(&mut self, plan: &PlanFile, frames: usize) {
        let ms = |s: f64| format!("{:.3} ms", s * 1e3);
        let devices: std::collections::BTreeSet<&str> =
            plan.stages.iter().map(|s| &*s.device).collect();
        self.facts.push(Fact::new("a frame takes", ms(plan.latency_s)));
        self.facts.push(Fact::new("a frame every", ms(plan.interval_s)));
        self.facts.push(Fact::new("devices", devices.len().to_string()));
        let best = if plan.proved { "proved" } else { "not proved" };
        self.facts.push(Fact::new("to be the best", best));
        self.split = Some(split::picture(plan, frames));
    }

    /// The page with the document in it.
    pub fn page(&self) -> Result<String> {
        let json = serde_json::to_string(self).map_err(internal)?;
        let Some((head, tail)) = PAGE.split_once(MARK) else {
            return Err(internal("the page has no place for the document"));
        };
        Ok(format!("{head}{}{tail}", inert(&json)))
    }
}

/// JSON that means the same, and cannot end the script element that it is in or begin a comment in it.
fn inert(json: &str) -> String {
    json.replace('<', "\\u003c")
}

/// The name of a model without its folder and ending, for titles and files.
pub fn stem(model: &str) -> String {
    let name = model.strip_prefix("zoo:").unwrap_or(model);
    let stem = Path::new(name).file_stem().map(|s| s.to_string_lossy().into_owned());
    stem.filter(|s| s != "-").unwrap_or_else(|| "model".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_the_document() {
        let title = "</script><script>alert(1)</script><!-- \u{2028}\u{0}\"'".to_owned();
        let page = Document::new(title.clone()).page().unwrap();
        let (_, rest) = page.split_once("type=\"application/json\">").unwrap();
        let (json, _) = rest.split_once("</script>").unwrap();
        let read: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(read["title"], title);
        assert!(!json.contains('<'));
        // The page's own policy, and nothing to load.
        assert!(page.contains("Content-Security-Policy") && page.contains("default-src 'none'"));
        assert!(!PAGE.contains("unsafe-inline") && !PAGE.contains("unsafe-eval"));
    }

    #[test]
    fn files_are_named_after_models() {
        assert_eq!(stem("models/a.b.onnx"), "a.b");
        assert_eq!(stem("zoo:resnet18"), "resnet18");
        assert_eq!(stem("-"), "model");
    }
}
