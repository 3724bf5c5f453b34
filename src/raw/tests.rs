//! Tests of the raw protocols.
