//! What the fuzz targets share. An input is a segment - one of some valid ones, with words changed - and the calls that are made on
//! it. The file is opened and used through the public face of the library only; what must hold of each answer however wild the words
//! are is asserted, and where all words are right (or only those are wrong that the next holder of the lock builds anew), each answer
//! is compared with that of a reference.
//!
//! A truncated file is not among the inputs: what it does to those who have it mapped is another matter (SECURITY.md).
//!
//! A word outside the mapping that is read is seen where nothing else is mapped; the address sanitizer sees the heap and the stack.

pub mod input;
pub mod place;
pub mod queue;
pub mod semaphore;
pub mod stage;
pub mod vandal;
