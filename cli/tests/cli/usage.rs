//! What is no sensible command line: exit code 2, a text that says why, nothing on stdout.

use super::Place;

#[track_caller]
fn refused(args: &[&str], words: &[&str]) {
    Place::with_queue(1).run(args).is(2).no_data().says(words);
}

#[test]
fn values_that_make_no_sense() {
    refused(&["mq", "create", "n", "--message-size", "64X"], &["64X", "64K"]);
    refused(&["mq", "create", "n", "--message-size", "-1"], &["-1"]);
    refused(&["mq", "create", "n", "--capacity", "many"], &["many"]);
    refused(&["mq", "create", "n", "--mode", "888"], &["888", "octal"]);
    refused(&["mq", "create", "n", "--mode", "1777"], &["777"]);
    refused(&["mq", "send", "q", "x", "-p", "32768"], &["32768", "32767"]);
    refused(&["mq", "send", "q", "x", "-p=-1"], &["-1"]);
    refused(&["mq", "send", "q", "x", "-t", "250"], &["250ms"]);
    refused(&["mq", "recv", "q", "-t", "soon"], &["soon", "250ms"]);
    refused(&["mq", "recv", "q", "-n", "0"], &["0"]);
    refused(&["mq", "recv", "q", "--format", "%x"], &["%x", "%p priority"]);
    refused(&["mq", "recv", "q", "--format", "100%"], &["%%"]);
    refused(&["sem", "create", "n", "-n", "-1"], &["-1"]);
    refused(&["sem", "create", "n", "-n", "281474976710657"], &["281474976710657", "281474976710656"]);
    refused(&["sem", "create", "n", "-n", "3", "--mode", "888"], &["888", "octal"]);
    refused(&["sem", "set", "n", "many"], &["many"]);
    refused(&["sem", "run", "n", "-n", "many", "--", "true"], &["many"]);
    refused(&["sem", "run", "n", "--take", "0", "--", "true"], &["0"]);
    refused(&["sem", "run", "n", "-t", "250", "--", "true"], &["250ms"]);
    refused(&["sem", "run", "n", "--label", &"x".repeat(65), "--", "true"], &["at most 64 bytes", "65"]);
    refused(&["sem", "wait-idle", "n", "-t", "soon"], &["soon"]);
    refused(&["completions", "cobol"], &["cobol", "bash"]);
}

#[test]
fn limits_of_attributes() {
    refused(&["mq", "create", "n", "--capacity", "0"], &["capacity", "1 to", "not 0"]);
    refused(&["mq", "create", "n", "--capacity", "16777217"], &["16777216", "16777217"]);
    refused(&["mq", "create", "n", "--message-size", "0"], &["1 to", "not 0"]);
    refused(&["mq", "create", "n", "--message-size", "2T"], &["1 to", "2199023255552"]);
}

#[test]
fn options_that_exclude_each_other() {
    for args in [
        &["mq", "send", "q", "x", "-t", "1s", "--nonblock"][..],
        &["mq", "send", "q", "x", "--lines"],
        &["mq", "send", "q", "x", "--null"],
        &["mq", "send", "q", "x", "--file", "-"],
        &["mq", "send", "q", "--lines", "--null"],
        &["mq", "recv", "q", "-t", "1s", "--nonblock"],
        &["mq", "recv", "q", "-n", "2", "--follow"],
        &["mq", "recv", "q", "-n", "2", "--until-empty"],
        &["mq", "recv", "q", "--follow", "--until-empty"],
        &["mq", "recv", "q", "--follow", "--nonblock"],
        &["mq", "recv", "q", "--json", "--null"],
        &["mq", "recv", "q", "--json", "--format", "%s"],
        &["sem", "run", "s", "-t", "1s", "--nonblock", "--", "true"],
        &["sem", "wait", "s", "-t", "1s", "--nonblock"],
    ] {
        refused(args, &["cannot be used with"]);
    }
}

#[test]
fn what_is_missing_or_too_much() {
    refused(&["mq", "rm"], &["NAME"]);
    refused(&["mq", "send"], &["NAME"]);
    refused(&["mq", "create", "a", "b"], &["unexpected", "b"]);
    refused(&["mq", "frobnicate"], &["frobnicate"]);
    refused(&["mq"], &["Usage"]);
    refused(&["sem", "create", "s"], &["--permits"]);
    refused(&["sem", "run"], &["NAME", "COMMAND"]);
    refused(&["sem", "run", "s", "--"], &["COMMAND"]);
    refused(&["sem", "run", "s", "true"], &["unexpected", "true"]);
    refused(&["sem", "set", "s"], &["PERMITS"]);
    refused(&["sem", "stat", "a", "b"], &["unexpected", "b"]);
    refused(&["sem", "rm"], &["NAME"]);
    refused(&["sem"], &["Usage"]);
    refused(&[], &["Usage"]);
}

#[test]
fn names() {
    refused(&["mq", "create", ""], &["1 to 255 bytes"]);
    refused(&["mq", "create", "a/b"], &["one slash"]);
    refused(&["mq", "create", "../etc/passwd"], &["one slash"]);
    refused(&["mq", "create", ".."], &["directories"]);
    refused(&["mq", "create", &"x".repeat(256)], &["at most 255", "256"]);
    refused(&["mq", "peek", "posix:q"], &["takes it out", "mq stat"]);
    refused(&["mq", "create", "posix:/a/b"], &["one slash"]);
    refused(&["mq", "rm", "q", "posix:"], &["1 to 255 bytes"]);
    refused(&["sem", "create", "a/b", "-n", "1"], &["one slash"]);
    refused(&["sem", "run", "posix:/s", "--", "true"], &["does not know who holds it", "without `posix:`"]);
    for args in [&["sem", "create", "posix:/s", "-n", "1"][..], &["sem", "holders", "posix:/s"]] {
        refused(args, &["post, wait, stat and rm"]);
    }
    refused(&["sem", "wait-idle", "posix:/s"], &["posix:"]);
    refused(&["sem", "set", "posix:/s", "1"], &["posix:"]);
}

#[test]
fn help_is_no_error_and_has_the_exit_codes() {
    let place = Place::new();
    for args in [&["--help"][..], &["mq", "--help"], &["sem", "--help"]] {
        let help = place.ok(args);
        assert!(help.contains("EXIT CODES") && help.contains("124  timed out"), "{help}");
    }
    for verb in ["create", "send", "recv", "peek", "stat", "purge", "rm"] {
        assert!(place.ok(&["mq", verb, "--help"]).contains("Usage: chappe mq"));
    }
    for verb in ["run", "create", "stat", "holders", "set", "wait-idle", "post", "wait", "rm"] {
        assert!(place.ok(&["sem", verb, "--help"]).contains("Usage: chappe sem"));
    }
    assert!(place.ok(&["limits", "--help"]).contains("Usage: chappe limits"));
    let run = place.ok(&["sem", "run", "--help"]);
    for words in ["--keep", "124", "125", "126", "127", "do not hold it"] {
        assert!(run.contains(words), "no {words:?} in: {run}");
    }
    assert!(place.ok(&["--version"]).starts_with("chappe "));
}

#[test]
fn completions_know_the_verbs_and_hide_the_rest() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.ok(&["completions", shell]);
        assert!(
            ["purge", "until-empty", "wait-idle", "nonblock", "take"].iter().all(|word| script.contains(word)),
            "{shell}"
        );
        assert!(!script.contains("demo-child") && !script.contains("block-consumer"), "{shell}");
    }
}
