//! Tests with the programs that operators use, nmap, ping, curl, iperf3 and a terminal, and that
//! servers run.

mod fail2ban;
mod nmap;
mod review;
mod sshguard;
mod stacks;
mod top;
