//! A device: takes the values of frames, runs its parts of the model, sends on what others take.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use graph_opt_backends::stages::Values;
use graph_opt_ir::Tensor;
use graph_opt_passes::devices::files::{Edge, Endpoint, Wiring};

use crate::failure::{Result, differs, usage};
use crate::folder::Folder;
use crate::key;
use crate::port::{Incoming, Port};
use crate::protocol::Dropped;
use crate::protocol::join::{Join, Step};
use crate::protocol::wire::Piece;
use crate::stage::{Engine, Stage};

#[derive(clap::Args)]
pub struct Args {
    /// Which device, in the order in which the manifest has them
    device: usize,
    /// The folder that `graph-opt split` made
    #[arg(default_value = ".")]
    folder: String,
    #[command(flatten)]
    engine: Engine,
    #[command(flatten)]
    link: crate::Link,
}

/// A part of the model that runs here.
struct Part {
    stage: Stage,
    /// What comes of a frame are the values that the part gives.
    join: Join,
}

/// A value for a part: the input, and what there is of the value.
enum Arrival {
    Piece(Piece),
    /// From another part of this device: the frame and the attempt.
    Whole(u64, u64, Tensor),
}

struct Device<'a> {
    wiring: &'a Wiring,
    parts: BTreeMap<usize, Part>,
    port: Port,
    /// Most bytes of frames that were kept.
    held: u64,
}

/// So many messages are taken in a row before something is computed, or whoever sends enough of them
/// stops this node.
const BATCH: u32 = 256;

pub fn main(args: &Args) -> Result {
    let folder = Folder::open(&args.folder)?;
    let wiring = &folder.wiring;
    if args.device >= wiring.devices().len() {
        return Err(usage(format!("there are {} devices", wiring.devices().len())));
    }
    // Before the node connects: dora starts all nodes at once, when the last is ready.
    let mut parts = BTreeMap::new();
    for p in wiring.parts(args.device) {
        let stage = Stage::load(&folder.file(p), &args.engine)?;
        let takes = wiring.inputs_of(p);
        // What it hands on unread, others know.
        let unread: Vec<String> = takes.iter().filter(|v| stage.ty(v).is_none()).cloned().collect();
        let others = folder.types(&unread)?;
        let known = |v: &String| args.link.expected(stage.ty(v).or_else(|| others.get(v)));
        let expected: Vec<_> = takes.iter().map(known).collect();
        let join = Join::new(expected, args.link.window.into());
        parts.insert(p, Part { stage, join });
    }
    let place = Endpoint::Device(args.device);
    let key = key::load(&folder.key(&args.link))?;
    let port = Port::open(place, wiring, &key, args.link.limit())?;
    let mut device = Device { wiring, parts, port, held: 0 };
    let edges = wiring.inputs(place);
    let mut taken = 0;
    loop {
        // All that has come before anything is computed: an older frame may be among it.
        let ready = device.ready();
        let due = ready.filter(|_| taken >= BATCH);
        let next = match due {
            Some(_) => Incoming::Nothing,
            None => device.port.next(ready.map(|_| Duration::ZERO)),
        };
        taken += 1;
        match next {
            Incoming::End => {
                device.port.account(device.dropped(), device.held);
                return Ok(());
            }
            Incoming::Piece(input, piece) => {
                if let Some(Edge { to, value, .. }) = edges.get(input) {
                    let of = |&at: &(usize, usize)| (at, Arrival::Piece(piece.clone()));
                    device.take(to.iter().map(of).collect())?;
                    device.port.doubt(device.dropped(), Some(value));
                }
            }
            _ => {
                taken = 0;
                if let Some((sequence, part)) = ready {
                    device.run(sequence, part)?;
                }
            }
        }
    }
}

impl Device<'_> {
    /// Messages that its parts dropped.
    fn dropped(&self) -> Dropped {
        self.parts.values().fold(Dropped::default(), |all, p| all + p.join.dropped)
    }

    /// Values for parts, by the part and the number among the values that it takes.
    fn take(&mut self, mut todo: VecDeque<((usize, usize), Arrival)>) -> Result {
        while let Some(((part, input), arrival)) = todo.pop_front() {
            let Some(Part { join, .. }) = self.parts.get_mut(&part) else { continue };
            let step = match arrival {
                Arrival::Piece(p) => join.piece(input, p),
                Arrival::Whole(sequence, attempt, t) => join.whole(input, sequence, attempt, &t),
            };
            match step {
                Step::Wait | Step::Drop | Step::Ready { .. } => {}
                Step::Repeat { sequence, attempt } => {
                    todo.extend(self.send(part, sequence, attempt)?);
                }
            }
        }
        self.held = self.held.max(self.parts.values().map(|p| p.join.held()).sum());
        Ok(())
    }

    /// A frame and a part whose values are here: the oldest frame goes first.
    fn ready(&self) -> Option<(u64, usize)> {
        self.parts.iter().filter_map(|(&p, part)| Some((part.join.ready()?, p))).min()
    }

    /// Computes a part of a frame, and sends what it gives.
    fn run(&mut self, sequence: u64, part: usize) -> Result {
        let Some(Part { stage, join }) = self.parts.get_mut(&part) else { return Ok(()) };
        let Some(inputs) = join.begin(sequence) else { return Ok(()) };
        let names = self.wiring.inputs_of(part).iter().cloned();
        let mut values: Values = names.zip(inputs).collect();
        let made = stage.run(&values)?;
        values.extend(made);
        let give = |g: &graph_opt_passes::devices::files::SentValue| {
            let name = &g.value;
            values.get(name).cloned().ok_or_else(|| differs(format!("nothing makes {name:?}")))
        };
        let result = self.wiring.sends_of(part).iter().map(give).collect::<Result<_>>()?;
        let attempt = join.done(sequence, result);
        let next = self.send(part, sequence, attempt)?;
        self.take(next)
    }

    /// Sends what a part gives to other nodes; gives what it gives to parts that are here.
    fn send(
        &mut self,
        part: usize,
        sequence: u64,
        attempt: u64,
    ) -> Result<VecDeque<((usize, usize), Arrival)>> {
        let mut here = VecDeque::new();
        let known = self.parts.get(&part).and_then(|p| p.join.result(sequence));
        for (give, tensor) in self.wiring.sends_of(part).iter().zip(known.into_iter().flatten()) {
            for &output in &give.outputs {
                self.port.tensor(output, sequence, attempt, &give.value, tensor)?;
            }
            for &at in &give.local {
                here.push_back((at, Arrival::Whole(sequence, attempt, tensor.clone())));
            }
        }
        Ok(here)
    }
}
