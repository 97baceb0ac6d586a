//! The agent store: a log without chunks.
