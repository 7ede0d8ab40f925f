//! The program `certrotd`.

use certrotd::exit::Exit;

fn main() -> Exit {
    certrotd::daemon::main()
}
