//! The protocol over networks that lose, double, delay, overtake and lie, with nodes that are killed.

mod honest;
mod hostile;
mod messages;
mod source;

use std::collections::BTreeMap;
use std::time::Duration;

use graph_opt_ir::Tensor;
use proptest::prelude::*;

use self::hostile::Adversary;
use super::join::{Join, Step};
use super::order::Order;
use super::seal::{Channel, Key};
use super::window::{Action, Settings, Window};
use super::wire::{Expected, Piece, cut};
use super::{Ack, Ask, Dropped};

/// Bytes of a message's piece.
const LIMIT: usize = 13;

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
    /// Messages of an adversary for each one of a member.
    hostile: u32,
    seed: u64,
}

impl World {
    /// One without trouble.
    fn quiet(stages: Vec<Vec<usize>>, window: u64, frames: u64) -> Self {
        let (lost, doubled, broken, hostile) = (0, 0, 0, 0);
        let kills = Vec::new();
        Self { stages, window, frames, lost, doubled, broken, delay: 1, kills, hostile, seed: 1 }
    }
}

/// Where a message comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Input {
    Data(usize),
    Ask,
    Ack,
}

/// A message to a node.
#[derive(Clone, Debug)]
struct Letter {
    to: usize,
    input: Input,
    bytes: Vec<u8>,
    /// Whether its MAC is not that of its edge: only the tests know.
    forged: bool,
}

/// What is in it.
enum Message {
    Piece(usize, Piece),
    Ask(Ask),
    Ack(Ack),
}

#[derive(Clone, Debug)]
enum Mail {
    Letter(Letter),
    /// A stage has computed a frame.
    Made(usize, u64, Tensor),
}

struct Run {
    world: World,
    now: u64,
    random: u64,
    /// By time and number.
    mail: BTreeMap<(u64, u64), Mail>,
    sent: u64,
    key: Key,
    adversary: Adversary,
    source: Window,
    /// How often each node was started again.
    lives: Vec<u32>,
    stages: Vec<Join>,
    sink: Order,
    /// What survives the sink.
    record: Vec<Tensor>,
    most_kept: usize,
    /// Most bytes that a node held, as a share of what it may.
    most_held: f64,
    dropped: Dropped,
    /// Messages that were delivered and have no valid MAC.
    forged: u64,
    letters: u64,
}

/// What the source sends for a frame.
fn input(sequence: u64) -> Tensor {
    Tensor::i64s(&[sequence as i64 + 1, 7, -3, 1 << 40])
}

/// What is known of every value.
fn expected(limit: usize) -> Expected {
    Expected::of(Some(&input(0).ty()), limit)
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
        let joins = world.stages.iter().map(|s| join(s, world.window)).collect();
        Self {
            now: 0,
            random: world.seed | 1,
            mail: BTreeMap::new(),
            sent: 0,
            key: Key([7; 32]),
            adversary: Adversary::default(),
            source: Window::new(settings, Duration::ZERO),
            lives: vec![0; world.stages.len() + 2],
            stages: joins,
            sink: Order::new(vec![expected(LIMIT)], world.window, 0),
            record: Vec::new(),
            most_kept: 0,
            most_held: 0.0,
            dropped: Dropped::default(),
            forged: 0,
            letters: 0,
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

    /// The node that sends what comes in there.
    fn sender(&self, to: usize, input: Input) -> usize {
        let last = self.world.stages.len();
        match input {
            Input::Ask => 0,
            Input::Ack => last + 1,
            Input::Data(_) if to > last => last,
            Input::Data(i) => self.world.stages[to - 1][i],
        }
    }

    /// The edge on which messages come in there.
    fn channel(&self, to: usize, input: Input, run: &[u8]) -> Channel {
        let name = match input {
            Input::Data(_) => "out",
            Input::Ask => "ask",
            Input::Ack => "ack",
        };
        self.key.channel(run, &format!("{}/{name}", self.sender(to, input)))
    }

    fn deliver_later(&mut self, delay: u64, mail: Mail) {
        let at = self.now + 1 + self.draw(delay);
        self.sent += 1;
        self.mail.insert((at, self.sent), mail);
    }

    fn post(&mut self, to: usize, input: Input, head: &[u8], payload: &[u8]) {
        let bytes = self.channel(to, input, b"run").seal(head, payload);
        let letter = Letter { to, input, bytes, forged: false };
        for copy in 0..2 {
            if copy == 1 && !self.chance(self.world.doubled) || self.chance(self.world.lost) {
                continue;
            }
            let mut letter = letter.clone();
            if self.chance(self.world.broken) {
                let at = self.draw(letter.bytes.len() as u64) as usize;
                letter.bytes[at] ^= 1;
                letter.forged = true;
            }
            self.deliver_later(self.world.delay, Mail::Letter(letter));
        }
        self.attack(letter);
    }

    /// To all who take the output of `from` (0 the source, i + 1 stage i).
    fn send(&mut self, from: usize, sequence: u64, attempt: u64, tensor: &Tensor) {
        let frame = (sequence, attempt, self.lives[from].into());
        let stages = self.world.stages.clone();
        for p in cut(frame, tensor, None, LIMIT).unwrap() {
            let head = p.head().unwrap();
            for (s, inputs) in stages.iter().enumerate() {
                for (i, _) in inputs.iter().enumerate().filter(|(_, f)| **f == from) {
                    self.post(s + 1, Input::Data(i), &head, &p.bytes);
                }
            }
            if from == stages.len() {
                self.post(stages.len() + 1, Input::Data(0), &head, &p.bytes);
            }
        }
    }

    fn deliver(&mut self, letter: &Letter) {
        let (to, last) = (letter.to, self.world.stages.len() + 1);
        self.letters += 1;
        self.forged += u64::from(letter.forged);
        let channel = self.channel(to, letter.input, b"run");
        let Some(body) = channel.open(&letter.bytes) else {
            self.dropped.forged += 1;
            return;
        };
        let read = match letter.input {
            Input::Ack => Ack::read(body).map(Message::Ack),
            Input::Ask => Ask::read(body).map(Message::Ask),
            Input::Data(i) => Piece::read(body).map(|p| Message::Piece(i, p)),
        };
        let Some(message) = read else {
            self.dropped.broken += 1;
            return;
        };
        match message {
            Message::Ack(ack) => self.source.ack(Duration::from_millis(self.now), ack),
            Message::Ask(ask) => {
                assert_eq!(ask.total, Some(self.world.frames));
                self.post(0, Input::Ack, &self.sink.answer(ask.attempt).head(), &[]);
            }
            Message::Piece(i, p) if to == last => {
                let got = self.sink.piece(i, p);
                self.measure(to, self.sink.held(), 1);
                let Some(got) = got else { return };
                while let Some((sequence, t)) = self.sink.due() {
                    assert_eq!(sequence as usize, self.record.len(), "in order, each once");
                    self.record.push(t[0].clone());
                    self.sink.delivered();
                }
                self.post(0, Input::Ack, &self.sink.ack(got).head(), &[]);
            }
            Message::Piece(i, p) => {
                let join = &mut self.stages[to - 1];
                let step = join.piece(i, p);
                self.most_kept = self.most_kept.max(join.kept());
                let held = join.held();
                self.measure(to, held, self.world.stages[to - 1].len() as u64);
                let join = &mut self.stages[to - 1];
                match step {
                    Step::Wait | Step::Drop => {}
                    Step::Ready { sequence } => {
                        // Which takes time, while more comes.
                        let made = stage(to - 1, &join.begin(sequence).unwrap());
                        self.deliver_later(self.world.delay, Mail::Made(to, sequence, made));
                    }
                    Step::Repeat { sequence, attempt } => {
                        let made = join.result(sequence).unwrap()[0].clone();
                        self.send(to, sequence, attempt, &made);
                    }
                }
            }
        }
    }

    /// The bound: a window of frames, each with all inputs or with what came of them.
    fn measure(&mut self, to: usize, held: u64, inputs: u64) {
        let bound = self.world.window * inputs.max(1) * expected(LIMIT).size();
        assert!(held <= bound, "node {to} holds {held} bytes, {bound} at most");
        self.most_held = self.most_held.max(held as f64 / bound as f64);
    }

    fn made(&mut self, to: usize, sequence: u64, made: Tensor) {
        let attempt = self.stages[to - 1].done(sequence, vec![made.clone()]);
        self.send(to, sequence, attempt, &made);
    }

    fn kill(&mut self, who: usize) {
        self.lives[who] += 1;
        let (w, last) = (&self.world, self.world.stages.len() + 1);
        if who == 0 {
            let settings = settings(w, self.lives[0]);
            self.source = Window::new(settings, Duration::from_millis(self.now));
        } else if who == last {
            self.sink = Order::new(vec![expected(LIMIT)], w.window, self.record.len() as u64);
        } else {
            self.stages[who - 1] = join(&w.stages[who - 1], w.window);
        }
        // What was on its way to it dies with it.
        self.mail.retain(|_, m| match m {
            Mail::Letter(Letter { to, .. }) | Mail::Made(to, ..) => *to != who,
        });
    }

    /// Milliseconds until all is delivered; none if the source gave up.
    fn run(&mut self) -> Option<u64> {
        let mut kills = self.world.kills.clone();
        kills.sort_unstable();
        loop {
            while let Some(&(_, who)) = kills.first().filter(|k| k.0 <= self.now) {
                kills.remove(0);
                self.kill(who);
            }
            let clock = Duration::from_millis(self.now);
            while let Some(action) = self.source.poll(clock) {
                assert!(self.source.under_way() as u64 <= self.world.window);
                match action {
                    Action::Ask(ask) => {
                        let to = self.world.stages.len() + 1;
                        self.post(to, Input::Ask, &ask.head(), &[]);
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
            while let Some(first) = self.mail.first_entry().filter(|e| e.key().0 <= self.now) {
                match first.remove() {
                    Mail::Letter(letter) => self.deliver(&letter),
                    Mail::Made(to, sequence, made) => self.made(to, sequence, made),
                }
            }
        }
    }

    /// Every frame is there, in order, once, and right.
    fn check(&self) {
        assert_eq!(self.record.len() as u64, self.world.frames);
        for (sequence, got) in self.record.iter().enumerate() {
            let mut made = vec![input(sequence as u64)];
            for (i, inputs) in self.world.stages.iter().enumerate() {
                let inputs: Vec<Tensor> = inputs.iter().map(|&f| made[f].clone()).collect();
                made.push(stage(i, &inputs));
            }
            assert_eq!(Some(got), made.last());
        }
        assert!(self.most_kept as u64 <= self.world.window);
        assert_eq!(self.dropped.broken, 0);
        assert_eq!(self.dropped.forged, self.forged, "what is forged is dropped and counted");
    }
}

fn join(inputs: &[usize], window: u64) -> Join {
    Join::new(inputs.iter().map(|_| expected(LIMIT)).collect(), window)
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
            let quiet = World::quiet(stages, window, frames);
            World { lost, doubled, broken, delay, kills, seed, ..quiet }
        },
    )
}
