//! What a network is worth on data: its accuracy with labels, or its distance from the original.

use std::sync::Arc;

use graph_opt_backends::Executable;
use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::scale::dataset::Dataset;
use graph_opt_backends::scale::metric::{Metric, Score};
use graph_opt_ir::{Graph, Tensor};
use serde::{Deserialize, Serialize};

use crate::failure::{Result, usage};
use crate::run::{prepare_failure, run_failure};

/// A value with its standard error over samples.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub struct Measured {
    pub value: f64,
    /// `None` if there are too few samples to tell.
    pub error: Option<f64>,
}

impl Measured {
    fn new(value: f64, error: f64) -> Self {
        Self { value, error: error.is_finite().then_some(error) }
    }
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.error {
            Some(error) => write!(f, "{:.4} ± {error:.4}", self.value),
            None => write!(f, "{:.4}", self.value),
        }
    }
}

/// Data, and what the original network makes of it.
pub struct Judge {
    data: Dataset,
    metric: Metric,
    /// The original's outputs for each batch, where there are no labels.
    reference: Vec<Vec<Tensor>>,
    original: Score,
}

impl Judge {
    pub fn new(original: &Graph, data: Dataset) -> Result<Self> {
        let reference = outputs(original, &data)?;
        let first = reference.first().ok_or_else(|| usage("the data has no sample"))?;
        let labels = data.labels.as_ref().and_then(|l| l.first());
        let metric = Metric::of(labels, first).map_err(usage)?;
        let mut judge = Self { data, metric, reference, original: Score::new(metric) };
        judge.original = judge.score_of(&judge.reference)?;
        Ok(judge)
    }

    pub fn samples(&self) -> usize {
        self.data.samples
    }

    /// The metric's name, and its value for the original.
    pub fn of_model(&self) -> (String, Measured) {
        let measured = Measured::new(self.original.value(), self.original.standard_error());
        (self.metric.to_string(), measured)
    }

    /// The metric of a network, and how much worse than the original it is: over the same samples, so the
    /// standard error of the loss is smaller than those of the two values.
    pub fn judge(&self, graph: &Graph) -> Result<(Measured, Measured)> {
        let score = self.score_of(&outputs(graph, &self.data)?)?;
        let (difference, error) = score.paired(&self.original).map_err(usage)?;
        let loss = if self.metric.better_is_higher() { -difference } else { difference };
        let value = Measured::new(score.value(), score.standard_error());
        Ok((value, Measured::new(loss, error)))
    }

    fn score_of(&self, outputs: &[Vec<Tensor>]) -> Result<Score> {
        let mut score = Score::new(self.metric);
        for (i, (found, reference)) in outputs.iter().zip(&self.reference).enumerate() {
            let labels = self.data.labels.as_ref().and_then(|l| l.get(i));
            score.add(self.data.samples_of(i), found, labels, Some(reference)).map_err(usage)?;
        }
        Ok(score)
    }
}

fn outputs(graph: &Graph, data: &Dataset) -> Result<Vec<Vec<Tensor>>> {
    let prepared = Cpu::default().prepared(Arc::new(graph.clone())).map_err(prepare_failure)?;
    let run = |batch: &Vec<Tensor>| prepared.run(batch, graph.outputs()).map_err(run_failure);
    data.inputs.iter().map(run).collect()
}
