//! `graph-opt plan`

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use graph_opt_backends::Folder;
use graph_opt_ir::Graph;
use graph_opt_ir::onnx::devices::{Stages, stages};
use graph_opt_passes::analysis::Interpreter;
use graph_opt_passes::devices::cluster::{
    AllowedCodecs, Cluster, Codec, DeviceSpec, Profile, Speed, seconds,
};
use graph_opt_passes::devices::files::{OBJECTIVES, PlanFile, SecondDevice};
use graph_opt_passes::devices::graph::{
    LeastMemory, Network, PlanRequest, PlanningError, ProfiledCosts, by_devices, choose_plan,
    least_memory, on_two_devices,
};
use graph_opt_passes::devices::{
    DevicePlan, Effort, Front as FoundFront, Limits, NoPlan, Objective, Reason, Stage, front,
};
use graph_opt_passes::fix_dims::FixDims;
use graph_opt_passes::simplify::Simplify;
use graph_opt_passes::{ByteSize, Pipeline, Runner, count};
use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::{Answer, Document};
use crate::dims::{self, Dims};
use crate::failure::{Result, does_not_fit, internal, say, usage};
use crate::model;
use crate::progress::Progress;
use crate::report::split::FRAMES;
use crate::report::{self, AxisRow, FrontPicture, Marks, PointRow, ReportFile};
use crate::table::rows;
use crate::{input, output, rewrite};

#[derive(clap::Args)]
pub struct Args {
    /// The model
    model: String,
    #[command(flatten)]
    dims: Dims,
    /// The devices and links
    #[arg(long, value_name = "FILE.toml")]
    cluster: String,
    /// What is to be best
    #[arg(long, default_value = "latency", value_parser = OBJECTIVES.map(|o| o.0))]
    objective: String,
    /// Where to write the plan as JSON; with --front the front, as CSV if the name ends in .csv
    #[arg(short, long, value_name = "FILE")]
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
    /// Also plan for 1, 2, … devices, at most 8, and print what they reach; without it, this is done for
    /// small models and up to 4 devices
    #[arg(long, conflicts_with_all = ["front", "reuse"])]
    by_devices: bool,
    #[command(flatten)]
    report: ReportFile,
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
    /// The stages, in the order in which they run.
    stages: Vec<FrontStage>,
}

/// A stage of a plan of a front.
#[derive(Serialize, JsonSchema)]
struct FrontStage {
    /// Name of the device.
    device: String,
    /// Name of the device's mode.
    mode: String,
    /// Name of the first node.
    first: String,
    /// Number of nodes.
    nodes: usize,
}

impl Front {
    /// Of plans, with the device and the first node of each stage.
    fn of<'a>(front: &FoundFront, stage: &dyn Fn(&Stage) -> (&'a DeviceSpec, &'a str)) -> Self {
        let stage = |s: &Stage| {
            let (device, first) = stage(s);
            let (device, mode) = (device.name.clone(), device.modes[s.mode].name.clone());
            FrontStage { device, mode, first: first.to_owned(), nodes: s.units.len() }
        };
        let plan = |p: &DevicePlan| FrontPlan {
            latency_s: p.total(Objective::Latency),
            energy_j: p.total(Objective::Energy),
            stages: p.stages.iter().map(stage).collect(),
        };
        let complete_below_s = Some(front.whole_below).filter(|w| w.is_finite());
        Self { plans: front.plans.iter().map(plan).collect(), complete_below_s }
    }

    /// As a picture, with the plan that was chosen.
    fn picture(&self, chosen: Option<&PlanFile>) -> FrontPicture {
        let axis = |name: &str, unit: &str| AxisRow { name: name.into(), unit: unit.into() };
        let point = |p: &FrontPlan| {
            let stages: Vec<String> =
                p.stages.iter().map(|s| format!("{}: {}", s.place(), s.nodes)).collect();
            let label = stages.join(", ");
            PointRow { x: p.latency_s, y: p.energy_j, label, chosen: false }
        };
        let mut points: Vec<PointRow> = self.plans.iter().map(point).collect();
        points.extend(chosen.map(|p| PointRow {
            x: p.latency_s,
            y: p.energy_j,
            label: format!("best {}", p.objective),
            chosen: true,
        }));
        let note = match self.complete_below_s {
            Some(s) => format!("all plans below {:.3} ms", s * 1e3),
            None => "all plans".to_owned(),
        };
        let title = "plans: latency against energy".to_owned();
        FrontPicture {
            title,
            note,
            x: axis("latency", "s"),
            y: axis("energy of a frame", "J"),
            points,
        }
    }

    fn text(&self) -> String {
        let mut t = rows(&["latency ms", "energy J", "nodes of the stages"]);
        for p in &self.plans {
            let stages: Vec<String> =
                p.stages.iter().map(|s| format!("{}: {}", s.place(), s.nodes)).collect();
            let (ms, j) = (p.latency_s * 1e3, p.energy_j);
            t.add_row([format!("{ms:.3}"), format!("{j:.4}"), short(&stages.join(", "), 50)]);
        }
        let whole = match self.complete_below_s {
            Some(s) => format!("complete for latencies below {:.3} ms", s * 1e3),
            None => "complete".to_owned(),
        };
        format!("{t}\n{}; the front is {whole}\n", count(self.plans.len(), "plan"))
    }

    /// A line for each plan.
    fn csv(&self) -> String {
        let mut text = String::from("latency_s,energy_j,stages\n");
        for p in &self.plans {
            let stage = |s: &FrontStage| format!("{} {}", s.place(), s.first);
            let stages = p.stages.iter().map(stage).collect::<Vec<_>>().join("; ");
            let stages = stages.replace('"', "\"\"");
            text.push_str(&format!("{},{},\"{stages}\"\n", p.latency_s, p.energy_j));
        }
        text
    }
}

impl FrontStage {
    /// The device, and its mode if that has a name.
    fn place(&self) -> String {
        match &*self.mode {
            "default" => self.device.clone(),
            mode => format!("{}@{mode}", self.device),
        }
    }
}

pub fn main(args: &Args) -> Result<Answer> {
    if let Some(path) = &args.output {
        output::probe(Path::new(path))?;
    }
    args.report.probe()?;
    let (graph, network, first) = network(model::load(&args.model)?, &args.dims)?;
    let text = input::text(Path::new(&args.cluster))?;
    let cluster = Cluster::parse(&text).map_err(|e| usage(format!("{}: {e}", args.cluster)))?;
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
    let model =
        Planned { graph: &graph, network: &network, cluster: &cluster, profiles: &profiles };
    let no_plan = |e: PlanningError| match e {
        PlanningError::NoPlan(e @ NoPlan::Invalid(_)) => usage(e),
        PlanningError::NoPlan(e @ (NoPlan::Violation(_) | NoPlan::Solver(_))) => internal(e),
        PlanningError::Rewriting(e) => internal(e),
        PlanningError::NoPlan(e) => does_not_fit(model.refusal(e, &request, &progress)),
        e => usage(e),
    };
    let costs = ProfiledCosts::new(&graph, &network, &cluster, &profiles).map_err(usage)?;
    if args.front {
        network.check_weights(&graph, &cluster, &request.limits).map_err(|e| no_plan(e.into()))?;
        let problem = network.problem(&graph, &cluster, &costs, &request);
        let all = front(&problem, &Effort::default()).map_err(|e| no_plan(e.into()))?;
        drop(progress);
        let found = Front::of(&all, &|s| (&cluster.devices[s.device], labels[s.units.start]));
        if let Some(path) = &args.output {
            let text = match path.ends_with(".csv") {
                true => found.csv(),
                false => serde_json::to_string_pretty(&found).map_err(internal)? + "\n",
            };
            output::whole(Path::new(path), text.as_bytes())?;
        }
        args.report.write(|| {
            let mut document = report::Document::new(format!("plan {}", args.model));
            document.fronts.push(found.picture(None));
            document.add("model", &graph, &Marks::default(), &Interpreter);
            document
        })?;
        let text = found.text();
        return Ok(Answer::new(found, text));
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
    let mut file = file.map_err(no_plan)?;
    // For several frames in flight, as the model is, and where that does not take long.
    let plain = file.rewrite.is_empty() && !args.reuse;
    let quick = (2..=4).contains(&cluster.devices.len()) && labels.len() <= 500;
    if plain && (quick || args.by_devices) {
        let (effort, all) = (Effort::default(), (&graph, &network, &cluster));
        file.by_devices =
            by_devices(all.0, all.1, all.2, &costs, &request, &effort).map_err(no_plan)?;
    } else if args.by_devices {
        say("there is no table by devices: the model is planned in a rewritten form only");
    }
    if plain {
        file.second_device = on_two_devices(&graph, &network, &cluster, &costs, &request, &file);
    }
    if args.report.is_some() {
        // The whole front only where it does not take long.
        let problem = (plain && quick).then(|| network.problem(&graph, &cluster, &costs, &request));
        let all = problem.and_then(|p| front(&p, &Effort::default()).ok());
        let found =
            all.map(|f| Front::of(&f, &|s| (&cluster.devices[s.device], labels[s.units.start])));
        let planned = rewritten(graph.clone(), &file.rewrite)?;
        args.report.write(|| {
            let mut document = report::Document::new(format!("plan {}", args.model));
            document.plan(&file, FRAMES);
            document.fronts.extend(found.map(|f| f.picture(Some(&file))));
            let marks = Marks::of_plan(&planned, &file);
            document.add("model", &planned, &marks, &Interpreter);
            document
        })?;
    }
    drop(progress);
    let passes = [first, file.rewrite];
    file.rewrite = passes.into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join(",");
    if let Some(path) = &args.output {
        let json = serde_json::to_string_pretty(&file).map_err(internal)?;
        output::whole(Path::new(path), format!("{json}\n").as_bytes())?;
    }
    let document = Document(serde_json::to_value(&file).map_err(internal)?);
    Ok(Answer::new(
        document,
        shown(&file) + &idle(&file, aim, cluster.devices.len()) + &counts(&file),
    ))
}

/// The model as units, with the passes by which it became so. Stages have known sizes: symbolic extents
/// become those that are given or assumed, and where shape arithmetic in the model gives sizes, it is
/// simplified.
pub fn network(mut graph: Graph, dims: &Dims) -> Result<(Graph, Network, String)> {
    let mut passes = Pipeline::default();
    let sized = dims.sized(&graph)?;
    if !sized.extents.is_empty() {
        say(format!("planned for {}, which the stages declare", sized.text()));
        let fix = Pipeline::default().then(FixDims::new(sized.extents));
        graph = rewritten(graph, &fix.to_string())?;
        passes = fix;
    }
    let why = match Network::of(&graph) {
        Ok(network) => return Ok((graph, network, passes.to_string())),
        Err(why) => why,
    };
    graph = rewritten(graph, &Pipeline::default().then(Simplify).to_string())?;
    let network = Network::of(&graph).map_err(|e| dims::no_size(&e, &graph))?;
    say(format!("the model is simplified first, as the size of {} is unknown before", why.name));
    Ok((graph, network, passes.then(Simplify).to_string()))
}

/// What is planned.
struct Planned<'a> {
    graph: &'a Graph,
    network: &'a Network,
    cluster: &'a Cluster,
    profiles: &'a [Option<Profile>],
}

impl Planned<'_> {
    fn label(&self, unit: usize) -> String {
        short(self.graph.label(self.network.nodes[unit]), 22)
    }

    /// Why there is no plan, and with what there would be one.
    fn refusal(&self, e: NoPlan, request: &PlanRequest, progress: &Progress) -> String {
        let reasons = match e {
            NoPlan::Infeasible(reasons) => reasons,
            NoPlan::NotFound(least) => {
                let (aim, least) = (request.objective, request.objective.amount(least));
                return format!("no plan was found by the search; {aim} is at least {least}");
            }
            e => return e.to_string(),
        };
        let mut advice = String::new();
        if reasons.iter().any(Reason::is_of_memory) {
            progress.say("looking for the memory that would do");
            let Self { graph, network, cluster, profiles } = self;
            let effort = Effort::default();
            let least = least_memory(graph, network, cluster, profiles, request, &effort);
            advice = match least {
                Some(least) => format!("\n{}", self.enough(&least, request)),
                None => {
                    "\nno memory of the devices would do; are the limits and pins meant?".into()
                }
            };
        }
        for r in &reasons {
            if let Reason::Limit { objective, least, .. } = *r {
                advice = format!("\ntry {}", raised(objective, least));
            }
        }
        NoPlan::Infeasible(reasons).describe(&|u| self.label(u)) + &advice
    }

    /// The least memory that would do, and where to say so.
    fn enough(&self, least: &LeastMemory, request: &PlanRequest) -> String {
        let LeastMemory { size, bytes, plan } = least;
        let all = self.cluster.devices.len();
        let devices = if all == 1 { "a device".into() } else { format!("{all} devices") };
        let each = if all == 1 { "" } else { " each" };
        let tiles = if plan.rewrite.is_empty() { "" } else { ", with tiles" };
        let mut settings = Vec::new();
        if self.cluster.devices.iter().any(|d| d.memory < *bytes) {
            settings.push(format!("memory = \"{size}\""));
        }
        if request.limits.memory.is_some_and(|m| m < *bytes) {
            settings.push(format!("--max-memory {size}"));
        }
        let settings = settings.join(" and ");
        format!("{devices} of {}{each} would do{tiles}: {settings}", ByteSize(*bytes))
    }
}

/// Why devices are left without work; empty if none is.
fn idle(plan: &PlanFile, aim: Objective, devices: usize) -> String {
    let used = plan.stages.iter().map(|s| &*s.device).collect::<BTreeSet<&str>>().len();
    if used == devices {
        return String::new();
    }
    let best = match aim {
        Objective::Latency => "is quickest",
        Objective::Energy => "needs least energy",
        _ => "does best",
    };
    let Some(SecondDevice { value, receives_bytes }) = &plan.second_device else {
        let idle = count(devices - used, "device");
        return match plan.proved {
            true => format!("{idle} without work: more do not improve the {}\n", plan.objective),
            false => format!("{idle} without work in the best plan found\n"),
        };
    };
    let more = aim.amount((value - plan.value).max(0.0));
    let mut text = format!(
        "one device {best}: a second adds {more} (receiving {})\n",
        ByteSize(*receives_bytes)
    );
    if let Some(c) = plan.by_devices.last().filter(|c| c.devices > 1 && aim != Objective::Interval)
    {
        text.push_str(&format!(
            "for more frames a second: --objective throughput uses {}\n",
            c.devices
        ));
    }
    text
}

/// The option that raises a limit to what can be reached, rounded up to three digits.
fn raised(objective: Objective, least: f64) -> String {
    let (option, unit, scale) = match objective {
        Objective::Latency => ("--max-latency", "ms", 1e3),
        Objective::Interval => ("--max-interval", "ms", 1e3),
        _ => ("--max-energy", "", 1.0),
    };
    let amount = least * scale;
    let step = 10f64.powf(amount.max(f64::MIN_POSITIVE).log10().floor() - 2.0);
    let digits = (-step.log10()).clamp(0.0, 12.0) as usize;
    format!("{option} {:.digits$}{unit}", (amount / step).ceil() * step)
}

/// A name of at most so many characters, without its middle if it is longer.
pub fn short(name: &str, most: usize) -> String {
    let all: Vec<char> = name.chars().collect();
    if all.len() <= most {
        return name.to_owned();
    }
    let (head, tail) = (most.div_ceil(2) - 1, most / 2);
    all[..head].iter().chain(&['…']).chain(&all[all.len() - tail..]).collect()
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
    let header = ["device", "from", "nodes", "receives", "sent ms", "run ms", "memory"];
    let mut t = rows(&header);
    for s in &p.stages {
        let (bytes, seconds) =
            s.receives.iter().fold((0, 0.0), |(b, t), r| (b + r.sent(), t + r.seconds));
        let place = match &*s.mode {
            "default" => s.device.clone(),
            mode => format!("{}@{mode}", s.device),
        };
        t.add_row([
            short(&place, 12),
            s.nodes.first().map_or(String::new(), |n| short(n, 14)),
            s.nodes.len().to_string(),
            ByteSize(bytes).to_string(),
            format!("{:.3}", seconds * 1e3),
            format!("{:.3}", s.compute_s * 1e3),
            ByteSize(s.memory_bytes).to_string(),
        ]);
    }
    let aim = OBJECTIVES.iter().find(|o| o.0 == p.objective).map_or(Objective::Latency, |o| o.1);
    let value = match (p.proved, &*p.rewrite) {
        (true, "") => format!("{}, proved to be the best", aim.amount(p.value)),
        (true, _) => {
            format!("{}, proved to be the best of the rewritten graph", aim.amount(p.value))
        }
        (false, _) => format!(
            "{}, lower bound {}, at most {:.2} % from the best",
            aim.amount(p.value),
            aim.amount(p.bound),
            p.gap * 100.0
        ),
    };
    let rewrite = match &*p.rewrite {
        "" => String::new(),
        passes => format!("rewritten by: {}\n", passes.replace("},", "},\n  ")),
    };
    let coded = match p.codecs() {
        all if all.is_empty() => String::new(),
        all => {
            let of = |(c, n): (&Codec, &usize)| format!("{n} as {c}");
            format!("in other forms cross: {}\n", all.iter().map(of).collect::<Vec<_>>().join(", "))
        }
    };
    format!(
        "{t}\n{rewrite}{}: {value}\n{coded}latency {:.3} ms, a frame every {:.3} ms, {:.4} J a frame\n",
        p.objective,
        p.latency_s * 1e3,
        p.interval_s * 1e3,
        p.energy_j
    )
}

/// What plans on 1, 2, … devices reach, as a table; empty if there are no several.
fn counts(p: &PlanFile) -> String {
    if p.by_devices.len() < 2 {
        return String::new();
    }
    let mut t = rows(&["devices", "latency ms", "a frame every ms", "energy J", "most memory"]);
    for c in &p.by_devices {
        t.add_row([
            c.devices.to_string(),
            format!("{:.3}", c.latency_s * 1e3),
            format!("{:.3}", c.interval_s * 1e3),
            format!("{:.4}", c.energy_j),
            ByteSize(c.memory_bytes).to_string(),
        ]);
    }
    format!("\nbest intervals between frames, by number of devices:\n{t}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_raised_to_what_can_be_reached() {
        assert_eq!(raised(Objective::Latency, 0.130_638), "--max-latency 131ms");
        assert_eq!(raised(Objective::Interval, 0.000_012_345), "--max-interval 0.0124ms");
        assert_eq!(raised(Objective::Energy, 2.0), "--max-energy 2.00");
    }

    #[test]
    fn long_names_lose_their_middle() {
        assert_eq!(short("Conv_175/tile1of2", 14), "Conv_1…ile1of2");
        assert_eq!(short("Conv_175", 14), "Conv_175");
    }
}
