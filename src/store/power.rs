//! Tests cut the power here: every call that changes the disk passes `step`, every read of a file passes `reading`.
//!
//! Only compiled for tests; one switch for each thread, so that tests do not disturb each other.

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;

use nix::errno::Errno;

thread_local! {
    static LEFT: Cell<Option<(u32, Errno)>> = const { Cell::new(None) };
    static ONCE: Cell<bool> = const { Cell::new(false) };
    static FAILED: Cell<bool> = const { Cell::new(false) };
    static UNREADABLE: RefCell<Option<String>> = const { RefCell::new(None) };
    static TRACE: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Lets so many steps pass; that one and all later ones fail.
pub(super) fn cut_after(steps: u32, errno: Errno) {
    LEFT.set(Some((steps, errno)));
}

/// Lets so many steps pass; that one fails and later ones pass again.
pub(super) fn fail_once_after(steps: u32, errno: Errno) {
    ONCE.set(true);
    cut_after(steps, errno);
}

/// Gives the power back; says whether a step failed for want of it.
pub(super) fn restore() -> bool {
    LEFT.set(None);
    ONCE.set(false);
    FAILED.replace(false)
}

/// Lets every read of a file of this name fail with EIO.
pub(super) fn break_file(name: Option<&str>) {
    UNREADABLE.set(name.map(str::to_owned));
}

/// Takes what was done since the last time, as `what name`.
pub(super) fn trace() -> Vec<String> {
    TRACE.take()
}

pub(super) fn step(what: &'static str, name: impl AsRef<OsStr>) -> nix::Result<()> {
    match LEFT.get() {
        Some((0, errno)) => {
            FAILED.set(true);
            if ONCE.take() {
                LEFT.set(None);
            }
            return Err(errno);
        }
        Some((left, errno)) => LEFT.set(Some((left - 1, errno))),
        None => {}
    }
    let name = name.as_ref().to_string_lossy();
    let last = name.rsplit('/').next().unwrap_or_default();
    TRACE.with_borrow_mut(|t| t.push(format!("{what} {last}")));
    Ok(())
}

pub(super) fn reading(name: &str) -> nix::Result<()> {
    let broken = UNREADABLE.with_borrow(|b| b.as_deref() == Some(name));
    if broken { Err(Errno::EIO) } else { Ok(()) }
}
