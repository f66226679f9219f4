//! How much memory this machine, or the container it runs in, has. Asked when the backend opens, and by clients.

use std::fs;

/// What the machine says of its memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    pub total: u64,
    /// What could be had without pushing anything out.
    pub free: u64,
}

/// The machine's, whatever a container may take of it; `None` where the system does not say. Reads a file: call it where
/// blocking is allowed.
pub fn of_machine() -> Option<Memory> {
    of_meminfo(&fs::read_to_string("/proc/meminfo").ok()?)
}

/// Bytes that may be used here; `None` where the system does not say.
pub(crate) fn total() -> Option<u64> {
    let machine = of_machine().map(|memory| memory.total);
    // A container's own limit: of the second version of control groups, and of the first.
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    // Without a limit the file says "max", or a number above any machine's memory.
    let limits = limits.iter().filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
    machine.into_iter().chain(limits).min()
}

/// Its numbers are in KiB.
fn of_meminfo(text: &str) -> Option<Memory> {
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    let total = bytes("MemTotal")?;
    Some(Memory { total, free: bytes("MemAvailable")?.min(total) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_total_and_available_in_kib() {
        let text = "MemTotal:       24576000 kB\nMemFree:  1 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(of_meminfo(text), Some(Memory { total: 24_576_000 << 10, free: 1 << 20 }));
        assert_eq!(of_meminfo("MemTotal: 1 kB"), None);
        assert_eq!(of_meminfo("MemAvailable: 1 kB"), None);
    }

    #[test]
    fn this_machine_has_some() {
        assert!(total().is_some_and(|bytes| bytes > 64 << 20));
    }
}
