//! Who may speak: every message carries a keyed MAC, so that only those who have the key are heard.
//!
//! Each edge has a key of its own, made of the shared key, the run and the edge. So a message that was
//! recorded in another run, or on another edge, is as good as a forged one.

/// Bytes of a key.
pub const KEY: usize = blake3::KEY_LEN;

/// Bytes that a seal adds to a message.
pub const TAG: usize = blake3::OUT_LEN;

/// What all members of a dataflow share.
pub struct Key(pub [u8; KEY]);

impl Key {
    /// One edge of a run: what a node sends on one of its outputs.
    pub fn channel(&self, run: &[u8], edge: &str) -> Channel {
        let mut of = blake3::Hasher::new_keyed(&self.0);
        of.update(b"graph-opt-worker 1");
        // With its length, so that no other run and edge are the same bytes.
        of.update(&(run.len() as u64).to_le_bytes()).update(run).update(edge.as_bytes());
        Channel(of.finalize().into())
    }
}

/// The key of an edge in a run.
#[derive(Clone)]
pub struct Channel([u8; KEY]);

impl Channel {
    /// A message: the MAC, and what it is of.
    pub fn seal(&self, head: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut all = Vec::with_capacity(TAG + head.len() + payload.len());
        all.resize(TAG, 0);
        all.extend_from_slice(head);
        all.extend_from_slice(payload);
        let tag = blake3::keyed_hash(&self.0, &all[TAG..]);
        all[..TAG].copy_from_slice(tag.as_bytes());
        all
    }

    /// What was sealed; none if the MAC is not that of a member. Nothing of the message is read before.
    pub fn open<'a>(&self, message: &'a [u8]) -> Option<&'a [u8]> {
        let (tag, body) = message.split_at_checked(TAG)?;
        let tag: [u8; TAG] = tag.try_into().ok()?;
        // Hashes are compared in constant time.
        (blake3::keyed_hash(&self.0, body) == tag).then_some(body)
    }
}
