//! Tests of the client against tiny listeners.
