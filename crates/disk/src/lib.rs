//! `disk`
