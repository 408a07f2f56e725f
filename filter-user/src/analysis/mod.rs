//! Finds what a policy does that its author may not have meant, and what is wrong with the host it
//! is for. It returns findings; it never prints and does no I/O.

mod closed;
pub mod doctor;
mod evaluate;
mod explain;
mod neighbours;
mod places;
pub mod review;
mod takes_away;
mod unreachable;
mod warnings;
mod way_in;

#[cfg(test)]
mod test_policy;

pub use self::{
    closed::{Closed, listeners_closed},
    explain::{Explanation, explain, meaning},
    places::{Place, in_vain, misplaced, unjudged_esp},
    takes_away::takes_away,
    unreachable::{Shadowed, unreachable},
    warnings::{Warning, cookies_before_nat, of_policy, of_removal, of_rule, without_mac},
    way_in::{Knock, Purpose, between, connection, tunnel},
};
