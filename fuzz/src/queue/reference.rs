//! What a queue answers, on a page.

use super::base::Geometry;
use chappe::{RecvError, SendError};

#[derive(Clone, Debug)]
pub struct Message {
    pub data: Vec<u8>,
    pub priority: u16,
    pub redelivered: u32,
}

#[derive(Clone, Debug)]
pub struct Reference {
    pub capacity: usize,
    pub message_size: u64,
    /// In the order in which they were sent.
    pub messages: Vec<Message>,
    pub closed: bool,
    pub unlinked: bool,
}

impl Reference {
    pub fn new(geometry: &Geometry) -> Reference {
        let (capacity, message_size) = (geometry.capacity as usize, geometry.message_size);
        Reference { capacity, message_size, messages: Vec::new(), closed: false, unlinked: false }
    }

    pub fn len(&self) -> usize {
        self.messages.len()
    }

    pub fn close(&mut self) {
        self.closed = !self.unlinked;
    }

    pub fn send(&mut self, data: &[u8], priority: u16) -> Result<(), SendError> {
        let length = data.len() as u64;
        if priority > chappe::PRIORITY_MAX {
            return Err(SendError::Priority(priority));
        }
        if length > self.message_size {
            return Err(SendError::TooLong { length, max: self.message_size });
        }
        if self.unlinked {
            return Err(SendError::Unlinked);
        }
        if self.closed {
            return Err(SendError::Closed);
        }
        if self.len() == self.capacity {
            return Err(SendError::Full);
        }
        self.messages.push(Message { data: data.to_vec(), priority, redelivered: 0 });
        Ok(())
    }

    /// Their numbers, in the order in which they are received.
    pub fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by_key(|number| std::cmp::Reverse(self.messages[*number].priority));
        order
    }

    pub fn next(&self) -> Result<usize, RecvError> {
        let next = (0..self.len()).min_by_key(|number| std::cmp::Reverse(self.messages[*number].priority));
        next.ok_or(match (self.unlinked, self.closed) {
            (true, _) => RecvError::Unlinked,
            (false, true) => RecvError::Closed,
            _ => RecvError::Empty,
        })
    }

    pub fn receive(&mut self) -> Result<(Vec<u8>, u16, u32), RecvError> {
        let message = self.messages.remove(self.next()?);
        Ok((message.data, message.priority, message.redelivered))
    }

    /// As [`receive`](Reference::receive), into a buffer with so much room.
    pub fn receive_into(&mut self, room: u64) -> Result<(Vec<u8>, u16, u32), RecvError> {
        let needed = self.messages[self.next()?].data.len() as u64;
        if needed > room { Err(RecvError::BufferTooSmall { needed, room }) } else { self.receive() }
    }
}
