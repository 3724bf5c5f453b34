//! A process in which some system calls fail, as in a sandbox.

use super::say;

/// Makes system calls fail with these errors, for this thread and those that it starts, for good.
pub fn forbid(calls: &[(i64, i32)]) {
    // A comparison that fails skips what follows it.
    let step =
        |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: u8::from(code & 7 == libc::BPF_JMP), k };
    // The number of the call is the first word of what a filter sees.
    let mut program = vec![step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)];
    for (call, errno) in calls {
        program.push(step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, *call as u32));
        program.push(step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | *errno as u32));
    }
    program.push(step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: it takes numbers.
    let no_new = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the filter and its program live through the call.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
    if (no_new, set) != (0, 0) {
        say(format!("skip forbidding system calls: {}", std::io::Error::last_os_error()));
        std::process::exit(0);
    }
}
