//! The source and its acknowledgements.

use super::*;

/// Nodes that have answered an earlier source's last attempt answer the new source's first.
#[test]
fn a_restarted_source_goes_on_counting() {
    let w = World::quiet(vec![], 1, 9);
    let mut last = 0;
    for incarnation in 0..3 {
        let mut source = Window::new(settings(&w, incarnation), Duration::ZERO);
        let Some(Action::Ask(ask)) = source.poll(Duration::ZERO) else { panic!("it asks") };
        source.ack(Duration::ZERO, Ack { next: 3, attempt: ask.attempt, got: None });
        let mut now = Duration::ZERO;
        for _ in 0..20 {
            let Some(Action::Send { sequence: 3, attempt }) = source.poll(now) else {
                panic!("frame 3 is due")
            };
            assert!(attempt > last && attempt > ask.attempt);
            last = attempt;
            now = source.wake(now);
        }
    }
}

fn endless(window: u64) -> Window {
    let settings = Settings {
        window,
        total: None,
        timeout: Duration::from_secs(1),
        patience: Duration::from_secs(10_000),
        incarnation: 0,
    };
    let mut source = Window::new(settings, Duration::ZERO);
    source.ack(Duration::ZERO, Ack { next: 0, attempt: 0, got: None });
    source
}

/// After a network that was dead for long, a frame is tried within seconds.
#[test]
fn an_outage_is_over_soon() {
    let mut source = endless(1);
    assert!(source.poll(Duration::ZERO).is_some());
    let mut now = Duration::from_millis(200);
    source.ack(now, Ack { next: 1, attempt: 1, got: Some(0) });
    let mut last = now;
    while now < Duration::from_secs(1000) {
        assert!(matches!(source.poll(now), Some(Action::Send { sequence: 1, .. })));
        assert!(now - last <= Duration::from_secs(6), "{last:?} {now:?}");
        last = now;
        now = source.wake(now);
    }
}

/// What acknowledges frames that were never sent, or answers an earlier start, is dropped.
#[test]
fn acknowledgements_outside_of_the_window_are_dropped() {
    let mut source = Window::new(settings(&World::quiet(vec![], 4, 9), 1), Duration::ZERO);
    let ack = |next, attempt| Ack { next, attempt, got: None };
    let this = 1 << 32;
    source.ack(Duration::ZERO, ack(9, 0));
    source.ack(Duration::ZERO, ack(10, this));
    source.ack(Duration::ZERO, ack(u64::MAX, u64::MAX));
    assert_eq!(source.outside, 3);
    assert!(matches!(source.poll(Duration::ZERO), Some(Action::Ask(_))));
    source.ack(Duration::ZERO, ack(2, this));
    for sequence in 2..6 {
        let due = source.poll(Duration::ZERO);
        assert_eq!(due, Some(Action::Send { sequence, attempt: this + 1 }));
    }
    source.ack(Duration::ZERO, ack(7, this + 1));
    assert_eq!((source.outside, source.under_way()), (4, 4));
    source.ack(Duration::ZERO, ack(6, this + 1));
    assert_eq!((source.outside, source.under_way()), (4, 0));
    assert!(matches!(source.poll(Duration::ZERO), Some(Action::Send { sequence: 6, .. })));
}

/// An acknowledgement that is recorded and sent again and again keeps no frame from being tried again.
#[test]
fn a_replayed_acknowledgement_does_not_stall() {
    let mut source = endless(2);
    let mut now = Duration::ZERO;
    assert!(source.poll(now).is_some() && source.poll(now).is_some());
    // The sink has frame 1, loses it, and has frame 0.
    let got = Ack { next: 0, attempt: 1, got: Some(1) };
    source.ack(now, got);
    source.poll(now);
    source.ack(now, Ack { next: 1, attempt: 2, got: Some(0) });
    let mut tried = 0;
    while now < Duration::from_secs(100) {
        now += Duration::from_millis(100);
        source.ack(now, got);
        while let Some(action) = source.poll(now) {
            tried += u32::from(matches!(action, Action::Send { sequence: 1, .. }));
        }
    }
    assert!(tried > 5, "{tried}");
}
