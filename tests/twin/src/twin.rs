//! The handle: starts the twin on its own thread, lets tests look and meddle, stops it when dropped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::broker;
use crate::broker::sessions::{Close, Connected};
use crate::clock::Clock;
use crate::cloud::{CLAIM_CERTIFICATE, CLAIM_KEY, Cloud, Issued, OpenError, Validity, lock};
use crate::events::{Event, Logged};
use crate::faults::Fault;
use crate::options::Options;
use crate::registry::{Certificate, RegistryError, Status, Thing};
use crate::{rest, tls};

/// A running twin. Dropping it stops it and writes its state down.
pub struct Twin {
    cloud: Arc<Cloud>,
    port: u16,
    api_port: u16,
    stop: watch::Sender<bool>,
    runtime: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Twin {
    /// Starts it; when this returns, both ports answer.
    pub fn start(options: Options) -> Result<Self, OpenError> {
        let (port, api_port, dir) = (options.port, options.api_port, options.dir.clone());
        let cloud = Arc::new(Cloud::open(options)?);
        let config = tls::server_config(&cloud.ca, &cloud.options, Arc::downgrade(&cloud))?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (stop, stopped) = watch::channel(false);
        let (ready_tx, ready_rx) = mpsc::channel();
        let shared = cloud.clone();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("twin")
            .enable_all()
            .build()
            .map_err(OpenError::Thread)?;
        let handle = runtime.handle().clone();
        let thread = std::thread::Builder::new()
            .name("twin".into())
            .spawn(move || {
                runtime.block_on(serve(shared, acceptor, port, api_port, stopped, ready_tx));
                // RSA keys in the making are not waited for.
                runtime.shutdown_timeout(Duration::from_millis(200));
            })
            .map_err(OpenError::Thread)?;
        let (port, api_port) = ready_rx.recv().map_err(|_| OpenError::Ended(dir))??;
        Ok(Self { cloud, port, api_port, stop, runtime: handle, thread: Some(thread) })
    }

    /// The MQTT port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The REST port on 127.0.0.1.
    pub fn api_port(&self) -> u16 {
        self.api_port
    }

    /// The certificate that clients trust.
    pub fn ca_pem(&self) -> PathBuf {
        self.cloud.options.dir.join("ca.pem")
    }

    /// The claim certificate.
    pub fn claim_certificate(&self) -> PathBuf {
        self.cloud.options.dir.join(CLAIM_CERTIFICATE)
    }

    /// The claim certificate's key, 0600.
    pub fn claim_key(&self) -> PathBuf {
        self.cloud.options.dir.join(CLAIM_KEY)
    }

    /// Orders a fault.
    pub fn fault(&self, fault: Fault) {
        self.cloud.faults.put(fault);
    }

    /// Takes back every fault that was not played yet.
    pub fn clear_faults(&self) {
        self.cloud.faults.clear();
    }

    /// Faults that were not played yet.
    pub fn faults(&self) -> Vec<Fault> {
        self.cloud.faults.list()
    }

    /// The twin's clock.
    pub fn clock(&self) -> &Clock {
        &self.cloud.clock
    }

    /// Everything that happened.
    pub fn events(&self) -> Vec<Logged> {
        self.cloud.events.since(0)
    }

    /// Everything that happened from event number `since` on.
    pub fn events_since(&self, since: usize) -> Vec<Logged> {
        self.cloud.events.since(since)
    }

    /// The number that the next event will have.
    pub fn event_count(&self) -> usize {
        self.cloud.events.len()
    }

    /// How many events `wanted` accepts.
    pub fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.cloud.events.since(0).iter().filter(|l| wanted(&l.event)).count()
    }

    /// Waits for an event from number `since` on; `None` when it does not come `within` real time.
    pub fn wait(&self, since: usize, within: Duration, wanted: impl Fn(&Event) -> bool) -> Option<Logged> {
        self.cloud.events.wait(since, within, wanted)
    }

    /// Every certificate of the registry, by id.
    pub fn certificates(&self) -> Vec<Certificate> {
        self.cloud.registry(|r| r.certificates.values().cloned().collect())
    }

    /// One certificate.
    pub fn certificate(&self, id: &str) -> Option<Certificate> {
        self.cloud.registry(|r| r.certificates.get(id).cloned())
    }

    /// One thing.
    pub fn thing(&self, name: &str) -> Option<Thing> {
        self.cloud.registry(|r| r.things.get(name).cloned())
    }

    /// Certificates attached to a thing, oldest first.
    pub fn certificates_of(&self, thing: &str) -> Vec<Certificate> {
        let mut found: Vec<Certificate> =
            self.cloud.registry(|r| r.principals(thing).into_iter().cloned().collect());
        found.sort_by_key(|c| c.created_ms);
        found
    }

    /// Changes a certificate's status; its sessions are closed when it leaves ACTIVE.
    pub fn set_status(&self, id: &str, status: Status) -> Result<(), RegistryError> {
        let now_ms = self.cloud.clock.now_ms();
        self.cloud.change(|r| r.set_status(id, status, now_ms)).map(|_| ())
    }

    /// Detaches a certificate from a thing.
    pub fn detach_thing(&self, thing: &str, id: &str) -> Result<(), RegistryError> {
        self.cloud.change(|r| r.detach_thing(thing, id))
    }

    /// Attaches a certificate to a thing.
    pub fn attach_thing(&self, thing: &str, id: &str) -> Result<(), RegistryError> {
        let seen_ms = self.cloud.seen_ms();
        self.cloud.change(|r| r.attach_thing(thing, id, seen_ms))
    }

    /// Detaches a policy from a certificate.
    pub fn detach_policy(&self, policy: &str, id: &str) -> Result<(), RegistryError> {
        self.cloud.change(|r| r.detach_policy(policy, id))
    }

    /// Attaches a policy to a certificate.
    pub fn attach_policy(&self, policy: &str, id: &str) -> Result<(), RegistryError> {
        let seen_ms = self.cloud.seen_ms();
        self.cloud.change(|r| r.attach_policy(policy, id, seen_ms))
    }

    /// Makes or replaces a policy document; attached certificates have the new one at once.
    pub fn set_policy(&self, name: &str, document: &str) {
        let now_ms = self.cloud.clock.now_ms();
        self.cloud.change(|r| r.put_policy(name, document, now_ms));
    }

    /// Merges attributes into a thing; an empty value removes one.
    pub fn set_attributes(&self, thing: &str, attributes: &[(&str, &str)]) -> Result<(), RegistryError> {
        let attributes: BTreeMap<String, String> =
            attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.cloud.change(|r| r.set_attributes(thing, &attributes, true))
    }

    /// Makes a thing.
    pub fn create_thing(&self, name: &str) -> Result<(), RegistryError> {
        self.cloud.change(|r| r.create_thing(name, BTreeMap::new()))
    }

    /// Sets the validity of certificates that are made from now on: how long before their issue they start, and how
    /// long after it they end (`None`: AWS's 2049).
    pub fn set_validity(&self, backdate: Duration, life: Option<Duration>) {
        *lock(&self.cloud.validity) = Validity { backdate, life };
    }

    /// Makes an identity out of band: thing, ACTIVE certificate with the device policy, attached.
    pub fn issue(&self, thing: &str) -> Result<Issued, OpenError> {
        self.cloud.issue(thing)
    }

    /// Deletes a certificate, whatever its status and attachments.
    pub fn delete_certificate(&self, id: &str) {
        self.cloud.change(|r| r.certificates.remove(id));
    }

    /// Sets who the claim hook lets in; `None` lets in every well-formed serial.
    pub fn allow(&self, serials: Option<Vec<String>>) {
        *lock(&self.cloud.allow_list) = serials;
    }

    /// Runs a future on the twin's own threads and waits for it: for what the handle has no word for.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Ends the functions' programs that wait for work, as a new deployment does: the next invocation starts cold.
    pub fn cool_functions(&self) {
        self.cloud.functions.cool();
    }

    /// Publishes as the cloud.
    pub fn publish(&self, topic: &str, payload: &[u8], retain: bool) {
        self.cloud.publish(topic, payload, retain);
    }

    /// Who is connected.
    pub fn connections(&self) -> Vec<Connected> {
        self.cloud.sessions(|s| s.connected())
    }

    /// Closes the connection of a client id without a word.
    pub fn kick(&self, client: &str) {
        self.cloud.sessions(|s| s.close_client(&Close::Order, client));
    }

    /// Forgets the kept session of a client that is away.
    pub fn forget_session(&self, client: &str) {
        self.cloud.sessions(|s| s.forget(client));
    }

    /// The cloud behind it, for what this handle has no word for.
    pub fn cloud(&self) -> &Arc<Cloud> {
        &self.cloud
    }

    /// Stops it: connections are closed, ports free, state written.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _already = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        self.end();
    }
}

type Ready = Result<(u16, u16), OpenError>;

async fn serve(
    cloud: Arc<Cloud>,
    acceptor: TlsAcceptor,
    port: u16,
    api_port: u16,
    mut stopped: watch::Receiver<bool>,
    ready: mpsc::Sender<Ready>,
) {
    let bound = async {
        let mqtt = listen(port).await?;
        let api = listen(api_port).await?;
        Ok((mqtt, api))
    };
    let (mqtt, api) = match bound.await {
        Ok(listeners) => listeners,
        Err(error) => {
            let _gone = ready.send(Err(error));
            return;
        }
    };
    let port_of = |l: &TcpListener| l.local_addr().map_or(0, |a| a.port());
    *lock(&cloud.endpoint) = format!("localhost:{}", port_of(&mqtt));
    *lock(&cloud.api) = format!("127.0.0.1:{}", port_of(&api));
    let _gone = ready.send(Ok((port_of(&mqtt), port_of(&api))));
    let mut saver_stop = stopped.clone();
    let saver = {
        let cloud = cloud.clone();
        tokio::spawn(async move {
            // Changes come in bursts; one file serves them all. With many devices it takes its time, and is written
            // less often for it.
            let mut pause = Duration::from_millis(100);
            loop {
                tokio::select! {
                    () = cloud.unsaved() => {}
                    _ = saver_stop.changed() => return,
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _ = saver_stop.changed() => return,
                }
                let began = Instant::now();
                cloud.save_all();
                pause = (began.elapsed() * 20).max(Duration::from_millis(100));
            }
        })
    };
    let rest = tokio::spawn(rest::serve(cloud.clone(), api, stopped.clone()));
    let broker = tokio::spawn(broker::serve(cloud.clone(), mqtt, acceptor, stopped.clone()));
    let _dropped = stopped.wait_for(|s| *s).await;
    cloud.sessions(|s| s.close_all(&Close::Stopping));
    cloud.functions.kill();
    for task in [saver, rest, broker] {
        let _best_effort = timeout(Duration::from_secs(2), task).await;
    }
    for _ in 0..50 {
        if cloud.sessions(|s| s.connected().is_empty()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    cloud.save_all();
}

async fn listen(port: u16) -> Result<TcpListener, OpenError> {
    let address = format!("127.0.0.1:{port}");
    TcpListener::bind(&address).await.map_err(|source| OpenError::Listen { address, source })
}
