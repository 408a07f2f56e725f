//! Finds what a policy does that its author may not have meant. It returns findings; it never
//! prints and does no I/O.

mod closed;
mod evaluate;
mod lock_out;
mod neighbours;
mod unreachable;
mod warnings;

#[cfg(test)]
mod test_policy;

pub use self::{
    closed::{Closed, listeners_closed},
    lock_out::{LockOut, lock_out},
    unreachable::{Shadowed, unreachable},
    warnings::{Warning, of_policy, of_removal, of_rule, without_mac},
};
