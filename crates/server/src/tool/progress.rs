//! How far long work has come, on standard error: a bar on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Short work shows nothing.
const QUIET: Duration = Duration::from_secs(2);
const BAR_EVERY: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(10);
const WIDTH: u64 = 30;

pub(crate) struct Progress {
    what: String,
    unit: &'static str,
    /// 0 when unknown.
    total: u64,
    /// `None`: nothing is shown at all.
    terminal: Option<bool>,
    next: Instant,
    drawn: bool,
}

impl Progress {
    /// `what` is being done to `total` of `unit`.
    pub(crate) fn new(what: impl Into<String>, unit: &'static str, total: usize) -> Self {
        Progress {
            what: what.into(),
            unit,
            total: total as u64,
            terminal: Some(std::io::stderr().is_terminal()),
            next: Instant::now() + QUIET,
            drawn: false,
        }
    }

    /// The same, silent when asked to be.
    pub(crate) fn quiet(mut self, quiet: bool) -> Self {
        if quiet {
            self.terminal = None;
        }
        self
    }

    /// So much is done.
    pub(crate) fn at(&mut self, done: usize) {
        // The clock costs more than many a step.
        if !done.is_multiple_of(64) && self.total > 1000 {
            return;
        }
        let Some(terminal) = self.terminal else { return };
        let now = Instant::now();
        if now < self.next {
            return;
        }
        let text = text(&self.what, self.unit, done as u64, self.total, terminal);
        let mut out = std::io::stderr().lock();
        let _ = match terminal {
            true => write!(out, "\r{text}\x1b[K"),
            false => writeln!(out, "{text}"),
        };
        let _ = out.flush();
        self.drawn |= terminal;
        self.next = now + if terminal { BAR_EVERY } else { LINE_EVERY };
    }
}

impl Drop for Progress {
    /// The bar goes; what follows stands on a line of its own.
    fn drop(&mut self) {
        if self.drawn {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn text(what: &str, unit: &str, done: u64, total: u64, bar: bool) -> String {
    if total == 0 {
        return format!("{what}: {done} {unit}");
    }
    let share = done.min(total) * 100 / total;
    if !bar {
        return format!("{what}: {done} of {total} {unit} ({share} %)");
    }
    let full = (done.min(total) * WIDTH / total) as usize;
    format!(
        "{what} [{}{}] {share:3} % {done} of {total} {unit}",
        "#".repeat(full),
        ".".repeat(WIDTH as usize - full)
    )
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn bars_and_lines() {
        assert_eq!(text("verify", "series", 5, 20, false), "verify: 5 of 20 series (25 %)");
        assert_eq!(
            text("verify", "series", 10, 20, true),
            "verify [###############...............]  50 % 10 of 20 series"
        );
        assert_eq!(text("dump", "series", 10, 0, true), "dump: 10 series");
        assert!(text("x", "y", 9, 3, true).contains("100 %"), "never more than full");
    }
}
