//! Switching blocks between two runs, and choosing again when the machine gets slower.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use graph_opt_ir::{Graph, NodeId, Tensor, ValueId, extract};
use graph_opt_passes::analysis::is_sent;
use graph_opt_passes::blocks::Block;
use graph_opt_passes::blocks::choose::{
    Choice, Chooser, LabelSetting, NoChoice, Problem, Quantity,
};

use super::error::ScaleError;
use crate::Executable;
use crate::cpu::{Cpu, Prepared};

/// A network whose blocks can be exchanged between two runs. The fixed stretches and one variant of each
/// block are prepared; a switch prepares one variant and drops the one before, so that only the weights of a
/// changed block are loaded.
pub struct Switchable {
    cpu: Cpu,
    parts: Vec<Part>,
    /// Index in `parts` of each block.
    of_block: Vec<usize>,
    inputs: Vec<ValueId>,
    outputs: Vec<ValueId>,
}

/// A part of the network, run as a whole.
struct Part {
    reads: Vec<ValueId>,
    gives: Vec<ValueId>,
    /// Values after which nothing reads them: they are dropped.
    done: Vec<ValueId>,
    graph: Arc<Graph>,
    prepared: Prepared,
}

impl Switchable {
    /// The network with its blocks as they are. The parts follow the order of the schedule; a block whose nodes
    /// do not follow each other there runs where its last node stands.
    ///
    /// # Errors
    /// If a part cannot be extracted or prepared.
    pub fn new(graph: &Graph, blocks: &[Block], cpu: Cpu) -> Result<Self, ScaleError> {
        let mut block_of: BTreeMap<NodeId, usize> = BTreeMap::new();
        for (b, block) in blocks.iter().enumerate() {
            block_of.extend(block.nodes.iter().map(|&n| (n, b)));
        }
        // Fixed nodes between two blocks make a part. What depends on a block comes after its last node.
        let mut lists: Vec<(Option<usize>, Vec<NodeId>)> = Vec::new();
        for id in graph.schedule() {
            match block_of.get(&id) {
                Some(&b) if blocks[b].nodes.last() == Some(&id) => {
                    lists.push((Some(b), blocks[b].nodes.clone()));
                }
                Some(_) => {}
                None => match lists.last_mut() {
                    Some((None, nodes)) => nodes.push(id),
                    _ => lists.push((None, vec![id])),
                },
            }
        }
        let mut last: BTreeMap<ValueId, usize> = BTreeMap::new();
        let mut parts = Vec::with_capacity(lists.len());
        let mut of_block = vec![0; blocks.len()];
        for (i, (block, nodes)) in lists.iter().enumerate() {
            let ours = |v: ValueId| graph.producer(v).is_some_and(|p| nodes.contains(&p));
            let mut reads: Vec<ValueId> = Vec::new();
            let mut gives: Vec<ValueId> = Vec::new();
            for &id in nodes {
                let n = graph.node(id);
                let all = n.inputs.iter().flatten().chain(&n.captures);
                reads.extend(all.filter(|&&v| is_sent(graph, v) && !ours(v)));
                let leaves = |v: &&ValueId| {
                    let value = graph.value(**v);
                    value.is_output() || value.uses().any(|u| !nodes.contains(&u.node))
                };
                gives.extend(n.outputs.iter().flatten().filter(leaves));
            }
            reads.sort_unstable();
            reads.dedup();
            last.extend(reads.iter().map(|&v| (v, i)));
            if let Some(b) = *block {
                of_block[b] = i;
            }
            let part = Arc::new(extract(graph, &reads, &gives)?);
            let prepared = cpu.prepared(part.clone())?;
            parts.push(Part { reads, gives, done: Vec::new(), graph: part, prepared });
        }
        for (v, i) in last {
            if !graph.value(v).is_output() {
                parts[i].done.push(v);
            }
        }
        let (inputs, outputs) = (graph.inputs().to_vec(), graph.outputs().to_vec());
        Ok(Self { cpu, parts, of_block, inputs, outputs })
    }

    /// Puts a variant in the place of a block, from the next run on.
    ///
    /// # Errors
    /// If the variant has another interface than the block, or cannot be prepared. The block then stays.
    pub fn switch(&mut self, block: usize, variant: Arc<Graph>) -> Result<(), ScaleError> {
        let count = self.of_block.len();
        let no_block = || ScaleError::Block { block, count };
        let part = &mut self.parts[*self.of_block.get(block).ok_or_else(no_block)?];
        let types = |g: &Graph, all: &[ValueId]| -> Vec<_> {
            all.iter().map(|&v| g.value(v).ty.clone()).collect()
        };
        let fits = |a: &[ValueId], b: &[ValueId]| {
            let (old, new) = (types(&part.graph, a), types(&variant, b));
            old.len() == new.len() && old.iter().zip(&new).all(|(a, b)| a.meet(b).is_some())
        };
        if !fits(part.graph.inputs(), variant.inputs())
            || !fits(part.graph.outputs(), variant.outputs())
        {
            return Err(ScaleError::Interface { block });
        }
        part.prepared = self.cpu.prepared(variant.clone())?;
        part.graph = variant;
        Ok(())
    }

    /// Runs the network.
    ///
    /// # Errors
    /// As [`Executable::run`].
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ScaleError> {
        self.walk(inputs, |part, read, _| Ok(part.prepared.run(read, part.graph.outputs())?))
    }

    /// Runs the network; its outputs, and the most bytes of activations at once: those that a part's plan takes,
    /// and the values that wait beside it for later parts. Nothing is held between two runs, so the next run takes
    /// what its own blocks need, whatever ran before.
    ///
    /// # Errors
    /// As [`Prepared::run_measured`]: the extents of all parts must be known.
    pub fn run_measured(&self, inputs: &[Tensor]) -> Result<(Vec<Tensor>, u64), ScaleError> {
        let mut peak = 0;
        let outputs = self.walk(inputs, |part, read, beside| {
            let (outputs, measured) = part.prepared.run_measured(read)?;
            peak = peak.max(beside + measured.peak);
            Ok(outputs)
        })?;
        Ok((outputs, peak))
    }

    /// Runs one part after the other: `run` gets the part, what it reads, and the bytes that wait beside it.
    fn walk(
        &self,
        inputs: &[Tensor],
        mut run: impl FnMut(&Part, &[Tensor], u64) -> Result<Vec<Tensor>, ScaleError>,
    ) -> Result<Vec<Tensor>, ScaleError> {
        let mut values: BTreeMap<ValueId, Tensor> =
            self.inputs.iter().copied().zip(inputs.iter().cloned()).collect();
        for part in &self.parts {
            let read = part.reads.iter().filter_map(|v| values.get(v).cloned());
            let read: Vec<Tensor> = read.collect();
            let waiting = values.iter().filter(|(v, _)| !part.reads.contains(v));
            let beside = waiting.filter_map(|(_, t)| t.ty().bytes()).sum();
            let made = run(part, &read, beside)?;
            values.extend(part.gives.iter().copied().zip(made));
            part.done.iter().for_each(|v| _ = values.remove(v));
        }
        Ok(self.outputs.iter().filter_map(|v| values.get(v).cloned()).collect())
    }

    /// Bytes of the constants that are loaded.
    pub fn constant_bytes(&self) -> u64 {
        self.parts.iter().map(|p| super::size(&p.graph).bytes).sum()
    }
}

/// Watches the latency of runs, and chooses again when the limit is broken or there is room for better
/// variants: LegoDNN's online stage.
///
/// The machine is taken to be slower than at profiling by one factor for all blocks: the second largest ratio of
/// measured over predicted time among the last 32 runs. One slow run, which the scheduler may have caused,
/// changes nothing; the second one does at once; and better variants come back when slow runs have left the window.
/// So at most one run in 32 is expected to break the limit.
#[derive(Clone, Debug)]
pub struct Monitor {
    problem: Problem,
    /// Longest time of a run, in seconds.
    limit: f64,
    /// Ratios of measured over predicted time of the last runs, oldest first.
    ratios: VecDeque<f64>,
    /// How much slower runs were than predicted when the choice was made.
    chosen_at: f64,
    /// The choice that runs now.
    choice: Choice,
}

/// Runs over which the slowdown is estimated.
const WINDOW: usize = 32;
/// Share of the limit that a choice is to take at most, so that noise does not break it.
const MARGIN: f64 = 0.9;
/// How much the slowdown must have fallen before better, slower variants are looked for.
const RELIEF: f64 = 0.9;

impl Monitor {
    /// A monitor that begins with the best choice within the limit, in seconds, at the profiled speed.
    ///
    /// # Errors
    /// If no choice keeps the limits.
    pub fn new(problem: Problem, limit: f64) -> Result<Self, NoChoice> {
        let choice = solve(&problem, limit, 1.0)?;
        Ok(Self { problem, limit, ratios: VecDeque::new(), chosen_at: 1.0, choice })
    }

    /// The choice that is to run.
    pub fn choice(&self) -> &Choice {
        &self.choice
    }

    /// How much slower runs are than they were profiled.
    pub fn slowdown(&self) -> f64 {
        let (mut first, mut second) = (0.0, 0.0);
        for &r in &self.ratios {
            if r > first {
                (first, second) = (r, first);
            } else if r > second {
                second = r;
            }
        }
        if self.ratios.len() > 1 { second } else { 1.0 }
    }

    /// Takes the time of a run, in seconds; whether the choice has changed. Where no choice keeps the limit any
    /// more, the fastest one runs.
    pub fn ran(&mut self, seconds: f64) -> bool {
        if self.ratios.len() == WINDOW {
            self.ratios.pop_front();
        }
        self.ratios.push_back(seconds / self.choice.totals.latency.max(f64::MIN_POSITIVE));
        let slowdown = self.slowdown();
        let breaks = slowdown * self.choice.totals.latency > self.limit * MARGIN;
        let worse = breaks && slowdown > self.chosen_at;
        let relief = self.ratios.len() == WINDOW && slowdown < self.chosen_at * RELIEF;
        if !worse && !relief {
            return false;
        }
        self.chosen_at = slowdown;
        let next = solve(&self.problem, self.limit, slowdown).or_else(|_| fastest(&self.problem));
        match next {
            Ok(next) if next.picks != self.choice.picks => {
                self.choice = next;
                true
            }
            _ => false,
        }
    }
}

fn solve(problem: &Problem, limit: f64, slowdown: f64) -> Result<Choice, NoChoice> {
    let mut limits = problem.limits;
    let latency = limit * MARGIN / slowdown;
    limits.latency = Some(limits.latency.map_or(latency, |l| l.min(latency)));
    LabelSetting.choose(&problem.clone().with_limits(limits))
}

/// The choice with the least latency.
fn fastest(problem: &Problem) -> Result<Choice, NoChoice> {
    let mut limits = problem.limits;
    limits.latency = None;
    let problem = Problem { objective: Quantity::Latency, ..problem.clone() };
    LabelSetting.choose(&problem.with_limits(limits))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use graph_opt_ir::text::parse;
    use graph_opt_passes::blocks::choose::Costs;
    use graph_opt_passes::blocks::{Extractor, Stretches, coupled, cut, splice};

    /// Two residual blocks whose skips cross a fixed stretch.
    fn network() -> Graph {
        parse(
            "graph @g(%x: f32[N,4,8,8]) -> (%y) opset 13 {
               %w1 = const random(1)     : f32[8,4,3,3]
               %w2 = const random(2)     : f32[4,8,3,3]
               %w3 = const random(3)     : f32[8,4,1,1]
               %w4 = const random(4)     : f32[4,8,1,1]
               %a1 = Conv %x, %w1 {pads=[1,1,1,1]} : f32[N,8,8,8] ; a1
               %a2 = Relu %a1            : f32[N,8,8,8]
               %a3 = Conv %a2, %w2 {pads=[1,1,1,1]} : f32[N,4,8,8] ; a3
               %s  = Add %a3, %x         : f32[N,4,8,8]
               %p  = Sigmoid %s          : f32[N,4,8,8]
               %b1 = Conv %p, %w3        : f32[N,8,8,8] ; b1
               %b2 = Relu %b1            : f32[N,8,8,8]
               %b3 = Conv %b2, %w4       : f32[N,4,8,8] ; b3
               %y  = Add %b3, %s         : f32[N,4,8,8]
             }",
        )
        .unwrap()
    }

    #[test]
    fn a_switched_network_computes_what_the_spliced_one_does() {
        let graph = network();
        let blocks = Stretches { max_share: 0.5 }.blocks(&graph);
        assert!(blocks.len() > 1, "{blocks:?}");
        let mut switchable = Switchable::new(&graph, &blocks, Cpu::default()).unwrap();
        let x = Tensor::random(graph_opt_ir::DType::F32, &[2, 4, 8, 8], 5).unwrap();
        let whole = |g: &Graph| {
            let p = Cpu::default().prepared(Arc::new(g.clone())).unwrap();
            p.run(std::slice::from_ref(&x), g.outputs()).unwrap()
        };
        let before = switchable.constant_bytes();
        assert_eq!(switchable.run(std::slice::from_ref(&x)).unwrap(), whole(&graph));
        let mut spliced = graph.clone();
        for (b, block) in blocks.iter().enumerate() {
            let mut variant = block.part(&graph).unwrap();
            let group = coupled(&variant).remove(0);
            let keep: Vec<bool> = (0..group.units).map(|u| u % 2 == 0).collect();
            cut(&mut variant, &group, &keep).unwrap();
            splice(&mut spliced, block, &variant).unwrap();
            switchable.switch(b, Arc::new(variant)).unwrap();
            assert_eq!(switchable.run(std::slice::from_ref(&x)).unwrap(), whole(&spliced));
        }
        assert!(switchable.constant_bytes() < before);
        let wrong = Arc::new(graph.clone());
        let fits = wrong.value(wrong.inputs()[0]).ty == graph.value(blocks[0].input).ty;
        assert!(fits || switchable.switch(0, wrong).is_err());
        assert!(switchable.switch(9, Arc::new(network())).is_err());
    }

    #[test]
    fn the_monitor_keeps_the_limit_as_the_machine_gets_slower() {
        let candidate = |loss: f64, latency: f64| Costs { loss, latency, ..Costs::default() };
        let block = vec![candidate(0.0, 4e-3), candidate(0.01, 2e-3), candidate(0.05, 1e-3)];
        let problem = Problem::new(vec![block.clone(), block], Costs::default());
        let mut monitor = Monitor::new(problem, 10e-3).unwrap();
        assert_eq!(monitor.choice().picks, [0, 0]);
        // Three times slower: 8 ms would take 24 ms.
        let mut broken = 0;
        for _ in 0..20 {
            let seconds = monitor.choice().totals.latency * 3.0;
            broken += usize::from(seconds > 10e-3);
            monitor.ran(seconds);
        }
        // The first slow run could have been chance.
        assert_eq!(broken, 2);
        assert!((monitor.slowdown() - 3.0).abs() < 0.1);
        // As fast as before: the accurate variants come back.
        for _ in 0..WINDOW {
            let seconds = monitor.choice().totals.latency;
            assert!(seconds < 10e-3);
            monitor.ran(seconds);
        }
        assert_eq!(monitor.choice().picks, [0, 0]);
        // A slow run now and then changes nothing.
        for i in 0..10 * WINDOW {
            let slow = if i % WINDOW == 0 { 5.0 } else { 1.0 };
            assert!(!monitor.ran(monitor.choice().totals.latency * slow));
        }
    }

    /// The peak of a run in parts is that of its largest part and what waits beside it.
    #[test]
    fn the_peak_of_a_run_counts_what_waits() {
        let mut graph = network();
        graph_opt_passes::fix_dims(&mut graph, &[("N".into(), 1)]).unwrap();
        let blocks = Stretches { max_share: 0.5 }.blocks(&graph);
        let switchable = Switchable::new(&graph, &blocks, Cpu::default()).unwrap();
        let x = Tensor::random(graph_opt_ir::DType::F32, &[1, 4, 8, 8], 5).unwrap();
        let (outputs, peak) = switchable.run_measured(std::slice::from_ref(&x)).unwrap();
        assert_eq!(outputs, switchable.run(std::slice::from_ref(&x)).unwrap());
        // 4 x 8 x 8 elements in and out, 8 x 8 x 8 between, of 4 B.
        let (narrow, wide) = (1024, 2048);
        assert!(peak >= narrow + wide, "{peak}");
        assert!(peak <= 3 * narrow + 2 * wide, "{peak}");
    }
}
