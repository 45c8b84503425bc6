//! `graph-opt plan`

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use graph_opt_backends::Folder;
use graph_opt_ir::Graph;
use graph_opt_ir::onnx::devices::{Stages, stages};
use graph_opt_passes::devices::cluster::{AllowedCodecs, Cluster, Codec, Profile, Speed, seconds};
use graph_opt_passes::devices::files::{OBJECTIVES, PlanFile};
use graph_opt_passes::devices::graph::{
    Network, PlanRequest, PlanningError, ProfiledCosts, choose_plan,
};
use graph_opt_passes::devices::{Effort, Limits, NoPlan, Objective, front};
use graph_opt_passes::{ByteSize, Pipeline, Runner};
use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::{Answer, Document};
use crate::failure::{Result, does_not_fit, internal, say, usage};
use crate::model;
use crate::progress::Progress;
use crate::table::rows;
use crate::{input, output, rewrite};

#[derive(clap::Args)]
pub struct Args {
    /// The model
    model: String,
    /// The devices and links
    #[arg(long, value_name = "FILE.toml")]
    cluster: String,
    /// What is to be best
    #[arg(long, default_value = "latency", value_parser = OBJECTIVES.map(|o| o.0))]
    objective: String,
    /// Where to write the plan
    #[arg(short, long, value_name = "FILE.json")]
    output: Option<String>,
    /// Most time from a frame's input to its output, such as 50ms
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    max_latency: Option<f64>,
    /// Most time between frames, such as 40ms
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    max_interval: Option<f64>,
    /// Most energy a frame, J
    #[arg(long, value_name = "J")]
    max_energy: Option<f64>,
    /// Most bytes that any device may hold, besides what each has
    #[arg(long, value_name = "BYTES", value_parser = graph_opt_passes::bytes)]
    max_memory: Option<u64>,
    /// Most stages
    #[arg(long, value_name = "N")]
    stages: Option<usize>,
    /// Most nodes in a stage
    #[arg(long, value_name = "N")]
    max_nodes: Option<usize>,
    /// A device may have several stages, and holds all of them; not for throughput
    #[arg(long)]
    reuse: bool,
    /// A device that has several stages runs all of them in one mode
    #[arg(long, requires = "reuse")]
    one_mode: bool,
    /// A node that must run on a device
    #[arg(long, value_name = "NODE=DEVICE", value_parser = pin)]
    pin: Vec<(String, String)>,
    /// How many of the first nodes must run on a device
    #[arg(long, value_name = "N=DEVICE", value_parser = pin)]
    first: Option<(String, String)>,
    /// For latency: also try tiles of the network's start on several devices at once; they are sent as
    /// they are, whatever the codecs
    #[arg(long, conflicts_with_all = ["front", "pin", "first", "stages", "max_nodes", "reuse"])]
    tiles: bool,
    /// The configuration of the model's own annotations by which nodes are pinned to the devices of
    /// their stages; "" for none. By default, the one that there is
    #[arg(long, value_name = "NAME")]
    configuration: Option<String>,
    /// A profile with what codecs make of values, as `graph-opt profile --codecs` writes it: values go
    /// over links in the form that arrives soonest, without loss
    #[arg(long, value_name = "FILE.json")]
    codecs: Option<PathBuf>,
    /// Also with loss, where that changes outputs by no more than this share of their largest element,
    /// as measured for each value alone
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, requires = "codecs", value_parser = share)]
    max_error: f64,
    /// Print the whole front of latency and energy
    #[arg(long)]
    front: bool,
}

fn pin(text: &str) -> std::result::Result<(String, String), String> {
    let (node, device) = text.rsplit_once('=').ok_or("expected NAME=DEVICE")?;
    Ok((node.into(), device.into()))
}

/// A share, such as 0.01.
pub fn share(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() && x >= 0.0 => Ok(x),
        _ => Err("expected a non-negative number such as 0.01".into()),
    }
}

/// A front of plans, of which each is better in latency or in energy than all others.
#[derive(Serialize, JsonSchema)]
pub struct Front {
    /// The plans, by latency.
    plans: Vec<FrontPlan>,
    /// The latency in seconds below which all plans are listed; `null` if all are.
    complete_below_s: Option<f64>,
}

/// A plan of a front.
#[derive(Serialize, JsonSchema)]
struct FrontPlan {
    /// Time from a frame's input to its output, in seconds.
    latency_s: f64,
    /// Energy of a frame, in joules.
    energy_j: f64,
    /// Device, mode and first node of each stage.
    stages: Vec<String>,
}

pub fn main(args: &Args) -> Result<Answer> {
    if let Some(path) = &args.output {
        output::probe(Path::new(path))?;
    }
    let graph = model::load(&args.model)?;
    let text = input::text(Path::new(&args.cluster))?;
    let cluster = Cluster::parse(&text).map_err(|e| usage(format!("{}: {e}", args.cluster)))?;
    let network = Network::of(&graph).map_err(|e| {
        usage(format!("{e}; fix extents with graph-opt opt --dim NAME=N --fix-dims"))
    })?;
    let profiles = profiles(&cluster, Path::new(&args.cluster), &graph)?;
    let labels: Vec<&str> = network.nodes.iter().map(|&n| graph.label(n)).collect();
    let device = |name: &str| {
        let at = cluster.devices.iter().position(|d| d.name == name);
        at.ok_or_else(|| usage(format!("there is no device {name} in {}", args.cluster)))
    };
    let mut pins = annotated(args, &graph, &network, &cluster)?;
    for (node, name) in &args.pin {
        let named = graph.node_named(node).map_err(usage)?;
        let at = network.nodes.iter().position(|&n| n == named);
        let at = at.ok_or_else(|| usage(format!("{node} is constant, and runs on no device")))?;
        pins[at] = Some(device(name)?);
    }
    if let Some((count, name)) = &args.first {
        let n: usize = count
            .parse()
            .map_err(|_| usage(format!("--first: expected N=DEVICE, found {count}={name}")))?;
        let d = device(name)?;
        pins.iter_mut().take(n).for_each(|p| *p = Some(d));
    }
    let limits = Limits {
        latency: args.max_latency,
        interval: args.max_interval,
        energy: args.max_energy,
        memory: args.max_memory,
        stages: args.stages,
        run: args.max_nodes,
        one_mode: args.one_mode,
    };
    let aim = OBJECTIVES.iter().find(|o| o.0 == args.objective).map_or(Objective::Latency, |o| o.1);
    let codecs = codecs(args, &graph)?;
    let request = PlanRequest { objective: aim, limits, pins, codecs, reuse: args.reuse };
    let progress = Progress::new();
    progress.say("planning");
    let no_plan = |e: PlanningError| match e {
        PlanningError::NoPlan(e @ NoPlan::Invalid(_)) => usage(e),
        PlanningError::NoPlan(e @ (NoPlan::Violation(_) | NoPlan::Solver(_))) => internal(e),
        PlanningError::Rewriting(e) => internal(e),
        PlanningError::NoPlan(e) => {
            does_not_fit(e.describe(&|u| format!("unit {u} ({})", labels[u])))
        }
        e => usage(e),
    };
    if args.front {
        network.check_weights(&graph, &cluster, &request.limits).map_err(|e| no_plan(e.into()))?;
        let costs = ProfiledCosts::new(&graph, &network, &cluster, &profiles).map_err(usage)?;
        let problem = network.problem(&graph, &cluster, &costs, &request);
        let all = front(&problem, &Effort::default()).map_err(|e| no_plan(e.into()))?;
        drop(progress);
        let mut plans = Vec::new();
        let mut t = rows(&["latency ms", "energy J", "stages"]);
        for p in &all.plans {
            let stage = |s: &graph_opt_passes::devices::Stage| {
                let d = &cluster.devices[s.device];
                format!("{}@{} {}", d.name, d.modes[s.mode].name, labels[s.units.start])
            };
            let stages: Vec<String> = p.stages.iter().map(stage).collect();
            let (ms, j) = (p.total(Objective::Latency) * 1e3, p.total(Objective::Energy));
            t.add_row([format!("{ms:.3}"), format!("{j:.4}"), stages.join(", ")]);
            plans.push(FrontPlan { latency_s: ms / 1e3, energy_j: j, stages });
        }
        let whole = if all.whole_below.is_finite() {
            format!("complete for latencies below {:.3} ms", all.whole_below * 1e3)
        } else {
            "complete".to_owned()
        };
        let text = format!("{t}\n{} plans; the front is {whole}\n", all.plans.len());
        let complete_below_s = all.whole_below.is_finite().then_some(all.whole_below);
        return Ok(Answer::new(Front { plans, complete_below_s }, text));
    }
    if args.tiles && aim != Objective::Latency {
        return Err(usage("--tiles is for --objective latency"));
    }
    let file = choose_plan(
        &graph,
        &network,
        &cluster,
        &profiles,
        &request,
        args.tiles,
        &Effort::default(),
    );
    let file = file.map_err(no_plan)?;
    drop(progress);
    if let Some(path) = &args.output {
        let json = serde_json::to_string_pretty(&file).map_err(internal)?;
        output::whole(Path::new(path), format!("{json}\n").as_bytes())?;
    }
    let document = Document(serde_json::to_value(&file).map_err(internal)?);
    Ok(Answer::new(document, shown(&file)))
}

/// The forms in which values may be sent.
fn codecs(args: &Args, graph: &Graph) -> Result<AllowedCodecs> {
    let Some(path) = &args.codecs else { return Ok(AllowedCodecs::default()) };
    let codecs = AllowedCodecs::of(&crate::profile::read(path, graph)?, args.max_error);
    let bytes = |name: &str| graph.value(graph.find_value(name)?).ty.bytes();
    match codecs.known(&bytes) {
        (0, _) => Err(usage(format!(
            "{} does not say what codecs make of values: see graph-opt profile --codecs",
            path.display()
        ))),
        (all, known) if known < all => {
            let (path, other) = (path.display(), all - known);
            Err(usage(format!(
                "{path}: {other} of its {all} values are none of {}, or of other sizes there",
                args.model
            )))
        }
        _ => Ok(codecs),
    }
}

/// The device that the model's own annotations give each unit.
fn annotated(
    args: &Args,
    graph: &Graph,
    network: &Network,
    cluster: &Cluster,
) -> Result<Vec<Option<usize>>> {
    let mut pins = vec![None; network.nodes.len()];
    let asked = args.configuration.as_deref();
    if asked == Some("") {
        return Ok(pins);
    }
    let other = "(--configuration NAME takes another, --configuration '' none)";
    let found = stages(graph, asked).map_err(|e| usage(format!("{}: {e} {other}", args.model)))?;
    let Some(Stages { configuration: c, nodes, sharded }) = found else { return Ok(pins) };
    let bad =
        |what: String| usage(format!("{}: configuration {:?} {what} {other}", args.model, c.name));
    let unit: HashMap<_, _> = network.nodes.iter().enumerate().map(|(u, &n)| (n, u)).collect();
    for (node, stage) in &nodes {
        let Some(name) = c.devices.get(*stage) else {
            return Err(bad("does not name its devices".into()));
        };
        let Some(d) = cluster.devices.iter().position(|d| d.name == *name) else {
            return Err(bad(format!("has the device {name:?}, {} has not", args.cluster)));
        };
        if let Some(&u) = unit.get(node) {
            pins[u] = Some(d);
        }
    }
    let (all, name) = (nodes.len(), &c.name);
    say(format!("{all} nodes are pinned to devices by the model's configuration {name:?}"));
    if let Some(first) = sharded.first() {
        let (all, first) = (sharded.len(), graph.label(*first));
        say(format!(
            "tensors of {all} nodes ({first}, …) are cut over devices, which is not planned"
        ));
    }
    Ok(pins)
}

/// The profile of this model on each device that has one; they lie beside the cluster's file.
pub fn profiles(cluster: &Cluster, beside: &Path, graph: &Graph) -> Result<Vec<Option<Profile>>> {
    let folder = beside.parent().unwrap_or(Path::new(""));
    // Devices of one kind share a file.
    let mut known: HashMap<&str, Profile> = HashMap::new();
    let mut all = Vec::new();
    for d in &cluster.devices {
        all.push(match &d.speed {
            Speed::Macs { .. } => None,
            Speed::Profile(file) => Some(match known.get(&**file) {
                Some(profile) => profile.clone(),
                None => {
                    let read = crate::profile::read(&folder.join(file), graph)?;
                    known.entry(file).or_insert(read).clone()
                }
            }),
        });
    }
    Ok(all)
}

/// The graph that a plan is of: the model after the plan's passes.
pub fn rewritten(mut graph: Graph, passes: &str) -> Result<Graph> {
    if !passes.is_empty() {
        let pipeline = Pipeline::parse(passes).map_err(usage)?;
        Runner::default()
            .evaluator(&Folder)
            .run(&mut graph, &pipeline)
            .map_err(rewrite::failure)?;
    }
    Ok(graph)
}

/// A plan as a table.
pub fn shown(p: &PlanFile) -> String {
    let mut t =
        rows(&["device", "from", "to", "nodes", "receives", "transfer ms", "compute ms", "memory"]);
    for s in &p.stages {
        let name = |n: Option<&String>| n.cloned().unwrap_or_default();
        let (bytes, seconds) =
            s.receives.iter().fold((0, 0.0), |(b, t), r| (b + r.sent(), t + r.seconds));
        t.add_row([
            format!("{} {}", s.device, if s.mode == "default" { "" } else { &s.mode }),
            name(s.nodes.first()),
            name(s.nodes.last()),
            s.nodes.len().to_string(),
            ByteSize(bytes).to_string(),
            format!("{:.3}", seconds * 1e3),
            format!("{:.3}", s.compute_s * 1e3),
            ByteSize(s.memory_bytes).to_string(),
        ]);
    }
    let proof = if p.proved && p.rewrite.is_empty() {
        "proved to be the best".to_owned()
    } else if p.proved {
        "proved to be the best of the rewritten graph".to_owned()
    } else {
        format!("at most {:.2} % from the best", p.gap * 100.0)
    };
    let value = |x: f64| match p.objective.as_str() {
        "energy" => format!("{x:.4} J"),
        "memory" => ByteSize(x as u64).to_string(),
        _ => format!("{:.3} ms", x * 1e3),
    };
    let rewrite = match &*p.rewrite {
        "" => String::new(),
        passes => format!("rewritten by: {passes}\n"),
    };
    let coded = match p.codecs() {
        all if all.is_empty() => String::new(),
        all => {
            let of = |(c, n): (&Codec, &usize)| format!("{n} as {c}");
            format!("in other forms cross: {}\n", all.iter().map(of).collect::<Vec<_>>().join(", "))
        }
    };
    format!(
        "{t}\n{rewrite}{}: {}, lower bound {}, {proof}\n{coded}latency {:.3} ms, a frame every {:.3} ms, {:.4} J a frame\n",
        p.objective,
        value(p.value),
        value(p.bound),
        p.latency_s * 1e3,
        p.interval_s * 1e3,
        p.energy_j
    )
}
