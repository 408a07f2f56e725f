//! Tests of the interfaces that can be filtered: their names, their kinds, and the devices
//! that a host puts on top of them.

mod devices;
mod kinds;
mod members;
mod names;
mod replies;
mod tunnels;
