//! `chappe sem run`.
