//! What the idle daemon does not need stays on disk: pages of program code that only a start or a rotation runs.
//!
//! The kernel maps the neighbours of each page that is touched, so after one rotation nearly every page of the program
//! and of the C library is resident, for the idle months in between. Given back, they are what they were before the
//! first touch: in the page cache as long as there is room, read again from there (or the disk) by whoever runs them.

use std::ffi::{c_int, c_void};

/// Gives the pages of all mapped code and constants back to the kernel; nothing is lost, for nobody has written them.
/// What cannot be given back stays. `tests/bench` shows what it is worth.
pub fn give_back_code() {
    #[cfg(target_os = "linux")]
    #[allow(unsafe_code)]
    // SAFETY: the callback fits the signature, keeps nothing, and takes no data (dl_iterate_phdr(3)).
    unsafe {
        libc::dl_iterate_phdr(Some(object), std::ptr::null_mut());
    }
}

/// One object: the program or a library.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
unsafe extern "C" fn object(info: *mut libc::dl_phdr_info, _size: usize, _data: *mut c_void) -> c_int {
    // SAFETY: the loader hands over a valid description that lives as long as this call.
    let info = unsafe { &*info };
    let headers = if info.dlpi_phdr.is_null() {
        &[][..]
    } else {
        // SAFETY: so many headers are there, says the loader; they lie in the object and are never written.
        unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) }
    };
    // A segment that may be written may have been (relocations do), and would not come back as it is: those stay.
    for load in headers.iter().filter(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_W == 0) {
        let (Ok(from), Ok(length)) = (usize::try_from(load.p_vaddr), usize::try_from(load.p_memsz)) else {
            continue;
        };
        let Some(from) = usize::try_from(info.dlpi_addr).ok().and_then(|base| base.checked_add(from)) else {
            continue;
        };
        let start = from - from % PAGE;
        // SAFETY: a private mapping of a file that was never written, so every page is read anew from the same file,
        // with the same bytes; a refusal (madvise(2)) changes nothing. It may hold the code that runs just now: the
        // next instruction faults its page in again.
        unsafe {
            libc::madvise(start as *mut c_void, length + (from - start), libc::MADV_DONTNEED);
        }
    }
    0
}

/// The smallest page of Linux; where pages are larger, the loader's segments begin at their bounds too.
const PAGE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    /// Kilobytes of file pages that are resident.
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("RssFile:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn code_that_is_given_back_is_not_resident_and_still_runs() {
        let constants: Vec<u8> = include_bytes!("resident.rs").to_vec();
        let before = resident();
        give_back_code();
        let after = resident();
        assert!(after < before, "{before} kB resident before, {after} after");
        assert_eq!(constants, include_bytes!("resident.rs"), "what was read before is read again");
    }
}
