//! Tests of what xdpfw needs, and of what it says where it has less.

mod commands;
mod files;
mod out_of_sight;
mod sandbox;
mod steps;
