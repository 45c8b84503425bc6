//! What a network is worth on data: its accuracy with labels, or its distance from the original.

use std::sync::Arc;

use graph_opt_backends::Executable;
use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::scale::dataset::{Dataset, Metric, Score};
use graph_opt_ir::{Graph, Tensor};

use crate::failure::{Result, usage};
use crate::run::{prepare_failure, run_failure};

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

    /// The metric's name, its value for the original, and the standard error.
    pub fn of_model(&self) -> (String, f64, f64) {
        let (value, error) = (self.original.value(), self.original.standard_error());
        (self.metric.name().to_owned(), value, error)
    }

    /// The metric of a network, and its standard error.
    pub fn value(&self, graph: &Graph) -> Result<(f64, f64)> {
        let score = self.score_of(&outputs(graph, &self.data)?)?;
        Ok((score.value(), score.standard_error()))
    }

    /// How much worse than the original a network is, and the standard error of that over the same samples.
    pub fn loss(&self, graph: &Graph) -> Result<(f64, f64)> {
        let score = self.score_of(&outputs(graph, &self.data)?)?;
        let (difference, error) = score.paired(&self.original).map_err(usage)?;
        Ok((if self.metric.better_is_higher() { -difference } else { difference }, error))
    }

    fn score_of(&self, outputs: &[Vec<Tensor>]) -> Result<Score> {
        let mut score = Score::new(self.metric);
        for (i, (found, reference)) in outputs.iter().zip(&self.reference).enumerate() {
            let labels = self.data.labels.as_ref().and_then(|l| l.get(i));
            score.add(found, labels, Some(reference)).map_err(usage)?;
        }
        Ok(score)
    }
}

fn outputs(graph: &Graph, data: &Dataset) -> Result<Vec<Vec<Tensor>>> {
    let prepared = Cpu::default().prepared(Arc::new(graph.clone())).map_err(prepare_failure)?;
    let run = |batch: &Vec<Tensor>| prepared.run(batch, graph.outputs()).map_err(run_failure);
    data.inputs.iter().map(run).collect()
}
