//! `graph-opt blocks`: the blocks of a network, and their smaller variants.

use graph_opt_backends::Folder;
use graph_opt_ir::Graph;
use graph_opt_passes::blocks::{Block, Extractor, Stretches};
use graph_opt_passes::registry::optimise;
use graph_opt_passes::{Runner, count};

use crate::failure::{Result, out, say, unsupported};
use crate::model;
use crate::opt::rows;

#[derive(clap::Args)]
pub struct Args {
    /// The model
    model: String,
    /// Largest share of the network's parameters and multiply-accumulates in one block
    #[arg(long, value_name = "SHARE", default_value_t = 0.125)]
    max_share: f64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn main(args: &Args) -> Result {
    let graph = prepared(&args.model)?;
    let blocks = Stretches { max_share: args.max_share }.blocks(&graph);
    list(args, &graph, &blocks)
}

/// The model with constants folded and BatchNormalizations in the weights, so that few nodes are between
/// the layers.
fn prepared(name: &str) -> Result<Graph> {
    let mut graph = model::load(name)?;
    let frozen = graph.freeze_defaults();
    if frozen > 0 {
        let inputs = count(frozen, "input");
        say(format!("{inputs} with a default value became constants, as weights are made smaller"));
    }
    Runner::default().evaluator(&Folder).run(&mut graph, &optimise()).map_err(unsupported)?;
    Ok(graph)
}

fn list(args: &Args, graph: &Graph, blocks: &[Block]) -> Result {
    let combinations = (blocks.len() as f64) * 4f64.log10();
    if args.json {
        let one = |b: &Block| {
            serde_json::json!({
                "name": b.name, "nodes": b.nodes.len(), "parameters": b.parameters, "macs": b.macs,
                "input": &*graph.value(b.input).name, "output": &*graph.value(b.output).name,
                "units": b.units,
            })
        };
        let all: Vec<_> = blocks.iter().map(one).collect();
        return out(format!("{:#}\n", serde_json::json!({ "blocks": all })));
    }
    let mut table = rows(&["block", "nodes", "parameters", "MACs", "input", "units that can go"]);
    for b in blocks {
        let units: Vec<String> = b.units.iter().map(usize::to_string).collect();
        table.add_row([
            b.name.clone(),
            b.nodes.len().to_string(),
            b.parameters.to_string(),
            b.macs.to_string(),
            graph.value(b.input).ty.to_string(),
            units.join(" "),
        ]);
    }
    out(format!(
        "{table}\n{}, 10^{combinations:.1} combinations with 4 variants each\n",
        count(blocks.len(), "block")
    ))
}
