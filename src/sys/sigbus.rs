//! Pages that cannot be had. Touching a mapped page that its file does not have, because somebody has shortened the file, or has
//! given the page back and there is no memory for another, is a SIGBUS (mmap(2)), and that ends the process. Where a mapping is
//! *watched*, a page of zeros that is this process's own takes the missing one's place instead, and the mapping is marked as lost.
//! What follows from that is not decided here.
//!
//! Every other SIGBUS goes to whoever handled the signal before the first mapping was watched, or ends the process as it would have.
//! A program that puts a handler of its own in the place of this one afterwards has undone it.

use super::memory::{Mapping, page_size};
use super::process::{self, generation};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};

/// A mapping whose missing pages are made up for. Dropping it ends the watch, then the mapping.
pub(crate) struct Watched {
    post: &'static Post,
    mapping: Mapping,
}

/// Where one mapping is. Posts are never freed, so that a handler may look at all of them at any time; they are used again.
struct Post {
    taken: AtomicBool,
    /// The fork generation + 1 that alone has the mapping; 0 if fork children have it, too.
    only: AtomicU64,
    start: AtomicUsize,
    /// One past its last byte; 0 while the post describes nothing.
    end: AtomicUsize,
    lost: AtomicBool,
    /// The post that was made before this one.
    next: Option<&'static Post>,
}

/// The post that was made last.
static LAST: AtomicPtr<Post> = AtomicPtr::new(std::ptr::null_mut());

/// What was there before the handler.
struct Before {
    action: libc::sigaction,
    page_size: usize,
}

static BEFORE: OnceLock<Before> = OnceLock::new();

impl Watched {
    /// Watches a mapping from now on; the first call of the process installs the handler.
    pub(crate) fn new(mapping: Mapping) -> Watched {
        Watched::by(mapping, 0)
    }

    /// As [`new`](Watched::new), of a mapping that fork children do not have: where it was they may have another.
    pub(crate) fn here_only(mapping: Mapping) -> Watched {
        Watched::by(mapping, u64::from(generation()) + 1)
    }

    fn by(mapping: Mapping, only: u64) -> Watched {
        install();
        let post = free_post();
        let start = mapping.address().as_ptr().addr();
        post.lost.store(false, Ordering::Relaxed);
        post.only.store(only, Ordering::Relaxed);
        // Release, partner `Post::covers`: who sees this start sees that the last one had come to its end.
        post.start.store(start, Ordering::Release);
        // Release, partner `Post::covers`: who sees the end sees the start.
        post.end.store(start + mapping.len(), Ordering::Release);
        Watched { post, mapping }
    }

    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Whether a page was missing that was touched before this call, by an atomic access.
    #[inline(always)]
    pub(crate) fn is_lost(&self) -> bool {
        self.post.lost.load(Ordering::Relaxed)
    }

    /// The same after bytes were copied.
    #[inline(always)]
    pub(crate) fn is_lost_by_now(&self) -> bool {
        // The zeros may come from a page that another thread's handler has put there just now, after its mark: not to be looked for before
        // they were copied.
        fence(Ordering::Acquire);
        self.is_lost()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.post.end.store(0, Ordering::Relaxed);
        // Release, partner `free_post`. After it, the mapping goes.
        self.post.taken.store(false, Ordering::Release);
    }
}

/// The posts, the newest first.
fn posts() -> impl Iterator<Item = &'static Post> {
    let last = LAST.load(Ordering::Acquire);
    // SAFETY: null, or a post that `free_post` has leaked.
    std::iter::successors(unsafe { last.as_ref() }, |post| post.next)
}

/// A post of the caller's own: one that is not used any more, or a new one.
fn free_post() -> &'static Post {
    let take = |post: &&Post| post.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok();
    if let Some(post) = posts().find(take) {
        return post;
    }
    let mut last = LAST.load(Ordering::Acquire);
    // Each turn but the last means that another thread has made one.
    loop {
        let post = Box::into_raw(Box::new(Post {
            taken: AtomicBool::new(true),
            only: AtomicU64::new(0),
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            lost: AtomicBool::new(false),
            // SAFETY: null, or a post that was leaked here.
            next: unsafe { last.as_ref() },
        }));
        match LAST.compare_exchange(last, post, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: it was made above, and is never freed from here on.
            Ok(_) => return unsafe { &*post },
            Err(now) => {
                // SAFETY: it was made above, and nobody else has seen it.
                drop(unsafe { Box::from_raw(post) });
                last = now;
            }
        }
    }
}

impl Post {
    /// Whether an address lies in the mapping.
    fn covers(&self, address: usize) -> bool {
        // Acquire, partner `Watched::by`. A post that changes hands meanwhile has another end afterwards, or is right in both hands.
        let end = self.end.load(Ordering::Acquire);
        let start = self.start.load(Ordering::Acquire);
        let only = self.only.load(Ordering::Relaxed);
        let here = only == 0 || only == u64::from(generation()) + 1;
        here && start <= address && address < end && self.end.load(Ordering::Relaxed) == end
    }
}

fn install() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    if ONCE.is_completed() {
        return;
    }
    // Nobody forks meanwhile: the child would wait for ever for the thread that was at it.
    let _no_fork = process::roster();
    BEFORE.get_or_init(|| {
        let mut action = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: with no new action, the call writes the present one and changes nothing; it fails only for signals that there are not.
        unsafe { libc::sigaction(libc::SIGBUS, std::ptr::null(), action.as_mut_ptr()) };
        // SAFETY: written above.
        let action = unsafe { action.assume_init() };
        Before { action, page_size: page_size() }
    });
    ONCE.call_once(|| BEFORE.get().into_iter().for_each(handle));
}

/// Handles the signal from now on.
fn handle(before: &Before) {
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_sigbus;
    let mut action = before.action;
    action.sa_sigaction = handler as libc::sighandler_t;
    // On the thread's own signal stack, if it has one: the handlers that this one passes signals on to may need it.
    action.sa_flags = (before.action.sa_flags & !libc::SA_RESETHAND) | libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: a valid action, whose handler calls only what is safe in a handler.
    unsafe { libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) };
}

extern "C" fn on_sigbus(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // Said by the kernel of an address that there is no page for: sigaction(2).
    const BUS_ADRERR: c_int = 2;
    // SAFETY: the kernel gives a handler that was installed with SA_SIGINFO a valid `siginfo_t`.
    let told = unsafe { &*info };
    let code = told.si_code;
    // SAFETY: the field means something for one code only, and is a number for any.
    let address = unsafe { told.si_addr() }.addr();
    if code == BUS_ADRERR && make_up_for(address) {
        return;
    }
    pass_on(signal, code, info, context);
}

/// Puts a page of zeros where one is missing; false if the place is not watched, or there is no memory for a page.
fn make_up_for(address: usize) -> bool {
    let Some(before) = BEFORE.get() else { return false };
    // Before the page: whoever reads a zero of it finds the mark.
    let mark = |post: &Post| post.lost.store(true, Ordering::SeqCst);
    if posts().filter(|post| post.covers(address)).map(mark).count() == 0 {
        return false;
    }
    let page = std::ptr::without_provenance_mut::<c_void>(address & !(before.page_size - 1));
    let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::FIXED);
    // SAFETY: the page belongs to a watched mapping, which is ours, and which stays until the access in the middle of which this handler
    // runs is over. It has no page of the file there, so nothing is lost but a page of zeros that another thread's handler put there just
    // now. All that is laid over it is valid as zeros (`raw::Shared`), or is payload, to which there are no references.
    unsafe { mmap_anonymous(page, before.page_size, prot, flags) }.is_ok()
}

/// The handler from before would not be called any more: it was for one signal only, or has put the default in its own place.
static SPENT: AtomicBool = AtomicBool::new(false);

/// Does with the signal what would have been done without this handler.
fn pass_on(signal: c_int, code: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // Told of memory that nobody has touched yet: sigaction(2).
    const BUS_MCEERR_AO: c_int = 5;
    let Some(before @ Before { action, .. }) = BEFORE.get() else { return };
    // Not by an access, which would come again.
    let sent = code <= 0 || code == BUS_MCEERR_AO;
    match action.sa_sigaction {
        libc::SIG_IGN if sent => return,
        libc::SIG_DFL | libc::SIG_IGN => return end_by(signal, sent),
        _ if SPENT.load(Ordering::SeqCst) => return end_by(signal, sent),
        handler if action.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: it was installed as a handler with these three parameters.
            let handler = unsafe {
                std::mem::transmute::<usize, extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void)>(handler)
            };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: it was installed as a handler with this parameter.
            let handler = unsafe { std::mem::transmute::<usize, extern "C" fn(c_int)>(handler) };
            handler(signal);
        }
    }
    if action.sa_flags & libc::SA_RESETHAND != 0 {
        SPENT.store(true, Ordering::SeqCst);
    }
    if sent && is_default() {
        // As the standard library's does, which expects an access to come again. The process lives, and so do its mappings.
        SPENT.store(true, Ordering::SeqCst);
        handle(before);
    }
}

/// Whether nobody handles the signal.
fn is_default() -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with no new action, the call writes the present one and changes nothing; it fails only for signals that there are not.
    unsafe { libc::sigaction(libc::SIGBUS, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: written above.
    unsafe { action.assume_init() }.sa_sigaction == libc::SIG_DFL
}

/// Lets the signal do what it does without a handler: when this one returns, the access is tried again.
fn end_by(signal: c_int, sent: bool) {
    // SAFETY: a struct of numbers, for which all-zero is valid: the default action.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a valid action.
    unsafe { libc::sigaction(signal, &raw const default, std::ptr::null_mut()) };
    if sent {
        // SAFETY: it takes a number. The signal is blocked until the handler returns.
        unsafe { libc::raise(signal) };
    }
}
