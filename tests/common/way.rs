//! The way that a traced process takes through an operation: its places, and which of them a breakpoint can carry it to.

/// Where a traced process is: its program counter, and how much stack it uses, which tells apart two calls of one function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub counter: u64,
    pub stack: u64,
}

/// A way through an operation: where the victim is before each instruction.
pub struct Way {
    places: Vec<Place>,
    /// For each step, the number of the visit that it is of its place.
    visits: Vec<usize>,
    /// For each step, the step of the visit before that one; -1 if there is none.
    before: Vec<isize>,
    /// The lowest of each [`BLOCK`] of these.
    lowest: Vec<isize>,
}

const BLOCK: usize = 64;

impl std::ops::Deref for Way {
    type Target = [Place];

    fn deref(&self) -> &[Place] {
        &self.places
    }
}

impl Way {
    pub fn new(places: Vec<Place>) -> Way {
        let mut last = std::collections::HashMap::new();
        let (mut visits, mut before) = (Vec::with_capacity(places.len()), Vec::with_capacity(places.len()));
        for (step, place) in places.iter().enumerate() {
            let (visit, earlier) =
                last.insert(place.counter, step).map_or((1, -1), |last| (visits[last] + 1, last as isize));
            visits.push(visit);
            before.push(earlier);
        }
        let lowest = before.chunks(BLOCK).map(|block| block.iter().copied().min().unwrap_or(-1)).collect();
        Way { places, visits, before, lowest }
    }

    /// How often the way has come by the place of this step, this time included.
    pub fn visit(&self, step: usize) -> usize {
        self.visits[step]
    }

    /// The farthest step from `at` towards `k` that a breakpoint can carry a victim to: its place is not come by in between. `None` if
    /// single steps are cheaper.
    pub fn leap(&self, at: usize, k: usize, leaps: Leaps) -> Option<usize> {
        const STEPS_PER_LEAP: usize = 4;
        let bound = if leaps == Leaps::First { 0 } else { at as isize };
        let (first, mut step) = (at + STEPS_PER_LEAP, k.min(self.places.len() - 1));
        while step >= first {
            let block = step / BLOCK;
            if self.lowest[block] >= bound {
                step = (block * BLOCK).checked_sub(1)?;
            } else if self.before[step] >= bound {
                step -= 1;
            } else {
                return Some(step);
            }
        }
        None
    }
}

/// Which places breakpoints may carry a victim to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Leaps {
    /// Any.
    Any,
    /// Those that the way comes by for the first time: where somebody else is awake, waiting for them may take more or fewer
    /// turns than it did on the known way.
    First,
    /// None: it is stepped all the way.
    None,
}

/// Where a victim has got to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// Before the instruction that was asked for.
    There,
    /// Behind the operation, as was asked for.
    End,
    /// It took another way, on which instructions cannot be counted.
    Astray,
}

/// A program counter as people and `addr2line` can use it: the file and the offset in it.
pub fn place_of(counter: u64) -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for line in maps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((from, to)) = words[0].split_once('-') else { continue };
        let bounds = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap_or(0));
        if (bounds[0]..bounds[1]).contains(&counter) {
            let offset = u64::from_str_radix(words[2], 16).unwrap_or(0);
            let file = words.get(5).map_or("?", |path| path.rsplit('/').next().unwrap_or(path));
            return format!("{file}+{:#x}", counter - bounds[0] + offset);
        }
    }
    format!("{counter:#x}")
}
