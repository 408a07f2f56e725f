//! Tests of the answers that the host gets under default drop.

mod replies;
mod replies6;
