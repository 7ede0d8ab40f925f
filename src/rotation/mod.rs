//! The pure core: decides what is done next, and touches nothing.

pub mod identity;
