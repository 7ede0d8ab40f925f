//! certrotd keeps a device's AWS IoT identity: it provisions once with a claim certificate, keeps one mTLS MQTT session,
//! and replaces key and certificate on time, for ever. This page is the architecture.
//!
//! # Three ideas
//! 1. **A pure core.** [`rotation`] decides; it reads no clock, file, socket or random number, and compiles without the
//!    standard library. `Rotation::step(now, Input) -> Action`: one input in, one action out, one effect outstanding.
//! 2. **One door after doubt.** Boot, failure, time-out and power cut all lead to `Inspect`: read the disk, then decide.
//!    Memory changes only after the effect is durable.
//! 3. **Prove, then switch, then retire.** A new pair carries a session before `current` moves, and the old certificate
//!    dies only after the move is on disk. What cannot be retired never holds up what must be renewed.
//!
//! # Who calls whom
//! ```text
//! START   bin/certrotd ─▶ daemon ─▶ config ─▶ log ─▶ store (lock) ─▶ control socket ─▶ READY ─▶ engine
//! TURN    rotation ──Action──▶ engine ──Effect──▶ world ──▶ store | keys | cloud
//!            ▲                    │                 │
//!            └──────Input─────────┘◀────Outcome─────┘
//! STATUS  rotation, world, story ─▶ status ─▶ engine ─watch─▶ control/server ═socket═▶ control/client ─▶ ctl
//! ORDER   ctl ─▶ control/client ═socket═▶ control/server ─channel─▶ engine ─▶ orders ─▶ rotation
//! MESSAGE applications ═socket═▶ control/messages ─channel─▶ engine ─▶ messages ─Command─▶ session in hand, and back
//! ```
//!
//! # The rooms
//! | room | what it is for | what it must not do |
//! | --- | --- | --- |
//! | [`rotation`] | decides what is done next; the 28 rules of order and authority | touch anything |
//! | [`store`] | the identity on disk, atomically; one process at a time | decide, know the cloud |
//! | [`keys`], [`x509`] | makes and loads keys, judges what was issued (rule 5) | read files |
//! | [`cloud`] | topics, payloads, TLS, one MQTT connection at a time | reconnect by itself, know the store |
//! | [`config`] | the file, parsed into a type that cannot hold a bad value | be asked twice |
//! | [`wipe`], [`resident`] | memory: wiped when it is given back, and given back when it is not needed | – |
//! | [`clock`], [`notify`], [`log`] | the only readers of time; systemd; the journal | – |
//! | [`control`] | HTTP over the Unix socket: wire types, server, client | know the engine |
//! | [`world`] | does one effect by joining the adapters | decide which comes next |
//! | [`engine`] | the main loop; the only file that names both the core and the world | block |
//! | [`story`], [`status`] | what people are told: events, history, log; the status document and its alerts | change anything |
//! | [`metrics`] | the same for a Prometheus server: gauges off the status, counters off the events | count anything twice |
//! | [`messages`] | applications' publishes and subscriptions, over every session | cost the identity anything |
//! | [`doctor`] | goes through every step that can be tried without minting a certificate; in parts of it `certrotctl` too | take the live session's client id, cost it twice |
//! | [`hooks`] | rings for the hook runner, reads what hooks said; [`hooks::run`] is that runner, root's | run a hook in the daemon |
//! | [`ctl`] | `certrotctl`: arguments, words on the screen, exit codes; `ctl/console`: a page for the browser | know more than the wire |
//!
//! Bytes become types once, at the edge, and types become bytes once. Adapters do not import each other; imports run one
//! way: `x509`, `exit`, `rotation` → adapters → `world`, `policy` → `story`, `status`, `metrics`, `messages`, `doctor` → `engine`, `orders` →
//! `daemon`, `ctl` → programs. `tests/layering.rs` fails on the first line that points up.
//!
//! # Where to look first
//! `rotation/identity.rs` (what is known of the disk), `rotation/language.rs` (the words between core and world),
//! `rotation/plan.rs` (what comes next), `world/mod.rs` (how it is done), `engine.rs` (the loop).
//!
//! The order in which things are written and asked (rules are named in the code that keeps them):
//! ```text
//! key, certificate, state{issued, thing, token}  → state{registering} → RegisterThing → state{registered}
//!   → CONNECT on the new certificate (take-over) → proof             → state{proved}
//!   → retire{pending} → rename `current`         → commit            → accepted → retire{done} → old ones leave the disk
//! ```

extern crate alloc;

pub mod arguments;
pub mod clock;
pub mod cloud;
pub mod config;
pub mod control;
pub mod ctl;
pub mod daemon;
pub mod doctor;
pub mod engine;
pub mod exit;
pub mod hooks;
pub mod keys;
pub mod log;
pub mod messages;
pub mod metrics;
pub mod notify;
mod orders;
pub mod policy;
pub mod resident;
pub mod rotation;
pub mod status;
pub mod store;
pub mod story;
pub mod wipe;
pub mod world;
pub mod x509;
