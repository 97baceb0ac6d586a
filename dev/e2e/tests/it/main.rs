//! End-to-end tests: our binary as a stranger starts it, beside the real peers.

mod bad_input;
mod crash;
mod demo;
mod differential;
mod dropin;
mod flow;
mod full_disk;
mod plan;
mod starts;
mod tls;
mod twins;
