//! One kill: the queue, who lives beside the victim, the victim, and who survives. Everybody is a process of its own; the one that forks them
//! calls nothing of the library, so that the stepped way is the same every time.

use super::act::{Stage, WELL};
use super::case::{BEFORE, CAPACITY, Case, LARGE, Other, SIZE, SLEEPER, SMALL, USUAL};
use super::library::{self, Errno, Wait};
use super::root::format::Image;
use super::root::kill::{Mode, Outcome};
use super::root::step::{self, Child, Leaps, Stand, Victim, Way, read_line};
use super::root::{self, identify, payload, scratch};
use super::survivor::Survivor;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

pub type Pipe = (PipeReader, PipeWriter);

pub fn pipe() -> Pipe {
    std::io::pipe().expect("a pipe")
}

/// Who lives beside the victim.
pub struct Companion {
    _child: Child,
    /// What it tells, a line each.
    pub told: PipeReader,
    /// A byte here asks a poller what is ready.
    pub ask: PipeWriter,
}

/// The queue of one kill.
pub struct Scene<'a> {
    pub case: &'a Case,
    dir: tempfile::TempDir,
    pub companion: Option<Companion>,
}

impl<'a> Scene<'a> {
    fn new(case: &'a Case) -> Result<Scene<'a>, String> {
        let dir = scratch();
        library::set_directory(dir.path());
        if case.act != super::act::Act::Create {
            let status = step::wait(step::fork(|| make(case).inspect_err(|errno| eprintln!("errno {errno}")).is_ok()));
            if status != 0 {
                return Err(format!("the queue could not be made: {status:#x}"));
            }
        }
        let mut scene = Scene { case, dir, companion: None };
        if case.other != Other::Nobody {
            scene.companion = Some(scene.start_companion()?);
        }
        Ok(scene)
    }

    /// Whether the queue has its name.
    pub fn is_named(&self) -> bool {
        self.path().exists()
    }

    /// The words of the queue's file, if it has its name.
    pub fn image(&self) -> Option<Image> {
        Image::open(&self.path())
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("chappe.mq.q")
    }

    /// Starts who is to be there, and waits until it sleeps in its call.
    fn start_companion(&self) -> Result<Companion, String> {
        let (told, ask) = (pipe(), pipe());
        let child = Child::fork(|| {
            let tell = |line: String| writeln!(&told.1, "{line}").expect("the pipe to tell");
            if let Err(errno) = keep_company(self.case, &tell, &ask.0) {
                tell(format!("errno {errno}"));
            }
            true
        });
        match read_line(&told.0)?.as_str() {
            "here" => {}
            other => return Err(format!("who is to be there began with {other:?}")),
        }
        let pid = child.0.expect("just forked") as u32;
        root::until("it sleeps", || root::asleep(pid));
        Ok(Companion { _child: child, told: told.0, ask: ask.1 })
    }
}

/// Makes the queue, with every place used before, and sends what is there before.
fn make(case: &Case) -> Result<(), Errno> {
    let mqd = library::open(libc::O_CREAT | libc::O_EXCL, CAPACITY as i64, SIZE)?;
    let mut buffer = [0; SIZE as usize];
    for priority in [1, USUAL, 9] {
        for _ in 0..CAPACITY {
            library::send(mqd, &payload(0, LARGE), priority, Wait::Plain)?;
        }
        for _ in 0..CAPACITY {
            library::receive(mqd, &mut buffer, Wait::Plain)?;
        }
    }
    for (id, (length, priority)) in (BEFORE..).zip(&case.before) {
        library::send(mqd, &payload(id, *length), *priority, Wait::Plain)?;
    }
    Ok(())
}

/// What one does who is there beside the victim, until it is killed.
fn keep_company(case: &Case, tell: &dyn Fn(String), mut ask: &PipeReader) -> Result<(), Errno> {
    let mqd = library::open(0, 0, 0)?;
    match case.other {
        Other::Nobody => {}
        Other::Receiver => {
            let mut buffer = vec![0; SIZE as usize];
            tell("here".to_owned());
            let (length, priority) = library::receive(mqd, &mut buffer, Wait::Plain)?;
            tell(format!("{} {priority}", identify(&buffer[..length]).unwrap_or(u64::MAX)));
        }
        Other::Sender => {
            let message = payload(SLEEPER, SMALL);
            tell("here".to_owned());
            library::send(mqd, &message, USUAL, Wait::Plain)?;
            tell("sent".to_owned());
        }
        Other::Registrant => {
            library::block_signal();
            library::register(mqd)?;
            tell("here".to_owned());
            loop {
                if library::is_told(Duration::from_secs(60)) {
                    tell("told".to_owned());
                }
            }
        }
        Other::Poller => {
            let both = libc::POLLIN | libc::POLLOUT;
            // Whoever polls for the first time gets a thread: that is done before it says that it is here.
            library::poll(mqd, both, Some(Duration::ZERO))?;
            tell("here".to_owned());
            if let Some(events) = waited_for(case) {
                tell(format!("ready {}", library::poll(mqd, events, None)?));
            }
            while ask.read_exact(&mut [0]).is_ok() {
                tell(format!("shows {}", library::poll(mqd, both, Some(Duration::ZERO))?));
            }
        }
    }
    loop {
        std::thread::park();
    }
}

/// What a poller waits for, if it has to wait.
pub fn waited_for(case: &Case) -> Option<i16> {
    match case.before.len() {
        0 => Some(libc::POLLIN),
        CAPACITY => Some(libc::POLLOUT),
        _ => None,
    }
}

/// The way through a case's operation when nobody dies; what comes of it must be what the case says.
pub fn measure(case: &Case) -> Result<Way, String> {
    let _scene = Scene::new(case)?;
    let told = pipe();
    let mut victim = Victim::start(|| Stage::new(case), Some(&told.1))?;
    let path = victim.trace()?;
    victim.finish()?;
    match read_line(&told.0)?.as_str() {
        WELL => Ok(Way::new(path)),
        other => Err(other.to_owned()),
    }
}

/// Kills the victim of a fresh scene after `k` instructions and lets a survivor of this kind go on.
pub fn one_kill(case: &Case, way: &Way, k: usize, mode: Mode, leaps: Leaps) -> Result<Outcome, String> {
    let scene = Scene::new(case)?;
    let (go, report) = (pipe(), pipe());
    let mut survivor = mode.attached.then(|| start_survivor(&scene, mode, &go.0, &report)).transpose()?;
    let mut victim = Victim::start(|| Stage::new(case), None)?;
    let stand = victim.follow(way, k, leaps)?;
    victim.child.kill();
    if survivor.is_none() {
        survivor = Some(start_survivor(&scene, mode, &go.0, &report)?);
    }
    (&go.1).write_all(if victim.at_end { b"1" } else { b"0" }).map_err(|error| error.to_string())?;
    let text = read_line(&report.0).map_err(|error| format!("the survivor hangs or died: {error}"))?;
    drop(survivor);
    let found = text.strip_prefix("found ").and_then(|rest| rest.split_once(' '));
    let found = found.and_then(|(took, progress)| Some((took.parse().ok()?, progress.parse().ok()?)));
    let (took, progress) = found.ok_or(text)?;
    Ok(Outcome { took: Duration::from_nanos(took), slept: None, progress, same_path: stand != Stand::Astray })
}

/// Forks a survivor and waits until it is in its place.
fn start_survivor(scene: &Scene, mode: Mode, mut go: &PipeReader, report: &Pipe) -> Result<Child, String> {
    let child = Child::fork(|| {
        library::block_signal();
        let attached = mode.attached.then(|| library::open(0, 0, 0).expect("the survivor opens"));
        let image = attached.and_then(|_| scene.image());
        let mut tell = &report.1;
        writeln!(tell, "here").expect("the report's pipe");
        let mut finished = [0];
        go.read_exact(&mut finished).expect("the pipe to go");
        let finished = finished == *b"1";
        let found = catch_unwind(AssertUnwindSafe(|| Survivor::new(scene, mode, finished, image).survive(attached)));
        let text = match found {
            Ok(Ok((took, progress))) => format!("found {} {progress}", took.as_nanos()),
            Ok(Err(fault)) => fault,
            Err(_) => "the survivor panicked".to_owned(),
        };
        writeln!(tell, "{}", text.replace('\n', " ")).is_ok()
    });
    match read_line(&report.0)?.as_str() {
        "here" => Ok(child),
        other => Err(format!("the survivor began with {other:?}")),
    }
}
