//! Remote write messages.
