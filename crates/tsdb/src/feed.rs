//! The feed over the write-ahead log.
