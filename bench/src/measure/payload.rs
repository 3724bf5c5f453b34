//! What the messages hold: every byte is written by the sender and read by the receiver, and the sums must agree. The
//! first word is the message's number, or the time it was due.

/// The first word of a message that says: no more will come.
pub const STOP: u64 = u64::MAX;

/// Any odd number with bits all over: neighbouring words and messages differ in every byte.
const STRIDE: u64 = 0x9E37_79B9_7F4A_7C15;

/// Writes the whole of `buffer` (a multiple of eight bytes) and returns its [`sum`].
#[inline]
pub fn fill(buffer: &mut [u8], first: u64) -> u64 {
    let (mut word, mut sum) = (first, 0u64);
    for chunk in buffer.chunks_exact_mut(8) {
        chunk.copy_from_slice(&word.to_le_bytes());
        sum = sum.wrapping_add(word);
        word = word.wrapping_add(STRIDE);
    }
    sum
}

/// Reads the whole of `bytes`.
#[inline]
pub fn sum(bytes: &[u8]) -> u64 {
    words(bytes).fold(0u64, u64::wrapping_add)
}

/// The first word; `STOP` for a message too short to have one, so that nobody waits for ever.
#[inline]
pub fn first(bytes: &[u8]) -> u64 {
    words(bytes).next().unwrap_or(STOP)
}

#[inline]
fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word))
}

/// Priorities scattered over the whole range: xorshift64 (Marsaglia), the same sequence in every run and for every rival.
pub struct Scattered(u64);

impl Scattered {
    pub fn new() -> Scattered {
        Scattered(STRIDE)
    }

    /// The next priority, 0 to 32767: the range of chappe and of the kernel.
    #[inline]
    pub fn next(&mut self) -> u16 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 49) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut buffer = [0u8; 64];
        let written = fill(&mut buffer, 7);
        assert_eq!(sum(&buffer), written);
        assert_eq!(first(&buffer), 7);
        buffer[40] ^= 1;
        assert_ne!(sum(&buffer), written);
    }

    #[test]
    fn priorities_scatter_and_stay_in_range() {
        let mut scattered = Scattered::new();
        let seen: std::collections::BTreeSet<u16> = (0..1000).map(|_| scattered.next()).collect();
        assert!(seen.len() > 900 && seen.iter().all(|priority| *priority <= 32767));
    }
}
