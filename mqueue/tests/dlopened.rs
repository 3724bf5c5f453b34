//! What a program finds that loads the library at run time, instead of having it linked or preloaded: its own `close` is the C library's, but the
//! queue's calls are ours. The program is `c/dlopened.c`, and asserts by itself.

mod common;

use common::{compile, library, scratch, succeed};
use std::process::Command;

/// `mq_close` called the exported `close` once, which the dynamic linker made the C library's here: the number stayed the queue's, also when
/// a file had it, and a registration stayed.
#[test]
fn mq_close_forgets_the_descriptor() {
    let Some(program) = compile("dlopened", "dlopened", &["-ldl".as_ref()]) else { return };
    let dir = scratch();
    assert_eq!(succeed(Command::new(program).arg(library()).env("CHAPPE_DIR", dir.path())), "done\n");
}
