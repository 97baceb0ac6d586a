//! The binary itself: exit codes, texts, the demo, a life with reloads.

mod demo;
mod life;
mod refusals;
mod run;
