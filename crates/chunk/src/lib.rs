//! `chunk`
