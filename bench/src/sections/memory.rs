//! What queues cost that nobody uses: the memory of the files of 1000 queues of the default attributes.

use super::{Contestant, Context, Outcome, contest, greatest};
use crate::measure::Result;
use crate::measure::child::alone;
use crate::ours::fresh_name;
use crate::report::{Goal, Metric, Unit};
use chappe::Queue;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const QUEUES: usize = 1000;
const ABOUT: &str = "1000 queues with the default attributes, all open at once: blocks of their files, a queue\n\
    (the kernel keeps its queues where nobody sees them, and has room for fs.mqueue.queues_max, 256 by default)";

pub fn measure(context: &Context<'_>) -> Outcome {
    let metrics = [Metric::new("never used", Unit::Bytes), Metric::new("after a message of 64 bytes", Unit::Bytes)];
    let contestants = vec![Contestant::new("chappe", || alone(context.cpus[0], || idle_queues(context.dir)))];
    // The figure is a count, not a time: once is enough.
    let table = contest(1, "memory of an idle queue", &metrics, contestants);
    let worst = greatest(&[table.figure("chappe", 0), table.figure("chappe", 1)]).map(|bytes| bytes / 1024.0);
    let goal = Goal::at_most("KiB of memory of an idle queue, at most 64", 64.0, worst);
    Ok((ABOUT, vec![table], vec![goal]))
}

fn idle_queues(dir: &Path) -> Result<Vec<f64>> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let own = tempfile::tempdir_in(dir)?;
    let mut options = Queue::options();
    options.dir(own.path());
    let queues = (0..QUEUES).map(|_| options.create_new(fresh_name())).collect::<Result<Vec<_>, _>>()?;
    let unused = blocks(own.path())?;
    for queue in &queues {
        queue.send(&[7; 64], 0)?;
        queue.recv()?;
    }
    Ok(vec![unused / QUEUES as f64, blocks(own.path())? / QUEUES as f64])
}

/// Bytes that the files in a directory take.
fn blocks(dir: &Path) -> Result<f64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        bytes += entry?.metadata()?.blocks() * 512;
    }
    Ok(bytes as f64)
}
