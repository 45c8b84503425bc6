//! The protocol over networks that lose, double, delay and overtake, with nodes that are killed.

use std::collections::BTreeMap;
use std::time::Duration;

use graph_opt_backends::codec::sent;
use graph_opt_ir::{DType, Tensor};
use graph_opt_passes::devices::codec::Codec;
use proptest::prelude::*;

use super::Ack;
use super::join::{Join, Step};
use super::order::Order;
use super::window::{Action, Settings, Window};
use super::wire::{Broken, Piece, Slot, cut};

/// What the world does to messages and nodes.
#[derive(Clone, Debug)]
struct World {
    /// Of each stage, where its inputs come from: 0 is the source, i + 1 stage i.
    stages: Vec<Vec<usize>>,
    window: u64,
    frames: u64,
    /// Shares of messages in 1000.
    lost: u32,
    doubled: u32,
    broken: u32,
    /// Most milliseconds that a message takes.
    delay: u64,
    /// When (ms) which node is killed: 0 the source, then the stages, then the sink.
    kills: Vec<(u64, usize)>,
    seed: u64,
}

#[derive(Clone, Debug)]
enum Message {
    Piece(usize, Piece),
    /// A stage has computed a frame.
    Made(u64, Tensor),
    Ask,
    Ack(Ack),
}

struct Run {
    world: World,
    now: u64,
    random: u64,
    /// By time and number: to whom, and what.
    mail: BTreeMap<(u64, u64), (usize, Message)>,
    sent: u64,
    source: Window,
    incarnation: u32,
    stages: Vec<Join<Tensor>>,
    sink: Order,
    /// What survives the sink.
    record: Vec<Tensor>,
    most_kept: usize,
}

/// What the source sends for a frame.
fn input(sequence: u64) -> Tensor {
    Tensor::i64s(&[sequence as i64 + 1, 7, -3, 1 << 40])
}

/// What a stage makes of its inputs.
fn stage(number: usize, inputs: &[Tensor]) -> Tensor {
    let all: Vec<Vec<i64>> = inputs.iter().map(|t| t.to_i64s().unwrap()).collect();
    let sum = |i: usize| all.iter().enumerate().map(move |(k, v)| v[i].wrapping_mul(k as i64 + 3));
    let at = |i: usize| sum(i).fold(number as i64, i64::wrapping_add);
    Tensor::i64s(&(0..4).map(at).collect::<Vec<_>>())
}

impl Run {
    fn new(world: World) -> Self {
        let settings = settings(&world, 0);
        let joins = world.stages.iter().map(|s| Join::new(s.len(), world.window)).collect();
        Self {
            now: 0,
            random: world.seed | 1,
            mail: BTreeMap::new(),
            sent: 0,
            source: Window::new(settings, Duration::ZERO),
            incarnation: 0,
            stages: joins,
            sink: Order::new(1, world.window, 0),
            record: Vec::new(),
            most_kept: 0,
            world,
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below.max(1)
    }

    fn chance(&mut self, in_1000: u32) -> bool {
        self.draw(1000) < u64::from(in_1000)
    }

    fn post(&mut self, to: usize, message: &Message) {
        for copy in 0..2 {
            if copy == 1 && !self.chance(self.world.doubled) || self.chance(self.world.lost) {
                continue;
            }
            let mut message = message.clone();
            if let Message::Piece(_, p) = &mut message
                && self.chance(self.world.broken)
            {
                let mut bytes = p.bytes.to_vec();
                bytes[0] ^= 1;
                p.bytes = bytes.into();
            }
            let at = self.now + 1 + self.draw(self.world.delay);
            self.sent += 1;
            self.mail.insert((at, self.sent), (to, message));
        }
    }

    /// To all who take the output of `from` (0 the source, i + 1 stage i).
    fn send(&mut self, from: usize, sequence: u64, attempt: u64, tensor: &Tensor) {
        let pieces = cut(sequence, attempt, "v", tensor, None, 13).unwrap();
        let stages = self.world.stages.clone();
        for p in pieces {
            for (s, inputs) in stages.iter().enumerate() {
                for (i, _) in inputs.iter().enumerate().filter(|(_, f)| **f == from) {
                    self.post(s + 1, &Message::Piece(i, p.clone()));
                }
            }
            if from == stages.len() {
                self.post(stages.len() + 1, &Message::Piece(0, p));
            }
        }
    }

    fn deliver(&mut self, to: usize, message: Message) {
        let last = self.world.stages.len() + 1;
        let clock = Duration::from_millis(self.now);
        match message {
            Message::Ack(ack) => self.source.ack(clock, ack),
            Message::Ask => {
                let ack = self.sink.ack(None);
                self.post(0, &Message::Ack(ack));
            }
            Message::Made(sequence, made) => {
                let attempt = self.stages[to - 1].done(sequence, made.clone());
                self.send(to, sequence, attempt, &made);
            }
            Message::Piece(i, p) if to == last => {
                let Some(got) = self.sink.piece(i, p) else { return };
                while let Some((sequence, t)) = self.sink.due() {
                    assert_eq!(sequence as usize, self.record.len(), "in order, each once");
                    self.record.push(t[0].clone());
                    self.sink.delivered();
                }
                let ack = self.sink.ack(Some(got));
                self.post(0, &Message::Ack(ack));
            }
            Message::Piece(i, p) => {
                let join = &mut self.stages[to - 1];
                let step = join.piece(i, p);
                self.most_kept = self.most_kept.max(join.kept());
                match step {
                    Step::Wait | Step::Broken => {}
                    Step::Ready { sequence, inputs } => {
                        // Which takes time, while more comes.
                        let made = stage(to - 1, &inputs);
                        let at = self.now + self.draw(self.world.delay);
                        self.sent += 1;
                        self.mail.insert((at, self.sent), (to, Message::Made(sequence, made)));
                    }
                    Step::Repeat { sequence, attempt } => {
                        let made = join.result(sequence).unwrap().clone();
                        self.send(to, sequence, attempt, &made);
                    }
                }
            }
        }
    }

    fn kill(&mut self, who: usize) {
        let (w, last) = (&self.world, self.world.stages.len() + 1);
        if who == 0 {
            self.incarnation += 1;
            let settings = settings(w, self.incarnation);
            self.source = Window::new(settings, Duration::from_millis(self.now));
        } else if who == last {
            self.sink = Order::new(1, w.window, self.record.len() as u64);
        } else {
            self.stages[who - 1] = Join::new(w.stages[who - 1].len(), w.window);
        }
        // What was on its way to it dies with it.
        self.mail.retain(|_, (to, _)| *to != who);
    }

    /// Milliseconds until all is delivered; none if the source gave up.
    fn run(&mut self) -> Option<u64> {
        let mut kills = self.world.kills.clone();
        kills.sort_unstable();
        loop {
            while let Some(&(at, who)) = kills.first().filter(|k| k.0 <= self.now) {
                let _ = at;
                kills.remove(0);
                self.kill(who);
            }
            let clock = Duration::from_millis(self.now);
            while let Some(action) = self.source.poll(clock) {
                assert!(self.source.under_way() as u64 <= self.world.window);
                match action {
                    Action::Ask => {
                        let to = self.world.stages.len() + 1;
                        self.post(to, &Message::Ask);
                    }
                    Action::Send { sequence, attempt } => {
                        self.send(0, sequence, attempt, &input(sequence));
                    }
                    Action::Finish => return Some(self.now),
                    Action::GiveUp { .. } => return None,
                }
            }
            let wake = self.source.wake(clock).as_millis() as u64;
            let mail = self.mail.keys().next().map_or(u64::MAX, |k| k.0);
            let kill = kills.first().map_or(u64::MAX, |k| k.0);
            self.now = self.now.max(wake.max(self.now + 1).min(mail).min(kill));
            while let Some((&key, _)) = self.mail.iter().next().filter(|(k, _)| k.0 <= self.now) {
                if let Some((to, message)) = self.mail.remove(&key) {
                    self.deliver(to, message);
                }
            }
        }
    }
}

fn settings(w: &World, incarnation: u32) -> Settings {
    Settings {
        window: w.window,
        total: Some(w.frames),
        timeout: Duration::from_millis(2 * w.delay * (w.stages.len() as u64 + 2)),
        patience: Duration::from_secs(100_000),
        incarnation,
    }
}

/// Chains, diamonds and skips: each stage takes from any nodes before it, the last from the one
/// before it at least, so that nothing is idle.
fn stages() -> impl Strategy<Value = Vec<Vec<usize>>> {
    prop::collection::vec((any::<u64>(), 1..4usize), 1..5).prop_map(|all| {
        let inputs = |(i, (bits, n)): (usize, (u64, usize))| {
            let mut from: Vec<usize> =
                (0..n).map(|k| (bits >> (8 * k)) as usize % (i + 1)).collect();
            from.push(i);
            from
        };
        all.into_iter().enumerate().map(inputs).collect()
    })
}

fn world() -> impl Strategy<Value = World> {
    let trouble = (0..300u32, 0..300u32, 0..100u32, 1..200u64);
    let kills = prop::collection::vec((0..20_000u64, 0..6usize), 0..5);
    (stages(), 1..6u64, 1..40u64, trouble, kills, any::<u64>()).prop_map(
        |(stages, window, frames, (lost, doubled, broken, delay), mut kills, seed)| {
            kills.iter_mut().for_each(|k| k.1 %= stages.len() + 2);
            World { stages, window, frames, lost, doubled, broken, delay, kills, seed }
        },
    )
}

proptest! {
    /// Every frame arrives, in order, once, and right; nobody keeps more than a window.
    #[test]
    fn nothing_is_lost(world in world()) {
        let mut run = Run::new(world.clone());
        prop_assert!(run.run().is_some(), "gave up");
        prop_assert_eq!(run.record.len() as u64, world.frames);
        for (sequence, got) in run.record.iter().enumerate() {
            let mut made = vec![input(sequence as u64)];
            for (i, inputs) in world.stages.iter().enumerate() {
                let inputs: Vec<Tensor> = inputs.iter().map(|&f| made[f].clone()).collect();
                made.push(stage(i, &inputs));
            }
            prop_assert_eq!(got, made.last().unwrap());
        }
        prop_assert!(run.most_kept as u64 <= world.window);
    }

    /// On a network that loses nothing, every tensor is sent once.
    #[test]
    fn nothing_is_sent_twice_for_nothing(mut world in world()) {
        (world.lost, world.doubled, world.broken, world.delay) = (0, 0, 0, 1);
        world.kills.clear();
        let mut run = Run::new(world.clone());
        prop_assert!(run.run().is_some());
        prop_assert_eq!(run.source.repeated, 0);
    }

    #[test]
    fn tensors_are_joined_in_any_order(
        wholes in prop::collection::vec(-9i8..9, 0..200),
        limit in 1..50usize,
        codec in prop::option::of(prop::sample::select(&Codec::ALL[..])),
        seed in any::<u64>(),
    ) {
        let x: Vec<f32> = wholes.iter().map(|&w| w.into()).collect();
        let t = Tensor::f32s(&[x.len() as u64], &x).unwrap();
        let mut pieces = cut(3, 1, "x", &t, codec, limit).unwrap();
        prop_assert!(pieces.iter().all(|p| p.bytes.len() <= limit));
        // Some order, and all of them twice.
        pieces.extend(pieces.clone());
        pieces.sort_by_key(|p| (p.header.piece + 1).wrapping_mul(seed | 1));
        let mut slot = Slot::Empty;
        let whole = pieces.into_iter().filter(|p| slot.take(p.clone()).unwrap()).count();
        prop_assert_eq!(whole, 1);
        // Codecs say themselves what arrives.
        let (arrives, _) = sent(codec, &t).unwrap();
        prop_assert_eq!(slot.tensor(), Some(arrives.into_owned()));
    }
}

/// A frame that is lost for good ends in an error.
#[test]
fn a_dead_network_is_given_up() {
    let stages = vec![vec![0]];
    let mut w = World {
        stages,
        window: 2,
        frames: 5,
        lost: 1000,
        doubled: 0,
        broken: 0,
        delay: 10,
        kills: vec![],
        seed: 1,
    };
    assert_eq!(Run::new(w.clone()).run(), None);
    w.lost = 0;
    assert!(Run::new(w).run().is_some());
}

#[test]
fn what_no_tensor_has_is_refused() {
    let t = Tensor::i64s(&[1, 2]);
    let piece = cut(0, 1, "x", &t, None, 100).unwrap().remove(0);
    let with = |change: &dyn Fn(&mut Piece)| {
        let mut p = piece.clone();
        change(&mut p);
        Slot::Empty.take(p)
    };
    assert_eq!(with(&|_| {}), Ok(true));
    assert_eq!(with(&|p| p.header.pieces = 0), Err(Broken));
    assert_eq!(with(&|p| p.header.pieces = u64::MAX), Err(Broken));
    assert_eq!(with(&|p| p.header.piece = 1), Err(Broken));
    assert_eq!(with(&|p| p.header.shape = vec![u64::MAX, 3]), Err(Broken));
    assert_eq!(with(&|p| p.header.shape = vec![1]), Err(Broken));
    assert_eq!(with(&|p| p.header.checksum ^= 1), Err(Broken));
    // Of another form the checksum is of what it says of the tensor, too.
    let coded = Tensor::f32s(&[4, 9], &[0.5; 36]).unwrap();
    for codec in Codec::ALL {
        let piece = cut(0, 1, "x", &coded, Some(codec), 100).unwrap().remove(0);
        assert_eq!(piece.header.codec, Some(codec));
        let with = |change: &dyn Fn(&mut Piece)| {
            let mut p = piece.clone();
            change(&mut p);
            Slot::Empty.take(p)
        };
        assert_eq!(with(&|_| {}), Ok(true));
        assert_eq!(with(&|p| p.header.shape = vec![9, 4]), Err(Broken));
        assert_eq!(with(&|p| p.header.dtype = DType::I32), Err(Broken));
        assert_eq!(with(&|p| p.header.checksum ^= 1), Err(Broken));
        assert_eq!(with(&|p| p.header.codec = None), Err(Broken));
    }
}

fn piece(sequence: u64, attempt: u64) -> Piece {
    cut(sequence, attempt, "x", &input(sequence), None, 1000).unwrap().remove(0)
}

/// All pieces of an attempt get one answer, or every node on the way would multiply them.
#[test]
fn a_repeat_is_answered_once() {
    let mut join: Join<u8> = Join::new(2, 4);
    assert_eq!(join.piece(0, piece(0, 1)), Step::Wait);
    assert!(matches!(join.piece(1, piece(0, 1)), Step::Ready { .. }));
    // While it is computed, the source loses patience.
    assert_eq!(join.piece(0, piece(0, 2)), Step::Wait);
    assert_eq!(join.done(0, 7), 2);
    assert_eq!(join.piece(1, piece(0, 2)), Step::Wait);
    assert_eq!(join.piece(0, piece(0, 3)), Step::Repeat { sequence: 0, attempt: 3 });
    assert_eq!(join.piece(1, piece(0, 3)), Step::Wait);
    assert_eq!(join.result(0), Some(&7));
}

/// A sink that was restarted acknowledges what its record has, and neither delivers nor keeps it.
#[test]
fn what_is_delivered_is_not_kept() {
    let mut sink = Order::new(1, 4, 5);
    assert_eq!(sink.piece(0, piece(4, 1)), Some(4));
    assert_eq!(sink.due(), None);
    assert_eq!(sink.ack(Some(4)), Ack { next: 5, got: Some(4) });
    assert_eq!(sink.piece(0, piece(5, 1)), Some(5));
    assert_eq!(sink.due().map(|d| d.0), Some(5));
    sink.delivered();
    assert_eq!(sink.waiting(), 0);
}

/// Nodes that have answered an earlier source's last attempt answer the new source's first.
#[test]
fn a_restarted_source_goes_on_counting() {
    let mut w = World {
        stages: vec![],
        window: 1,
        frames: 9,
        lost: 0,
        doubled: 0,
        broken: 0,
        delay: 1,
        kills: vec![],
        seed: 1,
    };
    let mut last = 0;
    for incarnation in 0..3 {
        w.seed += 1;
        let mut source = Window::new(settings(&w, incarnation), Duration::ZERO);
        source.ack(Duration::ZERO, Ack { next: 3, got: None });
        let mut now = Duration::ZERO;
        for _ in 0..20 {
            let Some(Action::Send { sequence: 3, attempt }) = source.poll(now) else {
                panic!("frame 3 is due")
            };
            assert!(attempt > last);
            last = attempt;
            now = source.wake(now);
        }
    }
}

/// After a network that was dead for long, a frame is tried within seconds.
#[test]
fn an_outage_is_over_soon() {
    let settings = Settings {
        window: 1,
        total: None,
        timeout: Duration::from_secs(1),
        patience: Duration::from_secs(10_000),
        incarnation: 0,
    };
    let mut source = Window::new(settings, Duration::ZERO);
    source.ack(Duration::ZERO, Ack { next: 0, got: None });
    assert!(source.poll(Duration::ZERO).is_some());
    let mut now = Duration::from_millis(200);
    source.ack(now, Ack { next: 1, got: Some(0) });
    let mut last = now;
    while now < Duration::from_secs(1000) {
        assert!(matches!(source.poll(now), Some(Action::Send { sequence: 1, .. })));
        assert!(now - last <= Duration::from_secs(6), "{last:?} {now:?}");
        last = now;
        now = source.wake(now);
    }
}
