//! The source: a window of frames under way, each tried again until it is acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Ack, Ask};

/// How often the sink is asked at the start where it stands.
const ASK: Duration = Duration::from_secs(1);

/// No timeout is shorter or longer than this.
const SHORTEST: Duration = Duration::from_millis(300);
const LONGEST: Duration = Duration::from_secs(60);

/// Where it is known how long frames take, one that is lost is tried at least this often, and at least
/// once in eight timeouts: a link that was down for a while is used soon after it is back.
const OFTEN: Duration = Duration::from_secs(5);

/// How a source behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most frames under way; at least 1.
    pub window: u64,
    /// Frames in all; none if there is no end.
    pub total: Option<u64>,
    /// How long a frame may take before anything was measured.
    pub timeout: Duration,
    /// How long nothing at all may be acknowledged.
    pub patience: Duration,
    /// How often this source was started before.
    pub incarnation: u32,
}

/// What the source is to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the sink where it stands.
    Ask(Ask),
    /// Send a frame.
    Send {
        /// The frame.
        sequence: u64,
        /// The attempt at it.
        attempt: u64,
    },
    /// All frames are delivered.
    Finish,
    /// Nothing was acknowledged for too long.
    GiveUp {
        /// The first frame that is missing.
        sequence: u64,
    },
}

#[derive(Debug)]
struct Flight {
    sent: Duration,
    due: Duration,
    tries: u32,
    /// Tries below this were acknowledged.
    heard: u32,
}

/// The window. Times are since any fixed moment.
#[derive(Debug)]
pub struct Window {
    settings: Settings,
    /// The first frame that is not acknowledged; none before the sink has said so.
    base: Option<u64>,
    next: u64,
    flights: BTreeMap<u64, Flight>,
    /// Smoothed time from a frame's first sending to its acknowledgement, and its deviation, s.
    measured: Option<(f64, f64)>,
    asked: Option<Duration>,
    progress: Duration,
    over: bool,
    /// Frames sent more than once.
    pub repeated: u64,
    /// Acknowledgements that were dropped: of an earlier start of the source, or outside of the window.
    pub outside: u64,
}

impl Window {
    /// A window that opens once the sink has said where it stands.
    pub fn new(settings: Settings, now: Duration) -> Self {
        Self {
            settings,
            base: None,
            next: 0,
            flights: BTreeMap::new(),
            measured: None,
            asked: None,
            progress: now,
            over: false,
            repeated: 0,
            outside: 0,
        }
    }

    /// What is to be done now, one thing at a time until there is none.
    pub fn poll(&mut self, now: Duration) -> Option<Action> {
        if self.over {
            return None;
        }
        let first = self.base.unwrap_or(0);
        if self.base.is_some() && self.settings.total.is_some_and(|t| first >= t) {
            self.over = true;
            return Some(Action::Finish);
        }
        if now.saturating_sub(self.progress) > self.settings.patience {
            self.over = true;
            return Some(Action::GiveUp { sequence: first });
        }
        if self.base.is_none() {
            if self.asked.is_some_and(|a| now < a + ASK) {
                return None;
            }
            self.asked = Some(now);
            let attempt = u64::from(self.settings.incarnation) << 32;
            return Some(Action::Ask(Ask { attempt, total: self.settings.total }));
        }
        let timeout = self.timeout();
        let longest = if self.measured.is_some() { (8 * timeout).max(OFTEN) } else { LONGEST };
        let longest = longest.min(LONGEST);
        if let Some((&sequence, f)) = self.flights.iter_mut().find(|(_, f)| f.due <= now) {
            f.tries += 1;
            // Ever longer, as the network may be what is too slow.
            f.due = now + (timeout * 2u32.saturating_pow(f.tries.min(8))).min(longest);
            let tries = f.tries;
            self.repeated += 1;
            return Some(Action::Send { sequence, attempt: self.attempt(tries) });
        }
        let open = self.next < first.saturating_add(self.settings.window.max(1));
        if open && self.settings.total.is_none_or(|t| self.next < t) {
            let sequence = self.next;
            self.next += 1;
            self.flights
                .insert(sequence, Flight { sent: now, due: now + timeout, tries: 0, heard: 0 });
            return Some(Action::Send { sequence, attempt: self.attempt(0) });
        }
        None
    }

    /// When there may be something to do again, without any message.
    pub fn wake(&self, now: Duration) -> Duration {
        let patience = self.progress + self.settings.patience + Duration::from_millis(1);
        let asking = self.asked.filter(|_| self.base.is_none()).map(|a| a + ASK);
        let due = self.flights.values().map(|f| f.due).min();
        let at = [Some(patience), asking, due].into_iter().flatten().min().unwrap_or(patience);
        at.max(now)
    }

    /// An acknowledgement.
    pub fn ack(&mut self, now: Duration, ack: Ack) {
        // Frames of the last start may have been delivered meanwhile, but none beyond its window.
        let most = self.base.map_or(u64::MAX, |b| b.saturating_add(self.settings.window.max(1)));
        let most = most.min(self.settings.total.unwrap_or(u64::MAX));
        if ack.attempt >> 32 != u64::from(self.settings.incarnation) || ack.next > most {
            self.outside += 1;
            return;
        }
        let base = self.base.unwrap_or(0);
        if self.base.is_none() || ack.next > base {
            self.progress = now;
            self.base = Some(ack.next.max(base));
            self.next = self.next.max(ack.next);
        }
        // Each try counts once, however often its acknowledgement comes.
        let tried = (ack.attempt as u32).saturating_sub(1);
        let got = ack.got.filter(|got| {
            let flight = self.flights.get_mut(got);
            flight.filter(|f| f.heard <= tried && tried <= f.tries).is_some_and(|f| {
                f.heard = tried + 1;
                true
            })
        });
        if let Some(f) = got.and_then(|g| self.flights.get(&g)) {
            // What was tried twice says nothing about how long one try takes.
            if f.tries == 0 {
                self.measure(now.saturating_sub(f.sent));
            }
        }
        self.flights = self.flights.split_off(&ack.next.max(base));
        let timeout = self.timeout();
        let Some(got) = got.filter(|g| *g > ack.next) else { return };
        for (&sequence, f) in &mut self.flights {
            if sequence < got && f.tries == 0 {
                // Frames keep their order, so an older one that is not there yet was lost.
                f.due = f.due.min(now);
            } else if sequence == got {
                // It waits at the sink for the older ones. Should the sink lose it, it is due later.
                f.due = f.due.max(now + timeout);
            }
        }
    }

    /// Frames under way.
    #[cfg(test)]
    pub fn under_way(&self) -> usize {
        self.flights.len()
    }

    fn attempt(&self, tries: u32) -> u64 {
        (u64::from(self.settings.incarnation) << 32) + 1 + u64::from(tries)
    }

    fn measure(&mut self, took: Duration) {
        let t = took.as_secs_f64();
        self.measured = Some(match self.measured {
            None => (t, t / 2.0),
            Some((mean, dev)) => (mean + (t - mean) / 8.0, dev + ((t - mean).abs() - dev) / 4.0),
        });
    }

    fn timeout(&self) -> Duration {
        let t = match self.measured {
            // Half as long again as it takes: to send once too often costs the link more than
            // to wait, and frames are lost rarely.
            Some((mean, dev)) => Duration::from_secs_f64((1.5 * mean + 4.0 * dev).min(3600.0)),
            None => self.settings.timeout,
        };
        t.clamp(SHORTEST, LONGEST)
    }
}
