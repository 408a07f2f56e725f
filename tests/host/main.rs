//! Tests of what the library reads of a host: sockets, addresses, routes, tracked connections,
//! published ports. It is asked from a thread that has entered the host's namespace, so
//! whatever is read of another namespace fails them. And of captures that it writes.

mod captures;
mod interfaces;
mod nat;
mod sockets;
