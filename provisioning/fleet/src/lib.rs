//! `certrot-fleet`: what a fleet of `certrotd` devices needs in an AWS account, set up, shown and taken away again.
