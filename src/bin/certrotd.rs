//! The program `certrotd`.

use certrotd::exit::Exit;
use certrotd::wipe::Wiping;

#[global_allocator]
static ALLOCATOR: Wiping = Wiping;

fn main() -> Exit {
    certrotd::daemon::main()
}
