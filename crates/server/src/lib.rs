//! `server`
