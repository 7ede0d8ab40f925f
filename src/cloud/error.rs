//! Why a subscription on a connection failed, and who can clear it.
//!
//! No payloads in the texts.

use super::cause::Cause;
use super::topics::TopicError;

/// Why the connection takes nothing more just now; it was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection takes no more just now, or has ended")]
pub struct NotTaken;

/// Why a subscription is not in place.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// The filter breaks a limit of AWS.
    #[error("subscribing to {filter}")]
    Unfit {
        /// The filter.
        filter: String,
        /// The limit.
        #[source]
        source: TopicError,
    },
    /// The broker refused these filters.
    #[error("subscribing: the broker refused {}", filters.join(", "))]
    Refused {
        /// The filters that were refused.
        filters: Vec<String>,
    },
    /// No SUBACK in time.
    #[error("subscribing to {}: no answer in time", filters.join(", "))]
    NoAnswer {
        /// The filters of the packet.
        filters: Vec<String>,
    },
    /// The connection ended; AWS does that when the policy does not allow a filter.
    #[error("subscribing to {}: {cause}", filters.join(", "))]
    Closed {
        /// The filters of the packet.
        filters: Vec<String>,
        /// Why it ended.
        #[source]
        cause: Cause,
    },
}

impl SubscribeError {
    /// Says who can clear it.
    pub fn remedy(&self) -> &'static str {
        match self {
            SubscribeError::Unfit { .. } => "use a shorter filter",
            SubscribeError::Refused { .. } | SubscribeError::Closed { .. } => {
                "the certificate's policy must allow iot:Subscribe and iot:Receive for the filter"
            }
            SubscribeError::NoAnswer { .. } => "time: tried again on a new connection",
        }
    }
}
