//! Scene 4: speed, beside a kernel pipe. Two processes, 64-byte messages, each written, numbered and checked: how many a
//! second in one direction, and how long one takes. One message a call on both sides. Not pinned, not repeated: a look,
//! not a benchmark.

use super::stage::{Stage, finish, options, plain, spawn};
use super::{Screen, wrong};
use crate::exit::{self, Failure};
use chappe::Queue;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const SIZE: usize = 64;
const STREAM: Duration = Duration::from_millis(400);
const PING: Duration = Duration::from_millis(400);
const WARM_UP: u64 = 500;
const STREAM_NAME: &str = "/stream";
const PING_NAME: &str = "/ping";
const PONG_NAME: &str = "/pong";

type Bytes = [u8; SIZE];

/// Plays the scene.
pub fn play(stage: &Stage, screen: &mut Screen) -> Result<(), Failure> {
    screen.say("\n4. Speed: 64-byte messages between two processes, one a call, here and now");
    let (queue, pipe) = (queue_rate(stage)?, pipe_rate()?);
    let (queue_times, pipe_times) = (queue_ping(stage)?, pipe_ping()?);
    screen.say("                                chappe         pipe");
    screen.say(&row("stream", "M/s", queue / 1e6, pipe / 1e6, queue / pipe));
    for (title, quantile) in [("one way, median", 0.5), ("one way, 99 of 100", 0.99)] {
        let [ours, theirs] = [&queue_times, &pipe_times].map(|times| at_quantile(times, quantile) as f64 / 1e3);
        screen.say(&row(title, "µs", ours, theirs, theirs / ours));
    }
    Ok(())
}

fn row(title: &str, unit: &str, ours: f64, theirs: f64, times: f64) -> String {
    format!("   {title:<22}{ours:>9.2} {unit:<3}{theirs:>9.2} {unit:<3}   {times:>5.1} times as fast")
}

/// The numbered message.
fn message(number: u64) -> Bytes {
    let mut bytes = [number as u8; SIZE];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

fn check(bytes: &[u8], number: u64) -> Result<(), Failure> {
    if bytes == message(number) { Ok(()) } else { Err(wrong(format!("message {number} did not come as it was sent"))) }
}

/// Two ways to hand on messages, so that everything else is the same for both.
trait Way {
    fn send(&mut self, message: &Bytes) -> Result<(), Failure>;
    /// `false` at the end.
    fn recv(&mut self, message: &mut Bytes) -> Result<bool, Failure>;
}

/// Through queues; an empty message is the end.
struct Queues {
    to: Queue,
    from: Queue,
}

impl Way for Queues {
    fn send(&mut self, message: &Bytes) -> Result<(), Failure> {
        self.to.send(message, 0).map_err(|error| exit::send(&self.to, error, 0))
    }

    fn recv(&mut self, message: &mut Bytes) -> Result<bool, Failure> {
        let received = self.from.recv_into(message).map_err(|error| exit::recv(&self.from, error, 0))?;
        Ok(received.len == SIZE)
    }
}

impl Queues {
    fn end(&self) -> Result<(), Failure> {
        self.to.send(b"", 0).map_err(|error| exit::send(&self.to, error, 0))
    }
}

/// Through pipes.
struct Pipes<W, R> {
    to: W,
    from: R,
}

impl<W: Write, R: Read> Way for Pipes<W, R> {
    fn send(&mut self, message: &Bytes) -> Result<(), Failure> {
        self.to.write_all(message).map_err(|error| Failure::system("write to a pipe", &error))
    }

    fn recv(&mut self, message: &mut Bytes) -> Result<bool, Failure> {
        match self.from.read_exact(message) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            other => other.map(|()| true).map_err(|error| Failure::system("read from a pipe", &error)),
        }
    }
}

/// Sends for a while.
fn source(way: &mut impl Way) -> Result<(), Failure> {
    let start = Instant::now();
    for number in 0.. {
        // Looking at the clock is not free: every 64th time is enough.
        if number % 64 == 0 && start.elapsed() > STREAM {
            break;
        }
        way.send(&message(number))?;
    }
    Ok(())
}

/// Receives to the end; gives messages a second, from the first to the last.
fn sink(way: &mut impl Way) -> Result<f64, Failure> {
    let mut bytes = [0; SIZE];
    let mut start = Instant::now();
    let mut number = 0;
    while way.recv(&mut bytes)? {
        check(&bytes, number)?;
        if number == 0 {
            start = Instant::now();
        }
        number += 1;
    }
    Ok(number.saturating_sub(1) as f64 / start.elapsed().as_secs_f64())
}

fn echo(way: &mut impl Way) -> Result<(), Failure> {
    let mut bytes = [0; SIZE];
    while way.recv(&mut bytes)? {
        way.send(&bytes)?;
    }
    Ok(())
}

/// The time that so large a part of all does not exceed. They are in order.
fn at_quantile(times: &[u64], quantile: f64) -> u64 {
    let at = (times.len() as f64 * quantile) as usize;
    times.get(at).or(times.last()).copied().unwrap_or(0)
}

/// Sends and waits for the echo, for a while; gives half the round trips, in nanoseconds, in order.
fn ping(way: &mut impl Way) -> Result<Vec<u64>, Failure> {
    let mut times = Vec::new();
    let mut bytes = [0; SIZE];
    let start = Instant::now();
    let mut number = 0;
    while number <= WARM_UP || start.elapsed() < PING {
        let sent = Instant::now();
        way.send(&message(number))?;
        way.recv(&mut bytes)?;
        let took = sent.elapsed().as_nanos() as u64;
        check(&bytes, number)?;
        if number >= WARM_UP {
            times.push((took / 2).max(1));
        }
        number += 1;
    }
    times.sort_unstable();
    Ok(times)
}

fn create(stage: &Stage, name: &str) -> Result<Queue, Failure> {
    stage.options().message_size(SIZE as u64).create_new(name).map_err(|error| exit::open(&error))
}

fn open(dir: &Path, name: &str) -> Result<Queue, Failure> {
    options(dir).open(name).map_err(|error| exit::open(&error))
}

fn queue_rate(stage: &Stage) -> Result<f64, Failure> {
    let mut way = Queues { to: create(stage, STREAM_NAME)?, from: open(stage.dir(), STREAM_NAME)? };
    let child = spawn(&mut stage.command("queue-source", &[]))?;
    let rate = sink(&mut way)?;
    finish(child, "source").map(|_| rate)
}

/// A source, in its own process.
pub fn queue_source(dir: &Path) -> Result<(), Failure> {
    let mut way = Queues { to: open(dir, STREAM_NAME)?, from: open(dir, STREAM_NAME)? };
    source(&mut way)?;
    way.end()
}

fn pipe_rate() -> Result<f64, Failure> {
    let mut child = spawn(plain("pipe-source").stdout(Stdio::piped()))?;
    let from = child.stdout.take().ok_or_else(|| wrong("a process has no stdout"))?;
    let rate = sink(&mut Pipes { to: io::sink(), from })?;
    finish(child, "source").map(|_| rate)
}

/// A source, in its own process.
pub fn pipe_source() -> Result<(), Failure> {
    let (from, to) = raw_stdio()?;
    source(&mut Pipes { to, from })
}

fn queue_ping(stage: &Stage) -> Result<Vec<u64>, Failure> {
    let mut way = Queues { to: create(stage, PING_NAME)?, from: create(stage, PONG_NAME)? };
    let child = spawn(&mut stage.command("queue-echo", &[]))?;
    let times = ping(&mut way)?;
    way.end()?;
    finish(child, "echo").map(|_| times)
}

/// An echo, in its own process.
pub fn queue_echo(dir: &Path) -> Result<(), Failure> {
    echo(&mut Queues { to: open(dir, PONG_NAME)?, from: open(dir, PING_NAME)? })
}

fn pipe_ping() -> Result<Vec<u64>, Failure> {
    let mut child = spawn(plain("pipe-echo").stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    let times = ping(&mut pipes_of(&mut child)?)?;
    finish(child, "echo").map(|_| times)
}

/// Takes the pipes of a child; dropping them is the end for it.
fn pipes_of(child: &mut Child) -> Result<Pipes<impl Write + use<>, impl Read + use<>>, Failure> {
    match (child.stdin.take(), child.stdout.take()) {
        (Some(to), Some(from)) => Ok(Pipes { to, from }),
        _ => Err(wrong("a process has no stdin or stdout")),
    }
}

/// An echo, in its own process.
pub fn pipe_echo() -> Result<(), Failure> {
    let (from, to) = raw_stdio()?;
    echo(&mut Pipes { to, from })
}

/// stdin and stdout without the buffers of the standard library: one system call a message, as for the queue none.
fn raw_stdio() -> Result<(std::fs::File, std::fs::File), Failure> {
    use std::os::fd::AsFd;
    let raw =
        |fd: io::Result<std::os::fd::OwnedFd>| fd.map(Into::into).map_err(|error| Failure::system("use stdio", &error));
    Ok((raw(io::stdin().as_fd().try_clone_to_owned())?, raw(io::stdout().as_fd().try_clone_to_owned())?))
}
