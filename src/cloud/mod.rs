//! The cloud side of the device: AWS IoT Core's topics and answers, TLS, and one MQTT connection at a time.
//!
//! It decides nothing: it connects once, asks once, and says what happened, told apart by cause, so that the core can
//! decide. It never reconnects by itself, never switches identities, reads no file and no configuration; certificates
//! and keys come in as DER, the time comes in as a function. It must not import another adapter.
//!
//! ```text
//! tls (one ClientIdentity per pair) ─▶ dial (DNS, TCP, TLS) ─▶ connect (CONNECT … CONNACK) ─▶ session (one connection)
//!                                        └─▶ probe (ends after TLS)                            ├─ request: asked, answered
//!                                                                                              ├─ messages: of applications
//!                                                                                              └─ proof: rule 7
//! ```
//!
//! | cause | told apart by | refusal (rule 19) |
//! | --- | --- | --- |
//! | DNS, TCP, time-out | the step of the dial | no |
//! | untrusted server | the check of the server's certificate failed | no |
//! | TLS alert, CONNACK with any other code than 3, bare close | the server was verified before | yes |
//! | throttled (CONNACK 3), time-out | weather | no |
//!
//! A throttled CONNECT may also end in a bare close: then the wire does not tell it from a refusal, and the texts say so.

pub mod cause;
pub mod dial;
mod error;
mod messages;
pub mod payload;
pub mod proof;
mod pump;
pub mod request;
pub mod session;
pub mod tls;
pub mod topics;

pub use cause::{Cause, ConnectFailure, Remedy, Step};
pub use dial::{ProbeFailure, ServerFacts, Target, Times, probe_tcp, probe_tls};
pub use error::{NotTaken, SubscribeError};
pub use proof::{ProofFailure, prove};
pub use pump::SessionEvent;
pub use request::{Answer, RequestError};
pub use session::{Connack, FILTERS_A_PACKET, Options, Session, connect};
pub use tls::{ClientIdentity, Clock, TlsError};
pub use topics::{Operation, TopicError};
