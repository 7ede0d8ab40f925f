//! The words between the post office and whoever carries for it: what is to be sent, how a session ended.

use bytes::Bytes;

/// What is to be done on the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Publish with QoS 1; tell [`Post::acknowledged`].
    Publish {
        /// Its number.
        id: u64,
        /// Its topic.
        topic: String,
        /// Its payload.
        payload: Bytes,
    },
    /// Subscribe by one packet; tell [`Post::answered`].
    Subscribe {
        /// Its number.
        id: u64,
        /// The filters, eight at most.
        filters: Vec<String>,
    },
    /// Unsubscribe.
    Unsubscribe {
        /// The filters, eight at most.
        filters: Vec<String>,
    },
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By ourselves, by a take-over, or by the network: nobody's fault.
    Expected,
    /// The other side closed it, without a word, as AWS does on what the policy forbids.
    Closed,
}

/// Whether applications have to do with the end of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Nothing of theirs was on its way.
    None,
    /// Something was, and is tried alone next time.
    Suspected,
    /// It was this, alone and not for the first time.
    Convicted(String),
}
