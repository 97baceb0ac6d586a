//! Results in JUnit's XML, as promtool writes it: one suite for each file.

use std::fmt::Write;

#[derive(Debug, Default)]
pub(super) struct Suite {
    pub(super) name: String,
    pub(super) timestamp: String,
    failures: usize,
    errors: usize,
    cases: Vec<Case>,
    tests: usize,
}

#[derive(Debug, Default)]
struct Case {
    name: String,
    failures: Vec<String>,
    error: String,
}

impl Suite {
    pub(super) fn new(name: &str) -> Suite {
        Suite { name: name.to_owned(), ..Suite::default() }
    }

    pub(super) fn case(&mut self, name: &str) {
        self.cases.push(Case { name: name.to_owned(), ..Case::default() });
        self.tests += 1;
    }

    fn last(&mut self) -> Option<&mut Case> {
        if self.cases.is_empty() {
            self.case("unknown");
        }
        self.cases.last_mut()
    }

    /// A failure of the newest case.
    pub(super) fn fail(&mut self, text: &str) {
        self.failures += 1;
        if let Some(case) = self.last() {
            case.failures.push(text.to_owned());
        }
    }

    /// The file as a whole could not be run.
    pub(super) fn abort(&mut self, text: &str) {
        self.errors += 1;
        if let Some(case) = self.last() {
            text.clone_into(&mut case.error);
        }
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\t' => out.push_str("&#x9;"),
            '\n' => out.push_str("&#xA;"),
            '\r' => out.push_str("&#xD;"),
            // What XML cannot hold.
            c if (c as u32) < 0x20 || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

pub(super) fn xml(suites: &[Suite]) -> String {
    let mut out = String::from("<testsuites>");
    for suite in suites {
        let _ = write!(
            out,
            "<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"0\" timestamp=\"{}\">",
            escape(&suite.name),
            suite.tests,
            suite.failures,
            suite.errors,
            escape(&suite.timestamp)
        );
        for case in &suite.cases {
            let _ = write!(out, "<testcase name=\"{}\">", escape(&case.name));
            for failure in &case.failures {
                let _ = write!(out, "<failure>{}</failure>", escape(failure));
            }
            if !case.error.is_empty() {
                let _ = write!(out, "<error>{}</error>", escape(&case.error));
            }
            out.push_str("</testcase>");
        }
        out.push_str("</testsuite>");
    }
    out.push_str("</testsuites>");
    out
}
