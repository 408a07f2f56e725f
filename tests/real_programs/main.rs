//! Tests with the programs that operators use, nmap, ping, curl, iperf3, and that servers run.

mod nmap;
mod review;
mod stacks;
