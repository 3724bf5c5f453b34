//! `chappe preload`: which library it takes, what it refuses, and that the program takes its place. What the library does is tested in
//! its own package; here any file will do for it, since the programs are looked at before the dynamic linker is.

use super::{CHAPPE, Place};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file that stands for the library. The dynamic linker warns of it, and goes on.
fn stand_in(place: &Place) -> String {
    let path = place.path().join("library.so");
    fs::write(&path, "").unwrap();
    path.to_str().unwrap().to_owned()
}

/// A copy of the command in a directory of its own, as it may be installed.
fn installed(place: &Place, library: &str) -> PathBuf {
    let bin = place.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let library = bin.join(library);
    fs::create_dir_all(library.parent().unwrap()).unwrap();
    fs::write(&library, "").unwrap();
    let command = bin.join("chappe");
    fs::copy(CHAPPE, &command).unwrap();
    command
}

/// What the program finds in LD_PRELOAD.
fn preloaded(command: &Path) -> String {
    let mut command = Command::new(command);
    command.args(["preload", "--", "/bin/sh", "-c", "echo $LD_PRELOAD"]);
    command.env_remove("CHAPPE_MQUEUE_LIBRARY").env_remove("LD_PRELOAD");
    String::from_utf8(command.output().unwrap().stdout).unwrap().trim().to_owned()
}

#[test]
fn the_program_has_the_library_first_and_gives_its_exit_code() {
    let place = Place::new();
    let library = stand_in(&place);
    let script = "echo $LD_PRELOAD $1; exit 7";
    let mut command = place.command(&["preload", "--library", &library, "--", "sh", "-c", script, "sh", "--its-own"]);
    let output = command.env("LD_PRELOAD", "/nowhere/other.so").output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{library}:/nowhere/other.so --its-own\n"));
}

#[test]
fn the_library_is_found_beside_the_command_in_lib_or_by_the_variable() {
    for name in ["libchappe_mqueue.so", "../lib/libchappe_mqueue.so"] {
        let place = Place::new();
        let command = installed(&place, name);
        let library = fs::canonicalize(command.parent().unwrap().join(name)).unwrap();
        assert_eq!(preloaded(&command), library.to_str().unwrap());
    }
    let place = Place::new();
    let library = stand_in(&place);
    let mut command = place.command(&["preload", "--", "sh", "-c", "echo $LD_PRELOAD"]);
    let output = command.env("CHAPPE_MQUEUE_LIBRARY", &library).env_remove("LD_PRELOAD").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), library);
}

#[test]
fn without_a_library_nothing_is_run() {
    let place = Place::new();
    let touched = place.path().join("touched");
    let script = format!("touch {}", touched.display());
    let run = |library: &str| place.run(&["preload", "--library", library, "--", "sh", "-c", &script]);
    run("/nowhere/library.so").is(125).no_data().says(&["/nowhere/library.so", "--library", "CHAPPE_MQUEUE_LIBRARY"]);
    let odd = place.path().join("a b.so");
    fs::write(&odd, "").unwrap();
    run(odd.to_str().unwrap()).is(125).no_data().says(&["a b.so", "space"]);
    assert!(!touched.exists());
}

#[test]
fn what_cannot_be_run_has_the_exit_codes_of_env() {
    let place = Place::new();
    let library = stand_in(&place);
    let run = |program: &str| place.run(&["preload", "--library", &library, "--", program]);
    run("no-such-program-anywhere").is(127).says(&["no-such-program-anywhere"]);
    let plain = place.path().join("plain");
    fs::write(&plain, "no program").unwrap();
    run(plain.to_str().unwrap()).is(126);
    place.run(&["preload"]).is(2);
}

#[test]
fn a_statically_linked_program_is_refused() {
    let place = Place::new();
    let library = stand_in(&place);
    // The beginning of a program without program headers: enough to see that it asks for no dynamic linker.
    let mut image = [0; 64];
    image[..6].copy_from_slice(b"\x7fELF\x02\x01");
    let program = place.path().join("static");
    fs::write(&program, image).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let outcome = place.run(&["preload", "--library", &library, "--", program.to_str().unwrap()]);
    outcome.is(125).no_data().says(&["linked statically", "preloaded"]);
}

#[test]
fn a_program_with_another_groups_rights_is_refused() {
    let place = Place::new();
    let library = stand_in(&place);
    let program = place.path().join("other");
    fs::copy("/bin/sh", &program).unwrap();
    if std::os::unix::fs::chown(&program, Some(12345), Some(12345)).is_err() {
        println!("skipped: only root can make a program of another user's");
        return;
    }
    for mode in [0o4755, 0o2755] {
        fs::set_permissions(&program, Permissions::from_mode(mode)).unwrap();
        let outcome = place.run(&["preload", "--library", &library, "--", program.to_str().unwrap(), "-c", "exit 0"]);
        outcome.is(125).says(&["another user's or group's rights"]);
    }
}
