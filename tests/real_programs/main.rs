//! Tests with the programs that operators use: nmap, ping, curl, iperf3.

mod nmap;
mod stacks;
