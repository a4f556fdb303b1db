//! The clock of a machine whose clock is off, for one process.
//!
//! A test preloads this library (`LD_PRELOAD`) into a binary that knows nothing of it: what the binary asks the C library
//! for, the time on the wall, is then answered here, so many nanoseconds ahead of the machine's time as a file says at that
//! moment, or behind where that is negative. Durations are measured by another clock, and are as they were: so it is where
//! somebody sets a clock.
//!
//! Whatever is wrong ends the process: a test must not run with a clock that is right after all.

use std::ffi::{c_int, c_long};
use std::fs;

use libc::{CLOCK_REALTIME, clockid_t, timespec};

/// The variable that names the file. Who writes it replaces it as a whole, so that half a number is never read.
const FILE: &str = "PLIMSOLL_TEST_CLOCK";

/// The nanoseconds of a second.
const SECOND: i128 = 1_000_000_000;

/// `clock_gettime` of the C library, for those who look for it after this library was loaded.
///
/// # Safety
/// As of that function: `time` is null, or a `timespec` may be written there.
#[expect(
    unsafe_code,
    reason = "it has the name and the signature of a function of C, and asks the system in its place"
)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the system call has these two arguments, and asks of them what this function asks of its caller. It refuses
    // a null pointer, and the C library, which would come back here, is not in between.
    let answer = unsafe { libc::syscall(libc::SYS_clock_gettime, c_long::from(clock), time) };
    if answer != 0 {
        return -1;
    }
    if clock == CLOCK_REALTIME {
        // SAFETY: the call has succeeded, so it has written a whole `timespec` there; it is the caller's, who waits.
        let time = unsafe { &mut *time };
        *time = later(*time, nanos_ahead());
    }
    0
}

/// How far the clock is to be ahead now. None of what this calls asks for the time on the wall.
fn nanos_ahead() -> i128 {
    let file = std::env::var_os(FILE).expect("whoever preloads this library names the file");
    let text = fs::read_to_string(file).expect("the file is there");
    text.trim().parse().expect("it says a number of nanoseconds")
}

fn later(time: timespec, nanos: i128) -> timespec {
    let nanos = i128::from(time.tv_sec) * SECOND + i128::from(time.tv_nsec) + nanos;
    let (seconds, nanos) = (nanos.div_euclid(SECOND), nanos.rem_euclid(SECOND));
    let number = |number: i128| number.try_into().expect("the time is one of this age");
    timespec { tv_sec: number(seconds), tv_nsec: number(nanos) }
}
