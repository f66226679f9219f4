//! What the compile worker gives up before it reads a stranger's bytes: files, the network, other programs. A compiler that
//! is led astray by what it compiles then has its memory, its processor time and one open file. Knows no component.

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;

/// The newest rules that the crate knows; older kernels keep those that they know.
const LANDLOCK: ABI = ABI::V6;

/// Calls that a compiler has no use for and that reach beyond the process. A list of what is refused and not of what is
/// allowed: C libraries and kernels bring new calls that a compiler needs.
const REFUSED: [i64; 40] = [
    // The network.
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    // Other programs and their memory.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_shmget,
    libc::SYS_shmat,
    // The machine.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_chroot,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_open_by_handle_at,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    // Doors to calls that are not looked at, and to long waits of the kernel that exploits are built on.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_userfaultfd,
];

/// Calls that name a process first, which may be this one alone; 0 stands for it where a call says so.
const OWN_PROCESS: [(i64, bool); 2] = [(libc::SYS_tgkill, false), (libc::SYS_prlimit64, true)];

/// What the kernel keeps up from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confinement {
    /// No path opens any more, whatever the user's rights (Landlock, Linux 5.13).
    pub files: bool,
    /// The calls above are refused (seccomp).
    pub calls: bool,
}

/// Gives up what the kernel lets a process give up; for good, and for all threads that it starts.
pub fn confine() -> Confinement {
    // A kernel without them leaves the limits on time and memory, which are always there.
    Confinement { files: give_up_files().unwrap_or(false), calls: give_up_calls().is_ok() }
}

fn give_up_files() -> Result<bool, landlock::RulesetError> {
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?;
    // No rule is added, so nothing is allowed.
    Ok(rules.create()?.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
}

fn give_up_calls() -> Result<(), seccompiler::Error> {
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.into_iter().map(|call| (call, Vec::new())).collect();
    let own = u64::from(std::process::id());
    for (call, has_zero) in OWN_PROCESS {
        let other = |process| SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, process);
        let mut others = vec![other(own)?];
        others.extend(has_zero.then(|| other(0)).transpose()?);
        refused.insert(call, vec![SeccompRule::new(others)?]);
    }
    let denied = SeccompAction::Errno(libc::EPERM as u32);
    let filter =
        SeccompFilter::new(refused, SeccompAction::Allow, denied, std::env::consts::ARCH.try_into()?)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter_all_threads(&program)
}
