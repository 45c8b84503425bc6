//! Networks with trouble, and nobody who means it.

use super::*;

proptest! {
    /// Every frame arrives, in order, once, and right; nobody keeps more than a window.
    #[test]
    fn nothing_is_lost(world in world()) {
        let mut run = Run::new(world);
        prop_assert!(run.run().is_some(), "gave up");
        run.check();
    }

    /// On a network that loses nothing, every tensor is sent once, and nothing is dropped.
    #[test]
    fn nothing_is_sent_twice_for_nothing(mut world in world()) {
        (world.lost, world.doubled, world.broken, world.delay) = (0, 0, 0, 1);
        world.kills.clear();
        let mut run = Run::new(world);
        prop_assert!(run.run().is_some());
        prop_assert_eq!((run.source.repeated, run.source.outside), (0, 0));
        let all = run.stages.iter().fold(run.sink.dropped(), |all, s| all + s.dropped);
        prop_assert_eq!(all + run.dropped, Dropped::default());
    }
}

/// A frame that is lost for good ends in an error.
#[test]
fn a_dead_network_is_given_up() {
    let mut w = World { lost: 1000, delay: 10, ..World::quiet(vec![vec![0]], 2, 5) };
    assert_eq!(Run::new(w.clone()).run(), None);
    w.lost = 0;
    assert!(Run::new(w).run().is_some());
}

fn piece(sequence: u64, attempt: u64) -> Piece {
    cut((sequence, attempt, 0), &input(sequence), None, 1000).unwrap().remove(0)
}

/// All pieces of an attempt get one answer, or every node on the way would multiply them.
#[test]
fn a_repeat_is_answered_once() {
    let mut join = Join::new(vec![expected(1000); 2], 4);
    assert_eq!(join.piece(0, piece(0, 1)), Step::Wait);
    assert_eq!(join.piece(1, piece(0, 1)), Step::Ready { sequence: 0 });
    assert_eq!(join.begin(0).map(|i| i.len()), Some(2));
    assert_eq!(join.begin(0), None);
    // While it is computed, the source loses patience.
    assert_eq!(join.piece(0, piece(0, 2)), Step::Wait);
    assert_eq!(join.done(0, vec![input(9)]), 2);
    assert_eq!(join.piece(1, piece(0, 2)), Step::Wait);
    assert_eq!(join.piece(0, piece(0, 3)), Step::Repeat { sequence: 0, attempt: 3 });
    assert_eq!(join.piece(1, piece(0, 3)), Step::Wait);
    assert_eq!(join.result(0), Some(&[input(9)][..]));
}

/// A sink that was restarted acknowledges what its record has, and neither delivers nor keeps it.
#[test]
fn what_is_delivered_is_not_kept() {
    let mut sink = Order::new(vec![expected(1000)], 4, 5);
    let got = sink.piece(0, piece(4, 1)).unwrap();
    assert_eq!(sink.due(), None);
    assert_eq!(sink.ack(got), Ack { next: 5, attempt: 1, got: Some(4) });
    assert_eq!(sink.piece(0, piece(5, 1)).map(|g| g.sequence), Some(5));
    assert_eq!(sink.due().map(|d| d.0), Some(5));
    sink.delivered();
    assert_eq!((sink.waiting(), sink.held()), (0, 0));
}
