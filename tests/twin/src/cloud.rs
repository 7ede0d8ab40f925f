//! The cloud itself: registry, sessions, clock, faults and log, shared by the broker and the REST side.
//!
//! Two locks, `registry` and `sessions`; neither is held while the other is taken, and neither across an await.
//! Every change of the registry goes through `change`, which writes it down; who loses ACTIVE loses its sessions.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use certrot_rules::documents::{DEVICE_POLICY, THING_TYPE};
use tokio::sync::Notify;

use crate::account;
use crate::broker::message::Message;
use crate::broker::sessions::{Close, Sessions};
use crate::ca::{Ca, CaError, Minted};
use crate::clock::Clock;
use crate::events::{Event, Events};
use crate::faults::{Effect, Faults};
use crate::files::{self, FileError};
use crate::lambda::Pool;
use crate::options::Options;
use crate::policy::Policy;
use crate::registry::{Certificate, Registry, RegistryError, Status};

/// Everything that the twin is, but for its sockets.
pub struct Cloud {
    /// What it was started with.
    pub options: Options,
    /// Its time.
    pub clock: Clock,
    /// Its authorities.
    pub ca: Ca,
    /// What is to go wrong.
    pub faults: Faults,
    /// What happened.
    pub events: Events,
    /// Thing names that the claim hook lets in; `None` lets in every well-formed one.
    pub allow_list: Mutex<Option<Vec<String>>>,
    /// Where clients find the broker: `localhost:PORT`.
    pub endpoint: Mutex<String>,
    /// Where the REST side is found: `127.0.0.1:PORT`.
    pub api: Mutex<String>,
    /// The functions that are running.
    pub functions: Pool,
    /// The validity of certificates that are made from now on.
    pub validity: Mutex<Validity>,
    /// When each client id last sent a CONNECT.
    pub paces: Mutex<BTreeMap<String, Instant>>,
    /// Policy documents that were parsed, by their text.
    pub parsed_policies: Mutex<BTreeMap<String, Arc<Policy>>>,
    registry: Mutex<Registry>,
    sessions: Mutex<Sessions>,
    connections: AtomicU64,
    registry_waits: AtomicBool,
    unsaved: Notify,
}

impl Cloud {
    /// Opens the directory, making what is missing: authorities, claim certificate, policies.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        files::make_dir(&options.dir)?;
        let registry = files::read_json(&options.dir, REGISTRY)?.unwrap_or_default();
        let sessions: Sessions = files::read_json(&options.dir, SESSIONS)?.unwrap_or_default();
        let cloud = Self {
            clock: Clock::new(options.clock_offset_ms, options.clock_rate),
            ca: Ca::open(&options.dir)?,
            faults: Faults::default(),
            events: Events::default(),
            allow_list: Mutex::new(options.allow_list.clone()),
            endpoint: Mutex::new(String::new()),
            api: Mutex::new(String::new()),
            functions: Pool::default(),
            validity: Mutex::new(Validity { backdate: options.backdate, life: options.certificate_life }),
            paces: Mutex::default(),
            parsed_policies: Mutex::default(),
            registry: Mutex::new(registry),
            sessions: Mutex::new(sessions.indexed()),
            // Numbers are never used twice, not even after a restart: tokens may be bound to them.
            connections: AtomicU64::new(fastrand::u64(..u64::MAX / 2)),
            registry_waits: AtomicBool::new(false),
            unsaved: Notify::new(),
            options,
        };
        account::set_up(&cloud)?;
        Ok(cloud)
    }

    /// Reads the registry; tokens and certificates that have ended are gone from it.
    pub fn registry<T>(&self, read: impl FnOnce(&Registry) -> T) -> T {
        let mut registry = lock(&self.registry);
        if registry.sweep(self.clock.now_ms()) {
            registry.certificates.take_touched();
            self.save(&registry);
        }
        read(&registry)
    }

    /// Changes the registry and writes it down; then closes the sessions of certificates that are not ACTIVE any more.
    pub fn change<T>(&self, change: impl FnOnce(&mut Registry) -> T) -> T {
        let (answer, changed, deleted) = {
            let mut registry = lock(&self.registry);
            registry.sweep(self.clock.now_ms());
            registry.certificates.take_touched();
            let answer = change(&mut registry);
            self.save(&registry);
            let mut changed = Vec::new();
            let mut deleted = Vec::new();
            for (id, before) in registry.certificates.take_touched() {
                match (before, registry.certificates.get(&id)) {
                    (Some(_), None) => deleted.push(id),
                    (Some(old), Some(c)) if c.status != old => changed.push((id, c.status)),
                    _ => {}
                }
            }
            (answer, changed, deleted)
        };
        for (certificate_id, status) in changed {
            if status != Status::Active {
                self.close_certificate(&certificate_id);
            }
            self.log(Event::Status { certificate_id, status: status.as_str().to_owned() });
        }
        for certificate_id in deleted {
            self.close_certificate(&certificate_id);
            self.log(Event::Deleted { certificate_id });
        }
        answer
    }

    /// Works on the sessions.
    pub fn sessions<T>(&self, work: impl FnOnce(&mut Sessions) -> T) -> T {
        let answer = work(&mut lock(&self.sessions));
        self.unsaved.notify_one();
        answer
    }

    /// Publishes as the cloud itself: no policy is asked.
    pub fn publish(&self, topic: &str, payload: &[u8], retain: bool) {
        self.log(Event::Publish {
            client: String::new(),
            principal: String::new(),
            topic: topic.to_owned(),
            qos: 1,
            retain,
            dup: false,
            size: payload.len(),
        });
        self.sessions(|s| s.route("", Message::new(topic, payload, 1, retain)));
    }

    /// Says why the broker refuses a certificate before it looks at any packet.
    pub fn refuses_certificate(&self, id: &str) -> Option<&'static str> {
        let now_ms = self.clock.now_ms();
        self.registry(|r| match r.certificates.get(id) {
            None => Some("unknown certificate"),
            Some(c) if c.status == Status::Inactive => Some("certificate is INACTIVE"),
            Some(c) if c.status == Status::Revoked => Some("certificate is REVOKED"),
            Some(c) if c.status != Status::Active => Some("certificate is not ACTIVE"),
            Some(c) if self.options.refuse_expired && now_ms / 1000 > c.not_after => {
                Some("certificate has expired")
            }
            Some(_) => None,
        })
    }

    /// Mints a certificate for a key and registers it with `status`.
    pub fn mint(&self, key: &impl rcgen::PublicKeyData, status: Status) -> Result<Minted, CaError> {
        let now_ms = self.clock.now_ms();
        let Validity { backdate, life } = *lock(&self.validity);
        let minted = self.ca.sign(key, now_ms / 1000, backdate, life)?;
        self.change(|r| r.certificates.insert(minted.id.clone(), registered(&minted, status, now_ms)));
        Ok(minted)
    }

    /// Makes an identity out of band: thing of the fleet's type, ACTIVE certificate, device policy, all seen at once.
    pub fn issue(&self, thing: &str) -> Result<Issued, OpenError> {
        let key = rcgen::KeyPair::generate()
            .map_err(|e| CaError::Crypto { what: "a device key", source: Box::new(e) })?;
        let minted = self.mint(&key, Status::Active)?;
        self.change(|r| -> Result<(), RegistryError> {
            if !r.things.contains_key(thing) {
                r.create_thing(thing, BTreeMap::new())?;
                if r.types.contains_key(THING_TYPE) {
                    r.set_type(thing, Some(THING_TYPE))?;
                }
            }
            r.attach_policy(DEVICE_POLICY, &minted.id, 0)?;
            r.attach_thing(thing, &minted.id, 0)
        })?;
        Ok(Issued { id: minted.id, certificate_pem: minted.pem, key_pem: key.serialize_pem() })
    }

    /// Adds to the log.
    pub fn log(&self, event: Event) {
        self.events.push(self.clock.now_ms(), event);
    }

    /// Takes the first fault that fits, and notes that it was played.
    pub fn fault(
        &self,
        on: &str,
        client: &str,
        certificate: &str,
        accepts: impl Fn(&Effect) -> bool,
    ) -> Option<Effect> {
        let effect = self.faults.take(on, client, certificate, accepts)?;
        self.log(Event::Fault { on: on.to_owned(), effect: format!("{effect:?}") });
        Some(effect)
    }

    /// A number for a new connection.
    pub fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// When a change that is made now is seen by the broker, in twin milliseconds.
    pub fn seen_ms(&self) -> i64 {
        self.clock.now_ms().saturating_add(millis(self.options.propagation))
    }

    /// Waits until there is something to write down that was not written at once.
    pub async fn unsaved(&self) {
        self.unsaved.notified().await;
    }

    /// Writes down the sessions and retained messages, and the registry where that waits.
    pub fn save_all(&self) {
        let saved = files::write_json(&self.options.dir, SESSIONS, &*lock(&self.sessions));
        if let Err(error) = saved {
            tracing::warn!(%error, "sessions not saved");
        }
        if self.registry_waits.swap(false, Ordering::Relaxed) {
            // A copy: a large registry is not held up while it is put into words.
            let registry = lock(&self.registry).clone();
            self.write(&registry);
        }
    }

    fn close_certificate(&self, id: &str) {
        self.sessions(|s| s.close_principal(&Close::Certificate, id));
    }

    /// At once while that is quick; a large registry is written by and by, with the sessions, and when the twin stops.
    fn save(&self, registry: &Registry) {
        if registry.certificates.len() <= WRITTEN_AT_ONCE {
            return self.write(registry);
        }
        self.registry_waits.store(true, Ordering::Relaxed);
        self.unsaved.notify_one();
    }

    fn write(&self, registry: &Registry) {
        if let Err(error) = files::write_json(&self.options.dir, REGISTRY, registry) {
            tracing::error!(%error, "registry not saved");
        }
    }
}

/// From when to when a new certificate is valid.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    /// How long before its issue it starts.
    pub backdate: Duration,
    /// How long after its issue it ends; `None` is AWS's 2049.
    pub life: Option<Duration>,
}

/// An identity made out of band.
pub struct Issued {
    /// The certificate id.
    pub id: String,
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// Its key, PKCS#8 PEM.
    pub key_pem: String,
}

/// The twin's directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// An authority.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The registry.
    #[error("cannot set the registry up")]
    Registry(#[from] RegistryError),
    /// TLS.
    #[error("cannot set TLS up")]
    Tls(#[from] rustls::Error),
    /// A port.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// A thread or runtime.
    #[error("cannot start the twin's thread")]
    Thread(#[source] std::io::Error),
    /// The thread ended before it was ready.
    #[error("the twin's thread ended before it was ready: {0}")]
    Ended(PathBuf),
}

/// Locks, whatever a panicking test left behind.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A duration in whole milliseconds.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The claim certificate's file in the twin's directory.
pub const CLAIM_CERTIFICATE: &str = "claim.cert.pem";
/// The claim key's file in the twin's directory.
pub const CLAIM_KEY: &str = "claim.key.pem";
const REGISTRY: &str = "registry.json";
const SESSIONS: &str = "sessions.json";
/// Up to so many certificates the registry is on disk before a change is answered.
const WRITTEN_AT_ONCE: usize = 500;

/// A certificate as it is first registered.
pub(crate) fn registered(minted: &Minted, status: Status, now_ms: i64) -> Certificate {
    Certificate {
        id: minted.id.clone(),
        pem: minted.pem.clone(),
        status,
        created_ms: now_ms,
        modified_ms: now_ms,
        not_before: minted.not_before,
        not_after: minted.not_after,
        policies: Default::default(),
        things: Default::default(),
    }
}
