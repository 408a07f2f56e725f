//! Tests of the life of a policy: how it is edited, checked, applied and replaced.

mod apply;
mod edit;
mod ending;
mod history;
mod in_force;
mod lockout;
mod others;
mod queue;
mod rehearsal;
mod rules;
mod swap;
