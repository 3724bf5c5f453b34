//! The fuzzer's bytes, read from front to back: every string of bytes means something, and what is missing is zero. No policy.

/// What is left of an input.
pub struct Input<'a> {
    bytes: &'a [u8],
    /// A number made of all bytes of the input. Choices that cost much time are made by it, not by a byte: a mutation does not
    /// inherit them, so the fuzzer cannot come to prefer them.
    pub lot: u64,
}

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Input<'a> {
        // FNV-1a, then mixed, since its low bits are weak.
        let hash = bytes
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
        Input { bytes, lot: Rng(hash).bits() }
    }

    /// No bytes, with the lot of another.
    pub fn lot_only(lot: u64) -> Input<'static> {
        Input { bytes: &[], lot }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *first
    }

    pub fn half(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    pub fn word(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// Something below `limit`, which is at most 65536.
    pub fn below(&mut self, limit: usize) -> usize {
        let drawn = if limit <= 256 { usize::from(self.byte()) } else { usize::from(self.half()) };
        drawn % limit.max(1)
    }

    /// Whether the lot falls on one in `n`; `what` keeps several such choices apart.
    pub fn lot_one_in(&self, n: u64, what: u64) -> bool {
        Rng(self.lot ^ what << 32).bits().is_multiple_of(n)
    }
}

/// SplitMix64: numbers that follow from a seed.
pub struct Rng(pub u64);

impl Rng {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.bits() % limit.max(1)
    }
}
