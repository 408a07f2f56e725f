//! Reads in a guest's console which tests ran to which end. Only a test binary whose end
//! was reported as success counts as one.
//!
//! Guests run side by side. So the end of each test binary is one line that names the
//! kernel, and the output of failures is kept back, to be shown whole in the end.

use std::io::Write;

use anyhow::{Result, bail, ensure};

use super::Version;

/// What begins the guest's lines that are meant for us; `init.sh` writes them.
const MARK: &str = "@xdpfw ";
/// Lines of the console that are shown when a guest ended too early.
const LAST_LINES: usize = 40;

/// The report of one guest.
pub(super) struct Report<'a, W> {
    /// Where it is written to.
    to: W,
    version: &'a Version,
    /// The test binaries that have not begun.
    expected: Vec<&'a str>,
    running: Option<&'a str>,
    /// What was written since the running one began.
    output: Vec<String>,
    failed: Vec<&'a str>,
    /// What the failed ones wrote.
    failures: String,
    passed: u64,
    finished: bool,
}

impl<'a, W: Write> Report<'a, W> {
    pub(super) fn new(to: W, version: &'a Version, expected: Vec<&'a str>) -> Self {
        Self {
            to,
            version,
            expected,
            running: None,
            output: Vec::new(),
            failed: Vec::new(),
            failures: String::new(),
            passed: 0,
            finished: false,
        }
    }

    /// Tests that have passed.
    pub(super) const fn passed(&self) -> u64 {
        self.passed
    }

    /// Takes the next line of the console.
    pub(super) fn line(&mut self, line: &str) {
        let line = line.trim_end_matches('\r');
        let Some(message) = line.strip_prefix(MARK) else {
            self.output.push(line.to_owned());
            return;
        };
        match message.split(' ').collect::<Vec<_>>()[..] {
            ["begin", name] => self.begin(name),
            ["end", name, status, seconds] => self.end(name, status == "0", seconds),
            ["done"] => self.finished = true,
            _ => self.output.push(line.to_owned()),
        }
    }

    fn begin(&mut self, name: &str) {
        // Its end was not reported.
        self.failed.extend(self.running.take());
        if let Some(at) = self.expected.iter().position(|expected| *expected == name) {
            self.running = Some(self.expected.remove(at));
            self.output.clear();
        }
    }

    fn end(&mut self, name: &str, success: bool, seconds: &str) {
        let Some(running) = self.running.take_if(|running| *running == name) else {
            return;
        };
        match passed_in(&self.output) {
            Some(passed) if success => {
                self.passed += passed;
                self.say(&format!(": {name}: {passed} passed ({seconds} s)"));
            }
            _ => {
                self.failed.push(running);
                self.keep(0);
                self.say(&format!(": {name}: FAILED ({seconds} s)"));
            }
        }
    }

    /// An error unless all tests have passed.
    pub(super) fn finish(&mut self) -> Result<()> {
        let outcome = self.outcome();
        let _ = self.to.write_all(self.failures.as_bytes());
        outcome
    }

    fn outcome(&mut self) -> Result<()> {
        if let Some(running) = self.running {
            self.keep(0);
            bail!("{running} did not end");
        }
        if !self.finished {
            self.keep(self.output.len().saturating_sub(LAST_LINES));
            bail!("the guest did not end as it should");
        }
        ensure!(self.failed.is_empty(), "failed: {}", self.failed.join(", "));
        ensure!(
            self.expected.is_empty(),
            "did not run: {}",
            self.expected.join(", ")
        );
        Ok(())
    }

    /// Keeps the output from a line on, to be shown in the end.
    fn keep(&mut self, from: usize) {
        for line in &self.output[from..] {
            self.failures += &format!("kernel {}| {line}\n", self.version);
        }
    }

    /// Writes one line; that nobody reads it is no reason to stop.
    fn say(&mut self, line: &str) {
        let _ = writeln!(self.to, "kernel {}{line}", self.version);
    }
}

/// How many tests have passed, by the last line of a test binary.
fn passed_in(output: &[String]) -> Option<u64> {
    let result = output
        .iter()
        .rev()
        .find_map(|line| line.strip_prefix("test result: ok. "))?;
    result.split_once(" passed;")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [&str; 9] = [
        "[    1.5] some driver's words\r",
        "@xdpfw begin up\r",
        "test result: ok. 3 passed; 0 failed; 0 ignored\r",
        "@xdpfw end up 0 12\r",
        "@xdpfw begin swap\r",
        "running 2 tests\r",
        "test result: ok. 2 passed; 0 failed; 0 ignored\r",
        "@xdpfw end swap 0 3\r",
        "@xdpfw done\r",
    ];

    fn outcome<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<u64, String> {
        let version = Version { major: 6, minor: 1 };
        let mut report = Report::new(std::io::sink(), &version, vec!["swap", "up"]);
        lines.into_iter().for_each(|line| report.line(line));
        report.finish().map_err(|error| format!("{error:#}"))?;
        Ok(report.passed())
    }

    #[test]
    fn all_tests_that_passed_are_counted() {
        assert_eq!(outcome(GOOD), Ok(5));
    }

    #[test]
    fn nothing_less_than_all_is_success() {
        for (missing, line) in GOOD.iter().enumerate() {
            // Only these two say nothing.
            let is_needed = missing != 0 && missing != 5;
            let lines = GOOD.iter().enumerate();
            let rest = lines.filter(|(index, _)| *index != missing);
            let outcome = outcome(rest.map(|(_, line)| *line));
            assert_eq!(outcome.is_err(), is_needed, "without {line}");
        }
        assert!(outcome([]).is_err());
    }

    #[test]
    fn what_failed_is_named() {
        let with = |from: &str, to: &str| {
            let lines = GOOD.map(|line| line.replace(from, to));
            outcome(lines.iter().map(String::as_str)).unwrap_err()
        };
        assert_eq!(with("end swap 0", "end swap 101"), "failed: swap");
        assert_eq!(with("up 0 12", "up 0"), "failed: up");
        assert_eq!(with("swap 0 3", "swap 0"), "swap did not end");
        assert_eq!(with(" up", " down"), "did not run: up");
        assert_eq!(with("ok. 2", "FAILED. 1"), "failed: swap");
        assert_eq!(with("done", "doom"), "the guest did not end as it should");
    }
}
