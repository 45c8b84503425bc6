//! The source: sends frames, and again until the sink has them.

use std::time::{Duration, Instant};

use graph_opt_passes::devices::files::Endpoint;

use crate::failure::{Result, differs};
use crate::folder::Folder;
use crate::frames::{self, Frames};
use crate::key;
use crate::port::{Incoming, Port};
use crate::protocol::Dropped;
use crate::protocol::window::{Action, Settings, Window};

#[derive(clap::Args)]
pub struct Args {
    /// The folder that `graph-opt split` made
    #[arg(default_value = ".")]
    folder: String,
    #[command(flatten)]
    frames: frames::Wanted,
    #[command(flatten)]
    link: crate::Link,
    /// Seconds in which at least one frame must be acknowledged
    #[arg(long, default_value_t = 120, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    patience: u32,
}

/// So many messages are taken in a row before something is sent.
const BATCH: u32 = 256;

pub fn main(args: &Args) -> Result {
    let folder = Folder::open(&args.folder)?;
    let frames = Frames::open(&args.frames, &folder)?;
    let plan = &folder.manifest.plan;
    let window = args.link.window.into();
    // A full pipeline, with what starting takes; later on, what was measured counts.
    let full = plan.latency_s + plan.interval_s * f64::from(args.link.window);
    let timeout = Duration::try_from_secs_f64(2.0 + 3.0 * full).unwrap_or(Duration::MAX / 4);
    let feeds = folder.wiring.source_sends();
    let key = key::load(&folder.key(&args.link))?;
    let mut port = Port::open(Endpoint::Source, &folder.wiring, &key, args.link.limit())?;
    let start = Instant::now();
    let settings = Settings {
        window,
        total: frames.total(),
        timeout,
        patience: Duration::from_secs(args.patience.into()),
        incarnation: port.restarts(),
    };
    let mut state = Window::new(settings, start.elapsed());
    loop {
        while let Some(action) = state.poll(start.elapsed()) {
            match action {
                Action::Ask(ask) => port.ask(ask)?,
                Action::Send { sequence, attempt } => {
                    let tensors = frames.frame(sequence)?;
                    for (give, t) in feeds.iter().zip(&tensors) {
                        for &output in &give.outputs {
                            port.tensor(output, sequence, attempt, &give.value, t)?;
                        }
                    }
                }
                Action::Finish => {
                    port.say(&format!("done; {} frames were sent again", state.repeated));
                    port.account(Dropped { outside: state.outside, ..Dropped::default() }, 0);
                    return Ok(());
                }
                Action::GiveUp { sequence } => {
                    return Err(differs(format!(
                        "for {} s nothing arrived; the first frame that is missing is {sequence}",
                        args.patience
                    )));
                }
            }
        }
        let now = start.elapsed();
        // All that has come before anything is sent again, but no flood of it stops this node.
        let mut wait = state.wake(now).saturating_sub(now);
        for _ in 0..BATCH {
            match port.next(Some(wait)) {
                Incoming::Ack(ack) => state.ack(start.elapsed(), ack),
                // The sink is gone.
                Incoming::End => {
                    return Err(differs("the dataflow ended before all frames arrived"));
                }
                Incoming::Nothing => break,
                _ => {}
            }
            wait = Duration::ZERO;
        }
    }
}
