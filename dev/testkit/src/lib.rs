//! `testkit`
