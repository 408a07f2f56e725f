//! What every XDP program of this workspace needs: the packet, a panic handler, a licence.
//! No maps and no programs, which would come into every object that uses this.

#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod packet;
mod runtime;
