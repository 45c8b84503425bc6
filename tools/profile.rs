//! `graph-opt profile`

use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use graph_opt_backends::codec::{decode, encode};
use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::inputs::{Extents, required};
use graph_opt_backends::stages::{Values, bytes, take};
use graph_opt_backends::tolerance::change;
use graph_opt_backends::{Backend, Executable};
use graph_opt_ir::{Graph, Tensor, ValueId};
use graph_opt_passes::devices::cluster::{
    Codec, CodecMeasurement, KernelTimes, NodeTime, Profile, StretchTime, ValueCodecs, middle,
};
use graph_opt_passes::devices::graph::Network;
use serde::Serialize;

use crate::answer::{Answer, Document};
use crate::cpufreq::{Frequencies, shown};
use crate::dims::Dims;
use crate::energy::{Meter, Period, PowerLog, seconds_since_1970};
use crate::failure::{Failure, Kind, Result, internal, say, unsupported, usage};
use crate::input::unread;
use crate::inputs::Inputs;
use crate::measure::{KernelRun, kernels};
use crate::onnxruntime::LEVELS;
use crate::plan::network;
use crate::progress::Progress;
use crate::report::events::Events;
use crate::run::{prepare_failure, run_failure};
use crate::verify::{BACKENDS, backend};
use crate::{input, model, output, tensors};

#[derive(clap::Args)]
pub struct Args {
    /// The model
    model: String,
    /// Where to write the profile, as CSV if the name ends in .csv; without it, it goes to standard
    /// output
    #[arg(short, long, value_name = "FILE.json")]
    output: Option<PathBuf>,
    /// Where to run it. On wgpu each node is run as a model of its own, copies to the device and
    /// back included. onnxruntime is the one of the Python that GRAPH_OPT_PYTHON names, or python3
    #[arg(long, default_value = "cpu", value_name = "NAME", value_parser = BACKENDS)]
    backend: String,
    /// What ONNX Runtime may optimize: its graph_optimization_level. Times of nodes that it fuses stand
    /// with one of them
    #[arg(long, default_value = "all", value_name = "LEVEL", value_parser = LEVELS)]
    ort_level: String,
    /// Threads of the CPU backend or of ONNX Runtime
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// Runs after one that warms up
    #[arg(long, default_value_t = 9, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Measure every stretch of up to N consecutive units, too, each run as a model of its own
    #[arg(long, default_value_t = 0, value_name = "N")]
    stretches: usize,
    /// What stretches are made of: nodes, or whatever lies from one point that all paths through
    /// the model pass to the next
    #[arg(long, default_value = "nodes", value_name = "WHAT", value_parser = ["nodes", "points"])]
    units: String,
    /// Measure, too, what codecs make of the values that cross between units: bytes, time, and how much
    /// they change the outputs. `graph-opt plan --codecs` reads it
    #[arg(long, value_name = "CODEC,…", value_delimiter = ',', value_parser = Codec::ALL.map(Codec::name))]
    codecs: Vec<String>,
    /// Inputs of several frames: a folder of .npz files, or of folders with a .npy or .pb file for each
    /// input. Nodes are timed with all of them, stretches and codecs with the first
    #[arg(long, value_name = "DIR", conflicts_with = "inputs", help_heading = "Inputs")]
    input_folder: Option<PathBuf>,
    /// The log that a power meter writes meanwhile: a CSV with the columns `time`, in seconds since 1970,
    /// and `watts`. It is read at the end, and gives the energy of each node and stretch, which are
    /// then run for a second each
    #[arg(long, value_name = "FILE.csv")]
    power: Option<PathBuf>,
    /// Set the processor to each of these frequencies (all, or such as 1.2GHz,600MHz), the highest for
    /// the profile, and print the modes of the device for cluster.toml. Takes the right to write
    /// Linux's cpufreq settings, which are set back at the end
    #[arg(long, value_name = "FREQ,…", value_delimiter = ',')]
    frequencies: Vec<String>,
    /// Where Linux shows the frequencies of the processor
    #[arg(
        long,
        default_value = "/sys/devices/system/cpu/cpufreq",
        value_name = "DIR",
        hide = true
    )]
    cpufreq: PathBuf,
    /// Where Linux shows the energy counters of the processor
    #[arg(long, default_value = "/sys/class/powercap", value_name = "DIR", hide = true)]
    powercap: PathBuf,
    /// Also write the nodes one after the other, each for its median time, as a trace for Perfetto or Chrome
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
    #[command(flatten)]
    dims: Dims,
    #[command(flatten)]
    inputs: Inputs,
}

/// Profiles are not larger than this.
const LIMIT: u64 = 256 << 20;

/// Reads a profile of this model: CSV if the name ends so, else JSON, ours or ONNX Runtime's.
pub fn read(path: &Path, graph: &Graph) -> Result<Profile> {
    let at = |e: &dyn std::fmt::Display| usage(format!("{}: {e}", path.display()));
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|e| unread(path, &e))?;
    let read = file.take(LIMIT).read_to_string(&mut text).map_err(|e| at(&e))?;
    if read as u64 == LIMIT {
        return Err(at(&"larger than any profile"));
    }
    if KernelTimes::recognises(&text) {
        return attributed(&text, graph, &path.display());
    }
    let profile = if is_csv(path) { Profile::csv(&text) } else { Profile::json(&text) };
    profile.map_err(|e| at(&e))
}

/// A profile from the text that ONNX Runtime wrote; says how much of its time is left out.
fn attributed(text: &str, graph: &Graph, name: &dyn std::fmt::Display) -> Result<Profile> {
    let kernels = KernelTimes::parse(text).map_err(|e| usage(format!("{name}: {e}")))?;
    let times = kernels.attribute(graph).map_err(|e| usage(format!("{name}: {e}")))?;
    if let Some(largest) = times.largest {
        let share = times.lost * 100.0;
        say(format!(
            "{name}: {share:.1} % of the time is left out, as of {largest}: no node has it"
        ));
    }
    Ok(times.profile)
}

fn is_csv(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "csv")
}

/// What was measured of something.
#[derive(Clone, Default)]
struct Sample {
    seconds: f64,
    spread: f64,
    count: u64,
    joules: Option<f64>,
    /// When it ran for the power meter, and how often.
    period: Option<(Period, u32)>,
}

impl Sample {
    fn of(mut all: Vec<f64>) -> Self {
        let (seconds, spread) = middle(&mut all);
        Self { seconds, spread, count: all.len() as u64, ..Self::default() }
    }

    fn node(self, name: &str) -> NodeTime {
        let Self { seconds, spread, count, joules, .. } = self;
        NodeTime { name: name.into(), seconds, spread, count, joules }
    }
}

struct Bench<'a> {
    graph: &'a Arc<Graph>,
    network: Network,
    backend: Box<dyn Backend>,
    meter: Option<Meter>,
    /// Whether a power meter logs meanwhile.
    logged: bool,
    runs: u16,
    /// Inputs of the model, for each frame.
    frames: Vec<Vec<Tensor>>,
}

/// Consecutive units as a model, and its inputs.
struct Part {
    graph: Arc<Graph>,
    ready: Box<dyn Executable>,
    inputs: Vec<Tensor>,
}

impl Part {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.ready.run(inputs, self.graph.outputs()).map_err(run_failure)
    }

    fn name(&self, v: ValueId) -> String {
        self.graph.value(v).name.to_string()
    }
}

pub fn main(args: &Args) -> Result<Answer> {
    for path in args.output.iter().chain(&args.trace) {
        output::probe(path)?;
    }
    let (graph, network, _) = network(model::load(&args.model)?, &args.dims)?;
    let graph = Arc::new(graph);
    let csv = args.output.as_deref().is_some_and(is_csv);
    if csv && !args.codecs.is_empty() {
        return Err(usage("what codecs make of values is written as JSON only"));
    }
    let frames = frames(args, &graph)?;
    if args.backend == "onnxruntime" {
        return in_onnxruntime(args, &graph, frames);
    }
    let modes = Modes::begin(args)?;
    let cpu = Cpu { threads: args.threads.into(), ..Cpu::default() };
    let on_cpu = args.backend == "cpu";
    let progress = Progress::new();
    // Graphics cards have counters of their own.
    let logged = args.power.is_some();
    let meter = match on_cpu {
        _ if logged => Err(String::new()),
        true => Meter::open(&args.powercap),
        false => Err("not on wgpu".into()),
    };
    if let Err(why) = &meter
        && !logged
    {
        say(format!("energy is not measured: {why}"));
    }
    let backend = if on_cpu { Box::new(cpu.clone()) } else { backend(&args.backend)? };
    let (meter, runs) = (meter.ok(), args.runs);
    let bench = Bench { graph: &graph, network, backend, meter, logged, runs, frames };
    let all: Vec<Range<usize>> = (0..bench.network.nodes.len()).map(|u| u..u + 1).collect();
    let nodes_now = || bench.nodes(on_cpu.then_some(&cpu), &all, &progress);
    let mut nodes = nodes_now()?;
    let mut longer: Vec<(Range<usize>, Sample)> = Vec::new();
    let label = |u: usize| graph.label(bench.network.nodes[u]);
    let mut add = |units: Range<usize>, sample: Sample| longer.push((units, sample));
    let units = if args.units == "points" { bench.network.stretches(&graph) } else { all.clone() };
    if args.stretches > 0 {
        // Single nodes are known.
        bench.stretches(&units, args.stretches, &|u| u.len() > 1, &progress, &mut add)?;
    }
    let codecs: Vec<Codec> = args.codecs.iter().filter_map(|c| Codec::from_name(c)).collect();
    let values = match codecs[..] {
        [] => Vec::new(),
        _ => bench.codecs(&units, &codecs, &progress)?,
    };
    let mut slower = modes.each_but_the_first(nodes_now)?;
    drop(progress);
    if let Some(path) = &args.power {
        let log = PowerLog::parse(&input::text(path)?);
        let log = log.map_err(|e| usage(format!("{}: {e}", path.display())))?;
        let others = longer.iter_mut().map(|l| &mut l.1).chain(slower.iter_mut().flatten());
        for sample in nodes.iter_mut().chain(others) {
            if let Some((period, runs)) = sample.period {
                let joules = log.joules(period);
                let joules = joules.map_err(|e| usage(format!("{}: {e}", path.display())))?;
                sample.joules = Some(joules / f64::from(runs));
            }
        }
    }
    let stretch = |(units, sample): (Range<usize>, Sample)| {
        let Sample { seconds, spread, count, joules, .. } = sample;
        let (first, last) = (label(units.start).into(), label(units.end - 1).into());
        let nodes = Some(units.len());
        StretchTime { first, last, nodes, seconds, spread, count, joules }
    };
    let stretches = longer.into_iter().map(stretch).collect();
    let totals = std::iter::once(&nodes).chain(&slower).map(|all| total(all));
    let modes = modes.rows(&totals.collect::<Vec<_>>());
    let nodes = nodes.into_iter().enumerate().map(|(u, s)| s.node(label(u))).collect();
    let threads = if on_cpu { args.threads } else { 0 };
    let backend = args.backend.clone();
    let profile = Profile { version: 1, backend, threads, runs, nodes, stretches, values };
    written(args, &profile, modes)
}

/// The inputs of each frame: those of a folder, or those of one frame that was given or is random.
fn frames(args: &Args, graph: &Graph) -> Result<Vec<Vec<Tensor>>> {
    /// Frames are in memory all at once.
    const MOST_FRAMES: usize = 1000;
    let whole = |given: &[(String, Tensor)]| tensors::inputs(graph, given, &Extents::default(), 0);
    let Some(folder) = &args.input_folder else {
        return Ok(vec![whole(&args.inputs.read(graph, &Extents::default())?)?]);
    };
    let entries = std::fs::read_dir(folder).map_err(|e| unread(folder, &e))?;
    let entries = entries.map(|e| e.map(|e| e.path()).map_err(|e| unread(folder, &e)));
    let mut paths = entries.collect::<Result<Vec<_>>>()?;
    paths.retain(|p| p.is_dir() || p.extension().is_some_and(|e| e == "npz"));
    paths.sort();
    let found = paths.len();
    if found == 0 || found > MOST_FRAMES {
        return Err(usage(format!(
            "{}: expected 1 to {MOST_FRAMES} .npz files or folders of inputs, found {found}",
            folder.display()
        )));
    }
    let frame = |path: &PathBuf| {
        let given = tensors::read_all(path, graph)?;
        if given.is_empty() {
            return Err(usage(format!("{}: it has no input of the model", path.display())));
        }
        whole(&given)
    };
    paths.iter().map(frame).collect()
}

/// The nodes as ONNX Runtime times them.
fn in_onnxruntime(args: &Args, graph: &Graph, frames: Vec<Vec<Tensor>>) -> Result<Answer> {
    if args.stretches > 0 || !args.codecs.is_empty() || args.power.is_some() {
        return Err(usage(
            "stretches, codecs and power are measured with --backend cpu or wgpu, not in ONNX Runtime",
        ));
    }
    let progress = Progress::new();
    progress.say("running in ONNX Runtime");
    let (threads, runs) = (args.threads, args.runs);
    let modes = Modes::begin(args)?;
    let now = || {
        let text = kernels(graph, &frames, &KernelRun { level: &args.ort_level, threads, runs })?;
        attributed(&text, graph, &args.model)
    };
    let profile = now()?;
    let slower = modes.each_but_the_first(now)?;
    drop(progress);
    let total =
        |p: &Profile| Total { seconds: p.nodes.iter().map(|n| n.seconds).sum(), joules: None };
    let totals: Vec<Total> = std::iter::once(&profile).chain(&slower).map(total).collect();
    written(args, &Profile { threads, runs, ..profile }, modes.rows(&totals))
}

/// The frequencies that the model is profiled at.
struct Modes {
    set: Option<Frequencies>,
    /// In kHz, the highest first.
    all: Vec<u64>,
}

/// What a run of all nodes takes.
struct Total {
    seconds: f64,
    joules: Option<f64>,
}

fn total(nodes: &[Sample]) -> Total {
    let seconds = nodes.iter().map(|n| n.seconds).sum();
    Total { seconds, joules: nodes.iter().map(|n| n.joules).sum() }
}

/// A mode of a device, as `cluster.toml` has it.
#[derive(Serialize)]
struct ModeRow {
    name: String,
    /// Relative to the highest frequency.
    speed: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    watts: Option<f64>,
}

impl Modes {
    /// Sets the highest of the frequencies, if any are asked for.
    fn begin(args: &Args) -> Result<Self> {
        if args.frequencies.is_empty() {
            return Ok(Self { set: None, all: Vec::new() });
        }
        if args.backend == "wgpu" {
            return Err(usage("--frequencies are of the processor; profile on cpu or onnxruntime"));
        }
        let set = Frequencies::open(&args.cpufreq).map_err(unsupported)?;
        let all = set.named(&args.frequencies).map_err(usage)?;
        all.first().map_or(Ok(()), |&f| set.set(f)).map_err(unsupported)?;
        Ok(Self { set: Some(set), all })
    }

    /// What is measured at each of the other frequencies.
    fn each_but_the_first<T>(&self, measure: impl Fn() -> Result<T>) -> Result<Vec<T>> {
        let one = |&f: &u64| {
            self.set.as_ref().map_or(Ok(()), |s| s.set(f)).map_err(unsupported)?;
            measure()
        };
        self.all.iter().skip(1).map(one).collect()
    }

    /// The modes, given what a run takes in each.
    fn rows(&self, totals: &[Total]) -> Vec<ModeRow> {
        let row = |(&f, t): (&u64, &Total)| ModeRow {
            name: shown(f),
            speed: totals[0].seconds / t.seconds,
            watts: t.joules.map(|j| j / t.seconds),
        };
        self.all.iter().zip(totals).map(row).collect()
    }
}

impl fmt::Display for ModeRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{ name = {:?}, speed = {:.4}", self.name, self.speed)?;
        self.watts.map_or(Ok(()), |w| write!(f, ", watts = {w:.3}"))?;
        f.write_str(" }")
    }
}

/// The profile as the answer, and in the file that was asked for; then the modes.
fn written(args: &Args, profile: &Profile, modes: Vec<ModeRow>) -> Result<Answer> {
    let csv = args.output.as_deref().is_some_and(is_csv);
    let mut text = if csv { profile.to_csv() } else { profile.to_json() }.map_err(internal)?;
    let mut document = serde_json::to_value(profile).map_err(internal)?;
    if let Some(path) = &args.trace {
        let (mut events, mut at) = (Events::default(), 0.0);
        for n in &profile.nodes {
            let end = at + n.seconds;
            let args = serde_json::json!({ "spread_us": n.spread * 1e6, "runs": n.count });
            events.add(&profile.backend, &n.name, (at, end), args);
            at = end;
        }
        output::whole(path, events.text(&format!("profile {}", args.model)).as_bytes())?;
    }
    if let Some(path) = &args.output {
        output::whole(path, text.as_bytes())?;
        text = String::new();
    }
    if !modes.is_empty() {
        let rows: Vec<String> = modes.iter().map(ToString::to_string).collect();
        let line = format!("mode = [{}]\n", rows.join(", "));
        document["modes"] = serde_json::to_value(modes).map_err(internal)?;
        // Standard output may be the profile.
        match args.output {
            Some(_) => text = line,
            None => say(line.trim_end()),
        }
    }
    Ok(Answer::new(Document(document), text))
}

impl Bench<'_> {
    /// Each node: on the CPU in runs of the whole model, and alone for its energy; elsewhere alone.
    fn nodes(
        &self,
        cpu: Option<&Cpu>,
        all: &[Range<usize>],
        progress: &Progress,
    ) -> Result<Vec<Sample>> {
        let mut alone = Vec::new();
        if cpu.is_none() || self.meter.is_some() || self.logged {
            self.stretches(all, 1, &|_| true, progress, &mut |_, sample| alone.push(sample))?;
        }
        let Some(cpu) = cpu else { return Ok(alone) };
        let mut nodes = self.in_place(cpu, self.graph.clone(), progress)?;
        nodes.iter_mut().zip(alone).for_each(|(n, a)| {
            (n.joules, n.period) = (a.joules, a.period);
        });
        Ok(nodes)
    }

    /// Each node in runs of the whole model.
    fn in_place(&self, cpu: &Cpu, graph: Arc<Graph>, progress: &Progress) -> Result<Vec<Sample>> {
        let prepared = cpu.prepared(graph).map_err(prepare_failure)?;
        let mut times = vec![Vec::new(); self.network.nodes.len()];
        for (frame, inputs) in self.frames.iter().enumerate() {
            for run in 0..=self.runs {
                progress.say(&format!("frame {}, run {run} of {}", frame + 1, self.runs));
                let (_, measured) = prepared.run_measured(inputs).map_err(run_failure)?;
                for (all, s) in times.iter_mut().zip(&measured.seconds).filter(|_| run > 0) {
                    all.push(*s);
                }
            }
        }
        Ok(times.into_iter().map(Sample::of).collect())
    }

    /// Every stretch of up to so many consecutive units as a model of its own, on what the units before
    /// it give; those that are wanted are timed.
    fn stretches(
        &self,
        units: &[Range<usize>],
        most: usize,
        wanted: &dyn Fn(&Range<usize>) -> bool,
        progress: &Progress,
        told: &mut dyn FnMut(Range<usize>, Sample),
    ) -> Result {
        self.walk(units, progress, &mut |i, held| {
            for last in units[i..].iter().take(most) {
                let range = units[i].start..last.end;
                if wanted(&range) {
                    let part = self.part(range.clone(), held)?;
                    part.run(&part.inputs)?;
                    told(range, self.time(&part)?);
                }
            }
            Ok(())
        })
    }

    /// Runs units one after the other, each as a model of its own; `each` sees, for every unit and for
    /// the end, what crosses the cut before it.
    fn walk(
        &self,
        units: &[Range<usize>],
        progress: &Progress,
        each: &mut dyn FnMut(usize, &Values) -> Result,
    ) -> Result {
        let value = |v: &ValueId| self.graph.value(*v).name.to_string();
        let given = required(self.graph).into_iter().zip(&self.frames[0]);
        let mut held: Values = given.map(|(v, t)| (value(&v), t.clone())).collect();
        for (i, unit) in units.iter().enumerate() {
            progress.say(&format!("unit {} of {}", i + 1, units.len()));
            each(i, &held)?;
            let part = self.part(unit.clone(), &held)?;
            let made = part.run(&part.inputs)?;
            held.extend(part.graph.outputs().iter().map(|v| part.name(*v)).zip(made));
            let on: Vec<String> = self.network.crossing[unit.end].iter().map(value).collect();
            held.retain(|name, _| on.contains(name));
        }
        each(units.len(), &held)
    }

    /// Units as a model, ready to run on what crosses the cut before them.
    fn part(&self, units: Range<usize>, held: &Values) -> Result<Part> {
        let part = self.network.stage(self.graph, units).map_err(internal)?;
        let graph = Arc::new(part);
        let inputs = take(&graph, held).map_err(internal)?;
        let ready = self.backend.prepare(graph.clone()).map_err(prepare_failure)?;
        Ok(Part { graph, ready, inputs })
    }

    /// What codecs make of every value that crosses a cut between units.
    fn codecs(
        &self,
        units: &[Range<usize>],
        codecs: &[Codec],
        progress: &Progress,
    ) -> Result<Vec<ValueCodecs>> {
        let mut found: Vec<ValueCodecs> = Vec::new();
        let end = self.network.nodes.len();
        self.walk(units, progress, &mut |i, held| {
            let cut = units.get(i).map_or(end, |u| u.start);
            // The rest of the model, and what it gives for what is not encoded.
            let mut rest: Option<(Part, Vec<Tensor>)> = None;
            for &v in &self.network.crossing[cut] {
                let name = self.graph.value(v).name.to_string();
                let t =
                    held.get(&name).ok_or_else(|| internal(format!("nothing gives {name:?}")))?;
                if found.iter().any(|f| f.name == name) {
                    continue;
                }
                let mut rows = Vec::new();
                for &codec in codecs {
                    let Some((mut row, back)) = self.coded(codec, t)? else { continue };
                    if self.graph.value(v).is_output() {
                        row.error = change(t, &back);
                    }
                    if !codec.is_lossless() && cut < end {
                        let (part, want) = match &mut rest {
                            Some(r) => r,
                            None => {
                                let part = self.part(cut..end, held)?;
                                let want = part.run(&part.inputs)?;
                                rest.insert((part, want))
                            }
                        };
                        let mut inputs = part.inputs.clone();
                        for (&read, t) in required(&part.graph).iter().zip(&mut inputs) {
                            if part.name(read) == name {
                                *t = back.clone();
                            }
                        }
                        let made = part.run(&inputs)?;
                        let errors = want.iter().zip(&made).map(|(a, b)| change(a, b));
                        row.error = errors.fold(row.error, f64::max);
                    }
                    // What ends in infinities is no form of it.
                    rows.extend(row.error.is_finite().then_some(row));
                }
                found.push(ValueCodecs { name, bytes: bytes(t), codecs: rows });
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// What a codec makes of a tensor, and what that is decoded.
    fn coded(&self, codec: Codec, t: &Tensor) -> Result<Option<(CodecMeasurement, Tensor)>> {
        let mut times = Vec::new();
        let mut last = None;
        for _ in 0..self.runs {
            let start = Instant::now();
            let Some(encoded) = encode(codec, t) else { return Ok(None) };
            let back = decode(codec, t.dtype(), t.dims(), &encoded).map_err(internal)?;
            times.push(start.elapsed().as_secs_f64());
            last = Some((encoded.len() as u64, back));
        }
        let seconds = Sample::of(times).seconds;
        Ok(last.map(|(bytes, back)| (CodecMeasurement { codec, bytes, seconds, error: 0.0 }, back)))
    }

    /// Runs of what has run once.
    fn time(&self, part: &Part) -> Result<Sample> {
        // Energy counters change about every millisecond, meters often log no faster than 10 Hz.
        let long = Duration::from_millis(if self.logged { 1000 } else { 50 });
        let (from, begin, mut count) = (seconds_since_1970(), Instant::now(), 0);
        let unread = |e| Failure::new(Kind::InputOutput, e);
        let read = || self.meter.as_ref().map(Meter::read).transpose().map_err(unread);
        let before = read()?;
        let mut times = Vec::new();
        let energy = before.is_some() || self.logged;
        while count < u32::from(self.runs) || (energy && begin.elapsed() < long) {
            let start = Instant::now();
            part.run(&part.inputs)?;
            if count < u32::from(self.runs) {
                times.push(start.elapsed().as_secs_f64());
            }
            count += 1;
        }
        let mut sample = Sample::of(times);
        let period = Period { from, to: from + begin.elapsed().as_secs_f64() };
        sample.period = self.logged.then_some((period, count));
        if let (Some(meter), Some(before), Some(after)) = (&self.meter, before, read()?) {
            sample.joules = Some(meter.between(&before, &after) / f64::from(count));
        }
        Ok(sample)
    }
}
