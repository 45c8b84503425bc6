//! Messages: how tensors become pieces and come back, and what of a message is believed.

use graph_opt_backends::codec::sent;
use graph_opt_ir::DType;
use graph_opt_passes::devices::cluster::Codec;

use super::super::wire::Slot;
use super::*;

/// A message that goes through its bytes.
fn again(p: &Piece) -> Piece {
    let channel = Key([1; 32]).channel(b"run", "a/out0");
    let message = channel.seal(&p.head().unwrap(), &p.bytes);
    let read = Piece::read(channel.open(&message).unwrap()).unwrap();
    assert_eq!((&read.header, &read.bytes), (&p.header, &p.bytes));
    read
}

proptest! {
    #[test]
    fn tensors_are_joined_in_any_order(
        wholes in prop::collection::vec(-9i8..9, 0..200),
        limit in 1..50usize,
        codec in prop::option::of(prop::sample::select(&Codec::ALL[..])),
        seed in any::<u64>(),
    ) {
        let x: Vec<f32> = wholes.iter().map(|&w| w.into()).collect();
        let t = Tensor::f32s(&[x.len() as u64], &x).unwrap();
        let mut pieces = cut((3, 1, 0), &t, codec, limit).unwrap();
        prop_assert!(pieces.iter().all(|p| p.bytes.len() <= limit));
        let known = Expected::of(Some(&t.ty()), limit);
        // Some order, and all of them twice.
        pieces.extend(pieces.clone());
        pieces.sort_by_key(|p| (p.header.piece + 1).wrapping_mul(seed | 1));
        let mut slot = Slot::Empty;
        let mut whole = 0;
        for p in pieces {
            prop_assert!(known.admits(&p));
            whole += usize::from(slot.take(again(&p)).unwrap());
            prop_assert!(slot.held() <= known.size());
        }
        prop_assert_eq!(whole, 1);
        // Codecs say themselves what arrives.
        let (arrives, _) = sent(codec, &t).unwrap();
        prop_assert_eq!(slot.tensor(), Some(arrives.into_owned()));
    }

    /// No bytes that are not a member's are read, and none that are make a reader fail.
    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let channel = Key([1; 32]).channel(b"run", "a/out0");
        prop_assert_eq!(channel.open(&bytes), None);
        let known = expected(LIMIT);
        if let Some(p) = Piece::read(&bytes) {
            prop_assert!(!known.admits(&p));
        }
        let _ = (Ack::read(&bytes), Ask::read(&bytes));
    }

    /// One bit, one byte less or more, another edge, another run, another key: no member's.
    #[test]
    fn a_seal_is_of_every_bit(
        body in prop::collection::vec(any::<u8>(), 0..100),
        bit in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let channel = |key, run: &[u8], edge| Key([key; 32]).channel(run, edge);
        let mine = channel(1, b"run", "a/out0");
        let (head, payload) = body.split_at(body.len() / 3);
        let message = mine.seal(head, payload);
        prop_assert_eq!(mine.open(&message), Some(&body[..]));
        for other in [channel(2, b"run", "a/out0"), channel(1, b"ru", "na/out0"), channel(1, b"run", "a/out1")] {
            prop_assert_eq!(other.open(&message), None);
        }
        let mut flipped = message.clone();
        let at = bit.index(8 * message.len());
        flipped[at / 8] ^= 1 << (at % 8);
        prop_assert_eq!(mine.open(&flipped), None);
        prop_assert_eq!(mine.open(&message[..cut.index(message.len())]), None);
        let longer = [&message[..], &[0]].concat();
        prop_assert_eq!(mine.open(&longer), None);
    }
}

#[test]
fn questions_and_answers_are_read() {
    for n in [None, Some(0), Some(u64::MAX)] {
        let ask = Ask { attempt: 3 << 32, total: n };
        assert_eq!(Ask::read(&ask.head()), Some(ask));
        let ack = Ack { next: 5, attempt: 7, got: n };
        assert_eq!(Ack::read(&ack.head()), Some(ack));
        assert_eq!(Ack::read(&ack.head()[1..]), None);
        assert_eq!(Ack::read(&[&ack.head()[..], &[0]].concat()), None);
    }
}

/// Sizes and shapes are believed as far as the plan's types allow, and no further.
#[test]
fn what_contradicts_the_plan_is_refused() {
    let t = Tensor::i64s(&[1, 2]);
    let known = Expected::of(Some(&t.ty()), 10);
    let unknown = Expected::of(None, 16);
    let pieces = cut((0, 1, 0), &t, None, 10).unwrap();
    let lies: [&dyn Fn(&mut Piece); 9] = [
        &|p| p.header.size = u64::MAX,
        &|p| p.header.size = 17,
        &|p| p.header.piece = 2,
        &|p| p.header.piece = u64::MAX,
        &|p| p.header.shape = vec![u64::MAX, 3],
        &|p| p.header.shape = vec![1 << 40],
        &|p| p.header.dtype = DType::F16,
        &|p| p.header.codec = Some(Codec::Lz4),
        &|p| p.bytes = vec![0; 9].into(),
    ];
    for p in &pieces {
        assert!(known.admits(p));
        for lie in lies {
            let mut p = p.clone();
            lie(&mut p);
            assert!(!known.admits(&p) && !unknown.admits(&p), "{:?}", p.header);
        }
    }
    let other = cut((0, 1, 0), &Tensor::i64s(&[1]), None, 10).unwrap().remove(0);
    assert!(!known.admits(&other));
    // Where nobody knows the extents, one message is taken.
    let one = |n: usize| cut((0, 1, 0), &Tensor::i64s(&vec![1; n]), None, 16).unwrap().remove(0);
    assert!(unknown.admits(&one(1)) && unknown.admits(&one(2)) && !unknown.admits(&one(3)));
}

/// Pieces of a sender that was restarted since neither mix with those of the new one nor undo them.
#[test]
fn pieces_of_an_earlier_sender_do_not_disturb() {
    let (old, new) = (Tensor::i64s(&[1, 1, 1]), Tensor::i64s(&[2, 2, 2]));
    let old = cut((0, 1, 0), &old, None, 8).unwrap();
    let pieces = cut((0, 2, 1), &new, None, 8).unwrap();
    let mut slot = Slot::Empty;
    assert_eq!(slot.take(old[0].clone()), Ok(false));
    for (i, p) in pieces.into_iter().enumerate() {
        assert_eq!(slot.take(p), Ok(i == 2));
        assert_eq!(slot.take(old[1].clone()), Ok(false));
    }
    assert_eq!(slot.tensor(), Some(new));
}

/// What a MAC costs: `cargo test what_a_mac_costs -- --nocapture`.
#[test]
fn what_a_mac_costs() {
    let payload: Vec<u8> = (0..16u32 << 20).map(|i| (i >> 3) as u8).collect();
    let channel = Key([1; 32]).channel(b"run", "a/out0");
    let best = |f: &dyn Fn() -> usize| {
        let one = || {
            let begin = std::time::Instant::now();
            assert!(f() > payload.len());
            begin.elapsed().as_secs_f64() * 1e3 / 16.0
        };
        (0..5).map(|_| one()).fold(f64::MAX, f64::min)
    };
    let message = channel.seal(&[0; 64], &payload);
    let plain = best(&|| [&[0; 96][..], &payload].concat().len());
    let seal = best(&|| channel.seal(&[0; 64], &payload).len());
    let open = best(&|| channel.open(&message).map_or(0, <[u8]>::len));
    println!("a MiB: {seal:.3} ms to seal ({plain:.3} to copy), {open:.3} ms to open");
}
