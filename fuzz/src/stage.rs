//! A file that is rewritten for each input: making and removing one each time would cost more than the calls do. It lies under the
//! name that the library looks for, in a directory of this process. It knows nothing of what the bytes mean.

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

const PAGE: u64 = 4096;

/// The content of a file: the runs of bytes that are not holes.
#[derive(Clone)]
pub struct Snapshot {
    pub len: u64,
    runs: Vec<(u64, Vec<u8>)>,
}

impl Snapshot {
    pub fn of(path: &Path) -> Snapshot {
        let file = File::open(path).expect("it is there");
        let len = file.metadata().expect("it can be looked at").len();
        let mut runs = Vec::new();
        each_run(&file, len, |start, end| {
            let mut bytes = vec![0; (end - start) as usize];
            file.read_exact_at(&mut bytes, start).expect("it can be read");
            runs.push((start, bytes));
        });
        Snapshot { len, runs }
    }

    fn covers(&self, page: u64) -> bool {
        self.runs.iter().any(|(start, bytes)| (*start..start + bytes.len() as u64).contains(&page))
    }
}

/// Calls `visit` with start and end of each run of pages that are there.
fn each_run(file: &File, len: u64, mut visit: impl FnMut(u64, u64)) {
    let mut at = 0;
    while let Ok(start) = seek(file, SeekFrom::Data(at)) {
        let end = seek(file, SeekFrom::Hole(start)).expect("there is a hole at the end").min(len);
        visit(start, end);
        at = end;
    }
}

/// A directory of this process. It is left behind when the process ends, for libFuzzer ends it without asking anybody: `ci/fuzz.sh`
/// runs it in a directory that it removes.
pub fn directory() -> PathBuf {
    let dir = chappe::default_dir().join(format!("chappe-fuzz-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("the directory can be made");
    dir
}

/// The file.
pub struct Stage {
    pub dir: PathBuf,
    path: PathBuf,
    /// A second name of it, so that it stays when the first is removed.
    second: PathBuf,
    pub file: File,
}

impl Stage {
    /// One in a directory of its own, which is made.
    pub fn new(dir: &Path, file_name: &str, len: u64) -> Stage {
        fs::create_dir_all(dir).expect("the directory can be made");
        let (path, second) = (dir.join(file_name), dir.join(format!("second.{file_name}")));
        let file = File::options().read(true).write(true).create_new(true).open(&second).expect("it can be made");
        file.set_len(len).expect("it can be made longer");
        Stage { dir: dir.to_owned(), path, second, file }
    }

    /// Makes the file what the snapshot says, and gives it its name.
    pub fn set(&self, snapshot: &Snapshot) {
        for (start, bytes) in &snapshot.runs {
            self.file.write_all_at(bytes, *start).expect("there is room");
        }
        let memory = self.file.metadata().expect("it can be looked at").blocks() * 512;
        if memory > snapshot.runs.iter().map(|(_, bytes)| bytes.len() as u64).sum() {
            self.clear_what_is_not_in(snapshot);
        }
        if fs::symlink_metadata(&self.path).is_err() {
            fs::hard_link(&self.second, &self.path).expect("the name is free");
        }
    }

    /// Makes holes of pages that are not in the snapshot.
    fn clear_what_is_not_in(&self, snapshot: &Snapshot) {
        let mut surplus: Vec<(u64, u64)> = Vec::new();
        each_run(&self.file, snapshot.len, |start, end| {
            for page in (start..end).step_by(PAGE as usize).filter(|page| !snapshot.covers(*page)) {
                match surplus.last_mut() {
                    Some((_, end)) if *end == page => *end += PAGE,
                    _ => surplus.push((page, page + PAGE)),
                }
            }
        });
        for (start, end) in surplus {
            let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&self.file, how, start, end - start).expect("a hole can be made");
        }
    }

    /// Removes doorbells that were made.
    pub fn clear_bells(&self) {
        for entry in fs::read_dir(&self.dir).expect("it is there").flatten() {
            if entry.file_name().to_string_lossy().starts_with("chappe.bell.") {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    pub fn read(&self, place: u64, width: usize) -> u64 {
        let mut bytes = [0; 8];
        let _ = self.file.read_at(&mut bytes[..width], place);
        u64::from_le_bytes(bytes)
    }

    /// Writes a word; never beyond the end of the file.
    pub fn write(&self, place: u64, width: usize, value: u64) {
        let _ = self.file.write_at(&value.to_le_bytes()[..width], place);
    }
}

/// Waits until no thread that the library has started is left: they go a moment after their handle, and have its share in the file until
/// then.
pub fn until_alone() {
    let left = || {
        let tasks = fs::read_dir("/proc/self/task").expect("proc is there").flatten();
        tasks
            .filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with("chappe-")))
            .count()
    };
    while left() > 0 {
        std::thread::yield_now();
    }
}
