//! Where the guide's commands run: a directory with the C sources, `chappe` and the drop-in library beside it, a `CHAPPE_DIR` of
//! its own, and names of its own for the kernel's queues, which are the whole machine's.

use super::root;
use crate::common::{self, built};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// What all names of queues and semaphores in the C programs begin with.
const NAME: &str = "/chappe_example";

/// What no command prints, between the outputs of two commands.
const MARK: char = '\u{1e}';

/// The safety net: nothing in the guide takes so long, in seconds.
const NET: &str = "120";

/// CAP_SYS_RESOURCE, which lets its owner ignore limits.
const SYS_RESOURCE: u32 = 24;

/// Where the queues are that a block uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queues {
    /// Those of the kernel, unless the block says otherwise.
    Kernel,
    /// The drop-in is preloaded into every program.
    DropIn,
}

/// Who runs a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A user whom the limits bind, also if the test is run by one whom they do not.
    Ordinary,
    /// root of an IPC namespace of its own, where changed limits change nobody else's, and bind it, too.
    Root,
}

/// A command's end: what it printed on both its outputs, and its exit status.
#[derive(Debug, PartialEq, Eq)]
pub struct Played {
    pub output: String,
    pub status: i32,
}

/// Builds what the guide uses and this test does not depend on.
fn build() {
    let packages = ["-p", "chappe", "-p", "chappe-cli", "-p", "chappe-mqueue"];
    common::build(&[["--lib", "--bins", "--examples"].as_slice(), packages.as_slice()].concat());
}

/// The compiler for the C library that this test is linked with; with musl it has to be named. `None` if there is none.
pub fn compiler() -> Option<String> {
    let named = std::env::var("CHAPPE_TEST_CC").ok();
    let compiler = named.or_else(|| cfg!(not(target_env = "musl")).then(|| "cc".into()))?;
    works(Command::new(&compiler).arg("--version")).then_some(compiler)
}

/// With the drop-in nobody may have a kernel queue, so that what comes out did not come out of one.
fn closed(queues: Queues) -> &'static str {
    match queues {
        Queues::Kernel => "",
        Queues::DropIn => "ulimit -q 0\n",
    }
}

fn works(command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

pub struct Stage {
    directory: tempfile::TempDir,
    compiler: String,
}

impl Stage {
    /// `None`, with a reason printed, where there is no C compiler.
    pub fn new() -> Option<Stage> {
        static BUILT: OnceLock<()> = OnceLock::new();
        let Some(compiler) = compiler() else {
            println!("skipped: there is no C compiler (cc, or what CHAPPE_TEST_CC names)");
            return None;
        };
        BUILT.get_or_init(build);
        let stage = Stage { directory: tempfile::tempdir().expect("a scratch directory"), compiler };
        for directory in ["bin", "lib", "queues", "c/pitfalls"] {
            fs::create_dir_all(stage.path(directory)).expect("a directory in it");
        }
        for source in super::programs() {
            let name = source.strip_prefix(root().join("examples")).expect("an example");
            fs::copy(&source, stage.path(name)).expect("a copy of it");
        }
        symlink(built().join("chappe"), stage.path("bin/chappe")).expect("a link to the command");
        symlink(built().join("libchappe_mqueue.so"), stage.path("lib/libchappe_mqueue.so"))
            .expect("a link to the library");
        Some(stage)
    }

    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(below)
    }

    /// The name that the programs have on this stage for what they call `/chappe_example`, and so on.
    pub fn name(&self) -> String {
        let directory = self.directory.path().file_name().expect("its name").to_string_lossy();
        format!("{NAME}.{}{}", std::process::id(), directory.replace('.', "_"))
    }

    /// Builds a program beside its source, as strictly as there is, and gives its path.
    pub fn compile(&self, source: &Path) -> PathBuf {
        let source = self.path(source.strip_prefix(root().join("examples")).expect("an example"));
        let program = source.with_extension("");
        let mut cc = Command::new(&self.compiler);
        cc.args(["-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O2", "-o"]).arg(&program).arg(&source);
        let output = cc.args(["-lrt", "-pthread"]).output().expect("the compiler starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        program
    }

    /// Gives a command the stage's environment.
    pub fn dress(&self, command: &mut Command, queues: Queues) {
        let path = std::env::var("PATH").unwrap_or_default();
        command.current_dir(self.path("c")).stdin(Stdio::null()).env("LC_ALL", "C").env_remove("LD_PRELOAD");
        command.env("PATH", format!("{}:{path}", self.path("bin").display()));
        command.env("CHAPPE_DIR", self.path("queues")).env("QUEUE", self.name()).env("SEMAPHORE", self.name());
        command.env("LD_LIBRARY_PATH", self.path("lib")).env("LIBRARY_PATH", self.path("lib"));
        if queues == Queues::DropIn {
            command.env("LD_PRELOAD", self.path("lib/libchappe_mqueue.so"));
        }
    }

    /// Runs a program that was built, with the drop-in or without, and gives what it printed.
    pub fn run(&self, program: &Path, queues: Queues) -> Played {
        let mut command = Command::new("bash");
        command.arg("-c").arg(format!("{}exec timeout -k 5 {NET} \"$0\"", closed(queues))).arg(program);
        self.dress(&mut command, queues);
        let output = command.output().expect("the program starts");
        Played { output: self.say(&output), status: output.status.code().unwrap_or(-1) }
    }

    /// Runs the commands one after the other in one shell.
    pub fn play(&self, commands: &[&str], who: Who, queues: Queues) -> Vec<Played> {
        let mut script = self.prelude() + closed(queues);
        for command in commands {
            let command = command.replace(NAME, &self.name());
            script.push_str(&format!("{command}\n__status=$?; printf '{MARK}%d{MARK}' $__status; (exit $__status)\n"));
        }
        fs::write(self.path("script"), script).expect("the script is written");
        let mut words: Vec<&str> = entrance(who).expect("asked before");
        words.extend(["timeout", "-k", "5", NET, "bash"]);
        let mut shell = Command::new(words[0]);
        shell.args(&words[1..]).arg(self.path("script"));
        self.dress(&mut shell, queues);
        let output = shell.output().expect("bash starts");
        let said = self.say(&output);
        let mut parts = said.split(MARK);
        let mut played = Vec::new();
        while let (Some(output), Some(status)) = (parts.next(), parts.next()) {
            played.push(Played { output: output.to_owned(), status: status.parse().expect("an exit status") });
        }
        assert_eq!(played.len(), commands.len(), "the shell ended early ({}): {said}", output.status);
        played
    }

    /// `cc` also finds what was in libraries of its own in older C libraries; `cargo run --example` runs the example that was
    /// built with this test. `set +m`: no reports about background jobs.
    fn prelude(&self) -> String {
        let (compiler, examples) = (&self.compiler, built().join("examples"));
        format!(
            "exec 2>&1\nset +m\ncc() {{ command '{compiler}' \"$@\" -lrt -pthread; }}\n\
             cargo() {{ '{}'/\"${{!#}}\"; }}\n",
            examples.display()
        )
    }

    /// What was printed, as the guide would say it.
    fn say(&self, output: &Output) -> String {
        let both = [&output.stdout[..], &output.stderr[..]].concat();
        String::from_utf8(both).expect("text").replace(&self.name(), NAME)
    }
}

impl Drop for Stage {
    /// The kernel's queues and the C library's semaphores would outlive a failed test.
    fn drop(&mut self) {
        let name = std::ffi::CString::new(self.name()).expect("no NUL in it");
        // SAFETY: it takes a string that ends with NUL and lives through the call.
        unsafe { libc::mq_unlink(name.as_ptr()) };
        // SAFETY: the same.
        unsafe { libc::sem_unlink(name.as_ptr()) };
    }
}

/// What a command begins with to be run by this one, or why it cannot be. Both are without CAP_SYS_RESOURCE, if it can be taken
/// from them, so that they see the limits.
pub fn entrance(who: Who) -> Result<Vec<&'static str>, String> {
    const BOUND: &[&str] = &["setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource"];
    let (check, ways) = match who {
        Who::Ordinary => ("true", [vec![BOUND], vec![&["env"]]]),
        Who::Root => (
            "echo 11 > /proc/sys/fs/mqueue/msg_max",
            [vec![&["unshare", "--ipc"], BOUND], vec![&["unshare", "--user", "--map-root-user", "--ipc"], BOUND]],
        ),
    };
    let mut ways = ways.iter().map(|way| way.concat());
    let way = ways.find(|way| works(Command::new(way[0]).args(&way[1..]).args(["sh", "-c", check])));
    way.ok_or_else(|| "no IPC namespace with limits of its own can be made here".to_owned())
}

/// Why the kernel's limits do not show here as they are on a machine that nobody changed, for a user without privileges.
pub fn other_limits() -> Option<String> {
    let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    for (limit, usual) in [("msg_max", "10"), ("msgsize_max", "8192"), ("queues_max", "256")] {
        let value = read(&format!("/proc/sys/fs/mqueue/{limit}"));
        if value != usual {
            return Some(format!("fs.mqueue.{limit} is {value:?} here, not {usual}"));
        }
    }
    let mut command = entrance(Who::Ordinary).ok()?;
    command.extend(["sh", "-c", "grep CapEff /proc/self/status; grep msgqueue /proc/self/limits"]);
    let output = Command::new(command[0]).args(&command[1..]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = |index: usize| text.lines().nth(index).unwrap_or_default().split_whitespace().collect::<Vec<_>>();
    let effective = u64::from_str_radix(number(0).get(1)?, 16).ok()?;
    if effective >> SYS_RESOURCE & 1 == 1 {
        return Some("this process has CAP_SYS_RESOURCE and cannot give it up".to_owned());
    }
    let bytes = *number(1).get(3)?;
    (bytes != "819200").then(|| format!("the limit on the bytes of all queues is {bytes} here, not 819200"))
}

/// Why the drop-in cannot be used here.
pub fn no_drop_in() -> Option<String> {
    cfg!(target_env = "musl").then(|| "for this C library there is no shared library to preload".to_owned())
}

/// Why the kernel's queues cannot be used here.
pub fn no_kernel_queues() -> Option<String> {
    let name = std::ffi::CString::new(format!("/chappe-test-{}-{:?}", std::process::id(), std::thread::current().id()));
    let name = name.expect("no NUL in it");
    let nothing: *mut libc::mq_attr = std::ptr::null_mut();
    // SAFETY: the name ends with NUL, and a null pointer asks for the default attributes.
    let queue = unsafe { libc::mq_open(name.as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o600, nothing) };
    if queue == -1 {
        return Some(format!("mq_open says: {}", std::io::Error::last_os_error()));
    }
    // SAFETY: it was opened just now, and nobody else has it.
    unsafe { libc::mq_close(queue) };
    // SAFETY: the name ends with NUL.
    unsafe { libc::mq_unlink(name.as_ptr()) };
    None
}
