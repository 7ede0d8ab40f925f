//! The only reader of clocks, and of chance: wall time, time since boot, what the kernel thinks of its own clock.
//!
//! Time is an argument everywhere else. Waiting counts in time since boot (`CLOCK_BOOTTIME`), which goes on while the
//! machine sleeps and never steps; a timer descriptor of the kernel wakes us once, at the end, however long the wait.
//!
//! In debug builds only, for tests: `CERTROTD_CLOCK_RATE` (a whole number from 1) makes both clocks run that many times
//! faster from the start of the process, and waits as much shorter; `CERTROTD_CLOCK_OFFSET` (seconds, signed) shifts
//! the wall clock, which then never counts as synchronised.

use crate::rotation::identity::{Boot, Wall};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId as TimerClock, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Wall time before which this program did not exist: 2026-11-24T00:00:00Z (rule 26, the build date).
pub const BUILT_AFTER: Wall = 1_795_478_400;

/// The clocks of this process.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Boot,
    rate: u32,
    offset: i64,
}

impl Clock {
    /// Starts the clocks; in debug builds it looks for a rate and an offset in the environment.
    pub fn start() -> Self {
        let (rate, offset) = manipulated();
        Self { started: boot_millis(), rate, offset }
    }

    /// Seconds since the Unix epoch, by the wall clock; it may be wrong, and may step.
    pub fn wall(&self) -> Wall {
        let ahead = self.boot().saturating_sub(self.real_elapsed().saturating_add(self.started)) / 1_000;
        let real = read(ClockId::CLOCK_REALTIME).tv_sec();
        real.saturating_add(self.offset).saturating_add_unsigned(ahead)
    }

    /// Milliseconds since the Unix epoch, by the wall clock; for events, never for decisions.
    pub fn wall_millis(&self) -> i64 {
        let part = read(ClockId::CLOCK_REALTIME).tv_nsec() / 1_000_000;
        self.wall().saturating_mul(1_000).saturating_add(part)
    }

    /// Milliseconds since boot, sleep of the machine included.
    pub fn boot(&self) -> Boot {
        self.started.saturating_add(self.real_elapsed().saturating_mul(u64::from(self.rate)))
    }

    /// Says whether the kernel's clock is disciplined by a time service (rule 26).
    pub fn is_synchronised(&self) -> bool {
        !self.is_shifted() && kernel_synchronised()
    }

    /// Says whether a test has shifted the wall clock.
    pub fn is_shifted(&self) -> bool {
        self.offset != 0
    }

    /// A deadline for the network in real time: shorter where a test runs the clock faster, but never too short for
    /// a busy machine.
    pub fn shortened(&self, deadline: Duration) -> Duration {
        (deadline / self.rate).max(deadline.min(Duration::from_secs(3)))
    }

    /// A random number, for spreading; not for secrets.
    pub fn random(&self) -> u32 {
        fastrand::u32(..)
    }

    /// Waits until `boot` reaches the moment, through any sleep of the machine; done at once when it has passed.
    pub async fn sleep_until(&self, moment: Boot) {
        let elapsed = moment.saturating_sub(self.started).div_ceil(u64::from(self.rate));
        let real = self.started.saturating_add(elapsed);
        while boot_millis() < real {
            let spec = TimeSpec::from_duration(Duration::from_millis(real));
            if wait(TimerClock::CLOCK_BOOTTIME, spec, TimerSetTimeFlags::TFD_TIMER_ABSTIME).await.is_err() {
                // No descriptor is left, say: wait in short pieces, so that a sleep of the machine is noticed soon.
                let left = Duration::from_millis(real.saturating_sub(boot_millis()));
                tokio::time::sleep(left.min(PIECE)).await;
            }
        }
    }

    /// Waits so long in real time. The kernel wakes us once, at the end; tokio's own timers wake an idle process at each
    /// level of their wheel on the way there.
    pub async fn pause(&self, time: Duration) {
        let spec = TimeSpec::from_duration(time);
        if wait(TimerClock::CLOCK_MONOTONIC, spec, TimerSetTimeFlags::empty()).await.is_err() {
            tokio::time::sleep(time).await;
        }
    }

    /// Waits until somebody sets the wall clock (a time service at first boot, an operator), or a year has passed; for
    /// ever where the kernel has no timer left.
    pub async fn stepped(&self) {
        let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        let far = read(ClockId::CLOCK_REALTIME) + TimeSpec::from_duration(FAR);
        // A set clock cancels the timer (timerfd_create(2)), which ends the wait as its end would.
        if wait(TimerClock::CLOCK_REALTIME, far, flags).await.is_err() {
            std::future::pending().await
        }
    }

    fn real_elapsed(&self) -> u64 {
        boot_millis().saturating_sub(self.started)
    }
}

/// Waits for one expiration of a kernel timer.
async fn wait(clock: TimerClock, at: TimeSpec, flags: TimerSetTimeFlags) -> io::Result<()> {
    let timer = TimerFd::new(clock, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
    timer.set(Expiration::OneShot(at), flags)?;
    let timer = watch(Timer(timer))?;
    loop {
        let mut ready = timer.readable().await?;
        match ready.try_io(|timer| timer.get_ref().0.wait().map_err(io::Error::from)) {
            Ok(result) => return result,
            Err(_would_block) => {}
        }
    }
}

#[allow(unsafe_code)]
fn watch(timer: Timer) -> io::Result<AsyncFd<Timer>> {
    // SAFETY: a `Timer` owns its descriptor, always gives the same one, and closes it only when it is dropped, which
    // `AsyncFd` does after the registration has ended.
    Ok(unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?)
}

/// A timer descriptor, with the trait that tokio asks for.
struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

fn boot_millis() -> Boot {
    let now = read(ClockId::CLOCK_BOOTTIME);
    let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
    seconds.saturating_mul(1_000).saturating_add(u64::try_from(now.tv_nsec() / 1_000_000).unwrap_or(0))
}

/// Reads a clock. It fails only for a clock that the kernel does not have, and Linux has both since 2.6.39; a zero then
/// is before every floor, so nothing would trust it.
fn read(clock: ClockId) -> TimeSpec {
    clock_gettime(clock).unwrap_or(TimeSpec::new(0, 0))
}

/// Asks the kernel: `adjtimex` answers `TIME_ERROR` while no time service keeps the clock (adjtimex(2)).
///
/// Preferred to systemd-timesyncd's marker file, which other time services do not write.
#[allow(unsafe_code)]
fn kernel_synchronised() -> bool {
    // SAFETY: `timex` is plain integers, for which all zeros is a value; modes = 0 makes the call read-only, and the
    // pointer is to a live local that the call does not keep.
    let state = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        libc::adjtimex(&raw mut timex)
    };
    state >= 0 && state != libc::TIME_ERROR
}

/// The rate and the offset that a test asks for.
#[cfg(debug_assertions)]
fn manipulated() -> (u32, i64) {
    let read = |name| std::env::var(name).ok();
    rate_and_offset(read("CERTROTD_CLOCK_RATE").as_deref(), read("CERTROTD_CLOCK_OFFSET").as_deref())
}

/// What is no number, and a rate of nothing, is the real time.
#[cfg(debug_assertions)]
fn rate_and_offset(rate: Option<&str>, offset: Option<&str>) -> (u32, i64) {
    let rate = rate.and_then(|text| text.parse().ok()).filter(|rate| *rate >= 1);
    (rate.unwrap_or(1), offset.and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// Nobody shifts the clocks of a release.
#[cfg(not(debug_assertions))]
fn manipulated() -> (u32, i64) {
    (1, 0)
}

/// Longest piece of a wait without a kernel timer.
const PIECE: Duration = Duration::from_secs(30);

/// One year: longer than any wait that a step of the clock could end.
const FAR: Duration = Duration::from_secs(365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(rate: u32, offset: i64) -> Clock {
        Clock { started: boot_millis(), rate, offset }
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn a_wait_for_what_has_passed_does_not_wait() {
        let clock = clock(1, 0);
        let before = clock.boot();
        block_on(clock.sleep_until(before));
        block_on(clock.sleep_until(0));
        assert!(clock.boot() - before < 1_000);
    }

    #[test]
    fn a_wait_never_ends_early_and_an_hour_passes_in_a_blink_at_a_high_rate() {
        let (fast, real) = (clock(360_000, 0), clock(1, 0));
        let (until, wall, began) = (fast.boot() + 3_600_000, fast.wall(), real.boot());
        block_on(fast.sleep_until(until));
        assert!(fast.boot() >= until);
        assert!(fast.wall() >= wall + 3_599, "{} after {wall}", fast.wall());
        assert!(real.boot() - began < 5_000);
    }

    #[test]
    fn a_pause_takes_its_time_in_real_time_however_fast_the_clock_runs() {
        let (fast, began) = (clock(360_000, 0), std::time::Instant::now());
        block_on(fast.pause(Duration::from_millis(30)));
        assert!(began.elapsed() >= Duration::from_millis(30));
    }

    #[test]
    fn a_shifted_clock_is_far_off_and_never_synchronised() {
        let (right, shifted) = (clock(1, 0), clock(1, -1_700_000_000));
        assert!((right.wall() - shifted.wall() - 1_700_000_000).abs() <= 1);
        assert!(shifted.is_shifted() && !shifted.is_synchronised());
        assert!(!right.is_shifted());
    }

    #[cfg(debug_assertions)]
    #[test]
    fn a_rate_of_nothing_never_stops_the_clocks() {
        assert_eq!(rate_and_offset(Some("0"), None), (1, 0));
        assert_eq!(rate_and_offset(Some("-3"), Some("soon")), (1, 0));
        assert_eq!(rate_and_offset(Some("3600"), Some("-1795478400")), (3_600, -1_795_478_400));
    }

    #[test]
    fn nobody_has_set_the_clock_so_a_wait_for_it_goes_on() {
        let clock = clock(1, 0);
        let stepped = block_on(async {
            tokio::select! {
                () = clock.stepped() => true,
                () = clock.sleep_until(clock.boot() + 20) => false,
            }
        });
        assert!(!stepped);
    }

    #[test]
    fn the_build_date_is_the_second_that_its_comment_names() {
        let date: jiff::Timestamp = "2026-11-24T00:00:00Z".parse().unwrap();
        assert_eq!(date.as_second(), BUILT_AFTER);
    }
}
