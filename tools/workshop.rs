//! Makes variants of blocks, and measures what they cost and lose.

use std::path::Path;

use graph_opt_backends::scale::dataset::Dataset;
use graph_opt_backends::scale::{
    self, Activation, Interpreter, L1, L2, Maker, Profiler, Refitter, Residual, Ridge, ScaleError,
    Selector, Unchanged,
};
use graph_opt_ir::{Graph, Tensor, ValueId};
use graph_opt_passes::analysis::plan;
use graph_opt_passes::blocks::{Block, splice};
use graph_opt_passes::fix_dims;

use crate::failure::{Failure, Result, unsupported, usage};
use crate::judge::{Judge, Measured};
use crate::library::Variant;
use crate::model;

/// How variants are made.
#[derive(clap::Args)]
pub struct How {
    /// What chooses the channels that stay
    #[arg(long, value_name = "SELECTOR", default_value = "residual")]
    #[arg(value_parser = ["residual", "l1", "l2", "activation"])]
    selector: String,
    /// Leave the weights that stay as they are, instead of fitting them again
    #[arg(long)]
    no_refit: bool,
}

impl How {
    /// Calls `f` with what these options name.
    pub fn maker<T>(&self, f: impl FnOnce(&Maker<'_>) -> T) -> T {
        let ridge = Ridge::default();
        let selector: &dyn Selector = match self.selector.as_str() {
            "l1" => &L1,
            "l2" => &L2,
            "activation" => &Activation,
            _ => &Residual,
        };
        let refitter: &dyn Refitter = if self.no_refit { &Unchanged } else { &ridge };
        f(&Maker { selector, refitter })
    }
}

/// A failure of scaling.
pub fn failed(e: ScaleError) -> Failure {
    match e {
        ScaleError::Prepare(_) | ScaleError::Cut(_) => unsupported(e),
        e => usage(e),
    }
}

/// A variant whose costs and loss are not known yet.
pub struct Made {
    /// Share of the units that were removed; `None` if it was imported.
    pub sparsity: Option<f64>,
    /// Name of its file, without `.onnx`.
    pub name: String,
    /// The smaller block.
    pub graph: Graph,
    /// Layers that were fitted again, with the share of their variance that is lost.
    pub fitted: Vec<(String, f64)>,
    /// Layers that read removed channels and could not be fitted.
    pub unfitted: Vec<String>,
}

/// Makes and measures variants of a network's blocks.
pub struct Workshop<'a> {
    graph: &'a Graph,
    how: &'a How,
    /// Samples that variants are fitted to.
    pub fit: Dataset,
    /// What measures losses.
    pub judge: Judge,
    /// What measures costs.
    pub one: OneSample,
}

impl<'a> Workshop<'a> {
    /// A workshop that fits to some samples, and measures losses on others.
    pub fn new(graph: &'a Graph, fit: Dataset, measure: Dataset, how: &'a How) -> Result<Self> {
        let one = OneSample::new(graph, &fit)?;
        Ok(Self { graph, how, fit, judge: Judge::new(graph, measure)?, one })
    }

    /// Variants of the block, which is the network's `index`-th, at these sparsities. There is none at sparsity 0
    /// if no channel can be replaced exactly.
    pub fn made(&self, index: usize, block: &Block, sparsities: &[f64]) -> Result<Vec<Made>> {
        let make = |m: &Maker<'_>| {
            scale::variants(self.graph, block, sparsities, m, &self.fit.inputs).map_err(failed)
        };
        let all = sparsities.iter().zip(self.how.maker(make)?);
        let smaller = all.filter(|(s, v)| **s > 0.0 || v.units != block.units);
        let one = |(s, v): (&f64, scale::Variant)| Made {
            sparsity: Some(*s),
            name: format!("{index:02}-s{s}"),
            graph: v.graph,
            fitted: v.fitted,
            unfitted: v.unfitted,
        };
        Ok(smaller.map(one).collect())
    }

    /// The block as it is, and these variants of it, which are written to the folder.
    pub fn variants(&self, block: &Block, made: Vec<Made>, folder: &Path) -> Result<Vec<Variant>> {
        let part = block.part(self.graph).map_err(unsupported)?;
        let mut graphs = vec![&part];
        graphs.extend(made.iter().map(|m| &m.graph));
        let costs = self.one.of_block(self.graph, block, &graphs)?;
        let mut all = vec![Variant {
            sparsity: None,
            file: None,
            costs: costs[0].into(),
            loss: Measured::default(),
            fitted: vec![],
            unfitted: vec![],
        }];
        for (m, costs) in made.into_iter().zip(&costs[1..]) {
            let mut whole = self.graph.clone();
            splice(&mut whole, block, &m.graph).map_err(|e| usage(format!("{}: {e}", m.name)))?;
            let (_, loss) = self.judge.judge(&whole)?;
            let file = format!("{}.onnx", m.name);
            model::save_onnx(&m.graph, &folder.join(&file))?;
            all.push(Variant {
                sparsity: m.sparsity,
                file: Some(file),
                costs: (*costs).into(),
                loss,
                fitted: m.fitted,
                unfitted: m.unfitted,
            });
        }
        Ok(all)
    }
}

/// Extents of the symbolic dimensions of the graph's inputs, as `INPUT:AXIS`, when it runs on these inputs;
/// without inputs, on batches of one.
pub fn dims_of(graph: &Graph, inputs: Option<&[Tensor]>) -> Vec<(String, u64)> {
    let mut all: Vec<(String, u64)> = Vec::new();
    for (i, &v) in graph.inputs().iter().enumerate() {
        let value = graph.value(v);
        for (axis, dim) in value.ty.dims().unwrap_or_default().iter().enumerate() {
            let extent = match inputs {
                Some(t) => t.get(i).and_then(|t| t.dims().get(axis)).copied(),
                None => (axis == 0).then_some(1),
            };
            if dim.known().is_none() {
                all.extend(extent.map(|n| (format!("{}:{axis}", value.name), n)));
            }
        }
    }
    all
}

/// The graph with these extents of its inputs.
pub fn fixed(graph: &Graph, dims: &[(String, u64)]) -> Graph {
    let mut fixed = graph.clone();
    // Dimensions that stay unknown only leave sizes unknown.
    if !dims.is_empty() && fix_dims(&mut fixed, dims).is_err() {
        return graph.clone();
    }
    fixed
}

/// A variant of a block with the extents that the block's input has in a network whose extents are known.
pub fn fixed_in(whole: &Graph, block: &Block, variant: &Graph) -> Graph {
    let extents = whole.value(block.input).ty.extents();
    let (Some(&input), Some(extents)) = (variant.inputs().first(), extents) else {
        return variant.clone();
    };
    let name = &variant.value(input).name;
    let dims: Vec<_> =
        extents.iter().enumerate().map(|(axis, &n)| (format!("{name}:{axis}"), n)).collect();
    fixed(variant, &dims)
}

/// Costs for one sample, whatever batches the model takes.
pub struct OneSample {
    /// Extents of symbolic dimensions.
    pub dims: Vec<(String, u64)>,
    inputs: Vec<Tensor>,
}

impl OneSample {
    fn new(graph: &Graph, data: &Dataset) -> Result<Self> {
        let inputs = data.first_sample(graph).ok_or_else(|| usage("the data has no sample"))?;
        Ok(Self { dims: dims_of(graph, Some(&inputs)), inputs })
    }

    /// The costs of the whole network.
    pub fn costs(&self, graph: &Graph) -> Result<scale::Profile> {
        let seconds = Interpreter::default().seconds(&[(graph, &self.inputs)]).map_err(failed)?;
        Ok(scale::Profile { seconds: seconds[0], ..scale::size(&fixed(graph, &self.dims)) })
    }

    /// What a part of the network that reads this value gets.
    fn inputs_of(&self, whole: &Graph, input: ValueId) -> Result<Vec<Tensor>> {
        let all = scale::values(whole, std::slice::from_ref(&self.inputs), &[input]);
        Ok(all.map_err(failed)?.into_iter().flatten().collect())
    }

    /// The costs of a block's variants, measured in turns.
    fn of_block(
        &self,
        whole: &Graph,
        block: &Block,
        all: &[&Graph],
    ) -> Result<Vec<scale::Profile>> {
        let inputs = self.inputs_of(whole, block.input)?;
        let graphs: Vec<(&Graph, &[Tensor])> = all.iter().map(|g| (*g, &inputs[..])).collect();
        let seconds = Interpreter::default().seconds(&graphs).map_err(failed)?;
        let one = |(g, seconds): (&&Graph, f64)| scale::Profile {
            seconds,
            ..scale::size(&fixed(g, &dims_of(g, Some(&inputs))))
        };
        Ok(all.iter().zip(seconds).map(one).collect())
    }

    /// For each block, the bytes that are live beside it; and the peak while no block runs.
    pub fn beside(&self, graph: &Graph, blocks: &[Block]) -> (Vec<u64>, u64) {
        let fixed = fixed(graph, &self.dims);
        let Ok(plan) = plan(&fixed) else { return (vec![0; blocks.len()], 0) };
        let at = |b: &Block| {
            let steps = plan.steps.iter().zip(&plan.timeline);
            steps.filter(|(n, _)| b.nodes.contains(n)).map(|(_, bytes)| *bytes).max().unwrap_or(0)
        };
        let alone = |b: &Block| b.part(&fixed).map_or(0, |g| scale::size(&g).peak);
        let beside = blocks.iter().map(|b| at(b).saturating_sub(alone(b))).collect();
        let steps = plan.steps.iter().zip(&plan.timeline);
        let ours = |n| blocks.iter().any(|b| b.nodes.contains(n));
        let between = steps.filter(|(n, _)| !ours(n)).map(|(_, bytes)| *bytes).max().unwrap_or(0);
        (beside, between)
    }
}
