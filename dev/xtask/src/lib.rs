//! `xtask`
