//! Between dora's messages and the protocol's: the only file of the nodes that knows dora.

use std::time::Duration;

use dora_node_api::arrow_v59::array::{Array, BinaryArray};
use dora_node_api::arrow_v59::buffer::{Buffer, OffsetBuffer};
use dora_node_api::dora_core::config::DataId;
use dora_node_api::{DoraArray, DoraNode, Event, EventStream, MetadataParameters};
use graph_opt_ir::Tensor;
use graph_opt_passes::devices::cluster::Codec;
use graph_opt_passes::devices::files::{Endpoint, Wiring};

use crate::failure::{Failure, Result, differs, usage};
use crate::protocol::seal::{Channel, Key};
use crate::protocol::wire::{Piece, cut};
use crate::protocol::{Ack, Ask, Dropped};

/// What comes in.
#[derive(Debug)]
pub enum Incoming {
    /// A piece of a tensor, on an input.
    Piece(usize, Piece),
    /// The source asks where the sink stands.
    Ask(Ask),
    /// The sink says where it stands.
    Ack(Ack),
    /// Nothing within the time, or nothing that matters.
    Nothing,
    /// No more will come: all senders are done, or the dataflow is stopped.
    End,
}

/// A node's connection.
pub struct Port {
    node: DoraNode,
    events: EventStream,
    limit: usize,
    /// Of the inputs, of the outputs, and of questions and acknowledgements.
    inputs: Vec<Channel>,
    outputs: Vec<Channel>,
    ask: Channel,
    ack: Channel,
    dropped: Dropped,
    /// Whether it was said that a message contradicts the plan.
    doubted: bool,
}

fn failed(e: impl std::fmt::Display) -> Failure {
    differs(format!("dora: {e:#}"))
}

impl Port {
    /// Connects a node to the daemon that started this process. Messages are cut at `limit` bytes.
    pub fn open(at: Endpoint, wiring: &Wiring, key: &Key, limit: usize) -> Result<Self> {
        if std::env::var_os("DORA_NODE_CONFIG").is_none() {
            return Err(usage(
                "this is started by a dora daemon, as the dataflow says: see graph-opt-worker start",
            ));
        }
        let (node, events) = DoraNode::init_from_env().map_err(failed)?;
        // Another one at each start of the dataflow, and the same when a node is started again.
        let run = *node.dataflow_id().as_bytes();
        let channel =
            |from: Endpoint, output: &str| key.channel(&run, &format!("{}/{output}", from.id()));
        let data = |from, output: usize| channel(from, &format!("out{output}"));
        let inputs = wiring.inputs(at).iter().map(|e| data(e.from, e.output)).collect();
        let outputs = (0..wiring.outputs(at)).map(|k| data(at, k)).collect();
        let (ask, ack) = (channel(Endpoint::Source, "ask"), channel(Endpoint::Sink, "ack"));
        let dropped = Dropped::default();
        Ok(Self { node, events, limit, inputs, outputs, ask, ack, dropped, doubted: false })
    }

    /// How often the daemon has started this node before.
    pub fn restarts(&self) -> u32 {
        self.node.restart_count()
    }

    /// To the log.
    pub fn say(&self, text: &str) {
        self.node.log_info(text);
    }

    /// To the log, at the end: what was dropped here and by the protocol, and the most bytes that were
    /// held for frames.
    pub fn account(&self, protocol: Dropped, held: u64) {
        self.say(&format!("{}; at most {held} B of frames were kept", self.dropped + protocol));
    }

    /// To the log, once: the protocol has dropped what a member sent of a value.
    pub fn doubt(&mut self, dropped: Dropped, value: Option<&String>) {
        if dropped.broken > 0 && !std::mem::replace(&mut self.doubted, true) {
            let value = value.map_or("", |v| v);
            self.say(&format!(
                "a message of {value:?} is dropped: expected the type, extents and piece size of the plan, \
                 found others; more of them are only counted. See that all machines have the same folder"
            ));
        }
    }

    /// What comes next, within a time or however late.
    pub fn next(&mut self, within: Option<Duration>) -> Incoming {
        let event = match within {
            Some(t) => self.events.recv_timeout(t),
            None => self.events.recv(),
        };
        match event {
            None | Some(Event::Stop(_)) => Incoming::End,
            // The source has ended, and with it all that others wait for from each other.
            Some(Event::InputClosed { id }) if *id == *"ask" => Incoming::End,
            Some(Event::Input { id, data, .. }) => self.read(id.as_ref(), &data),
            Some(Event::NodeRestarted { id }) => {
                self.say(&format!("{id} was restarted"));
                Incoming::Nothing
            }
            Some(_) => Incoming::Nothing,
        }
    }

    /// A message: nothing of it is read before its MAC. Whoever floods this node does not fill its log.
    fn read(&mut self, input: &str, data: &DoraArray) -> Incoming {
        let number = input.strip_prefix("in").and_then(|n| n.parse::<usize>().ok());
        let channel = match (input, number) {
            ("ask", _) => Some(&self.ask),
            ("ack", _) => Some(&self.ack),
            (_, number) => number.and_then(|n| self.inputs.get(n)),
        };
        let row: Option<&BinaryArray> = data.as_array().as_any().downcast_ref();
        let row = row.filter(|r| r.len() == 1 && !r.is_null(0)).map(|r| r.value(0));
        let Some(body) = channel.zip(row).and_then(|(c, row)| c.open(row)) else {
            if self.dropped.forged == 0 {
                self.say(&format!(
                    "a message on {input} is dropped: expected a MAC by the key of this dataflow and run, \
                     found another; more of them are only counted. If no frame arrives, see that all \
                     machines have the same key file"
                ));
            }
            self.dropped.forged += 1;
            return Incoming::Nothing;
        };
        let message = match (input, number) {
            ("ask", _) => Ask::read(body).map(Incoming::Ask),
            ("ack", _) => Ack::read(body).map(Incoming::Ack),
            (_, number) => number.zip(Piece::read(body)).map(|(n, p)| Incoming::Piece(n, p)),
        };
        message.unwrap_or_else(|| {
            self.dropped.broken += 1;
            Incoming::Nothing
        })
    }

    fn send(&mut self, output: String, message: Vec<u8>) -> Result {
        // One row: an array of bytes would bring a bit along for each of them.
        let row = OffsetBuffer::from_lengths([message.len()]);
        let row = BinaryArray::try_new(row, Buffer::from_vec(message), None).map_err(failed)?;
        let (id, none) = (DataId::from(output), MetadataParameters::new());
        self.node.send_output(id, none, DoraArray::from_array(row)).map_err(failed)
    }

    /// Sends a value on an output, in its form.
    pub fn tensor(
        &mut self,
        (output, codec): (usize, Option<Codec>),
        sequence: u64,
        attempt: u64,
        name: &str,
        tensor: &Tensor,
    ) -> Result {
        let failed = |e: &dyn std::fmt::Display| differs(format!("{name:?}: {e}"));
        let channel = self.outputs.get(output).cloned();
        let channel = channel.ok_or_else(|| failed(&format!("there is no output {output}")))?;
        let frame = (sequence, attempt, self.restarts().into());
        for p in cut(frame, tensor, codec, self.limit).map_err(|e| failed(&e))? {
            let head = p.head().ok_or_else(|| failed(&"it has more than 255 axes"))?;
            self.send(format!("out{output}"), channel.seal(&head, &p.bytes))?;
        }
        Ok(())
    }

    /// Asks the sink where it stands.
    pub fn ask(&mut self, ask: Ask) -> Result {
        let message = self.ask.seal(&ask.head(), &[]);
        self.send("ask".to_owned(), message)
    }

    /// Acknowledges.
    pub fn ack(&mut self, ack: Ack) -> Result {
        let message = self.ack.seal(&ack.head(), &[]);
        self.send("ack".to_owned(), message)
    }
}
