//! The program `certrotd`.

use certrotd::exit::Exit;
use certrotd::wipe::{self, Wiping};

#[cfg(static_unwinder)]
#[path = "../../packaging/unwinder.rs"]
mod unwinder;

#[global_allocator]
static ALLOCATOR: Wiping = Wiping;

fn main() -> Exit {
    wipe::give_back();
    certrotd::daemon::main()
}
