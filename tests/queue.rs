//! The queue as one process sees it: options, names, limits, order, waiting, looking, closing, memory.
//!
//! Deaths and other processes are in `process.rs`, `random_kill.rs` and `kill.rs`; random sequences in `model.rs`.

mod common;

use chappe::{AccessError, Batch, NameError, OpenError, PRIORITY_MAX, Queue, QueueOptions, RecvError, SendError};
use common::{NET, Worker, payload, say, scratch, until};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Longer than any scheduling hiccup that would let a wait end before it began, short enough to wait for.
const SHORT: Duration = Duration::from_millis(30);

#[test]
fn role() {
    common::play(&[("umask", part_umask), ("variable", part_variable)]);
}

/// A queue of its own in a directory of its own, which is held so that it lives as long.
struct Fixture {
    dir: tempfile::TempDir,
    queue: Queue,
}

impl std::ops::Deref for Fixture {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        &self.queue
    }
}

impl Fixture {
    fn new(capacity: u32, message_size: u64) -> Fixture {
        let dir = scratch();
        let queue = options(dir.path()).capacity(capacity).message_size(message_size).create_new("/q").unwrap();
        Fixture { dir, queue }
    }

    fn another_handle(&self) -> Queue {
        options(self.dir.path()).open("/q").unwrap()
    }
}

fn options(dir: &Path) -> QueueOptions {
    let mut options = Queue::options();
    options.dir(dir);
    options
}

fn files(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

/// Everything that is in the queue, in the order in which it is received.
fn drain(queue: &Queue) -> Vec<(Vec<u8>, u16)> {
    let mut all = Vec::new();
    loop {
        match queue.try_recv() {
            Ok(message) => all.push((message.data, message.priority)),
            Err(RecvError::Empty) => return all,
            Err(error) => panic!("{error}"),
        }
    }
}

// ---- creating and opening ----

#[test]
fn create_new_open_and_create_differ_in_what_they_expect_to_find() {
    let dir = scratch();
    assert!(matches!(options(dir.path()).open("/q"), Err(OpenError::NotFound { .. })));
    assert!(matches!(options(dir.path()).unlink("/q"), Err(OpenError::NotFound { .. })));
    let first = options(dir.path()).create_new("/q").unwrap();
    assert!(matches!(options(dir.path()).create_new("/q"), Err(OpenError::Exists { .. })));
    let second = options(dir.path()).create("q").unwrap();
    let third = options(dir.path()).open("q").unwrap();
    first.send(b"one queue", 3).unwrap();
    assert_eq!(second.len().unwrap(), 1);
    assert_eq!(third.try_recv().unwrap().data, b"one queue");
}

#[test]
fn a_queue_has_the_defaults_or_what_was_asked_for() {
    let dir = scratch();
    let plain = options(dir.path()).create_new("/plain").unwrap();
    assert_eq!((plain.capacity(), plain.message_size()), (1024, 64 << 10));
    let other = options(dir.path()).capacity(7).message_size(100).create_new("/other").unwrap();
    assert_eq!((other.capacity(), other.message_size()), (7, 100));
    assert_eq!(other.attributes(), other.stat().unwrap().attributes);
    assert_eq!(other.name().as_bytes(), b"other");
}

#[test]
fn attributes_that_were_asked_for_are_compared() {
    let dir = scratch();
    let made = options(dir.path()).capacity(10).message_size(200).create_new("/q").unwrap();
    let Err(OpenError::Mismatch { found, wanted, .. }) = options(dir.path()).capacity(11).open("/q") else {
        panic!("another capacity was accepted");
    };
    assert_eq!((found.capacity, found.message_size, wanted.capacity), (10, 200, 11));
    let text = options(dir.path()).message_size(201).create("/q").unwrap_err().to_string();
    assert!(text.contains("200") && text.contains("201"), "both values belong into {text:?}");
    let same = options(dir.path()).capacity(10).message_size(200).create("/q").unwrap();
    let half = options(dir.path()).message_size(200).open("/q").unwrap();
    assert_eq!(same.attributes(), made.attributes());
    assert_eq!(half.attributes(), made.attributes());
}

#[test]
fn any_existing_takes_what_is_there() {
    let dir = scratch();
    options(dir.path()).capacity(10).message_size(200).create_new("/q").unwrap();
    let mut different = options(dir.path());
    different.capacity(99).message_size(1).any_existing(true);
    assert_eq!(different.create("/q").unwrap().capacity(), 10);
    assert_eq!(different.open("/q").unwrap().message_size(), 200);
    assert_eq!(different.create("/new").unwrap().capacity(), 99, "for creating, the attributes still count");
}

#[test]
fn attributes_out_of_range_create_nothing() {
    let dir = scratch();
    let bad = [
        (0, 64, "capacity"),
        (chappe::CAPACITY_MAX + 1, 64, "capacity"),
        (16, 0, "message size"),
        (16, chappe::MESSAGE_SIZE_MAX + 1, "message size"),
    ];
    for (capacity, size, which) in bad {
        let Err(error) = options(dir.path()).capacity(capacity).message_size(size).create("/q") else {
            panic!("capacity {capacity} and message size {size} were accepted");
        };
        assert!(matches!(error, OpenError::Attribute { low: 1, .. }), "{which}: {error}");
    }
    assert_eq!(files(dir.path()), 0);
}

#[test]
fn the_largest_attributes_work_or_are_refused_in_words() {
    let dir = scratch();
    match options(dir.path()).capacity(1).message_size(chappe::MESSAGE_SIZE_MAX).create_new("/long") {
        Ok(queue) => {
            queue.send(b"short", 0).unwrap();
            assert_eq!(queue.recv().unwrap().data, b"short");
        }
        Err(error) => assert!(matches!(error, OpenError::System { .. }), "{error}"),
    }
    let deep = options(dir.path()).capacity(chappe::CAPACITY_MAX).message_size(8).create_new("/deep").unwrap();
    deep.send(b"one", 1).unwrap();
    deep.send(b"two", 2).unwrap();
    assert_eq!(drain(&deep), [(b"two".to_vec(), 2), (b"one".to_vec(), 1)]);
}

#[test]
fn the_mode_is_exact_unless_the_umask_is_asked_for() {
    let dir = scratch();
    let mut worker = Worker::start("umask", &[dir.path().to_str().unwrap()]);
    worker.expect("600 666 644 640");
    worker.finish();
}

/// Under umask 027: the modes of queues created by default, with 0666, with 0644, and with 0666 and the umask.
fn part_umask(arguments: &[String]) {
    let dir = Path::new(&arguments[0]);
    // SAFETY: it takes and returns a number; this process has no other thread whose files it could surprise.
    unsafe { libc::umask(0o027) };
    let queues = [
        options(dir).create_new("/default").unwrap(),
        options(dir).mode(0o666).create_new("/open").unwrap(),
        options(dir).mode(0o644).create_new("/read").unwrap(),
        options(dir).mode(0o666).umask(true).create_new("/masked").unwrap(),
    ];
    let modes: Vec<String> = queues.iter().map(|queue| format!("{:o}", queue.stat().unwrap().mode)).collect();
    for (queue, name) in queues.iter().zip(["default", "open", "read", "masked"]) {
        let bits = std::fs::metadata(dir.join(format!("chappe.mq.{name}"))).unwrap().permissions().mode() & 0o7777;
        assert_eq!(queue.stat().unwrap().mode, bits);
    }
    say(modes.join(" "));
}

#[test]
fn of_many_threads_that_race_to_create_one_creates() {
    for _ in 0..20 {
        let dir = scratch();
        let made = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| match options(dir.path()).create_new("/q") {
                    Ok(_) => _ = made.fetch_add(1, Ordering::Relaxed),
                    Err(error) => assert!(matches!(error, OpenError::Exists { .. }), "{error}"),
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
        assert_eq!(files(dir.path()), 1, "the losers of the race left something behind");
    }
}

// ---- names and directories ----

#[test]
fn names_outside_the_rule_are_refused_with_the_rule() {
    let dir = scratch();
    let long = [b'x'; 256];
    let bad: [(&[u8], NameError); 9] = [
        (b"", NameError::Empty),
        (b"/", NameError::Empty),
        (b"//q", NameError::Slash),
        (b"a/b", NameError::Slash),
        (b"../q", NameError::Slash),
        (b"q\0", NameError::Nul),
        (b".", NameError::Dots),
        (b"/..", NameError::Dots),
        (&long, NameError::TooLong(256)),
    ];
    for (name, rule) in bad {
        let refused = |result: Result<(), OpenError>| match result {
            Err(OpenError::Name(why)) => assert_eq!(why, rule),
            other => panic!("{:?}: {other:?}", name.escape_ascii().to_string()),
        };
        refused(options(dir.path()).create(name).map(drop));
        refused(options(dir.path()).create_new(name).map(drop));
        refused(options(dir.path()).open(name).map(drop));
        refused(options(dir.path()).unlink(name));
    }
    assert_eq!(files(dir.path()), 0);
}

#[test]
fn names_of_255_bytes_that_differ_in_one_are_two_queues() {
    let dir = scratch();
    let mut one = [b'n'; 255];
    one[0] = 0xff;
    let mut two = one;
    two[254] = b'm';
    let first = options(dir.path()).create_new(one).unwrap();
    let second = options(dir.path()).create_new(two).unwrap();
    first.send(b"first", 0).unwrap();
    assert!(second.is_empty().unwrap());
    assert_eq!(options(dir.path()).open(one).unwrap().recv().unwrap().data, b"first");
    let mut listed: Vec<Vec<u8>> =
        chappe::list(dir.path()).unwrap().iter().map(|object| object.name.as_bytes().to_vec()).collect();
    listed.sort();
    assert_eq!(listed, [two.to_vec(), one.to_vec()]);
}

#[test]
fn one_name_in_two_directories_is_two_queues() {
    let (here, there) = (scratch(), scratch());
    let one = options(here.path()).create_new("/q").unwrap();
    let two = options(there.path()).create_new("/q").unwrap();
    one.send(b"here", 0).unwrap();
    assert!(two.is_empty().unwrap());
}

#[test]
fn a_directory_that_is_not_there_is_named_in_the_error() {
    let dir = scratch();
    let missing = dir.path().join("missing");
    let error = options(&missing).create("/q").unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    assert!(matches!(error, OpenError::System { .. }), "{error:?}");
    assert!(chappe::list(&missing).is_err(), "a directory that cannot be read is not an empty one");
}

#[test]
fn the_variable_moves_every_name() {
    let dir = scratch();
    let path = dir.path().to_str().unwrap();
    let mut worker = Worker::start_with("variable", &[], &[(chappe::DIR_VARIABLE, path)]);
    worker.expect("made");
    assert_eq!(options(dir.path()).open("/moved").unwrap().recv().unwrap().data, b"from there");
    worker.tell("unlink");
    worker.finish();
    assert_eq!(files(dir.path()), 0);
}

/// Creates `/moved` wherever the environment says, sends, and unlinks it when told.
fn part_variable(_: &[String]) {
    let queue = Queue::create("/moved").unwrap();
    queue.send(b"from there", 0).unwrap();
    assert_eq!(Queue::open("moved").unwrap().len().unwrap(), 1);
    say("made");
    common::hear();
    Queue::unlink("/moved").unwrap();
    assert!(matches!(Queue::open("/moved"), Err(OpenError::NotFound { .. })));
}

#[test]
fn the_list_shows_names_sorted_with_mode_and_owner() {
    let dir = scratch();
    for name in ["/b", "/a", "/c"] {
        options(dir.path()).mode(0o640).create_new(name).unwrap();
    }
    std::fs::write(dir.path().join("unrelated"), "a file of somebody else").unwrap();
    let objects = chappe::list(dir.path()).unwrap();
    let names: Vec<String> = objects.iter().map(|object| object.name.to_string()).collect();
    assert_eq!(names, ["/a", "/b", "/c"]);
    for object in objects {
        let meta = std::fs::metadata(&object.path).unwrap();
        assert_eq!((object.mode, object.uid, object.defect), (0o640, meta.uid(), None));
        assert_eq!(object.memory, meta.blocks() * 512);
    }
}

// ---- order ----

#[test]
fn higher_priority_first_then_first_in_first_out() {
    let queue = Fixture::new(64, 64);
    let priorities = [3, 0, PRIORITY_MAX, 3, 64, 63, 65, 4096, 4095, 0, 3, 64 * 64, PRIORITY_MAX];
    for (index, priority) in priorities.into_iter().enumerate() {
        queue.send(&[index as u8], priority).unwrap();
    }
    let mut expected: Vec<(Vec<u8>, u16)> =
        priorities.into_iter().enumerate().map(|(index, priority)| (vec![index as u8], priority)).collect();
    expected.sort_by_key(|(_, priority)| std::cmp::Reverse(*priority));
    assert_eq!(drain(&queue), expected);
}

#[test]
fn every_priority_is_kept_apart() {
    let queue = Fixture::new(u32::from(PRIORITY_MAX) + 1, 8);
    for step in 0..=PRIORITY_MAX {
        let priority = step.wrapping_mul(12345) & PRIORITY_MAX;
        queue.try_send(&priority.to_le_bytes(), priority).unwrap();
    }
    assert_eq!(queue.try_send(b"", 0), Err(SendError::Full));
    for priority in (0..=PRIORITY_MAX).rev() {
        let message = queue.try_recv().unwrap();
        assert_eq!((message.priority, &message.data[..]), (priority, &priority.to_le_bytes()[..]));
    }
    assert!(queue.is_empty().unwrap());
}

#[test]
fn a_priority_that_does_not_exist_is_refused() {
    let queue = Fixture::new(4, 8);
    for priority in [PRIORITY_MAX + 1, u16::MAX] {
        assert_eq!(queue.try_send(b"x", priority), Err(SendError::Priority(priority)));
        assert_eq!(queue.send(b"x", priority), Err(SendError::Priority(priority)));
    }
    assert!(queue.is_empty().unwrap());
}

#[test]
fn order_holds_over_many_laps_of_a_small_ring() {
    let queue = Fixture::new(3, 16);
    for lap in 0_u64..1000 {
        for (step, priority) in [(0, 1), (1, 9), (2, 1)] {
            queue.try_send(&(lap * 3 + step).to_le_bytes(), priority).unwrap();
        }
        let got: Vec<u64> =
            (0..3).map(|_| queue.try_recv().unwrap()).map(|m| common::identify(&m.data).unwrap()).collect();
        assert_eq!(got, [lap * 3 + 1, lap * 3, lap * 3 + 2]);
    }
}

// ---- the forms of sending and receiving ----

#[test]
fn all_forms_move_the_same_messages() {
    let queue = Fixture::new(8, 64);
    let later = Instant::now() + NET;
    queue.send(b"send", 4).unwrap();
    queue.try_send(b"try", 3).unwrap();
    queue.send_timeout(b"timeout", 2, NET).unwrap();
    queue.send_deadline(b"deadline", 1, later).unwrap();
    assert_eq!(queue.recv().unwrap().data, b"send");
    assert_eq!(queue.try_recv().unwrap().data, b"try");
    assert_eq!(queue.recv_timeout(NET).unwrap().data, b"timeout");
    let last = queue.recv_deadline(later).unwrap();
    assert_eq!((&last.data[..], last.priority, last.redelivered), (&b"deadline"[..], 1, 0));
}

#[test]
fn all_forms_of_receiving_into_a_buffer() {
    let queue = Fixture::new(8, 64);
    let later = Instant::now() + NET;
    for (text, priority) in [(b"aaaa", 4), (b"bbbb", 3), (b"cccc", 2), (b"dddd", 1)] {
        queue.send(text, priority).unwrap();
    }
    let mut buffer = [0_u8; 6];
    let got = queue.recv_into(&mut buffer).unwrap();
    assert_eq!((got.len, got.priority, got.redelivered), (4, 4, 0));
    assert_eq!(&buffer, b"aaaa\0\0", "bytes after the message are not touched");
    queue.try_recv_into(&mut buffer[..4]).unwrap();
    assert_eq!(&buffer, b"bbbb\0\0");
    queue.recv_into_timeout(&mut buffer, NET).unwrap();
    assert_eq!(&buffer, b"cccc\0\0");
    queue.recv_into_deadline(&mut buffer, later).unwrap();
    assert_eq!(&buffer, b"dddd\0\0");
    assert_eq!(queue.try_recv_into(&mut buffer), Err(RecvError::Empty));
}

#[test]
fn batches_in_all_forms() {
    let queue = Fixture::new(16, 64);
    let later = Instant::now() + NET;
    queue.send_many(&[("a", 1), ("b", 2)]).unwrap();
    queue.try_send_many(&[("c", 1)]).unwrap();
    queue.send_many_timeout(&[("d", 3)], NET).unwrap();
    queue.send_many_deadline(&[("e", 0)], later).unwrap();
    queue.send_many::<&[u8]>(&[]).unwrap();
    let mut batch = Batch::new();
    assert_eq!(queue.recv_many(&mut batch, 2).unwrap(), 2);
    assert_eq!(batch.iter().collect::<Vec<_>>(), [(&b"d"[..], 3), (&b"b"[..], 2)]);
    assert_eq!(queue.try_recv_many(&mut batch, 1).unwrap(), 1);
    assert_eq!(batch.iter().collect::<Vec<_>>(), [(&b"a"[..], 1)]);
    assert_eq!(queue.try_recv_many(&mut batch, 0).unwrap(), 0);
    assert!(batch.is_empty(), "a batch is cleared first");
    assert_eq!(queue.recv_many_timeout(&mut batch, 1, NET).unwrap(), 1);
    assert_eq!(queue.recv_many_deadline(&mut batch, 100, later).unwrap(), 1);
    assert_eq!(batch.iter().collect::<Vec<_>>(), [(&b"e"[..], 0)]);
    assert_eq!(queue.try_recv_many(&mut batch, 100), Err(RecvError::Empty));
    assert_eq!(queue.recv_many_timeout(&mut batch, 100, SHORT), Err(RecvError::TimedOut));
}

#[test]
fn batches_of_large_and_small_messages_keep_their_bytes() {
    let queue = Fixture::new(32, 1 << 20);
    let lengths = [0, 1, 64, 300, 5000, 70_000, 1 << 20, 2, 4096, 4097];
    let sent: Vec<(Vec<u8>, u16)> =
        lengths.iter().enumerate().map(|(id, length)| (payload(id as u64, *length), 7)).collect();
    queue.try_send_many(&sent).unwrap();
    let mut batch = Batch::new();
    assert_eq!(queue.try_recv_many(&mut batch, 32).unwrap(), lengths.len());
    let got: Vec<(Vec<u8>, u16)> = batch.iter().map(|(bytes, priority)| (bytes.to_vec(), priority)).collect();
    assert!(got == sent, "a batch returned other bytes than were sent");
    assert_eq!(queue.stat().unwrap().being_received, 0);
}

#[test]
fn a_batch_stops_where_the_room_ends_and_says_where() {
    let queue = Fixture::new(3, 8);
    let five = [("1", 0), ("2", 0), ("3", 0), ("4", 0), ("5", 0)];
    let error = queue.try_send_many(&five).unwrap_err();
    assert_eq!((error.sent, error.error), (3, SendError::Full));
    let error = queue.send_many_timeout(&five, SHORT).unwrap_err();
    assert_eq!((error.sent, error.error), (0, SendError::TimedOut));
    queue.recv().unwrap();
    let error = queue.send_many_deadline(&five, Instant::now() + SHORT).unwrap_err();
    assert_eq!((error.sent, error.error), (1, SendError::TimedOut));
    let got: Vec<Vec<u8>> = drain(&queue).into_iter().map(|(data, _)| data).collect();
    assert_eq!(got, [b"2", b"3", b"1"]);
}

#[test]
fn a_batch_with_a_bad_message_sends_those_before_it() {
    let queue = Fixture::new(8, 4);
    let error = queue.send_many(&[("1", 0), ("22222", 0), ("3", 0)]).unwrap_err();
    assert_eq!((error.sent, error.error), (1, SendError::TooLong { length: 5, max: 4 }));
    let error = queue.send_many(&[("1", 0), ("2", 0), ("3", PRIORITY_MAX + 1)]).unwrap_err();
    assert_eq!((error.sent, error.error), (2, SendError::Priority(PRIORITY_MAX + 1)));
    assert_eq!(queue.len().unwrap(), 3);
}

#[test]
fn a_batch_larger_than_the_queue_waits_for_its_receiver() {
    let queue = Fixture::new(4, 16);
    let sent: Vec<([u8; 8], u16)> = (0_u64..1000).map(|id| (id.to_le_bytes(), 0)).collect();
    thread::scope(|scope| {
        scope.spawn(|| queue.send_many(&sent).unwrap());
        let mut batch = Batch::new();
        let mut next = 0;
        while next < 1000 {
            queue.recv_many_timeout(&mut batch, 7, NET).unwrap();
            for (bytes, _) in batch.iter() {
                assert_eq!(common::identify(bytes), Some(next));
                next += 1;
            }
        }
    });
    assert!(queue.is_empty().unwrap());
}

// ---- sizes ----

/// Lengths beside every power of two and beside the sizes of a slot's head, a cache line, a page.
fn telling_lengths() -> Vec<usize> {
    let mut lengths = vec![0, 1, 2];
    for edge in [8, 16, 32, 40, 48, 56, 64, 128, 192, 240, 248, 256, 512, 1024, 4096, 8192, 65_536, 1 << 20] {
        lengths.extend([edge - 1, edge, edge + 1]);
    }
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

#[test]
fn a_message_comes_back_whole_at_every_length() {
    let queue = Fixture::new(4, (1 << 20) + 1);
    let mut buffer = vec![0; (1 << 20) + 1];
    for length in telling_lengths() {
        let sent = payload(length as u64, length);
        queue.try_send(&sent, 1).unwrap();
        queue.try_send(&sent, 1).unwrap();
        assert!(queue.try_recv().unwrap().data == sent, "{length} bytes came back changed");
        assert_eq!(queue.try_recv_into(&mut buffer).unwrap().len, length);
        assert!(buffer[..length] == sent[..], "{length} bytes came back changed into a buffer");
    }
}

#[test]
fn the_message_size_is_the_limit_to_the_byte() {
    let dir = scratch();
    for size in telling_lengths().into_iter().filter(|size| *size > 0) {
        let queue = options(dir.path()).capacity(2).message_size(size as u64).create_new("/q").unwrap();
        let whole = payload(9, size);
        queue.try_send(&whole, 0).unwrap();
        queue.try_send(&whole, 0).unwrap();
        let too_long = SendError::TooLong { length: size as u64 + 1, max: size as u64 };
        assert_eq!(queue.try_send(&payload(9, size + 1), 0), Err(too_long), "even when it is full");
        assert!(drain(&queue).iter().all(|(data, _)| *data == whole), "{size} bytes came back changed");
        assert_eq!(queue.send(&payload(9, size + 1), 0), Err(too_long));
        options(dir.path()).unlink("/q").unwrap();
    }
}

#[test]
fn neighbours_in_full_queues_do_not_overwrite_each_other() {
    for size in [1, 40, 64, 100, 256, 257, 1000, 4096, 5000, 65_536] {
        let queue = Fixture::new(9, size as u64);
        for id in 0..9 {
            queue.try_send(&payload(id, size), 0).unwrap();
        }
        for id in 0..9 {
            assert!(queue.try_recv().unwrap().data == payload(id, size), "message {id} of {size} bytes");
        }
    }
}

#[test]
fn a_buffer_too_small_loses_nothing() {
    let queue = Fixture::new(4, 10_000);
    for length in [1, 50, 300, 10_000] {
        let sent = payload(length as u64, length);
        queue.send(&sent, 5).unwrap();
        queue.send(b"next", 5).unwrap();
        let mut small = vec![0; length - 1];
        let refused = Err(RecvError::BufferTooSmall { needed: length as u64, room: length as u64 - 1 });
        for _ in 0..3 {
            assert_eq!(queue.try_recv_into(&mut small), refused);
        }
        assert_eq!(queue.recv_into(&mut small), refused);
        assert_eq!(queue.len().unwrap(), 2);
        assert!(queue.recv().unwrap().data == sent, "in its place and whole");
        assert_eq!(queue.recv().unwrap().data, b"next");
    }
}

#[test]
fn an_empty_message_is_a_message() {
    let queue = Fixture::new(2, 8);
    queue.send(b"", 7).unwrap();
    queue.send(b"", 8).unwrap();
    assert_eq!(queue.try_send(b"", 7), Err(SendError::Full));
    assert_eq!(queue.try_recv_into(&mut []).map(|got| (got.len, got.priority)), Ok((0, 8)));
    let message = queue.recv().unwrap();
    assert_eq!((message.data.len(), message.priority), (0, 7));
    assert_eq!(queue.try_recv(), Err(RecvError::Empty));
}

// ---- capacity ----

#[test]
fn the_capacity_is_exact() {
    for capacity in [1, 2, 3, 63, 64, 65, 1000, 5000] {
        let queue = Fixture::new(capacity, 8);
        for lap in 0..3 {
            for id in 0..u64::from(capacity) {
                assert_eq!(queue.try_send(&id.to_le_bytes(), 0), Ok(()), "lap {lap}, message {id} of {capacity}");
            }
            assert_eq!(queue.try_send(b"over", 9), Err(SendError::Full), "capacity {capacity}");
            assert_eq!(queue.len().unwrap(), capacity as usize);
            for id in 0..u64::from(capacity) {
                assert_eq!(common::identify(&queue.try_recv().unwrap().data), Some(id), "capacity {capacity}");
            }
            assert_eq!(queue.try_recv(), Err(RecvError::Empty));
        }
    }
}

#[test]
fn a_full_queue_has_room_again_after_one_receive() {
    for capacity in [1, 2, 64] {
        let queue = Fixture::new(capacity, 8);
        while queue.try_send(b"x", 0).is_ok() {}
        for _ in 0..200 {
            queue.try_recv().unwrap();
            assert_eq!(queue.try_send(b"y", 0), Ok(()));
            assert_eq!(queue.try_send(b"z", 0), Err(SendError::Full));
        }
        assert_eq!(queue.len().unwrap(), capacity as usize);
    }
}

// ---- waiting ----

/// Runs it and tells how long it took; a result within the net is asserted on the way.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    let took = start.elapsed();
    assert!(took < NET, "{took:?}");
    (result, took)
}

#[test]
fn waiting_for_a_message_ends_at_its_time_and_not_before() {
    let queue = Fixture::new(1, 8);
    let mut batch = Batch::new();
    let (result, took) = timed(|| queue.recv_timeout(SHORT));
    assert_eq!(result, Err(RecvError::TimedOut));
    assert!(took >= SHORT, "{took:?}");
    let (result, took) = timed(|| queue.recv_into_deadline(&mut [0; 8], Instant::now() + SHORT));
    assert_eq!(result, Err(RecvError::TimedOut));
    assert!(took >= SHORT, "{took:?}");
    let (result, took) = timed(|| queue.recv_many_timeout(&mut batch, 4, SHORT));
    assert_eq!(result, Err(RecvError::TimedOut));
    assert!(took >= SHORT, "{took:?}");
}

#[test]
fn waiting_for_room_ends_at_its_time_and_not_before() {
    let queue = Fixture::new(1, 8);
    queue.send(b"full", 0).unwrap();
    let (result, took) = timed(|| queue.send_timeout(b"x", 0, SHORT));
    assert_eq!(result, Err(SendError::TimedOut));
    assert!(took >= SHORT, "{took:?}");
    let (result, took) = timed(|| queue.send_deadline(b"x", 0, Instant::now() + SHORT));
    assert_eq!(result, Err(SendError::TimedOut));
    assert!(took >= SHORT, "{took:?}");
    assert_eq!(drain(&queue), [(b"full".to_vec(), 0)], "what timed out was not sent");
}

#[test]
fn a_wait_longer_than_a_bounded_sleep_still_ends_at_its_time() {
    let queue = Fixture::new(1, 8);
    let long = Duration::from_millis(1300);
    let (result, took) = timed(|| queue.recv_timeout(long));
    assert_eq!(result, Err(RecvError::TimedOut));
    assert!(took >= long, "{took:?}");
}

#[test]
fn an_expired_time_is_no_obstacle_when_nothing_needs_waiting() {
    let queue = Fixture::new(2, 8);
    let past = Instant::now().checked_sub(Duration::from_secs(1)).unwrap_or_else(Instant::now);
    queue.send_timeout(b"a", 0, Duration::ZERO).unwrap();
    queue.send_deadline(b"b", 0, past).unwrap();
    assert_eq!(queue.send_timeout(b"c", 0, Duration::ZERO), Err(SendError::TimedOut));
    assert_eq!(queue.recv_timeout(Duration::ZERO).unwrap().data, b"a");
    assert_eq!(queue.recv_deadline(past).unwrap().data, b"b");
    assert_eq!(queue.recv_deadline(past), Err(RecvError::TimedOut));
}

#[test]
fn a_time_that_no_clock_can_express_means_for_ever() {
    let queue = Fixture::new(1, 8);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| queue.recv_timeout(Duration::MAX));
        until("the receiver sleeps", || queue.stat().unwrap().counters.recv_blocked > 0);
        queue.send(b"x", 0).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap().data, b"x");
    });
}

/// Sorted hand-over times of `rounds` wake-ups; `block` begins a wait in a thread, `wake` ends it.
fn median_wake(rounds: usize, mut round: impl FnMut() -> Duration) -> Duration {
    let mut times: Vec<Duration> = (0..rounds).map(|_| round()).collect();
    times.sort_unstable();
    times[rounds / 2]
}

/// A lost wake-up would be healed by the half-second look after the dead; half of that tells one from the other.
const HEALED: Duration = Duration::from_millis(250);

#[test]
fn a_sleeping_receiver_is_woken_by_the_send() {
    let queue = Fixture::new(4, 8);
    let median = median_wake(15, || {
        let before = queue.stat().unwrap().counters.recv_blocked;
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| queue.recv().map(|message| (message, Instant::now())));
            until("the receiver sleeps", || queue.stat().unwrap().counters.recv_blocked > before);
            let sent = Instant::now();
            queue.send(b"wake", 0).unwrap();
            let (message, woken) = sleeper.join().unwrap().unwrap();
            assert_eq!(message.data, b"wake");
            woken.saturating_duration_since(sent)
        })
    });
    assert!(median < HEALED, "the median of the wake-ups took {median:?}: they came from the net, not from the sender");
}

#[test]
fn a_sleeping_sender_is_woken_by_the_receive() {
    let queue = Fixture::new(1, 8);
    queue.send(b"full", 0).unwrap();
    let median = median_wake(15, || {
        let before = queue.stat().unwrap().counters.send_blocked;
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| queue.send(b"next", 0).map(|()| Instant::now()));
            until("the sender sleeps", || queue.stat().unwrap().counters.send_blocked > before);
            let received = Instant::now();
            queue.recv().unwrap();
            sleeper.join().unwrap().unwrap().saturating_duration_since(received)
        })
    });
    assert!(
        median < HEALED,
        "the median of the wake-ups took {median:?}: they came from the net, not from the receiver"
    );
}

#[test]
fn as_many_receivers_wake_as_messages_come() {
    let queue = Fixture::new(16, 8);
    let median = median_wake(9, || {
        let before = queue.stat().unwrap().counters.recv_blocked;
        thread::scope(|scope| {
            let sleepers: Vec<_> = (0..4).map(|_| scope.spawn(|| queue.recv().map(|_| Instant::now()))).collect();
            until("four receivers sleep", || queue.stat().unwrap().counters.recv_blocked >= before + 4);
            let sent = Instant::now();
            queue.send_many(&[("1", 0), ("2", 0), ("3", 0), ("4", 0)]).unwrap();
            let woken = sleepers.into_iter().map(|sleeper| sleeper.join().unwrap().unwrap());
            woken.max().unwrap().saturating_duration_since(sent)
        })
    });
    assert!(median < HEALED, "the last of four sleepers took {median:?} in the median: a wake-up was lost");
}

#[test]
fn purge_wakes_sleeping_senders() {
    let queue = Fixture::new(2, 8);
    let median = median_wake(9, || {
        while queue.try_send(b"full", 0).is_ok() {}
        let before = queue.stat().unwrap().counters.send_blocked;
        let took = thread::scope(|scope| {
            let sleepers: Vec<_> =
                (0..2).map(|_| scope.spawn(|| queue.send(b"s", 0).map(|()| Instant::now()))).collect();
            until("two senders sleep", || queue.stat().unwrap().counters.send_blocked >= before + 2);
            let purged = Instant::now();
            assert_eq!(queue.purge().unwrap(), 2);
            let woken = sleepers.into_iter().map(|sleeper| sleeper.join().unwrap().unwrap());
            woken.max().unwrap().saturating_duration_since(purged)
        });
        assert_eq!(drain(&queue).len(), 2);
        took
    });
    assert!(median < HEALED, "senders took {median:?} in the median to notice a purge");
}

// ---- looking ----

#[test]
fn peek_shows_the_order_of_receiving_and_takes_nothing() {
    let queue = Fixture::new(16, 5000);
    for (id, (length, priority)) in [(10, 1), (5000, 9), (0, 5), (300, 9), (64, 1)].into_iter().enumerate() {
        queue.send(&payload(id as u64, length), priority).unwrap();
    }
    assert!(queue.peek(0).unwrap().is_empty());
    let three = queue.peek(3).unwrap();
    let all = queue.peek(usize::MAX).unwrap();
    assert_eq!((three.len(), all.len()), (3, 5));
    assert_eq!(three[..], all[..3]);
    assert_eq!(queue.len().unwrap(), 5);
    let received: Vec<_> = (0..5).map(|_| queue.try_recv().unwrap()).collect();
    assert_eq!(all, received);
    assert!(queue.peek(9).unwrap().is_empty());
}

#[test]
fn len_follows_sends_and_receives() {
    let queue = Fixture::new(100, 8);
    let other = queue.another_handle();
    assert!(queue.is_empty().unwrap());
    for sent in 1..=100 {
        queue.send(b"x", sent as u16 % 7).unwrap();
        assert_eq!((queue.len().unwrap(), other.len().unwrap()), (sent, sent));
    }
    for left in (0..100).rev() {
        other.recv().unwrap();
        assert_eq!((queue.len().unwrap(), other.stat().unwrap().len), (left, left as u64));
    }
    assert!(other.is_empty().unwrap());
}

#[test]
fn purge_throws_away_what_is_there_and_tells_how_much() {
    let queue = Fixture::new(10, 6000);
    assert_eq!(queue.purge().unwrap(), 0);
    for id in 0..10 {
        queue.send(&payload(id, id as usize * 600), id as u16).unwrap();
    }
    assert_eq!(queue.purge().unwrap(), 10);
    assert_eq!(queue.try_recv(), Err(RecvError::Empty));
    for id in 0..10 {
        assert_eq!(queue.try_send(&payload(id, 6000), 0), Ok(()), "the room of what was purged");
    }
    assert_eq!(queue.try_send(b"", 0), Err(SendError::Full));
    assert_eq!(queue.stat().unwrap().counters.purged, 10);
}

#[test]
fn stat_counts_what_happened() {
    let queue = Fixture::new(5, 64);
    for id in 0..5 {
        queue.send(b"message", id).unwrap();
    }
    queue.recv().unwrap();
    queue.recv().unwrap();
    queue.send(b"message", 1).unwrap();
    queue.purge().unwrap();
    let stat = queue.stat().unwrap();
    let counters = stat.counters;
    assert_eq!((counters.sent, counters.received, counters.purged, counters.high_water), (6, 2, 4, 5));
    assert_eq!((counters.send_blocked, counters.recv_blocked, counters.recovered, counters.redelivered), (0, 0, 0, 0));
    assert_eq!((stat.len, stat.being_sent, stat.being_received), (0, 0, 0));
    assert_eq!((stat.ephemeral, stat.closed, stat.unlinked), (false, false, false));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let age = now.checked_sub(stat.created_unix_nanos).expect("created in the past");
    assert!(Duration::from_nanos(age) < NET, "created a moment ago, not {age} ns");
}

#[test]
fn batches_and_failures_are_counted_right() {
    let queue = Fixture::new(3, 8);
    queue.try_send_many(&[("1", 0), ("2", 0), ("3", 0), ("4", 0)]).unwrap_err();
    queue.send_timeout(b"x", 0, SHORT).unwrap_err();
    queue.try_recv_many(&mut Batch::new(), 9).unwrap();
    queue.try_recv().unwrap_err();
    let counters = queue.stat().unwrap().counters;
    assert_eq!((counters.sent, counters.received, counters.high_water), (3, 3, 3));
    assert!(counters.send_blocked >= 1, "a send that waited in vain has waited");
}

#[test]
fn stat_names_the_participants() {
    let queue = Fixture::new(1, 8);
    assert_eq!(queue.stat().unwrap().participants.len(), 1);
    let second = queue.another_handle();
    let third = queue.another_handle();
    let participants = queue.stat().unwrap().participants;
    assert_eq!(participants.len(), 3);
    let command = std::fs::read_to_string("/proc/self/comm").unwrap();
    let namespace = std::fs::metadata("/proc/self/ns/pid").unwrap().ino();
    for participant in participants {
        assert_eq!(participant.pid, std::process::id());
        assert_eq!(participant.pid_namespace, namespace);
        assert!(!participant.command.is_empty());
        assert!(participant.since_unix_nanos > 0);
    }
    assert!(!command.is_empty());
    drop(second);
    assert_eq!(queue.stat().unwrap().participants.len(), 2, "a dropped handle is no participant");
    drop(third);
    assert_eq!(queue.stat().unwrap().participants.len(), 1);
}

#[test]
fn a_handle_can_be_opened_and_dropped_more_often_than_there_are_places() {
    let queue = Fixture::new(2, 8);
    for _ in 0..10_000 {
        queue.another_handle().try_send(b"x", 0).unwrap();
        queue.another_handle().try_recv().unwrap();
    }
    assert_eq!(queue.stat().unwrap().participants.len(), 1);
}

// ---- closing, unlinking, leaving ----

#[test]
fn a_closed_queue_takes_nothing_and_gives_what_it_has() {
    let queue = Fixture::new(4, 8);
    let other = queue.another_handle();
    queue.send(b"kept", 2).unwrap();
    queue.send(b"too", 1).unwrap();
    other.close().unwrap();
    assert_eq!(queue.send(b"x", 0), Err(SendError::Closed));
    assert_eq!(queue.try_send(b"x", 0), Err(SendError::Closed));
    assert_eq!(queue.send_timeout(b"x", 0, SHORT), Err(SendError::Closed));
    let error = queue.try_send_many(&[("x", 0)]).unwrap_err();
    assert_eq!((error.sent, error.error), (0, SendError::Closed));
    assert_eq!(queue.peek(9).unwrap().len(), 2);
    assert_eq!(queue.recv().unwrap().data, b"kept");
    assert_eq!(queue.try_recv().unwrap().data, b"too");
    assert_eq!(queue.recv(), Err(RecvError::Closed));
    assert_eq!(queue.try_recv(), Err(RecvError::Closed));
    assert_eq!(queue.recv_timeout(SHORT), Err(RecvError::Closed));
    assert_eq!(queue.try_recv_into(&mut [0; 8]), Err(RecvError::Closed));
    assert_eq!(queue.recv_many(&mut Batch::new(), 4), Err(RecvError::Closed));
    queue.close().unwrap();
    let stat = queue.stat().unwrap();
    assert_eq!((stat.closed, stat.unlinked), (true, false));
}

#[test]
fn a_full_closed_queue_says_closed_not_full() {
    let queue = Fixture::new(1, 8);
    queue.send(b"full", 0).unwrap();
    queue.close().unwrap();
    assert_eq!(queue.try_send(b"x", 0), Err(SendError::Closed));
    assert_eq!(queue.send(b"x", 0), Err(SendError::Closed));
}

#[test]
fn a_message_that_can_never_be_sent_is_refused_also_by_a_full_queue() {
    let queue = Fixture::new(1, 8);
    queue.send(b"full", 0).unwrap();
    assert_eq!(queue.send(b"x", PRIORITY_MAX + 1), Err(SendError::Priority(PRIORITY_MAX + 1)));
    assert_eq!(queue.send(&[0; 9], 0), Err(SendError::TooLong { length: 9, max: 8 }));
}

/// What ends a queue, and what the two sides hear then.
type Ending = (fn(&Fixture), SendError, RecvError);

const CLOSE: Ending = (|queue| queue.close().unwrap(), SendError::Closed, RecvError::Closed);
const UNLINK: Ending =
    (|queue| options(queue.dir.path()).unlink("/q").unwrap(), SendError::Unlinked, RecvError::Unlinked);

fn ending_wakes_receivers((end, _, heard): Ending) {
    let median = median_wake(7, || {
        let queue = Fixture::new(2, 8);
        thread::scope(|scope| {
            let sleepers: Vec<_> = (0..3).map(|_| scope.spawn(|| (queue.recv(), Instant::now()))).collect();
            until("three receivers sleep", || queue.stat().unwrap().counters.recv_blocked >= 3);
            let ended = Instant::now();
            end(&queue);
            let times = sleepers.into_iter().map(|sleeper| {
                let (result, woken) = sleeper.join().unwrap();
                assert_eq!(result, Err(heard));
                woken.saturating_duration_since(ended)
            });
            times.max().unwrap()
        })
    });
    assert!(median < HEALED, "the last of three receivers took {median:?} in the median");
}

fn ending_wakes_senders((end, heard, after): Ending) {
    let median = median_wake(7, || {
        let queue = Fixture::new(1, 8);
        queue.send(b"full", 0).unwrap();
        thread::scope(|scope| {
            let sleepers: Vec<_> = (0..3).map(|_| scope.spawn(|| (queue.send(b"x", 0), Instant::now()))).collect();
            until("three senders sleep", || queue.stat().unwrap().counters.send_blocked >= 3);
            let ended = Instant::now();
            end(&queue);
            let times = sleepers.into_iter().map(|sleeper| {
                let (result, woken) = sleeper.join().unwrap();
                assert_eq!(result, Err(heard));
                woken.saturating_duration_since(ended)
            });
            let last = times.max().unwrap();
            assert_eq!(queue.recv().unwrap().data, b"full");
            assert_eq!(queue.try_recv(), Err(after));
            last
        })
    });
    assert!(median < HEALED, "the last of three senders took {median:?} in the median");
}

#[test]
fn closing_wakes_receivers() {
    ending_wakes_receivers(CLOSE);
}

#[test]
fn closing_wakes_senders() {
    ending_wakes_senders(CLOSE);
}

#[test]
fn unlinking_wakes_receivers() {
    ending_wakes_receivers(UNLINK);
}

#[test]
fn unlinking_wakes_senders() {
    ending_wakes_senders(UNLINK);
}

#[test]
fn an_unlinked_queue_is_drained_and_its_name_is_free() {
    let queue = Fixture::new(4, 8);
    queue.send(b"old", 0).unwrap();
    options(queue.dir.path()).unlink("/q").unwrap();
    assert_eq!(files(queue.dir.path()), 0);
    assert!(matches!(options(queue.dir.path()).open("/q"), Err(OpenError::NotFound { .. })));
    let new = options(queue.dir.path()).capacity(9).create_new("/q").unwrap();
    new.send(b"new", 0).unwrap();
    assert_eq!(queue.try_send(b"x", 0), Err(SendError::Unlinked));
    assert_eq!(queue.send(b"x", 0), Err(SendError::Unlinked));
    assert_eq!(queue.recv().unwrap().data, b"old");
    assert_eq!(queue.recv(), Err(RecvError::Unlinked));
    assert_eq!(queue.recv_many(&mut Batch::new(), 4), Err(RecvError::Unlinked));
    assert!(queue.stat().unwrap().unlinked);
    assert!(!new.stat().unwrap().unlinked);
    assert_eq!(new.recv().unwrap().data, b"new", "the new queue is another one");
}

#[test]
fn unlinking_removes_a_file_that_is_no_queue() {
    let dir = scratch();
    for content in [&b""[..], &b"junk"[..], &[0xa5; 9000][..]] {
        std::fs::write(dir.path().join("chappe.mq.q"), content).unwrap();
        options(dir.path()).unlink("/q").unwrap();
        assert_eq!(files(dir.path()), 0);
    }
}

#[test]
fn a_queue_outlives_its_handles_with_its_messages() {
    let dir = scratch();
    options(dir.path()).create_new("/q").unwrap().send(b"kept", 4).unwrap();
    let message = options(dir.path()).open("/q").unwrap().try_recv().unwrap();
    assert_eq!((&message.data[..], message.priority), (&b"kept"[..], 4));
}

#[test]
fn an_ephemeral_queue_goes_with_its_creator() {
    let dir = scratch();
    let creator = options(dir.path()).ephemeral(true).create_new("/q").unwrap();
    let guest = options(dir.path()).open("/q").unwrap();
    assert!(guest.stat().unwrap().ephemeral);
    creator.send(b"last words", 0).unwrap();
    drop(options(dir.path()).open("/q").unwrap());
    assert_eq!(guest.len().unwrap(), 1, "another handle's end is not the creator's");
    drop(creator);
    assert!(matches!(options(dir.path()).open("/q"), Err(OpenError::NotFound { .. })));
    assert_eq!(files(dir.path()), 0);
    assert_eq!(guest.send(b"x", 0), Err(SendError::Unlinked));
    assert_eq!(guest.recv().unwrap().data, b"last words");
    assert_eq!(guest.recv(), Err(RecvError::Unlinked));
}

#[test]
fn an_ephemeral_queues_end_wakes_who_is_blocked() {
    let dir = scratch();
    let creator = options(dir.path()).ephemeral(true).capacity(1).create_new("/q").unwrap();
    let guest = options(dir.path()).open("/q").unwrap();
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| guest.recv());
        until("the receiver sleeps", || guest.stat().unwrap().counters.recv_blocked > 0);
        drop(creator);
        assert_eq!(sleeper.join().unwrap(), Err(RecvError::Unlinked));
    });
}

#[test]
fn the_end_of_an_ephemeral_queue_leaves_a_successor_of_its_name_alone() {
    let dir = scratch();
    let creator = options(dir.path()).ephemeral(true).create_new("/q").unwrap();
    options(dir.path()).unlink("/q").unwrap();
    let successor = options(dir.path()).create_new("/q").unwrap();
    drop(creator);
    successor.send(b"still here", 0).unwrap();
    assert_eq!(options(dir.path()).open("/q").unwrap().recv().unwrap().data, b"still here");
}

// ---- threads ----

#[test]
fn a_handle_is_shared_by_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Queue>();
    let queue = Fixture::new(8, 16);
    let sum = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..4_u64 {
            let queue = &queue;
            scope.spawn(move || (0..500).for_each(|i| queue.send(&(thread * 500 + i).to_le_bytes(), 0).unwrap()));
            let sum = &sum;
            scope.spawn(move || {
                for _ in 0..500 {
                    let message = queue.recv_timeout(NET).unwrap();
                    sum.fetch_add(common::identify(&message.data).unwrap(), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(sum.into_inner(), (0..2000).sum());
    assert!(queue.is_empty().unwrap());
}

/// When one message's send and receive began and ended, by one clock that all threads share.
#[derive(Clone, Copy, Default)]
struct Life {
    priority: u16,
    sending: (u64, u64),
    receiving: (u64, u64),
}

impl Life {
    /// Whether `self` had to be received before `other`: it is the more urgent one and was there, by the time
    /// `other`'s receive began.
    fn precedes(&self, other: &Life) -> bool {
        let first =
            self.priority > other.priority || (self.priority == other.priority && self.sending.1 < other.sending.0);
        first && self.sending.1 < other.receiving.0
    }
}

/// Many senders and receivers, three priorities: no receive may return a message while a more urgent one whose send had
/// returned is received by a receive that began later.
#[test]
fn order_is_strict_among_concurrent_threads() {
    for (round, (capacity, length)) in [(4, 8), (64, 8), (1000, 8), (8, 3000), (64, 3000)].into_iter().enumerate() {
        let lives = lives_of_concurrent_messages(capacity, length, 4, 4, 300);
        for (id, later) in lives.iter().enumerate() {
            let overtaken = lives.iter().position(|life| life.precedes(later) && life.receiving.0 > later.receiving.1);
            assert_eq!(overtaken, None, "round {round}: this message was overtaken by {id}");
        }
    }
}

fn lives_of_concurrent_messages(capacity: u32, length: usize, senders: u64, receivers: u64, each: u64) -> Vec<Life> {
    let queue = Fixture::new(capacity, 4096);
    let clock = AtomicU64::new(0);
    let tick = || clock.fetch_add(1, Ordering::SeqCst);
    let (queue, tick) = (&queue, &tick);
    thread::scope(|scope| {
        let sending: Vec<_> = (0..senders)
            .map(|sender| {
                scope.spawn(move || {
                    let ids = sender * each..(sender + 1) * each;
                    ids.map(|id| {
                        let (message, priority) = (payload(id, length), (id * 7 % 3) as u16);
                        let begin = tick();
                        queue.send(&message, priority).unwrap();
                        (id, priority, (begin, tick()))
                    })
                    .collect::<Vec<_>>()
                })
            })
            .collect();
        let receiving: Vec<_> = (0..receivers)
            .map(|_| {
                scope.spawn(move || {
                    let count = senders * each / receivers;
                    (0..count)
                        .map(|_| {
                            let begin = tick();
                            let message = queue.recv_timeout(NET).unwrap();
                            (common::identify(&message.data).unwrap(), (begin, tick()))
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let mut lives = vec![Life::default(); (senders * each) as usize];
        for (id, priority, sending) in sending.into_iter().flat_map(|thread| thread.join().unwrap()) {
            (lives[id as usize].priority, lives[id as usize].sending) = (priority, sending);
        }
        for (id, receiving) in receiving.into_iter().flat_map(|thread| thread.join().unwrap()) {
            assert_eq!(lives[id as usize].receiving, (0, 0), "message {id} came twice");
            lives[id as usize].receiving = receiving;
        }
        lives
    })
}

#[test]
fn looking_does_not_disturb_a_running_queue() {
    let queue = Fixture::new(16, 16);
    let looks = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| (0_u64..3000).for_each(|id| queue.send(&id.to_le_bytes(), 0).unwrap()));
        let receiver = scope.spawn(|| {
            for expected in 0_u64..3000 {
                let message = queue.recv_timeout(NET).unwrap();
                assert_eq!(common::identify(&message.data), Some(expected));
            }
        });
        while !receiver.is_finished() {
            let seen: Vec<u64> =
                queue.peek(16).unwrap().iter().map(|message| common::identify(&message.data).unwrap()).collect();
            assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "peek out of order: {seen:?}");
            assert!(queue.len().unwrap() <= 16);
            assert!(queue.stat().unwrap().len <= 16);
            looks.fetch_add(1, Ordering::Relaxed);
        }
    });
    assert!(looks.into_inner() > 0);
}

// ---- memory ----

#[test]
fn room_for_large_messages_costs_little_until_it_is_used() {
    let queue = Fixture::new(1024, 1 << 30);
    let empty = queue.stat().unwrap().memory;
    assert!(empty <= 512 << 10, "an empty queue takes {empty} bytes");
    for id in 0..1000 {
        queue.send(b"small", id).unwrap();
    }
    let small = queue.stat().unwrap().memory;
    assert!(small <= 1 << 20, "a thousand small messages take {small} bytes");
}

#[test]
fn memory_follows_what_is_in_the_queue_not_what_has_been() {
    let queue = Fixture::new(1024, 1 << 30);
    let message = payload(1, 1 << 20);
    for round in 0..1000 {
        queue.try_send(&message, 0).unwrap();
        let received = queue.try_recv().unwrap().data;
        assert!(received == message, "round {round}");
    }
    let memory = queue.stat().unwrap().memory;
    assert!(memory <= 16 << 20, "one 1 MiB message at a time, a thousand times, left {memory} bytes behind");
}

#[test]
fn memory_is_what_the_file_takes() {
    let queue = Fixture::new(16, 1 << 20);
    queue.send(&payload(1, 1 << 20), 0).unwrap();
    let file = std::fs::metadata(queue.dir.path().join("chappe.mq.q")).unwrap();
    let memory = queue.stat().unwrap().memory;
    assert_eq!(memory, file.blocks() * 512);
    assert!(memory >= 1 << 20);
}

#[test]
fn a_thousand_idle_queues_take_at_most_64_kib_each() {
    let dir = scratch();
    for number in 0..1000 {
        let queue = options(dir.path()).create_new(format!("/idle{number}")).unwrap();
        if number % 100 == 0 {
            queue.send(b"one message", 0).unwrap();
            queue.recv().unwrap();
        }
    }
    let files = std::fs::read_dir(dir.path()).unwrap();
    let taken: Vec<u64> = files.map(|file| file.unwrap().metadata().unwrap().blocks() * 512).collect();
    let total: u64 = taken.iter().sum();
    assert_eq!(taken.len(), 1000);
    assert!(total <= 1000 * (64 << 10), "a thousand queues take {total} bytes");
    println!("a default queue takes {} bytes on average, {} at most", total / 1000, taken.iter().max().unwrap());
}

#[test]
fn errors_are_values_that_can_be_compared_and_shown() {
    assert_eq!(AccessError::Busy, AccessError::Busy);
    let queue = Fixture::new(1, 4);
    let text = queue.try_send(&[0; 5], 0).unwrap_err().to_string();
    assert!(text.contains('5') && text.contains('4'), "the length and the limit belong into {text:?}");
    queue.send(b"1234", 0).unwrap();
    let text = queue.try_recv_into(&mut [0; 3]).unwrap_err().to_string();
    assert!(text.contains('4') && text.contains('3'), "the need and the room belong into {text:?}");
}
