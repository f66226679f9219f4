//! What the compile worker gives up before it reads a stranger's bytes: files, the network, other programs. A compiler that
//! is led astray by what it compiles then has its memory, its processor time and one open file. Knows no component.

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use serde::{Deserialize, Serialize};
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

/// In a namespace of its own a process has rights that it has not outside, and with them reaches much of the kernel.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// What the kernel keeps up from now on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// No path opens any more, whatever the user's rights (Landlock, Linux 5.13).
    pub files: bool,
    /// The calls above are refused (seccomp).
    pub calls: bool,
}

impl Confinement {
    /// What was not given up; `None` where everything was.
    pub(crate) fn keeps(self) -> Option<&'static str> {
        match (self.files, self.calls) {
            (true, true) => None,
            (false, true) => Some("files"),
            (true, false) => Some("network and other programs"),
            (false, false) => Some("files, network and other programs"),
        }
    }
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
    filters(std::process::id())?.iter().try_for_each(|filter| seccompiler::apply_filter_all_threads(filter))
}

/// For a process of that id. A call goes through where both let it.
fn filters(own: u32) -> Result<[BpfProgram; 2], seccompiler::Error> {
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.into_iter().map(|call| (call, Vec::new())).collect();
    let first = |operator, value| SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, value);
    for (call, has_zero) in OWN_PROCESS {
        let other = |process| first(SeccompCmpOp::Ne, process);
        let mut others = vec![other(u64::from(own))?];
        others.extend(has_zero.then(|| other(0)).transpose()?);
        refused.insert(call, vec![SeccompRule::new(others)?]);
    }
    let mut namespaces = Vec::new();
    for flag in NAMESPACES.map(|flag| flag as u64) {
        namespaces.push(SeccompRule::new(vec![first(SeccompCmpOp::MaskedEq(flag), flag)?])?);
    }
    refused.insert(libc::SYS_clone, namespaces);
    // Its flags lie in memory, where no filter looks. C libraries that find it missing start their threads by `clone`.
    let missing = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    Ok([program(refused, libc::EPERM)?, program(missing, libc::ENOSYS)?])
}

/// Answers these calls with that error.
fn program(
    calls: BTreeMap<i64, Vec<SeccompRule>>,
    error: libc::c_int,
) -> Result<BpfProgram, seccompiler::Error> {
    let denied = SeccompAction::Errno(error as u32);
    let filter = SeccompFilter::new(calls, SeccompAction::Allow, denied, std::env::consts::ARCH.try_into()?)?;
    let program: BpfProgram = filter.try_into()?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel answers to a call with that first argument: 0 where it goes through, else the error. Runs as much of BPF as
    /// filters are made of.
    fn answer(filter: &BpfProgram, call: i64, argument: u64) -> u32 {
        // `seccomp_data`: the call, the architecture that every filter asks for first, where it was made, arguments.
        let data = [call as u32, filter[1].k, 0, 0, argument as u32, (argument >> 32) as u32];
        let (mut at, mut value) = (0_usize, 0_u32);
        loop {
            let step = &filter[at];
            let jump = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
            at += 1;
            match step.code {
                0x20 => value = data[step.k as usize / 4],
                0x54 => value &= step.k,
                0x05 => at += step.k as usize,
                0x15 => at += jump(value == step.k),
                0x06 => return step.k & libc::SECCOMP_RET_DATA,
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn a_thread_may_be_started_and_no_namespace() {
        let filters = filters(7).unwrap();
        let answered = |call: i64, argument: libc::c_int| {
            let answers = filters.iter().map(|filter| answer(filter, call, argument as u64));
            answers.max().unwrap_or_default() as libc::c_int
        };
        let thread = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_THREAD;
        assert_eq!(answered(libc::SYS_clone, thread), 0);
        assert_eq!(answered(libc::SYS_clone3, 0), libc::ENOSYS, "another error would be the end of threads");
        for flag in NAMESPACES {
            assert_eq!(answered(libc::SYS_clone, libc::SIGCHLD | flag), libc::EPERM, "{flag:#x}");
        }
        for call in [libc::SYS_unshare, libc::SYS_setns, libc::SYS_socket] {
            assert_eq!(answered(call, libc::CLONE_NEWUSER), libc::EPERM, "{call}");
        }
        assert_eq!((answered(libc::SYS_tgkill, 7), answered(libc::SYS_tgkill, 8)), (0, libc::EPERM));
        assert_eq!(answered(libc::SYS_write, 1), 0);
    }
}
