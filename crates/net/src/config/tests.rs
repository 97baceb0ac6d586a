//! Tests of the client section.
