//! A process of this program that is told lines and answers lines; it ends with its handle.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::{RealError, io};

/// A child that is this program with other arguments.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    who: String,
}

impl Process {
    /// Starts it.
    pub fn start(program: &Path, arguments: &[String]) -> Result<Self, RealError> {
        let who = arguments.join(" ");
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(io(format!("starting {who}")))?;
        let no_pipe =
            || RealError::Answer { who: who.clone(), command: String::new(), answer: String::new() };
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().ok_or_else(no_pipe)?);
        Ok(Process { child, input, output, who })
    }

    /// Says a line to it.
    pub fn say(&mut self, line: &str) -> Result<(), RealError> {
        match &mut self.input {
            Some(input) => writeln!(input, "{line}").map_err(io(format!("telling {}", self.who))),
            None => Ok(()),
        }
    }

    /// Reads a line that begins with `word`.
    pub fn hear(&mut self, word: &str) -> Result<Answer, RealError> {
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(io(format!("hearing {}", self.who)))?;
        if line.split_whitespace().next() == Some(word) {
            return Ok(Answer(line.trim().to_owned()));
        }
        Err(RealError::Answer { who: self.who.clone(), command: word.to_owned(), answer: line })
    }

    /// Resident memory in bytes, by the kernel.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// Lets it end by itself.
    pub fn end(&mut self) {
        self.input = None;
        let _ended = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.input = None;
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// A line of `name=number` words.
#[derive(Clone, Debug)]
pub struct Answer(String);

impl Answer {
    /// The number of that name; 0 where there is none.
    pub fn number(&self, name: &str) -> u64 {
        let word = |w: &str| w.split_once('=').filter(|(n, _)| *n == name).and_then(|(_, v)| v.parse().ok());
        self.0.split_whitespace().find_map(word).unwrap_or(0)
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
