//! The blocks of scene 2: how a file is cut into them, what a message looks like, and what a consumer writes down about
//! one. Cutting is the same computation for who sends and for who checks.

/// The largest piece of the file in one message.
pub const PIECE_MAX: usize = 4096;

/// Bytes before the piece: producer, length, sequence number, checksum.
pub const HEADER: usize = 24;

/// Bytes of what a consumer writes down: the header and what it found. A page holds a whole number of them, so that one
/// write is never half done by a kill.
pub const RECORD: usize = 32;

/// At most so much of the binary is sent.
pub const FILE_MAX: usize = 16 << 20;

/// The file that is sent: this binary.
pub fn file() -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open("/proc/self/exe")?.take(FILE_MAX as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Pseudo-random numbers, the same ones from the same seed: splitmix64 (Steele, Lea, Flood).
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// A block: a piece of the file and the tag that it travels with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Who sends it.
    pub producer: u32,
    /// Its number among that producer's.
    pub sequence: u64,
    /// The piece's length.
    pub length: u32,
    /// Of tag and piece.
    pub checksum: u64,
}

impl Block {
    fn new(producer: u32, sequence: u64, piece: &[u8]) -> Block {
        let length = piece.len() as u32;
        Block { producer, sequence, length, checksum: checksum(producer, sequence, piece) }
    }

    /// The message that carries it.
    pub fn message(&self, piece: &[u8]) -> Vec<u8> {
        [&self.header()[..], piece].concat()
    }

    fn header(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&self.producer.to_le_bytes());
        header[4..8].copy_from_slice(&self.length.to_le_bytes());
        header[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        header[16..].copy_from_slice(&self.checksum.to_le_bytes());
        header
    }

    fn of_header(header: &[u8]) -> Option<Block> {
        Some(Block {
            producer: u32::from_le_bytes(header.get(..4)?.try_into().ok()?),
            length: u32::from_le_bytes(header.get(4..8)?.try_into().ok()?),
            sequence: u64::from_le_bytes(header.get(8..16)?.try_into().ok()?),
            checksum: u64::from_le_bytes(header.get(16..HEADER)?.try_into().ok()?),
        })
    }

    /// The block at the beginning of some bytes, if it is there whole.
    pub fn read(bytes: &[u8]) -> Option<Block> {
        let block = Block::of_header(bytes)?;
        let piece = bytes.get(HEADER..HEADER + block.length as usize)?;
        (block == Block::new(block.producer, block.sequence, piece)).then_some(block)
    }
}

/// What a consumer writes down about a message it received: the block, or that it was none.
pub fn record(message: &[u8]) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    if let Some(block) = Block::read(message).filter(|block| message.len() == HEADER + block.length as usize) {
        record[..HEADER].copy_from_slice(&block.header());
        record[HEADER] = 1;
    }
    record
}

/// Reads a record: `None` for a message that was no whole block.
pub fn read_record(record: &[u8]) -> Option<Block> {
    (record.get(HEADER) == Some(&1)).then(|| Block::of_header(record)).flatten()
}

/// Not cryptographic, but no torn or mixed message gets past it by accident.
fn checksum(producer: u32, sequence: u64, piece: &[u8]) -> u64 {
    let mut hash = u64::from(producer) << 32 ^ sequence ^ (piece.len() as u64) << 16;
    for chunk in piece.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash.rotate_left(23) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    hash ^ hash >> 32
}

/// Cuts the file into the blocks of one producer, over and over: half of them small, half of any size. Each producer
/// begins elsewhere in the file.
pub struct Cutter<'file> {
    file: &'file [u8],
    at: usize,
    producer: u32,
    sequence: u64,
    random: Random,
}

impl<'file> Cutter<'file> {
    /// For one of several producers. The file must not be empty.
    pub fn new(file: &'file [u8], producer: u32, producers: u32, seed: u64) -> Cutter<'file> {
        let at = file.len() / producers as usize * producer as usize;
        Cutter { file, at, producer, sequence: 0, random: Random(seed ^ u64::from(producer)) }
    }

    fn length(&mut self) -> usize {
        let bound = if self.random.below(2) == 0 { 200 } else { PIECE_MAX as u64 };
        1 + self.random.below(bound) as usize
    }
}

impl<'file> Iterator for Cutter<'file> {
    type Item = (Block, &'file [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let end = self.file.len().min(self.at + self.length());
        let piece = &self.file[self.at..end];
        let block = Block::new(self.producer, self.sequence, piece);
        self.at = if end == self.file.len() { 0 } else { end };
        self.sequence += 1;
        Some((block, piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_covers_the_file() {
        let file: Vec<u8> = (0..50_000u32).map(|i| ((i * 31) >> 3) as u8).collect();
        let mut joined = Vec::new();
        for (block, piece) in Cutter::new(&file, 0, 2, 7) {
            assert_eq!(Block::read(&block.message(piece)), Some(block));
            joined.extend_from_slice(piece);
            if joined.len() >= file.len() {
                break;
            }
        }
        assert_eq!(joined, file);
    }

    #[test]
    fn a_torn_block_is_none() {
        let (block, piece) = Cutter::new(&[7; 5000], 1, 2, 7).next().expect("there is always one");
        let whole = block.message(piece);
        assert_eq!(read_record(&record(&whole)), Some(block));
        for at in 0..whole.len() {
            let mut torn = whole.clone();
            torn[at] ^= 0x40;
            assert_eq!(read_record(&record(&torn)), None, "byte {at}");
        }
        assert_eq!(read_record(&record(&whole[..whole.len() - 1])), None);
        assert_eq!(read_record(&record(&[&whole[..], &[0]].concat())), None);
    }
}
