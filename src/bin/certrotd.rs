//! The program `certrotd`.

use certrotd::exit::Exit;
use certrotd::wipe::{self, Wiping};

#[cfg(static_unwinder)]
include!("../../packaging/unwinder.rs");

#[global_allocator]
static ALLOCATOR: Wiping = Wiping;

fn main() -> Exit {
    wipe::give_back();
    certrotd::daemon::main()
}
