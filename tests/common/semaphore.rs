//! A semaphore in a directory of its own, for tests with real processes. What those can do is each test's own.

use super::{Worker, scratch};
use chappe::Semaphore;

/// A semaphore and its directory, for the test's own handle and for the parts that it starts.
pub struct Fixture {
    pub dir: tempfile::TempDir,
    pub semaphore: Semaphore,
}

impl Fixture {
    pub fn new(permits: u64) -> Fixture {
        let dir = scratch();
        let semaphore = Semaphore::options().dir(dir.path()).permits(permits).create_new("/s").unwrap();
        Fixture { dir, semaphore }
    }

    pub fn path(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }

    /// A part that gets the directory and these arguments, and is ready when this returns.
    pub fn start(&self, part: &str, arguments: &[&str]) -> Worker {
        let mut worker = Worker::start(part, &[&[self.path()], arguments].concat());
        worker.expect("ready");
        worker
    }
}
