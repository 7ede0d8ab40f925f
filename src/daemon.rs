//! Starts the daemon: configuration, log, store, control socket, engine; and ends it.
//!
//! The order is the promise: nothing is said to be ready before the store is open and the socket answers.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use futures_core::Stream;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use tokio::sync::{mpsc, oneshot, watch};

use crate::arguments::Arguments;
use crate::clock::Clock;
use crate::config::{Config, Facts, Purpose};
use crate::control::wire::Status;
use crate::control::{self, Backend, Feed, Limits, MetricsListener, Scrape, Socket};
use crate::engine::{Engine, Parts, Signal};
use crate::exit::Exit;
use crate::hooks::Hooks;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::notify::Notify;
use crate::policy;
use crate::store::{Machine, Store};
use crate::story;
use crate::world::{Detail, Tools, World};

/// The whole program.
pub fn main() -> Exit {
    match Arguments::parse(std::env::args_os().skip(1)) {
        Ok(Arguments::Run(path)) => run(path),
        Ok(Arguments::Check(path)) => check(&path),
        Ok(Arguments::Print(text)) => {
            println!("{text}");
            Exit::Done
        }
        Err(error) => {
            eprintln!("certrotd: {error}; {}", error.remedy());
            Exit::Usage
        }
    }
}

fn check(path: &Path) -> Exit {
    match Config::load(path, &Facts::gather(path, Purpose::Check)) {
        Ok((_, warnings)) => {
            for warning in &warnings {
                eprintln!("warning: {warning}");
            }
            println!("ok");
            Exit::Done
        }
        Err(report) => {
            eprintln!("{report}");
            Exit::Config
        }
    }
}

fn run(path: PathBuf) -> Exit {
    // A core file would hold the key in use, wherever the system keeps core files; the unit says the same. Not dumpable:
    // neither does a core file go to a pipe of core_pattern's, which no limit stops, nor may another process of this
    // user read our memory (prctl(2), ptrace(2)).
    let no_core = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0)
        .and_then(|()| nix::sys::prctl::set_dumpable(false));
    let (config, warnings) = match Config::load(&path, &Facts::gather(&path, Purpose::Run)) {
        Ok(loaded) => loaded,
        Err(report) => {
            // The log's level is in the configuration that cannot be read: everything at its default.
            match Log::init(tracing::Level::INFO) {
                Ok(_) => tracing::error!(message_id = crate::log::id::CONFIG_REFUSED, "{report}"),
                Err(_) => eprintln!("{report}"),
            }
            return Exit::Config;
        }
    };
    let log = match Log::init(config.log.level.into()) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("certrotd: {error}");
            return Exit::Software;
        }
    };
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    if let Err(error) = no_core {
        tracing::warn!(%error, "core files cannot be switched off");
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the runtime cannot start");
            return Exit::Software;
        }
    };
    runtime.block_on(serve(path, config, log))
}

async fn serve(config_path: PathBuf, config: Config, log: Log) -> Exit {
    let clock = Clock::start();
    let signals = match Signals::new([SIGHUP, SIGINT, SIGTERM]) {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(%error, "signals cannot be listened for");
            return Exit::Software;
        }
    };
    let (store, findings) = match Store::open(config.identity.directory.as_path(), Machine::read()) {
        Ok(opened) => opened,
        Err(error) => {
            let detail = Detail::of_store("opening the store", &error);
            tracing::error!(
                message_id = crate::log::id::STORE_DAMAGED,
                remedy = detail.remedy,
                "{}",
                detail.text
            );
            return Exit::TryAgain;
        }
    };
    for finding in &findings {
        tracing::info!("{finding}");
    }
    let socket = match Socket::bind(config.control.socket.as_path(), SOCKET_MODE).await {
        Ok(socket) => socket,
        Err(error) => {
            let detail = Detail::of("socket", &error, error.remedy());
            tracing::error!(remedy = detail.remedy, "{}", detail.text);
            return Exit::TryAgain;
        }
    };
    let notify = Notify::from_environment();
    let feed = Feed::new(story::now(&clock));
    let metrics = Arc::new(Metrics::default());
    let counting = metrics.clone();
    feed.heard_by(move |event| counting.hear(event));
    let (status, status_reader) = watch::channel(Arc::new(Status::default()));
    let (operators, operators_reader) = watch::channel(Arc::new(policy::operators(&config)));
    let (users, users_reader) = watch::channel(Arc::new(policy::users(&config)));
    let (orders, orders_reader) = mpsc::channel(ORDERS);
    let (messages, messages_reader) = mpsc::channel(MESSAGES);
    let (stop, stopped) = oneshot::channel::<()>();
    let (scraped, counted) = (status_reader.clone(), metrics.clone());
    let scrape: Scrape = Arc::new(move || {
        let mut status = scraped.borrow().at(story::now(&clock));
        status.hooks = Hooks::from_environment().said();
        counted.text(&status)
    });
    let backend = Backend {
        status: status_reader,
        events: feed.clone(),
        orders,
        metrics: scrape.clone(),
        hooks: Arc::new(|| Hooks::from_environment().said()),
        now: Arc::new(move || story::now(&clock)),
        operators: operators_reader,
        users: users_reader,
        messages,
    };
    let server = tokio::spawn(control::serve(socket, backend, Limits::default(), async move {
        let _ = stopped.await;
    }));
    if let Some(address) = config.control.metrics_listen {
        tokio::spawn(serve_metrics(address, scrape));
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        endpoint = config.aws.endpoint.as_str(),
        store = %config.identity.directory.as_path().display(),
        "started"
    );
    let tools = Tools { store, clock, floor: Arc::new(AtomicI64::new(0)), findings: findings.into() };
    let world = World::new(tools, config);
    notify.ready();
    let engine = Engine::new(Parts {
        world,
        config_path,
        log,
        notify,
        hooks: Hooks::from_environment(),
        orders: orders_reader,
        messages: messages_reader,
        metrics,
        feed,
        status,
        operators,
        users,
    });
    engine.run(Wishes(signals)).await;
    let _ = stop.send(());
    let _ = server.await;
    Exit::Done
}

/// Serves scrapers until the process ends. The identity never waits for it: an address that cannot be had yet (taken,
/// or of an interface that is not up) is told once and tried again.
async fn serve_metrics(address: SocketAddr, scrape: Scrape) {
    let mut told = false;
    loop {
        match MetricsListener::bind(address).await {
            Ok(listener) => {
                tracing::info!(%address, "metrics are served");
                return listener.serve(scrape, Limits::default(), std::future::pending()).await;
            }
            Err(error) if !told => {
                let detail = Detail::of("metrics-listen", &error, error.remedy());
                tracing::warn!(code = detail.code, remedy = detail.remedy, "{}", detail.text);
                told = true;
            }
            Err(error) => tracing::debug!(%error, "still no place to listen for scrapers"),
        }
        tokio::time::sleep(METRICS_AGAIN).await;
    }
}

/// Signals, as what they ask for.
struct Wishes(Signals);

impl Stream for Wishes {
    type Item = Signal;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Signal>> {
        let next = std::pin::Pin::new(&mut self.0).poll_next(context);
        next.map(|signal| signal.map(|s| if s == SIGHUP { Signal::Reload } else { Signal::Stop }))
    }
}

/// Who may connect to the socket: the owner and the group; systemd's unit sets the group.
const SOCKET_MODE: u32 = 0o660;
/// Orders that may wait for the engine.
const ORDERS: usize = 32;
/// Messages of applications that may wait for the engine.
const MESSAGES: usize = 32;
/// Between attempts to listen for scrapers.
const METRICS_AGAIN: Duration = Duration::from_secs(30);
