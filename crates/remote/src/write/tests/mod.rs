//! Tests of the sender: a log in memory on one side, a scripted receiver on a real socket on the other.

mod delivery;
mod fakes;
mod peers;
mod reload;
