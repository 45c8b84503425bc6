//! Predicted times of a plan: when parts compute and transfers run, frame by frame.
//!
//! Discrete event simulation. A device computes one part at a time and a link carries one transfer
//! at a time; among the tasks that could begin, the earliest frame goes first, and within it the
//! first part. When frames are pipelined, a part has buffers for one arriving and one leaving frame
//! besides the one that it computes, as the plan's memory assumes.
//!
//! Input: a plan and a number of frames. Output: seconds since the first frame began.

use std::collections::HashMap;

use super::plan_file::{PlanFile, ReceiveRow};

/// Start and end times of a plan's tasks, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    /// Begin and end of computing, by part and frame.
    pub spans: Vec<Vec<(f64, f64)>>,
    /// Time at which each frame is complete.
    pub done: Vec<f64>,
    /// Transfers over links, in the order of frames and receivers.
    pub transfers: Vec<Transfer>,
}

/// A transfer over a link.
#[derive(Clone, Debug, PartialEq)]
pub struct Transfer {
    /// Name of the link.
    pub over: String,
    /// Part that sends; `None` for the source of the network's inputs.
    pub from: Option<usize>,
    /// Part that receives; `None` for the sink of its outputs.
    pub to: Option<usize>,
    /// Number of the frame, from 0.
    pub frame: usize,
    /// Begin and end, in seconds.
    pub span: (f64, f64),
}

/// A computation or a transfer.
struct Task {
    frame: usize,
    /// Order among tasks of a frame that could begin at once.
    rank: usize,
    /// Device or link that it occupies; `None` if it takes no time.
    resource: Option<usize>,
    seconds: f64,
    /// Tasks that must have ended before it begins.
    after: Vec<usize>,
    /// Tasks that must have begun before it begins.
    begun: Vec<usize>,
}

impl Timeline {
    /// Simulates a plan for a number of frames.
    pub fn of(plan: &PlanFile, frames: usize) -> Self {
        let parts = plan.stages.len();
        let mut names: HashMap<(bool, &str), usize> = HashMap::new();
        let mut tasks: Vec<Task> = Vec::new();
        // By part and frame: the task that computes it, and the tasks that send its values.
        let mut computes: Vec<Vec<usize>> = vec![Vec::new(); parts + 1];
        let mut sends: Vec<Vec<Vec<usize>>> = vec![Vec::new(); parts];
        let mut crossing: Vec<(usize, Transfer)> = Vec::new();
        for frame in 0..frames {
            sends.iter_mut().for_each(|s| s.push(Vec::new()));
            for part in 0..=parts {
                let receives: &[ReceiveRow] =
                    plan.stages.get(part).map_or(&plan.outputs, |s| &s.receives);
                let mut arrived = Vec::new();
                for r in receives {
                    let next = names.len();
                    let link = r.over.as_deref();
                    let resource = link.map(|o| *names.entry((false, o)).or_insert(next));
                    let mut task = Task {
                        frame,
                        rank: 2 * part,
                        resource,
                        seconds: r.seconds,
                        after: r.from.map(|f| computes[f][frame]).into_iter().collect(),
                        begun: Vec::new(),
                    };
                    if let Some(before) = frame.checked_sub(1) {
                        if !plan.pipelined {
                            task.after.push(computes[parts][before]);
                        } else if part < parts {
                            // The buffer is free once the previous frame is being computed.
                            task.begun.push(computes[part][before]);
                        }
                    }
                    tasks.push(task);
                    arrived.push(tasks.len() - 1);
                    if let Some(over) = link {
                        let to = Some(part).filter(|p| *p < parts);
                        let (over, from, span) = (over.to_owned(), r.from, (0.0, 0.0));
                        crossing.push((tasks.len() - 1, Transfer { over, from, to, frame, span }));
                    }
                    if let Some(f) = r.from {
                        sends[f][frame].push(tasks.len() - 1);
                    }
                }
                let row = plan.stages.get(part);
                let next = names.len();
                let device = row.map(|s| *names.entry((true, &*s.device)).or_insert(next));
                let mut after = arrived;
                if let (Some(b), Some(s)) = (frame.checked_sub(2), sends.get(part)) {
                    after.extend(&s[b]);
                }
                if let Some(b) = frame.checked_sub(1) {
                    after.push(computes[part][b]);
                    if !plan.pipelined {
                        after.push(computes[parts][b]);
                    }
                }
                let seconds = row.map_or(0.0, |s| s.compute_s);
                let begun = Vec::new();
                tasks.push(Task {
                    frame,
                    rank: 2 * part + 1,
                    resource: device,
                    seconds,
                    after,
                    begun,
                });
                computes[part].push(tasks.len() - 1);
            }
        }
        let times = run(&tasks, names.len());
        let span = |t: &usize| times[*t];
        let done = computes[parts].iter().map(|t| times[*t].1).collect();
        let spans = computes[..parts].iter().map(|p| p.iter().map(span).collect()).collect();
        let transfers =
            crossing.into_iter().map(|(t, c)| Transfer { span: times[t], ..c }).collect();
        Self { spans, done, transfers }
    }

    /// Seconds until the first frame is complete.
    pub fn latency(&self) -> f64 {
        self.done.first().copied().unwrap_or(0.0)
    }

    /// Mean seconds between frames over the later half of them.
    pub fn interval(&self) -> f64 {
        let half = self.done.len() / 2;
        match (self.done.get(half), self.done.last()) {
            (Some(a), Some(b)) if self.done.len() > half + 1 => {
                (b - a) / (self.done.len() - half - 1) as f64
            }
            _ => self.latency(),
        }
    }
}

/// Begin and end of each task.
fn run(tasks: &[Task], resources: usize) -> Vec<(f64, f64)> {
    let mut open: Vec<usize> = tasks.iter().map(|t| t.after.len() + t.begun.len()).collect();
    let mut ends: Vec<Vec<usize>> = vec![Vec::new(); tasks.len()];
    let mut begins: Vec<Vec<usize>> = vec![Vec::new(); tasks.len()];
    for (i, t) in tasks.iter().enumerate() {
        t.after.iter().for_each(|&a| ends[a].push(i));
        t.begun.iter().for_each(|&b| begins[b].push(i));
    }
    let mut times = vec![(0.0, 0.0); tasks.len()];
    let mut ready: Vec<usize> = (0..tasks.len()).filter(|&i| open[i] == 0).collect();
    let mut busy = vec![false; resources];
    let mut running: Vec<usize> = Vec::new();
    let mut now = 0.0;
    loop {
        // Start all tasks that can start; a start may enable others.
        loop {
            let free = |i: &&usize| tasks[**i].resource.is_none_or(|r| !busy[r]);
            let first = ready.iter().filter(free).min_by_key(|&&i| (tasks[i].frame, tasks[i].rank));
            let Some(&i) = first else { break };
            ready.retain(|&j| j != i);
            if let Some(r) = tasks[i].resource {
                busy[r] = true;
            }
            times[i] = (now, now + tasks[i].seconds);
            running.push(i);
            for &j in &begins[i] {
                open[j] -= 1;
                if open[j] == 0 {
                    ready.push(j);
                }
            }
        }
        let Some(&i) = running.iter().min_by(|&&a, &&b| times[a].1.total_cmp(&times[b].1)) else {
            return times;
        };
        now = times[i].1;
        running.retain(|&j| j != i);
        if let Some(r) = tasks[i].resource {
            busy[r] = false;
        }
        for &j in &ends[i] {
            open[j] -= 1;
            if open[j] == 0 {
                ready.push(j);
            }
        }
    }
}
