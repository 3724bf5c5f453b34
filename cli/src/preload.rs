//! `preload`: becomes a command that has the drop-in library before the C library. The library is a file of its own, which lies where
//! the command was installed; programs that the dynamic linker would not give it to are refused. It opens no queue.

use crate::args::Preload;
use crate::exit::{self, BEFORE_COMMAND, Failure};
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The file name of the library.
const LIBRARY: &str = "libchappe_mqueue.so";
/// The variable that says where it is.
const LIBRARY_VARIABLE: &str = "CHAPPE_MQUEUE_LIBRARY";
/// The dynamic linker's.
const PRELOAD_VARIABLE: &str = "LD_PRELOAD";

/// Comes back only with a failure.
pub fn run(args: &Preload) -> Result<(), Failure> {
    let (program, arguments) = args.command.split_first().expect("the grammar wants a command");
    let library = library(args.library.as_deref())?;
    if let Some(path) = find_program(program)
        && let Some(reason) = cannot_preload(&path)
    {
        let text = format!("{} {reason}, so no library can be preloaded into it", path.display());
        return Err(Failure::new(BEFORE_COMMAND, text));
    }
    let error = Command::new(program).args(arguments).env(PRELOAD_VARIABLE, before_others(library)).exec();
    Err(exit::sem::command(&program.to_string_lossy(), &error))
}

/// Where the library is: where the user says, or beside this command.
fn library(asked: Option<&Path>) -> Result<PathBuf, Failure> {
    let variable = env::var_os(LIBRARY_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    let places = match asked.map(Path::to_owned).or(variable) {
        Some(path) => vec![path],
        None => beside_the_command(),
    };
    // The dynamic linker takes a name without a slash for one to search, and separates by colons and spaces.
    let usable = |path: &PathBuf| !path.as_os_str().as_bytes().iter().any(|byte| matches!(byte, b':' | b' '));
    let found = places.iter().find_map(|place| fs::canonicalize(place).ok().filter(|path| path.is_file()));
    let looked: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    match found {
        Some(path) if usable(&path) => Ok(path),
        Some(path) => {
            let text = format!("LD_PRELOAD cannot hold {}: it has a colon or a space in it", path.display());
            Err(Failure::new(BEFORE_COMMAND, text))
        }
        None => {
            let looked = looked.join(" or ");
            let text =
                format!("there is no {LIBRARY} at {looked}; say where it is with --library or {LIBRARY_VARIABLE}");
            Err(Failure::new(BEFORE_COMMAND, text))
        }
    }
}

fn beside_the_command() -> Vec<PathBuf> {
    let here = env::current_exe().ok().and_then(|path| Some(path.parent()?.to_owned())).unwrap_or_default();
    vec![here.join(LIBRARY), here.join("../lib").join(LIBRARY)]
}

/// The value of LD_PRELOAD, with what it was behind.
fn before_others(library: PathBuf) -> OsString {
    let mut value = library.into_os_string();
    if let Some(others) = env::var_os(PRELOAD_VARIABLE).filter(|others| !others.is_empty()) {
        value.push(":");
        value.push(others);
    }
    value
}

/// The file that will be run, as execvp(3) finds it. That there is none is for the attempt to tell.
fn find_program(program: &OsStr) -> Option<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(program));
    }
    let executable = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
    };
    env::split_paths(&env::var_os("PATH")?).map(|directory| directory.join(program)).find(executable)
}

/// Why the dynamic linker would not load the library, if so. What cannot be read, or is no program (a script), is let pass.
fn cannot_preload(path: &Path) -> Option<&'static str> {
    let file = File::open(path).ok()?;
    if changes_user(&file.metadata().ok()?) {
        return Some("runs with another user's or group's rights");
    }
    match has_interpreter(&file) {
        Ok(Some(false)) => Some("is linked statically"),
        _ => None,
    }
}

fn changes_user(facts: &Metadata) -> bool {
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    facts.mode() & 0o4000 != 0 && facts.uid() != user || facts.mode() & 0o2010 == 0o2010 && facts.gid() != group
}

/// Whether a program asks for a dynamic linker; `None` if it is no 64-bit program of this machine's byte order. See elf(5).
fn has_interpreter(file: &File) -> io::Result<Option<bool>> {
    let mut header = [0; 64];
    (&mut &*file).read_exact(&mut header)?;
    let order = if cfg!(target_endian = "little") { 1 } else { 2 };
    if header[..4] != *b"\x7fELF" || header[4] != 2 || header[5] != order {
        return Ok(None);
    }
    let half = |at: usize| u64::from(u16::from_ne_bytes([header[at], header[at + 1]]));
    let table = u64::from_ne_bytes(header[32..40].try_into().expect("eight bytes"));
    for index in 0..half(56) {
        let mut kind = [0; 4];
        file.read_exact_at(&mut kind, table.saturating_add(index * half(54)))?;
        if u32::from_ne_bytes(kind) == PT_INTERP {
            return Ok(Some(true));
        }
    }
    Ok(Some(false))
}

/// The program header that names the dynamic linker.
const PT_INTERP: u32 = 3;
