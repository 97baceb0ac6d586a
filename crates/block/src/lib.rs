//! `block`
