//! Being told once that a message came, without waiting in a call: `mq_notify`, without signals.

use super::MessageQueue;
use crate::posix::error::NotifyError;
use crate::sys::mqueue_notify::{self, Bell};
use crate::sys::thread;
use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, sync_channel};

impl MessageQueue {
    /// Has `callback` called once, on a thread of its own, when a message comes into the empty queue.
    ///
    /// The rules are the kernel's, those of `mq_notify`:
    /// - Messages that are in the queue already do not count: receive until `Empty` *after* registering, or they wait there.
    /// - If somebody waits in a receive, the message is theirs, and the registration stays. (Who polls, and who waits with a
    ///   timeout or a deadline here, does not wait in a receive.)
    /// - One process at a time is registered, by whatever handle. When the callback is called the registration is over, so
    ///   it may register anew.
    /// - A registration ends without a call when this process closes *any* descriptor of the queue (drops any
    ///   [`MessageQueue`] of it, a clone or another one that was opened), executes another program or dies, or by
    ///   [`cancel_notify`](MessageQueue::cancel_notify). Then the callback is dropped. A fork child is not registered.
    ///
    /// No signal is sent, and none runs on that thread, which blocks them all: the kernel writes into a netlink socket that it
    /// reads, as with SIGEV_THREAD in C. It costs a thread and a descriptor as long as the registration lasts. To be told of
    /// every message, or in several processes, poll the descriptor instead. A callback that panics ends its thread and
    /// nothing else.
    ///
    /// # Errors
    /// [`NotifyError`]; `Busy` if a process is registered, this one included. Then `callback` is dropped.
    ///
    /// ```
    /// use chappe::posix::{MessageQueue, NotifyError};
    /// # let name = format!("/chappe-doc-notify-{}", std::process::id());
    /// let queue = MessageQueue::options().capacity(4).message_size(64).create_new(&name)?;
    /// let (told, news) = std::sync::mpsc::channel();
    /// queue.notify(move || told.send("a message").unwrap())?;
    /// assert_eq!(queue.notify(|| ()), Err(NotifyError::Busy));
    /// queue.send(b"hello", 0)?;
    /// assert_eq!(news.recv(), Ok("a message"));
    /// # MessageQueue::unlink(&name)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "mq_notify")]
    pub fn notify(&self, callback: impl FnOnce() + Send + 'static) -> Result<(), NotifyError> {
        let socket = Bell::new().map_err(|error| NotifyError::NoSocket(number(&error)))?;
        // Before there is a thread: one that waits for a registration that was refused could not be ended.
        socket.register(self.as_fd()).map_err(|error| refused(&error))?;
        let started = thread::spawn_quiet_for_users("chappe-notify", move || {
            if socket.wait().unwrap_or(false) {
                callback();
            }
        });
        match started {
            Ok(_) => Ok(()),
            Err(error) => {
                // The registration is this call's, and with the socket gone it could tell nobody.
                let _ = mqueue_notify::unregister(self.as_fd());
                Err(refused(&error))
            }
        }
    }

    /// As [`notify`](MessageQueue::notify), into a channel: `()` once when a message comes into the empty queue. If the
    /// registration ends without a message, the channel does ([`RecvError`](std::sync::mpsc::RecvError)). Dropping the receiver does
    /// not end the registration.
    ///
    /// # Errors
    /// As [`notify`](MessageQueue::notify).
    ///
    /// ```
    /// use chappe::posix::MessageQueue;
    /// # let name = format!("/chappe-doc-notify-channel-{}", std::process::id());
    /// let queue = MessageQueue::options().capacity(4).message_size(64).create_new(&name)?;
    /// let news = queue.notify_channel()?;
    /// queue.send(b"hello", 0)?;
    /// assert!(news.recv().is_ok());
    /// assert_eq!(queue.try_recv()?.data, b"hello");
    ///
    /// let news = queue.notify_channel()?; // once more
    /// queue.cancel_notify()?;
    /// assert!(news.recv().is_err()); // nothing will come
    /// # MessageQueue::unlink(&name)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "mq_notify")]
    pub fn notify_channel(&self) -> Result<Receiver<()>, NotifyError> {
        let (sender, receiver) = sync_channel(1);
        self.notify(move || {
            // Whoever dropped the receiver does not want to know.
            let _ = sender.send(());
        })?;
        Ok(receiver)
    }

    /// Ends this process's registration, if it has one, by whatever handle it was made: nobody is notified. Of another
    /// process's registration it leaves everything as it is.
    ///
    /// # Errors
    /// [`NotifyError::System`], for no reason that is known.
    pub fn cancel_notify(&self) -> Result<(), NotifyError> {
        mqueue_notify::unregister(self.as_fd()).map_err(|error| refused(&error))
    }
}

fn refused(error: &io::Error) -> NotifyError {
    match error.raw_os_error() {
        Some(libc::EBUSY) => NotifyError::Busy,
        _ => NotifyError::System(number(error)),
    }
}

fn number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}
