//! Tests of how the filter comes up, stays up and goes down.

mod boot;
mod doctor;
mod egress;
mod failures;
mod pins;
mod program;
mod replace;
mod strays;
mod then;
mod unread_output;
mod up;
