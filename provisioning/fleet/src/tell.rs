//! What the operator sees: one line for each step, what is being looked at meanwhile, and questions.

use std::cell::Cell;
use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Instant;

use crate::error::FleetError;

/// The operator's terminal, or a log.
pub struct Tell {
    started: Instant,
    live: bool,
    yes: bool,
    quiet: bool,
    shown: Cell<bool>,
}

impl Tell {
    /// `quiet` is for `--json`: nothing but the document goes to standard output. `yes` answers every question.
    pub fn new(quiet: bool, yes: bool) -> Self {
        let live = io::stderr().is_terminal() && !quiet;
        Tell { started: Instant::now(), live, yes, quiet, shown: Cell::new(false) }
    }

    /// Says nothing but warnings, and answers every question with yes.
    pub fn quiet() -> Self {
        Tell { live: false, ..Tell::new(true, true) }
    }

    /// A line of its own.
    pub fn line(&self, text: &str) {
        self.clear();
        if !self.quiet {
            anstream::println!("{text}");
        }
    }

    /// A warning: to standard error, even beside a document.
    pub fn warn(&self, text: &str) {
        self.clear();
        let style = anstyle::AnsiColor::Yellow.on_default();
        anstream::eprintln!("{style}note{style:#}  {text}");
    }

    /// A step that is done: which of how many, when, what and why.
    pub fn step(&self, number: usize, of: usize, what: &str, why: &str) {
        let dim = anstyle::Style::new().dimmed();
        let width = of.to_string().len();
        let seconds = self.started.elapsed().as_secs_f32();
        self.line(&format!("{number:>width$}/{of}  {seconds:>6.1}s  {what}  {dim}({why}){dim:#}"));
    }

    /// What is being done, on the terminal's last line; not in a log.
    pub fn live(&self, text: &str) {
        if self.live {
            self.clear();
            let _ignored = write!(io::stderr(), "\r{}", text.chars().take(WIDTH).collect::<String>());
            let _ignored = io::stderr().flush();
            self.shown.set(true);
        }
    }

    /// Asks; without a terminal and without `--yes` the answer is no.
    pub fn ask(&self, question: &str) -> Result<(), FleetError> {
        self.clear();
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            return Err(FleetError::Declined(format!("{question} There is nobody to ask here.")));
        }
        anstream::eprint!("{question} [y/N] ");
        let _ignored = io::stderr().flush();
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer);
        match (read, answer.trim()) {
            (Ok(_), "y" | "Y" | "yes") => Ok(()),
            _ => Err(FleetError::Declined("the answer was no".to_owned())),
        }
    }

    /// Seconds since the command began.
    pub fn seconds(&self) -> f32 {
        self.started.elapsed().as_secs_f32()
    }

    fn clear(&self) {
        if self.shown.replace(false) {
            let _ignored = write!(io::stderr(), "\r{:WIDTH$}\r", "");
        }
    }
}

const WIDTH: usize = 78;
