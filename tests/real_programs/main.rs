//! Tests with the programs that operators use, nmap, ping, curl, iperf3 and a terminal, and that
//! servers run.

mod nmap;
mod review;
mod stacks;
mod top;
