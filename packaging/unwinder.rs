//! Part of both programs of a release, see build.rs: the static unwinder asks the C library where the tables of an address
//! are, by a function of glibc 2.35. Nothing unwinds in a release, so the answer is always the one for “nowhere”, and the
//! programs start on glibc 2.34 too (Amazon Linux 2023, RHEL 9).

/// No object is found.
// SAFETY: it takes the place of the C library's function of this name in this program alone, with its signature, and
// promises less: -1 is its answer for an address that is in no object.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn _dl_find_object(
    _address: *mut core::ffi::c_void,
    _found: *mut core::ffi::c_void,
) -> core::ffi::c_int {
    -1
}
