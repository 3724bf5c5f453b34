//! `chappe limits`: what it shows is so, and what it sets is set. What sets something runs in an IPC namespace of its own
//! (`unshare --ipc`, which takes root): the limits of the machine stay as they are.

use super::{CHAPPE, Outcome, Place, json, outcome};
use chappe::posix::LimitKind;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

/// Whether the kernel has queues; if not, says that the test is skipped.
fn has_queues() -> bool {
    let has = std::path::Path::new("/proc/sys/fs/mqueue/msg_max").exists();
    if !has {
        println!("skipped: this kernel has no POSIX queues");
    }
    has
}

#[test]
fn each_limit_is_shown_with_its_meaning_and_the_way_to_change_it() {
    let place = Place::new();
    let page = place.ok(&["limits"]);
    for kind in LimitKind::ALL {
        let at = page.lines().position(|line| line.starts_with(&format!("{kind} "))).expect("a line of its own");
        let lines: Vec<&str> = page.lines().skip(at).take(2).collect();
        assert!(lines[0].contains(kind.meaning()) && lines[1].contains(kind.change()), "{lines:?}");
    }
    assert!(page.contains(&place.path().display().to_string()), "where shared memory lives: {page}");
    assert!(
        page.lines().any(|line| line.split_whitespace().take(3).eq(["sem_value_max", "2147483647", "-"])),
        "{page}"
    );
}

#[test]
fn json_has_the_same() {
    let place = Place::new();
    let lines = json(&place.ok(&["limits", "--json"]));
    assert!(lines.iter().map(|line| line["name"].as_str().expect("a name")).eq(LimitKind::ALL.map(LimitKind::word)));
    for line in &lines {
        assert_eq!(line["schema"], 1);
        assert!(line["meaning"].is_string() && line["change"].is_string(), "{line}");
        assert_eq!(line["value"].is_u64(), line["value_is"] == "number", "{line}");
        let used = line["used_is"].as_str().expect("a word");
        assert_eq!(line["used"].is_u64(), ["exact", "at least"].contains(&used), "{line}");
        let unknown = line["value_is"] == "unknown" || used == "unknown";
        assert_eq!(line["reason"].is_string(), unknown, "{line}");
    }
    let of = |kind: LimitKind| lines.iter().find(|line| line["name"] == kind.word()).expect("its line");
    assert_eq!(of(LimitKind::SharedMemory)["directory"], place.path().display().to_string());
    if has_queues() {
        let text = std::fs::read_to_string("/proc/sys/fs/mqueue/msg_max").expect("the setting");
        assert_eq!(of(LimitKind::MsgMax)["value"].as_u64(), text.trim().parse().ok());
        assert_eq!(of(LimitKind::MessageQueueBytes)["used_is"], "exact");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let place = Place::new();
    let refused = |setting: &str, words: &[&str]| {
        place.run(&["limits", "--set", setting]).is(2).no_data().says(words);
    };
    refused("msg_max", &["NAME=VALUE", "msg_max=100"]);
    refused("msgmax=100", &["no limit", "msgmax", "msg_max"]);
    refused("msg_max=many", &["many"]);
    refused("msg_max=0", &["1 to 65536", "not 0"]);
    refused("msg_max=65537", &["1 to 65536", "65537"]);
    refused("msgsize_max=17M", &["128 to 16777216"]);
    refused("rlimit_msgqueue=1M", &["ulimit -q", "LimitMSGQUEUE", "prlimit"]);
    refused("rlimit_nofile=10", &["ulimit -n"]);
    refused("sem_value_max=10", &["cannot be changed"]);
    refused("shared_memory=1G", &["remount"]);
    place.run(&["limits", "--json", "--set", "msg_max=10"]).is(2).no_data().says(&["cannot be used with"]);
}

/// Runs `chappe` in an IPC namespace of its own, by these commands (which run the command after them); `None` where that is not
/// possible, and then says so.
fn alone(by: &[&str], args: &[&str]) -> Option<Outcome> {
    let unshare = ["unshare", "--ipc"];
    let words: Vec<&str> = unshare.iter().chain(by).copied().collect();
    let place = Place::new();
    let chappe = everybodys(&place);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(chappe).args(args).env("CHAPPE_DIR", place.path());
    let outcome = match command.output() {
        Ok(output) => outcome(output),
        Err(error) => {
            println!("skipped: {}: {error}", words[0]);
            return None;
        }
    };
    // Their own words, not ours.
    if ["unshare: ", "setpriv: ", "prlimit: "].iter().any(|tool| outcome.stderr.starts_with(tool)) {
        println!("skipped: {}", outcome.stderr);
        return None;
    }
    Some(outcome)
}

/// A copy of the command that other users can run, too: where it was built may be nobody else's business.
fn everybodys(place: &Place) -> PathBuf {
    let copy = place.path().join("chappe");
    // By another process: while this one had it open for writing, what other tests start meanwhile would inherit that, and
    // nobody could run it.
    assert!(Command::new("cp").args([CHAPPE.as_ref(), copy.as_path()]).status().expect("cp").success());
    for path in [place.path(), &copy] {
        std::fs::set_permissions(path, Permissions::from_mode(0o755)).expect("to let others in");
    }
    copy
}

const NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

#[test]
fn root_sets_what_the_kernel_keeps() {
    if !has_queues() {
        return;
    }
    let set = ["limits", "--set", "msg_max=100", "--set", "msgsize_max=16K"];
    let Some(outcome) = alone(&[], &set) else { return };
    if outcome.code == 77 {
        println!("skipped: {}", outcome.stderr);
        return;
    }
    outcome.is(0).no_data().says(&["msg_max is 100 now, and was 10", "msgsize_max is 16K now, and was 8K"]);
    let script = r#"set -e; chappe=$0; "$chappe" limits --set msg_max=100 --set msgsize_max=16K
        cat /proc/sys/fs/mqueue/msg_max /proc/sys/fs/mqueue/msgsize_max
        "$chappe" mq create posix:/large --capacity 40 --message-size 16K
        "$chappe" mq create posix:/many --capacity 100 --message-size 16
        "$chappe" limits --set msg_max=70000"#;
    let Some(outcome) = alone(&["sh", "-c", script], &[]) else { return };
    assert_eq!(outcome.text(), "100\n16384\n");
    outcome.is(2).says(&["1 to 65536"]);
}

#[test]
fn others_are_told_which_privilege_is_missing() {
    if !has_queues() {
        return;
    }
    let Some(outcome) = alone(&NOBODY, &["limits", "--set", "msg_max=100"]) else { return };
    outcome.is(77).no_data().says(&["msg_max", "privilege that is missing", "root (uid 0)"]);
}

#[test]
fn a_queue_that_is_too_large_says_which_limit_and_what_to_do() {
    if !has_queues() {
        return;
    }
    let Some(outcome) = alone(&NOBODY, &["mq", "create", "posix:/large", "--capacity", "11"]) else { return };
    outcome.is(73).no_data().says(&["not 11", "msg_max is 10", "chappe limits --set msg_max=11"]);
    let limited = [&["prlimit", "--msgqueue=1000"][..], &NOBODY].concat();
    let Some(outcome) = alone(&limited, &["mq", "create", "posix:/large"]) else { return };
    outcome.is(73).no_data().says(&["82880 bytes of RLIMIT_MSGQUEUE", "which is 1000", "ulimit -q"]);
    let Some(outcome) = alone(&limited, &["limits", "--json"]) else { return };
    outcome.is(0);
    let line = json(&outcome.text()).into_iter().find(|line| line["name"] == "rlimit_msgqueue").expect("its line");
    assert_eq!((line["value"].as_u64(), line["hard"].as_u64()), (Some(1000), Some(1000)));
}
