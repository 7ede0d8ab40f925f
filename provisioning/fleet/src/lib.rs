//! `certrot-fleet`: what a fleet of `certrotd` devices needs in an AWS account, set up, shown and taken away again.

pub mod aws;
pub mod calls;
pub mod desired;
pub mod model;
pub mod names;
pub mod operator;
pub mod plan;
