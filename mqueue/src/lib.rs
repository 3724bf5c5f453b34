//! The C library `chappe_mqueue`: the POSIX calls `mq_*` over the queues of `chappe`.
