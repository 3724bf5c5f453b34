//! What programs do with descriptors beside the calls of a queue: closing in every way, numbers that are used again, children of
//! vfork, threads and handlers that close under others. The cases are in `c/descriptors.c`, and assert by themselves. What the kernel
//! does in such a row is the conformance test's; these are dangers of a table beside the kernel's.

mod common;

use common::{compile, preloaded, scratch, succeed};

fn case(name: &str) {
    let Some(program) = compile("descriptors", &format!("descriptors-{name}"), &[]) else { return };
    let dir = scratch();
    assert_eq!(succeed(preloaded(program, dir.path()).arg(name)), "done\n");
}

macro_rules! cases {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                case(stringify!($name));
            }
        )*
    };
}

cases! {
    vfork_child_closes
    number_used_again
    others_are_left_alone
    everything_is_closed
    duplicate_of_a_queue_without_a_name
    high_numbers
    closed_while_it_is_used
    closed_by_a_handler
    select_of_all_there_may_be
    the_last_thread_ends
    a_set_that_was_inherited
    poll_that_cannot_arm
    a_file_that_is_shortened
}
