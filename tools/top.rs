//! The highest scores of outputs, with what the classes are called.

use std::path::{Path, PathBuf};

use graph_opt_ir::{DType, Tensor};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::failure::{Result, name, usage};
use crate::input;
use crate::table::rows;

/// Outputs of more rows of scores are maps rather than classes.
const MOST_ROWS: usize = 4096;
/// Rows that are shown as text.
const SHOWN_ROWS: usize = 16;

/// What of the scores is shown.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Scores")]
pub struct Scores {
    /// Show the K highest of each row of scores: along the last axis of an output, or along the only one that
    /// is longer than 1
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..))]
    top: Option<u16>,
    /// What the classes are called: a text file with one a line, or JSON, a list or an object of NUMBER: NAME
    #[arg(long, value_name = "FILE", requires = "top")]
    labels: Option<PathBuf>,
    /// Show probabilities, too: the softmax of each row
    #[arg(long, requires = "top")]
    softmax: bool,
}

/// The highest of a row of scores.
#[derive(Serialize, JsonSchema)]
pub struct TopRow {
    /// Where the row is along the other axes of the output.
    row: Vec<u64>,
    /// The highest, the highest first.
    classes: Vec<Class>,
}

/// A class and its score.
#[derive(Serialize, JsonSchema)]
struct Class {
    /// Its place along the axis of classes, from 0.
    index: usize,
    /// What it is called; `null` without `--labels`.
    label: Option<String>,
    /// The score, as the output has it; `null` if it is no finite number.
    score: f32,
    /// The softmax of the score; `null` without `--softmax`.
    probability: Option<f64>,
}

impl Scores {
    /// Reads what the classes are called.
    ///
    /// # Errors
    /// If the file cannot be read or is neither lines nor JSON of names.
    pub fn labels(&self) -> Result<Option<Vec<String>>> {
        self.labels.as_ref().map(|path| read_labels(path)).transpose()
    }

    /// The highest scores of each output; `None` for one that has none. Nothing without `--top`.
    ///
    /// # Errors
    /// If no output has scores, or none has as many as there are labels.
    pub fn of(
        &self,
        outputs: &[(&str, Option<&Tensor>)],
        labels: Option<&[String]>,
    ) -> Result<Vec<Option<Vec<TopRow>>>> {
        let Some(k) = self.top else { return Ok(outputs.iter().map(|_| None).collect()) };
        let found: Vec<_> = outputs.iter().map(|(_, t)| t.and_then(Axis::of)).collect();
        if found.iter().all(Option::is_none) {
            return Err(usage("--top: no output has scores over classes"));
        }
        if let Some(labels) = labels {
            let mut others = Vec::new();
            for ((output, _), axis) in outputs.iter().zip(&found) {
                if let Some(axis) = axis.as_ref().filter(|axis| axis.classes != labels.len()) {
                    others.push(format!("output {output:?} has {} classes", axis.classes));
                }
            }
            if others.len() == found.iter().flatten().count() {
                let path = self.labels.as_deref().unwrap_or(Path::new("")).display();
                let others = others.join(", ");
                return Err(usage(format!("{path}: {} labels, but {others}", labels.len())));
            }
        }
        let one = |axis: Axis| {
            let labels = labels.filter(|labels| labels.len() == axis.classes);
            axis.top(k.into(), labels, self.softmax)
        };
        Ok(found.into_iter().map(|axis| axis.map(one)).collect())
    }

    /// The highest scores as a table.
    pub fn table(&self, all: &[TopRow]) -> String {
        let several = all.len() > 1;
        let labels = all.iter().flat_map(|row| &row.classes).any(|c| c.label.is_some());
        let mut header = vec!["class", "score"];
        if several {
            header.insert(0, "row");
        }
        header.extend(self.softmax.then_some("probability"));
        header.extend(labels.then_some("label"));
        let mut t = rows(&header);
        for row in all.iter().take(SHOWN_ROWS) {
            let place: Vec<String> = row.row.iter().map(u64::to_string).collect();
            for class in &row.classes {
                let mut cells = vec![class.index.to_string(), class.score.to_string()];
                if several {
                    cells.insert(0, place.join(","));
                }
                cells.extend(class.probability.map(|p| format!("{p:.4}")));
                cells.extend(class.label.as_deref().map(name));
                t.add_row(cells);
            }
        }
        let left = all.len().saturating_sub(SHOWN_ROWS);
        let more =
            if left > 0 { format!("{left} rows more, with --json\n") } else { String::new() };
        format!("{t}\n{more}")
    }
}

/// Scores with the axis of their classes.
struct Axis {
    scores: Vec<f32>,
    dims: Vec<u64>,
    axis: usize,
    classes: usize,
}

impl Axis {
    /// `None` if a tensor has no scores.
    fn of(t: &Tensor) -> Option<Self> {
        let scores = match t.dtype() {
            DType::U8 | DType::I8 => t.to_i64s()?.into_iter().map(|x| x as f32).collect(),
            _ => t.to_f32s()?,
        };
        let dims = t.dims().to_vec();
        let last = dims.len().checked_sub(1)?;
        let mut long = (0..dims.len()).filter(|&a| dims[a] > 1);
        let axis = match (dims[last] > 1, long.next(), long.next()) {
            (true, ..) => last,
            (false, Some(only), None) => only,
            _ => return None,
        };
        let classes = usize::try_from(dims[axis]).ok()?;
        let axis = Self { scores, dims, axis, classes };
        (!axis.scores.is_empty() && axis.scores.len() / classes <= MOST_ROWS).then_some(axis)
    }

    /// The highest of each row. Where the axis is not the last, it is the only one longer than 1: in both cases
    /// a row is a stretch of the elements.
    fn top(&self, k: usize, labels: Option<&[String]>, softmax: bool) -> Vec<TopRow> {
        let one = |(i, row): (usize, &[f32])| {
            let mut order: Vec<usize> = (0..row.len()).collect();
            // NaN last, and the first of equal ones first.
            let key = |i: usize| if row[i].is_nan() { f32::NEG_INFINITY } else { row[i] };
            let nan = |i: usize| row[i].is_nan();
            order.sort_by(|&a, &b| {
                nan(a).cmp(&nan(b)).then(key(b).total_cmp(&key(a))).then(a.cmp(&b))
            });
            let most = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let exp = |i: usize| (f64::from(row[i]) - most).exp();
            let sum: f64 = (0..row.len()).map(exp).sum();
            let class = |&index: &usize| Class {
                index,
                label: labels.map(|labels| labels[index].clone()),
                score: row[index],
                probability: softmax.then(|| exp(index) / sum),
            };
            TopRow { row: self.place(i), classes: order.iter().take(k).map(class).collect() }
        };
        self.scores.chunks_exact(self.classes).enumerate().map(one).collect()
    }

    /// Where row `i` is along the other axes.
    fn place(&self, mut i: usize) -> Vec<u64> {
        let mut place = Vec::new();
        for (_, &n) in self.dims.iter().enumerate().rev().filter(|(a, _)| *a != self.axis) {
            place.push(i as u64 % n);
            i /= n as usize;
        }
        place.reverse();
        place
    }
}

/// Names of classes, from lines, or from JSON.
fn read_labels(path: &Path) -> Result<Vec<String>> {
    let text = input::text(path)?;
    let at = |e: String| usage(format!("{}: {e}", path.display()));
    if !text.trim_start().starts_with(['[', '{']) {
        let lines = text.trim_end().lines().map(|l| l.trim_end().to_owned()).collect::<Vec<_>>();
        return match lines.is_empty() {
            true => Err(at("expected a label a line, found none".into())),
            false => Ok(lines),
        };
    }
    let json: Value = serde_json::from_str(&text).map_err(|e| at(e.to_string()))?;
    match json {
        Value::Array(all) => all.iter().map(|v| label(v).map_err(at)).collect(),
        Value::Object(mut all) => {
            // The configuration of a model of Hugging Face.
            if let Some(Value::Object(inner)) = all.remove("id2label") {
                all = inner;
            }
            let mut labels = vec![None; all.len()];
            for (key, value) in &all {
                let place = key.parse().ok().and_then(|i: usize| labels.get_mut(i));
                let n = all.len();
                let none =
                    || at(format!("expected the numbers 0 to {} as keys, found {key:?}", n - 1));
                *place.ok_or_else(none)? = Some(label(value).map_err(at)?);
            }
            let missing = || at("expected each number once as a key".into());
            labels.into_iter().map(|l| l.ok_or_else(missing)).collect()
        }
        _ => Err(at("expected a list, or an object of NUMBER: NAME".into())),
    }
}

/// A name: a text, or several for one class, such as `["n01440764", "tench"]`.
fn label(v: &Value) -> std::result::Result<String, String> {
    let wrong = || format!("expected a label, found {v}");
    match v {
        Value::String(s) => Ok(s.clone()),
        Value::Array(all) if !all.is_empty() => {
            let each = all.iter().map(|v| v.as_str().ok_or_else(wrong));
            Ok(each.collect::<std::result::Result<Vec<_>, _>>()?.join(" "))
        }
        _ => Err(wrong()),
    }
}
