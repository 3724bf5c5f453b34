//! What a semaphore answers to one who is alone with it, on a page.

use chappe::{AccessError, AcquireError, PERMITS_MAX};

#[derive(Clone, Debug)]
pub struct Reference {
    pub permits: u64,
    /// What is held, one by one.
    pub held: Vec<u64>,
    pub closed: bool,
    pub unlinked: bool,
}

impl Reference {
    pub fn new(permits: u64) -> Reference {
        Reference { permits, held: Vec::new(), closed: false, unlinked: false }
    }

    pub fn available(&self) -> i64 {
        self.permits as i64 - self.held.iter().sum::<u64>() as i64
    }

    fn open(&self) -> Result<(), AcquireError> {
        match (self.unlinked, self.closed) {
            (true, _) => Err(AcquireError::Unlinked),
            (false, true) => Err(AcquireError::Closed),
            _ => Ok(()),
        }
    }

    pub fn acquire(&mut self, asked: u64) -> Result<(), AcquireError> {
        self.open()?;
        if asked > self.permits && (self.permits > 0 || asked > PERMITS_MAX) {
            return Err(AcquireError::TooMany { asked, permits: self.permits });
        }
        if self.available() < asked as i64 {
            return Err(AcquireError::NoPermits);
        }
        self.held.push(asked);
        Ok(())
    }

    pub fn wait(&mut self) -> Result<(), AcquireError> {
        self.open()?;
        if self.available() < 1 {
            return Err(AcquireError::NoPermits);
        }
        self.permits -= 1;
        Ok(())
    }

    pub fn post(&mut self, signals: u64) -> Result<(), AccessError> {
        self.set(self.permits.saturating_add(signals))
    }

    pub fn set(&mut self, permits: u64) -> Result<(), AccessError> {
        if permits > PERMITS_MAX {
            return Err(AccessError::Full);
        }
        self.permits = permits;
        Ok(())
    }

    pub fn forget(&mut self, number: usize) {
        self.permits = self.permits.saturating_sub(self.held.remove(number));
    }

    pub fn split(&mut self, number: usize, some: u64) -> Result<(), AccessError> {
        if some >= self.held[number] {
            return Err(AccessError::Full);
        }
        self.held[number] -= some;
        self.held.push(some);
        Ok(())
    }
}
