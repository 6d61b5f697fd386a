//! Offsets in `struct pt_regs` of x86-64 (`arch/x86/include/uapi/asm/ptrace.h`, which is
//! stable): what arguments, results and the stack pointer are read from.

/// Bytes of the whole.
pub(super) const BYTES: u32 = 168;
/// Offsets of the integer argument registers in order: di, si, dx, cx, r8, r9.
pub(super) const ARGS: [i32; 6] = [112, 104, 96, 88, 72, 64];
/// `ax`: the result.
pub(super) const RESULT: i32 = 80;
/// `ip`
pub(super) const IP: i32 = 128;
/// `cs`: its two low bits are the privilege level.
pub(super) const CS: i32 = 136;
/// What `cs` is in 64-bit code of the user's.
pub(super) const USER_CS: i64 = 0x33;
/// `bp`: the frame pointer.
pub(super) const FP: i32 = 32;
/// `sp`
pub(super) const SP: i32 = 152;
