//! An adversary: it sees all messages, delays and repeats them, and sends its own at a high rate. It has
//! no key.

use super::*;

/// What it has seen, and what it has done.
#[derive(Default)]
pub struct Adversary {
    seen: Vec<Letter>,
    /// Messages of each kind.
    pub kinds: [u64; KINDS],
}

const KINDS: usize = 8;

/// It remembers so many messages, old ones among them.
const MEMORY: usize = 2000;

impl Run {
    /// A message of a member, which the adversary sees: and what it does then.
    pub fn attack(&mut self, letter: Letter) {
        if self.world.hostile == 0 {
            return;
        }
        if self.adversary.seen.len() < MEMORY {
            self.adversary.seen.push(letter);
        } else {
            let at = self.draw(MEMORY as u64) as usize;
            self.adversary.seen[at] = letter;
        }
        for _ in 0..self.world.hostile {
            let kind = self.draw(KINDS as u64) as usize;
            let Some(letter) = self.lie(kind) else { continue };
            self.adversary.kinds[kind] += 1;
            // Now and then long after.
            let late = if self.chance(50) { 100 } else { 1 };
            self.deliver_later(late * self.world.delay, Mail::Letter(letter));
        }
    }

    fn lie(&mut self, kind: usize) -> Option<Letter> {
        let seen = self.draw(self.adversary.seen.len() as u64) as usize;
        let mut letter = self.adversary.seen.get(seen)?.clone();
        letter.forged = true;
        let (to, input) = (letter.to, letter.input);
        let length = letter.bytes.len() as u64;
        match kind {
            // As it was, late and often: all that has a valid MAC.
            0 | 1 => letter.forged = false,
            // Cut short.
            2 => letter.bytes.truncate(self.draw(length) as usize),
            3 => {
                let bit = self.draw(8 * length) as usize;
                letter.bytes[bit / 8] ^= 1 << (bit % 8);
            }
            // On another edge.
            4 => {
                let seen = self.draw(self.adversary.seen.len() as u64) as usize;
                let other = &self.adversary.seen[seen];
                (letter.to, letter.input) = (other.to, other.input);
                let edge =
                    |r: &Self, to, input| (r.sender(to, input), std::mem::discriminant(&input));
                letter.forged = edge(self, to, input) != edge(self, letter.to, letter.input);
            }
            // Recorded in another run with the same key.
            5 => {
                let body = letter.bytes.get(super::super::seal::TAG..)?.to_vec();
                letter.bytes = self.channel(to, input, b"last").seal(&body, &[]);
            }
            // Made up, with a key of its own.
            6 => {
                let body = self.made_up(input);
                letter.bytes = Key([8; 32]).channel(b"run", "0/out").seal(&body, &[]);
            }
            _ => letter.bytes = (0..self.draw(300)).map(|_| self.draw(256) as u8).collect(),
        }
        Some(letter)
    }

    /// What would do harm if it were believed.
    fn made_up(&mut self, input: Input) -> Vec<u8> {
        let far = [u64::MAX, u64::MAX / 2, self.draw(1000), self.world.frames, 1 << 32, 0];
        let mut any = || far[self.draw(far.len() as u64) as usize];
        match input {
            Input::Ask => Ask { attempt: any(), total: Some(any()) }.head(),
            Input::Ack => Ack { next: any(), attempt: any(), got: Some(any()) }.head(),
            Input::Data(_) => {
                let (sequence, attempt, life, size) = (any(), any(), any(), any());
                let mut p = cut((sequence, attempt, life), &super::input(0), None, LIMIT).unwrap();
                let mut p = p.remove(0);
                (p.header.size, p.header.piece) = (size, any());
                [p.head().unwrap(), p.bytes.to_vec()].concat()
            }
        }
    }
}

fn attacked(world: World) -> Run {
    let mut run = Run::new(world);
    assert!(run.run().is_some(), "the source gave up");
    run.check();
    run
}

/// Ten messages of the adversary for each of a member: all honest frames are delivered in order and right,
/// no node holds more than its window, the source ends, and all that is forged is counted.
#[test]
fn honest_frames_get_through() {
    // Two paths, a skip, and a stage that takes three values.
    let stages = vec![vec![0], vec![0, 1], vec![0, 1, 2]];
    let mut total = (0, 0, 0, 0.0f64);
    for seed in 1..=6 {
        let quiet = World::quiet(stages.clone(), 4, 40);
        let run = attacked(World { hostile: 10, delay: 20, seed: 977 * seed, ..quiet });
        assert!(run.adversary.kinds.iter().all(|&n| n > 100), "{:?}", run.adversary.kinds);
        let all = run.stages.iter().fold(run.sink.dropped(), |all, s| all + s.dropped);
        assert_eq!(all.broken, 0);
        let outside = all.outside + run.source.outside;
        total = (
            total.0 + run.letters,
            total.1 + run.forged,
            total.2 + outside,
            total.3.max(run.most_held),
        );
    }
    let (letters, forged, outside, held) = total;
    println!(
        "{letters} messages, {forged} forged, {outside} outside of the window; at most {:.0} % of the bound held",
        held * 100.0
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The same on bad networks, while nodes are killed and forget all they know.
    #[test]
    fn honest_frames_get_through_trouble(world in world(), hostile in 1..12u32) {
        attacked(World { hostile, frames: world.frames.min(12), ..world });
    }
}

/// A member whose sequence numbers run away, or one that lost its mind: what lies outside of the sink's
/// window is dropped and counted, and nothing is kept of it.
#[test]
fn the_sink_keeps_its_window() {
    let mut sink = Order::new(vec![expected(1000)], 4, 0);
    let piece = |sequence| cut((sequence, 1, 0), &input(sequence), None, 1000).unwrap().remove(0);
    for n in 0..1000 {
        assert_eq!(sink.piece(0, piece(4 + n * n)), None);
        assert_eq!(sink.piece(0, piece(u64::MAX - n)), None);
    }
    assert_eq!((sink.held(), sink.dropped().outside), (0, 2000));
    for sequence in [3, 2, 1, 0] {
        assert!(sink.piece(0, piece(sequence)).is_some());
        assert!(sink.held() <= 4 * expected(1000).size());
    }
    for sequence in 0..4 {
        assert_eq!(sink.due().map(|d| d.0), Some(sequence));
        sink.delivered();
    }
}

/// A stage keeps a window of frames, whatever comes: those that are not complete, ready or done.
#[test]
fn a_stage_keeps_its_window() {
    let mut join = Join::new(vec![expected(LIMIT); 2], 4);
    for sequence in 0..2000 {
        for p in cut((sequence, 1, 0), &input(sequence), None, LIMIT).unwrap() {
            if sequence % 3 > 0 {
                join.piece(0, p.clone());
            }
            join.piece(1, p);
        }
        if sequence % 6 == 1 {
            join.begin(sequence).unwrap();
            join.done(sequence, vec![input(0)]);
        }
        assert!(join.held() <= 4 * 2 * expected(LIMIT).size());
        assert!(join.kept() <= 4 && join.ready().is_none_or(|r| r + 4 > sequence));
    }
}
