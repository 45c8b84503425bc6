//! A comparison as it is drawn: the certificate step by step, and how much values differ where.

use std::collections::BTreeMap;

use graph_opt_backends::compare::{DifferenceMap, Measure, Report};
use graph_opt_passes::eqsat::rules::TABLE;
use schemars::JsonSchema;
use serde::Serialize;

/// Most steps of a certificate that are shown; `verify --proof` writes all.
const STEPS: usize = 20_000;

/// A proof that two models are equal.
#[derive(Serialize, JsonSchema)]
pub struct ProofPicture {
    /// The rules that it uses.
    pub rules: Vec<RuleRow>,
    /// Its lines, in order.
    pub steps: Vec<StepRow>,
    /// Number of further lines.
    pub left_out: usize,
    /// What follows, an equality for each output.
    pub so: Vec<String>,
}

/// A rule of the prover.
#[derive(Serialize, JsonSchema)]
pub struct RuleRow {
    /// Its name.
    pub name: String,
    /// The equation that it stands for.
    pub says: String,
    /// Whether rounding may differ between the sides.
    pub reassociates: bool,
    /// How often the proof uses it.
    pub uses: usize,
}

/// A line of a certificate.
#[derive(Serialize, JsonSchema)]
pub struct StepRow {
    /// Name of the term that it defines.
    pub term: String,
    /// The rule that makes the term from another one; `null` for a line that only names a term.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<usize>,
    /// How the term is made, as the certificate has it.
    pub text: String,
    /// What the term is made of.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub is: String,
}

impl ProofPicture {
    /// Of a certificate.
    pub fn of(certificate: &str) -> Self {
        let mut uses: BTreeMap<usize, usize> = BTreeMap::new();
        let (mut steps, mut left_out, mut so) = (Vec::new(), 0, Vec::new());
        for line in certificate.lines() {
            if let Some(equality) = line.strip_prefix("# so ") {
                so.push(equality.to_owned());
            }
            let Some((term, rest)) = line.split_once(" = ").filter(|(t, _)| !t.starts_with('#'))
            else {
                continue;
            };
            let (text, is) = rest.split_once("    # ").unwrap_or((rest, ""));
            let first = text.split(' ').next().unwrap_or_default();
            let rule = TABLE.iter().position(|r| r.name == first);
            if let Some(rule) = rule {
                *uses.entry(rule).or_default() += 1;
            }
            if steps.len() == STEPS {
                left_out += 1;
                continue;
            }
            let (term, text, is) = (term.to_owned(), text.to_owned(), is.to_owned());
            steps.push(StepRow { term, rule, text, is });
        }
        let rule = |(i, r): (usize, &graph_opt_passes::eqsat::rules::Row)| RuleRow {
            name: r.name.into(),
            says: r.says.into(),
            reassociates: r.reassociates,
            uses: uses.get(&i).copied().unwrap_or(0),
        };
        Self { rules: TABLE.iter().enumerate().map(rule).collect(), steps, left_out, so }
    }
}

/// How much a value differs where, over its last two axes.
#[derive(Serialize, JsonSchema)]
pub struct HeatMap {
    /// Name of the value.
    pub value: String,
    /// The output that was compared.
    pub output: String,
    /// By what it was found: the finite field, or a backend.
    pub by: String,
    /// Its extents.
    pub extents: Vec<u64>,
    /// The first element that differs.
    pub element: Vec<usize>,
    /// Number of rows of cells.
    pub rows: usize,
    /// Number of columns of cells.
    pub columns: usize,
    /// The cells, row by row; `null` where a number is not finite.
    pub cells: Vec<Option<f64>>,
    /// What they hold: `largest difference` or `share of elements that differ`.
    pub measure: String,
    /// Number of elements that differ.
    pub differing: u64,
    /// Number of elements.
    pub elements: u64,
}

/// The first value that differs, and the output in which it shows, for each output that differs.
pub fn heat_maps(report: &Report) -> Vec<HeatMap> {
    let mut all = Vec::new();
    for output in &report.outputs {
        let Some(place) = output.difference() else { continue };
        let by = match output.verdicts.iter().find_map(|v| match v {
            graph_opt_backends::compare::Verdict::Differs(by, p) if p == place => Some(by),
            _ => None,
        }) {
            Some(by) => by.clone(),
            None => String::new(),
        };
        let map = |value: &str, element: &[usize], map: &DifferenceMap| HeatMap {
            value: value.to_owned(),
            output: output.name.clone(),
            by: by.clone(),
            extents: map.dims.clone(),
            element: element.to_vec(),
            rows: map.rows,
            columns: map.columns,
            cells: map.cells.iter().map(|c| c.is_finite().then_some(*c)).collect(),
            measure: match map.measure {
                Measure::Largest => "largest difference".into(),
                Measure::Share => "share of elements that differ".into(),
            },
            differing: map.differing,
            elements: map.elements,
        };
        all.extend(place.map.as_ref().map(|m| map(&place.value, &place.element, m)));
        if let Some(at) = place.output.as_ref().filter(|at| at.name != place.value) {
            all.extend(at.map.as_ref().map(|m| map(&at.name, &at.element, m)));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_read_line_by_line() {
        let text = "graph-opt proof 1\n\
                    t0 = other:\"x\" [:, 0:9]\n\
                    t1 = part-of-result t0    # is Conv(t0, w)\n\
                    # so original:\"y\" = other:\"y\"\n";
        let p = ProofPicture::of(text);
        assert_eq!(p.steps.len(), 2);
        assert_eq!(p.steps[0].rule, None);
        assert_eq!(p.rules[p.steps[1].rule.unwrap_or(9)].name, "part-of-result");
        assert_eq!((&*p.steps[1].text, &*p.steps[1].is), ("part-of-result t0", "is Conv(t0, w)"));
        assert_eq!(p.rules.iter().map(|r| r.uses).sum::<usize>(), 1);
        assert_eq!(p.so, ["original:\"y\" = other:\"y\""]);
    }
}
