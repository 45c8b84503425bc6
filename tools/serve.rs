//! `graph-opt scale --serve`: runs the network frame by frame under a load that a script imposes, and
//! switches blocks so that the limit of latency is kept.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use graph_opt_backends::Executable;
use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::scale::dataset::Dataset;
use graph_opt_backends::scale::{Monitor, Switchable};
use graph_opt_ir::{Graph, Tensor};
use graph_opt_passes::blocks::Block;
use graph_opt_passes::blocks::choose::Problem;
use graph_opt_passes::{ByteSize, count};

use crate::failure::{Result, does_not_fit, usage};
use crate::plot::{self, Axis, Line, Panel};
use crate::run::{prepare_failure, run_failure};
use crate::workshop::failed;
use crate::{input, output};

/// From when on how many threads keep the machine busy.
struct Load {
    from: f64,
    threads: usize,
}

/// Reads a script: a line for each change, with the second from which it holds and the number of busy
/// threads; the last line ends the run.
fn script(path: &Path) -> Result<Vec<Load>> {
    let at = |e: &dyn std::fmt::Display| usage(format!("{}: {e}", path.display()));
    let text = input::text(path)?;
    let mut all: Vec<Load> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let mut words = line.split_whitespace();
        let from = words.next().and_then(|w| w.parse::<f64>().ok());
        let threads = words.next().and_then(|w| w.parse::<usize>().ok());
        match (from, threads, words.next()) {
            (Some(from), Some(threads), None)
                if from.is_finite()
                    && threads <= 256
                    && all.last().is_none_or(|l| l.from < from) =>
            {
                all.push(Load { from, threads });
            }
            _ => {
                let expected = "expected SECOND THREADS, by ascending seconds, at most 256 threads";
                return Err(at(&format!("line {}: {expected}, found {line:?}", i + 1)));
            }
        }
    }
    if all.len() < 2 {
        return Err(at(&"expected at least two lines: a beginning, and an end"));
    }
    Ok(all)
}

/// Threads that do nothing but take time.
struct Busy {
    wanted: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Busy {
    fn new(most: usize) -> Self {
        let (wanted, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let spin = |i: usize| {
            let (wanted, stop) = (wanted.clone(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if wanted.load(Ordering::Relaxed) > i {
                        std::hint::spin_loop();
                    } else {
                        std::thread::sleep(std::time::Duration::from_millis(1));
                    }
                }
            })
        };
        let threads = (0..most).map(spin).collect();
        Self { wanted, stop, threads }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for t in self.threads.drain(..) {
            let _ = t.join();
        }
    }
}

/// What a frame took.
#[derive(serde::Serialize)]
struct Frame {
    /// Seconds since the beginning.
    at: f64,
    /// Busy threads.
    load: usize,
    /// Seconds of the served network, and of the model as it is.
    served: f64,
    fixed: f64,
    /// Predicted loss of the choice that ran, and bytes of its constants.
    loss: f64,
    bytes: u64,
}

/// What is served.
pub struct Service<'a> {
    pub graph: &'a Graph,
    pub blocks: &'a [Block],
    pub problem: Problem,
    /// Longest time of a frame, in seconds.
    pub limit: f64,
    /// The variants of each block, as the problem numbers them.
    pub variants: Vec<Vec<Arc<Graph>>>,
    /// What the losses are of.
    pub metric: String,
}

/// Runs the frames of the data again and again until the script ends. Served and fixed network run in turns,
/// so both meet the same load. Writes what each frame took, and a plot beside it.
pub fn serve(
    service: Service<'_>,
    data: &Dataset,
    file: &Path,
    to: Option<&Path>,
) -> Result<String> {
    let loads = script(file)?;
    let frames: Vec<Vec<Tensor>> = data.inputs.iter().take(256).cloned().collect();
    let cpu = Cpu { threads: 1, ..Cpu::default() };
    let mut switchable =
        Switchable::new(service.graph, service.blocks, cpu.clone()).map_err(failed)?;
    let started = Instant::now();
    let fixed = cpu.prepared(Arc::new(service.graph.clone())).map_err(prepare_failure)?;
    let whole = started.elapsed().as_secs_f64();
    let mut problem = service.problem;
    let first = frames.first().ok_or_else(|| usage("the data has no sample"))?;
    calibrate(&switchable, &mut problem, first)?;
    let mut monitor = Monitor::new(problem, service.limit).map_err(does_not_fit)?;
    let mut now = vec![0; service.blocks.len()];
    let mut switches = Vec::new();
    let mut apply = |monitor: &Monitor, switchable: &mut Switchable| -> Result {
        for (b, &pick) in monitor.choice().picks.iter().enumerate() {
            if now[b] != pick {
                let start = Instant::now();
                switchable.switch(b, service.variants[b][pick].clone()).map_err(failed)?;
                switches.push(start.elapsed().as_secs_f64());
                now[b] = pick;
            }
        }
        Ok(())
    };
    apply(&monitor, &mut switchable)?;
    let most = loads.iter().map(|l| l.threads).max().unwrap_or(0);
    let busy = Busy::new(most);
    let begin = Instant::now();
    let mut all: Vec<Frame> = Vec::new();
    let mut peak = switchable.run_measured(first).map_err(failed)?.1;
    let end = loads.last().map_or(0.0, |l| l.from);
    for i in 0.. {
        let at = begin.elapsed().as_secs_f64();
        if at >= end {
            break;
        }
        let load = loads.iter().rev().find(|l| l.from <= at).map_or(0, |l| l.threads);
        busy.wanted.store(load, Ordering::Relaxed);
        let inputs = &frames[i % frames.len()];
        let start = Instant::now();
        switchable.run(inputs).map_err(failed)?;
        let served = start.elapsed().as_secs_f64();
        let start = Instant::now();
        fixed.run(inputs, service.graph.outputs()).map_err(run_failure)?;
        let other = start.elapsed().as_secs_f64();
        let loss = monitor.choice().totals.loss;
        all.push(Frame {
            at,
            load,
            served,
            fixed: other,
            loss,
            bytes: switchable.constant_bytes(),
        });
        if monitor.ran(served) {
            apply(&monitor, &mut switchable)?;
            peak = peak.max(switchable.run_measured(inputs).map_err(failed)?.1);
        }
    }
    drop(busy);
    let (_, of_model) = fixed.run_measured(first).map_err(run_failure)?;
    let served = Served { frames: &all, switches: &switches, whole, peaks: [peak, of_model.peak] };
    report(&served, service.limit, &service.metric, to)
}

/// Blocks run one by one take longer than the network as a whole: the fixed part of the prediction gets what
/// is missing.
fn calibrate(switchable: &Switchable, problem: &mut Problem, inputs: &[Tensor]) -> Result {
    let mut times = Vec::new();
    for _ in 0..9 {
        let start = Instant::now();
        switchable.run(inputs).map_err(failed)?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let originals = problem.judge(&vec![0; problem.blocks.len()]).map_err(usage)?;
    problem.base.latency = (problem.base.latency + times[4] - originals.latency).max(0.0);
    Ok(())
}

/// What was measured.
struct Served<'a> {
    frames: &'a [Frame],
    /// Seconds of each switch of a block.
    switches: &'a [f64],
    /// Seconds that preparing the model whole took.
    whole: f64,
    /// Peak of activations of the served network and of the model as it is, in bytes.
    peaks: [u64; 2],
}

fn report(served: &Served<'_>, limit: f64, metric: &str, to: Option<&Path>) -> Result<String> {
    let Served { frames: all, switches, whole, peaks } = *served;
    let share = |f: fn(&Frame) -> f64| {
        let kept = all.iter().filter(|a| f(a) <= limit).count();
        kept as f64 / all.len().max(1) as f64 * 100.0
    };
    let mut sorted = switches.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
    let longest = sorted.last().copied().unwrap_or(0.0);
    let (served, fixed) = (share(|f| f.served), share(|f| f.fixed));
    if let Some(to) = to {
        let json = serde_json::json!({
            "limit_s": limit, "kept_percent": served, "fixed_kept_percent": fixed,
            "switches_s": switches, "prepare_model_s": whole, "peak": peaks[0],
            "fixed_peak": peaks[1], "frames": all,
        });
        output::whole(to, format!("{json:#}\n").as_bytes())?;
        let picture = to.with_extension("svg");
        output::whole(&picture, picture_of(all, limit, metric).as_bytes())?;
    }
    Ok(format!(
        "{}: {served:.1} % within {:.3} ms, the model as it is {fixed:.1} %\n{}: {:.0} µs in the middle, {:.0} µs at \
         most; preparing the model whole: {:.0} µs\nconstants: at most {}\npeak: at most {}, the model as it is {}\n",
        count(all.len(), "frame"),
        limit * 1e3,
        count(switches.len(), "block switch").replace("switchs", "switches"),
        middle * 1e6,
        longest * 1e6,
        whole * 1e6,
        ByteSize(all.iter().map(|f| f.bytes).max().unwrap_or(0)),
        ByteSize(peaks[0]),
        ByteSize(peaks[1]),
    ))
}

fn picture_of(all: &[Frame], limit: f64, metric: &str) -> String {
    // As many points as a plot can show.
    let step = all.len().div_ceil(600).max(1);
    let line = |name: &str, f: &dyn Fn(&Frame) -> f64| Line {
        name: name.into(),
        points: all
            .chunks(step)
            .map(|c| (c[0].at, c.iter().map(f).fold(f64::MIN, f64::max)))
            .collect(),
        limit: false,
    };
    let axis = |name: &str, unit: &str| Axis { name: name.into(), unit: unit.into() };
    let bound = Line { limit: true, ..line("limit", &|_| limit * 1e3) };
    let mib = |f: &Frame| f.bytes as f64 / f64::from(1 << 20);
    let panels = [
        Panel {
            y: axis("latency", "ms"),
            lines: vec![
                line("served", &|f| f.served * 1e3),
                line("the model as it is", &|f| f.fixed * 1e3),
                bound,
            ],
        },
        Panel { y: axis("constants", "MiB"), lines: vec![line("served", &mib)] },
        Panel {
            y: axis(&format!("predicted loss of {metric}"), ""),
            lines: vec![line("served", &|f| f.loss)],
        },
        Panel { y: axis("busy threads", ""), lines: vec![line("load", &|f| f.load as f64)] },
    ];
    plot::series("Served under load", &axis("time", "s"), &panels)
}
