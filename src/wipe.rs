//! The allocator of `certrotd`: every block of memory is wiped when it is given back.
//!
//! What we hold of keys and tokens is wiped by its own type; what passes through libraries is not: ring's scalar in
//! the key pair of an ended session, TLS records and MQTT packets that carried a token or a key made by the cloud.
//! All of it is heap memory, so all of it ends here. `tests/secrets` looks for the old key in `/proc/PID/mem`.
//! It wipes blocks on their way back; stacks are not its business. And it has them given back to the kernel: a rotation
//! a quarter needs memory that the idle months in between do not ([`give_back`]).

use std::alloc::{GlobalAlloc, Layout, System};
use std::mem::MaybeUninit;

use zeroize::Zeroize;

/// The system's allocator, with a wipe before each block goes back.
pub struct Wiping;

#[allow(unsafe_code)]
// SAFETY: every block comes from `System` and goes back to it with the layout it came with; `realloc` is the trait's
// own (a new block, a copy, `dealloc` of the old one), so that what moved is wiped where it was.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`, which is handed on as it is.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is the caller's, `size` bytes long, and nobody uses it any more; bytes that were never
        // written may stand in a slice of `MaybeUninit`.
        let bytes = unsafe { std::slice::from_raw_parts_mut(block.cast::<MaybeUninit<u8>>(), layout.size()) };
        // Volatile writes, which no optimiser drops though the block is freed next.
        bytes.zeroize();
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Tells glibc to return what is free to the kernel at once, for the price of a system call (mallopt(3)): measured at
/// 0.15 MB of a connected daemon's resident memory. Called once, before there are threads. Other C libraries have
/// habits of their own and are left alone.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    for (parameter, bytes) in
        [(libc::M_TRIM_THRESHOLD, 4096), (libc::M_TOP_PAD, 0), (libc::M_MMAP_THRESHOLD, 16 * 1024)]
    {
        #[allow(unsafe_code)]
        // SAFETY: sets numbers inside the allocator; the process has one thread still. A refused one changes nothing.
        unsafe {
            libc::mallopt(parameter, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_keeps_its_bytes_while_it_grows() {
        let layout = Layout::from_size_align(16, 8).unwrap();
        #[allow(unsafe_code)]
        // SAFETY: one block, of the size and layout that it was asked for, given back once.
        let grown = unsafe {
            let block = Wiping.alloc_zeroed(layout);
            assert!(!block.is_null());
            block.write(7);
            let block = Wiping.realloc(block, layout, 4_096);
            let bytes = [block.read(), block.add(1).read()];
            Wiping.dealloc(block, Layout::from_size_align(4_096, 8).unwrap());
            bytes
        };
        assert_eq!(grown, [7, 0]);
    }
}
