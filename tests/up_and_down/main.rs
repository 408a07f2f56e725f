//! Tests of how the filter comes up, stays up and goes down.

mod egress;
mod pins;
mod unread_output;
mod up;
