//! An account for one machine: the twin for IoT, moto for everything else, one endpoint for all; `provisioning/try`
//! starts it.
//!
//! ```text
//! emulators serve DIR          prints `ready endpoint=… mqtt=PORT twin=… moto=… root-ca=PATH`, ends with its input
//! emulators holdings TWIN MOTO prints everything that both accounts hold, a line each
//! emulators clock TWIN RATE    the twin's clock runs so many times as fast
//! ```
//! The pieces are those of the tests in `tests/account`.

#![allow(clippy::disallowed_methods, reason = "an emulator's file need not survive anything")]
#![allow(dead_code, reason = "tests/account uses the rest of these modules")]

#[path = "../tests/account/gateway.rs"]
mod gateway;
#[path = "../tests/account/holdings.rs"]
mod holdings;
#[path = "../tests/account/moto.rs"]
mod moto;

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use certrot_twin::{Options, Twin};
use gateway::Gateway;
use moto::Moto;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve", dir] => serve(Path::new(dir)),
        ["holdings", twin, moto] => {
            for holding in holdings::all(twin, moto) {
                println!("{holding}");
            }
        }
        ["clock", twin, rate] => {
            holdings::http(twin, "POST", "/twin/time", &format!("{{\"rate\":{rate}}}"));
        }
        _ => panic!("say serve DIR, holdings TWIN MOTO, or clock TWIN RATE"),
    }
}

fn serve(dir: &Path) {
    let functions = dir.join("functions");
    fs::create_dir_all(&functions).unwrap();
    let mut options = Options::new(dir.join("twin"));
    options.empty = true;
    options.functions = Some(functions.clone());
    // A debug build on a busy machine starts slowly, which is not what is shown.
    options.hook_limit = Duration::from_secs(60);
    let twin = Twin::start(options).unwrap();
    let moto = Moto::start();
    let api = format!("127.0.0.1:{}", twin.api_port());
    let gateway = Gateway::start(&api, &moto.address, functions, dir.join("twin/lambda"));
    println!(
        "ready endpoint=http://127.0.0.1:{} mqtt={} twin={api} moto={} root-ca={}",
        gateway.port,
        twin.port(),
        moto.address,
        dir.join("twin/ca.pem").display()
    );
    std::io::stdout().flush().unwrap();
    // Whoever started it holds the other end: it ends with them, however they end.
    let mut rest = Vec::new();
    let _ended = std::io::stdin().read_to_end(&mut rest);
    drop(moto);
    twin.stop();
}
