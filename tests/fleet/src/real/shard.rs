//! A process of devices. `start N`: N at a time until each rests; `rotate N`: each once; `drop`: all lose power.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use certrotd::rotation::Order;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use super::device::{Handle, start};
use super::{RealError, io, raise_limit};

/// Where the devices of a shard are.
pub struct Place {
    /// The twin's directory.
    pub twin: PathBuf,
    /// The twin's port.
    pub port: u16,
    /// Where stores are made.
    pub stores: PathBuf,
}

/// Which devices.
pub struct Shard {
    /// Where.
    pub place: Place,
    /// The first one's number.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// Serves lines until standard input ends.
pub fn serve(shard: Shard) -> Result<(), RealError> {
    raise_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(io("starting the runtime"))?;
    let place = Rc::new(shard.place);
    let things: Vec<String> =
        (shard.first..shard.first + shard.count).map(|n| format!("SN-{n:07}")).collect();
    let mut lives: Option<(LocalSet, Vec<Handle>)> = None;
    let (lines, mut inbox) = tokio::sync::mpsc::unbounded_channel::<String>();
    // A thread of its own reads: devices live on while nothing is asked.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    loop {
        let line = match &lives {
            Some((set, _)) => set.block_on(&runtime, inbox.recv()),
            None => runtime.block_on(inbox.recv()),
        };
        let Some(line) = line else { return Ok(()) };
        let (word, number) = line.split_once(' ').unwrap_or((line.as_str(), ""));
        let lanes = number.parse().unwrap_or(1).max(1);
        let began = Instant::now();
        let done = match word {
            "start" => {
                let set = LocalSet::new();
                let handles = set.block_on(&runtime, start_all(&things, &place, lanes))?;
                let done = handles.len();
                lives = Some((set, handles));
                done
            }
            "rotate" => match &lives {
                Some((set, handles)) => set.block_on(&runtime, rotate_all(handles, lanes)),
                None => 0,
            },
            "drop" => {
                lives = None;
                things.len()
            }
            _ => 0,
        };
        let resting = lives.iter().flat_map(|(_, h)| h).filter(|h| h.seen.borrow().rests).count();
        let failures: u32 = lives.iter().flat_map(|(_, h)| h).map(|h| h.seen.borrow().failures).sum();
        println!(
            "{word} done={done} resting={resting} failures={failures} ms={}",
            began.elapsed().as_millis()
        );
        std::io::stdout().flush().map_err(io("answering"))?;
    }
}

/// Starts every device; as many at a time as there are lanes are on their way to rest.
async fn start_all(things: &[String], place: &Rc<Place>, lanes: usize) -> Result<Vec<Handle>, RealError> {
    let semaphore = Rc::new(Semaphore::new(lanes));
    let (mut handles, mut ways) = (Vec::new(), JoinSet::new());
    for thing in things {
        let permit = Rc::clone(&semaphore).acquire_owned_here().await;
        let handle = start(thing, place)?;
        let mut seen = handle.seen.clone();
        ways.spawn_local(async move {
            let _late = timeout(PATIENCE, seen.wait_for(|s| s.rests)).await;
            drop(permit);
        });
        handles.push(handle);
    }
    while ways.join_next().await.is_some() {}
    Ok(handles)
}

/// Orders each device to rotate once; gives how many did.
async fn rotate_all(handles: &[Handle], lanes: usize) -> usize {
    let semaphore = Rc::new(Semaphore::new(lanes));
    let mut ways = JoinSet::new();
    for handle in handles {
        let permit = Rc::clone(&semaphore).acquire_owned_here().await;
        let (orders, mut seen) = (handle.orders.clone(), handle.seen.clone());
        ways.spawn_local(async move {
            let before = seen.borrow_and_update().generation;
            let told = orders.send(Order::Rotate).await.is_ok();
            let rotated = seen.wait_for(|s| s.rests && s.generation > before);
            let done = told && timeout(PATIENCE, rotated).await.is_ok_and(|seen| seen.is_ok());
            drop(permit);
            done
        });
    }
    let mut done = 0;
    while let Some(rotated) = ways.join_next().await {
        done += usize::from(rotated.unwrap_or(false));
    }
    done
}

/// A permit on one thread.
struct Permit(Rc<Semaphore>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

trait Here {
    async fn acquire_owned_here(self) -> Permit;
}

impl Here for Rc<Semaphore> {
    async fn acquire_owned_here(self) -> Permit {
        // It is never closed.
        if let Ok(permit) = self.acquire().await {
            permit.forget();
        }
        Permit(self)
    }
}

/// How long one device may take; it goes on trying, and is counted as not done.
const PATIENCE: Duration = Duration::from_secs(120);
